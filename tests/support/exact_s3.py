"""An S3 server of a few lines for what SeaweedFS cannot show: keys taken literally, byte order, and failures on order.

SeaweedFS collapses "a//b" and drops leading slashes, as it keeps objects in directories; AWS does neither. Signatures
are not checked.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import socket
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import Message
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote_plus, unquote, unquote_plus
from xml.sax.saxutils import escape

from raycache.errors import NotFoundError
from raycache.ufs.base import ObjectInfo
from raycache.ufs.memory import MemoryStorage

ACCESS_KEY = "AKIAEXACTEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI-exact"

_EMPTY_PAGE = "empty-page:"


@dataclasses.dataclass
class Manners:
    """What the server does unlike AWS, at every request. Real stores have all of these."""

    ignores_conditions: bool = False
    #: In listings: how keys are spelled, and whether the answer says that they are spelled so.
    spells_keys: Callable[[str], str] = quote_plus
    says_encoded: bool = True
    #: Token of a page but the last -> what is given instead; None: no token.
    gives_token: Callable[[str], str | None] = str
    #: The token asked with -> the one that is heard.
    hears_token: Callable[[str], str | None] = str
    #: So many empty pages before each that is not.
    empty_pages: int = 0
    #: How an etag is spelled in listings, by HEAD, and by GET; None: not at all.
    lists_etag: Callable[[str], str | None] = str
    heads_etag: Callable[[str], str | None] = str
    gets_etag: Callable[[str], str | None] = str
    #: What If-Match must say for an object of this etag.
    matches_etag: Callable[[str], str] = str
    #: The whole object comes when a range is asked for.
    ignores_ranges: bool = False
    #: So many bytes behind the range asked for is the one that comes.
    shifts_ranges: int = 0
    #: LIST, BUCKET (a HEAD of it), HEAD, GET, PUT, POST (DeleteObjects) or DELETE -> status and code; a HEAD has no code.
    refuses: Mapping[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    #: DeleteObjects needs Content-MD5, as it did until 2024.
    wants_md5: bool = False
    #: DeleteObjects denies these, in an answer that is fine otherwise.
    keeps: frozenset[str] = frozenset()
    #: Bodies go out in so many pieces, and so long after each other.
    sends_pieces: int = 1
    pauses_s: float = 0.0
    #: Nothing more comes after so many pieces.
    stalls_after: int | None = None
    #: Bodies are taken in at this speed; 0: at once.
    takes_bytes_per_s: float = 0.0
    #: A session token that has expired, and the code that says so.
    expired: tuple[str, str] = ("", "")
    #: Only who says that they pay is served.
    wants_payer: bool = False
    #: Single deletes of what is not there are 404.
    misses_deleted: bool = False


class ExactS3:
    """One bucket, `exact`.

    Args:
        tls: speak TLS, as `localhost`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        #: How much later than now objects are written.
        self.later_s = 0
        self.lake = MemoryStorage("memory://exact", now_ns=lambda: time.time_ns() + self.later_s * 10**9)
        #: What happens to the next requests instead of an answer: (status, S3 code), "truncate", "drop" (not done),
        #: "lose" (done, but not answered), "short" (too little, but well-formed), "serve" (nothing), or a function to
        #: call first.
        self.failures: deque[tuple[int, str] | str | Callable[[], object]] = deque()
        #: (method, raw path with its query) of each request, as it came over the wire.
        self.seen: list[tuple[str, str]] = []
        #: The heads of the same requests.
        self.heads: list[Message] = []
        #: Ends the waiting of bodies that have stalled.
        self.stalled = threading.Event()
        #: How many of them came as to a proxy.
        self.proxied = 0
        #: By upload: its parts by number.
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.delay_s = 0.0
        self.manners = Manners()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self.endpoint_url = f"https://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def options(self, **more: object) -> dict[str, object]:
        return {"endpoint_url": self.endpoint_url, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, **more}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        # What the kernel takes in for a slow server is little.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        super().server_bind()


@contextmanager
def exact_s3(tls: ssl.SSLContext | None = None) -> Iterator[ExactS3]:
    server = ExactS3(tls)
    try:
        yield server
    finally:
        server.close()


def _handler(server: ExactS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # else each answer is two packets, and the second waits for the first one's acknowledgement

        _answers = True

        def handle_expect_100(self) -> bool:
            going_on = super().handle_expect_100()
            self.wfile.flush()
            return going_on

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def _serve(self) -> None:
            if self.path.startswith("http://"):  # the server is asked as a proxy, for whatever host
                self.path = "/" + self.path.removeprefix("http://").partition("/")[2]
                server.proxied += 1
            server.seen.append((self.command, self.path))
            server.heads.append(self.headers)
            self._answers = True
            raw_path, _, raw_query = self.path.partition("?")
            query = dict(parse_qsl(raw_query, keep_blank_values=True))
            bucket, _, raw_key = raw_path.removeprefix("/").partition("/")
            body = self._body(int(self.headers.get("Content-Length") or 0))
            # Drawn on arrival: a request whose client gave up must not wake later and take another test's failure.
            failure = server.failures.popleft() if server.failures else None
            time.sleep(server.delay_s)
            if callable(failure):
                failure()
            if failure == "drop":
                self.close_connection = True
            elif isinstance(failure, tuple):
                self._fail(*failure)
            elif bucket != "exact":
                self._fail(404, "NoSuchBucket")
            elif server.manners.wants_payer and self.headers.get("x-amz-request-payer") != "requester":
                self._fail(403, "AccessDenied")
            elif self.headers.get("x-amz-security-token") == server.manners.expired[0]:
                self._fail(400, server.manners.expired[1])
            elif refusal := server.manners.refuses.get(self._verb(raw_key)):
                self._fail(*refusal)
            elif not raw_key:
                self._of_bucket(query, body)
            else:
                self._answers = failure != "lose"
                key = unquote(raw_key)
                if "uploads" in query or "uploadId" in query:
                    self._of_upload(key, query, body)
                else:
                    self._of_object(key, body, cut=failure if failure in ("truncate", "short") else "")

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

        def _body(self, length: int) -> bytes:
            rate = server.manners.takes_bytes_per_s
            if not rate:
                return self.rfile.read(length)
            pieces = []
            while length:
                pieces.append(self.rfile.read(min(1 << 16, length)))
                length -= len(pieces[-1])
                time.sleep(len(pieces[-1]) / rate)
            return b"".join(pieces)

        def _send_body(self, data: bytes) -> None:
            manners = server.manners
            size = -(-len(data) // manners.sends_pieces) or 1
            for number, start in enumerate(range(0, len(data), size)):
                if number == manners.stalls_after:
                    server.stalled.wait(10)
                    self.close_connection = True
                    return
                self.wfile.write(data[start : start + size])
                self.wfile.flush()
                time.sleep(manners.pauses_s)

        def _verb(self, raw_key: str) -> str:
            return self.command if raw_key else {"GET": "LIST", "HEAD": "BUCKET"}.get(self.command, self.command)

        def _of_bucket(self, query: dict[str, str], body: bytes) -> None:
            if self.command == "HEAD":
                self._answer(200)
            elif self.command == "POST" and server.manners.wants_md5 and not _is_md5(self.headers, body):
                self._fail(400, "MissingContentMD5")
            elif self.command == "POST":
                keys = [e.text or "" for e in ET.fromstring(body).iter() if e.tag.endswith("Key")]
                kept = server.manners.keeps.intersection(keys)
                server.lake.delete([key for key in keys if key not in kept])
                errors = [f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code></Error>" for key in kept]
                self._answer(200, f"<DeleteResult>{''.join(errors)}</DeleteResult>".encode())
            else:
                self._answer(200, _listing(server, query).encode())

        def _of_object(self, key: str, body: bytes, *, cut: str) -> None:
            try:
                if self.command == "DELETE":
                    if server.manners.misses_deleted:
                        server.lake.head(key)
                    server.lake.delete([key])
                    self._answer(204)
                elif self.command == "PUT" and (source := self.headers.get("x-amz-copy-source")):
                    wanted = self.headers.get("x-amz-copy-source-if-match")
                    stands = server.lake.head(unquote(source).removeprefix("exact/"))
                    if wanted not in (None, server.manners.matches_etag(stands.etag)):
                        self._fail(412, "PreconditionFailed")
                        return
                    info = server.lake.copy(unquote(source).removeprefix("exact/"), key)
                    self._answer(200, f"<CopyObjectResult><ETag>{info.etag}</ETag></CopyObjectResult>".encode())
                elif self.command == "PUT":
                    self._answer(200, info=server.lake.put(key, body))
                else:
                    self._get(server.lake.head(key), cut=cut)
            except NotFoundError:
                self._fail(404, "NoSuchKey")

        def _of_upload(self, key: str, query: dict[str, str], body: bytes) -> None:
            if "uploads" in query:
                upload = f"upload-{len(server.seen)}"
                server.uploads[upload] = {}
                self._answer(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
                return
            upload = query["uploadId"]
            if upload not in server.uploads:
                self._fail(404, "NoSuchUpload")
            elif self.command == "PUT":
                server.uploads[upload][int(query["partNumber"])] = body
                self._answer(200, ETag=f'"part-{query["partNumber"]}"')
            elif self.command == "DELETE":
                del server.uploads[upload]
                self._answer(204)
            else:
                parts = server.uploads.pop(upload)
                info = server.lake.put(key, b"".join(parts[number] for number in sorted(parts)))
                self._answer(200, f"<R><ETag>{escape(info.etag)}</ETag></R>".encode())

        def _get(self, info: ObjectInfo, *, cut: str) -> None:
            manners = server.manners
            wanted = self.headers.get("If-Match")
            if wanted and wanted != manners.matches_etag(info.etag) and not manners.ignores_conditions:
                self._fail(412, "PreconditionFailed")
                return
            first, last = 0, info.size_bytes - 1
            span = None if manners.ignores_ranges else self.headers.get("Range")
            if span:
                start, _, end = span.removeprefix("bytes=").partition("-")
                first, last = int(start) + manners.shifts_ranges, min(int(end) + manners.shifts_ranges, last)
                if first > last:
                    self._fail(416, "InvalidRange")
                    return
            data = bytes(server.lake.read(info.key, first, last - first + 1)) if last >= first else b""
            extra = {"Content-Range": f"bytes {first}-{last}/{info.size_bytes}"} if span else {}
            self._answer(206 if span else 200, data, info=info, cut=cut, **extra)

        def _fail(self, status: int, code: str) -> None:
            # AWS repeats the key id and what was signed.
            text = f"<Error><Code>{code}</Code><AWSAccessKeyId>{self.headers.get('Authorization', '')}</AWSAccessKeyId>"
            text += f"<Message>Who is {ACCESS_KEY}?</Message>"
            self._answer(status, f"{text}<StringToSign>AWS4 secretly</StringToSign></Error>".encode())

        def _answer(
            self,
            status: int,
            data: bytes = b"",
            *,
            info: ObjectInfo | None = None,
            cut: str = "",
            **extra: str,
        ) -> None:
            if not self._answers:
                self.close_connection = True
                return
            self.send_response(status)
            if cut == "short":
                data = data[: len(data) // 2]
            length = info.size_bytes if info and self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            self.send_header("x-amz-bucket-region", "eu-exact-1")
            if info:
                spelled = {"HEAD": server.manners.heads_etag, "GET": server.manners.gets_etag}.get(self.command, str)
                if (etag := spelled(info.etag)) is not None:
                    self.send_header("ETag", etag)
                self.send_header("Last-Modified", formatdate(info.mtime_ns // 10**9, usegmt=True))
            for name, value in extra.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(data[: len(data) // 2] if cut == "truncate" else data)
            self.close_connection = cut == "truncate"

    return Handler


def _is_md5(headers: Mapping[str, str], body: bytes) -> bool:
    return headers.get("Content-MD5") == base64.b64encode(hashlib.md5(body).digest()).decode()


def _listing(server: ExactS3, query: dict[str, str]) -> str:
    manners = server.manners
    token = unquote_plus(query["continuation-token"]) if "continuation-token" in query else None
    if token is not None and token.startswith(_EMPTY_PAGE):
        number, token = token.removeprefix(_EMPTY_PAGE).split(":", 1)
        empty_pages_left, token = int(number) - 1, token or None
    else:
        empty_pages_left = manners.empty_pages
        token = None if token is None else manners.hears_token(token)
    if empty_pages_left > 0:
        return _page_of([], [], f"{_EMPTY_PAGE}{empty_pages_left}:{token or query.get('start-after', '')}", manners)
    page = server.lake.list(
        query.get("prefix", ""),
        delimiter="delimiter" in query,
        start_after=query.get("start-after", ""),
        token=token,
        limit=int(query.get("max-keys", 1000)),
    )
    following = None if page.next_token is None else manners.gives_token(page.next_token)
    return _page_of(page.objects, page.prefixes, following, manners, truncated=page.next_token is not None)


def _page_of(
    objects: Sequence[ObjectInfo],
    prefixes: Sequence[str],
    token: str | None,
    manners: Manners,
    *,
    truncated: bool = True,
) -> str:
    def said(text: str) -> str:
        return escape(manners.spells_keys(text))

    parts = ['<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">']
    if manners.says_encoded:
        parts.append("<EncodingType>url</EncodingType>")
    for info in objects:
        when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(info.mtime_ns // 10**9))
        etag = manners.lists_etag(info.etag)
        tag = "" if etag is None else f"<ETag>{escape(etag, {chr(34): '&quot;'})}</ETag>"
        parts.append(
            f"<Contents><Key>{said(info.key)}</Key><LastModified>{when}</LastModified>{tag}"
            f"<Size>{info.size_bytes}</Size></Contents>"
        )
    parts += [f"<CommonPrefixes><Prefix>{said(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes]
    parts.append(f"<IsTruncated>{str(truncated).lower()}</IsTruncated>")
    if token is not None:
        parts.append(f"<NextContinuationToken>{quote_plus(token)}</NextContinuationToken>")
    return "".join([*parts, "</ListBucketResult>"])
