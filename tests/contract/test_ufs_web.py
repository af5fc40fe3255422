"""Files of a web server: one exact request per read, versions that are seen to change, and nothing that is guessed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from raycache.errors import ConflictError, DeniedError, InvalidRequestError, NotFoundError
from raycache.types import FileKind
from raycache.ufs.open import open_storage
from raycache.ufs.trees import check_directory, what_stands
from raycache.ufs.web.web_storage import WebStorage
from tests.support.stores import version_of

MODIFIED = "Tue, 01 Dec 2026 10:00:00 GMT"


class Site:
    """A server with one file, `/d/a%20b?x=1`, and manners of its own."""

    def __init__(self) -> None:
        self.content, self.etag = b"0123456789", 'W/"one"'
        self.has_ranges = self.has_head = True
        self.headers: dict[str, str] = {"Last-Modified": MODIFIED}
        #: (method, path, range, authorization) of each request.
        self.seen: list[tuple[str, str, str | None, str | None]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                asked = self.headers
                site.seen.append((self.command, self.path, asked.get("Range"), asked.get("Authorization")))
                if self.path == "/moved":
                    self._answer(302, b"", {"Location": "/d/a%20b?x=1"})
                elif self.path != "/d/a%20b?x=1":
                    self._answer(404, b"", {})
                elif self.command == "HEAD" and not site.has_head:
                    self._answer(405, b"", {})
                else:
                    self._serve(asked.get("Range"))

            do_HEAD = do_GET  # noqa: N815

            def _serve(self, span: str | None) -> None:
                headers = {**site.headers, **({"ETag": site.etag} if site.etag else {})}
                if span is None or not site.has_ranges:
                    self._answer(200, site.content, headers)
                    return
                first, last = map(int, span.removeprefix("bytes=").split("-"))
                last = min(last, len(site.content) - 1)
                if first > last:
                    self._answer(416, b"", {})
                    return
                headers["Content-Range"] = f"bytes {first}-{last}/{len(site.content)}"
                self._answer(206, site.content[first : last + 1], headers)

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.root_uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


KEY = "d/a%20b?x=1"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def storage(site: Site) -> WebStorage:
    return WebStorage(site.root_uri, {"authorization": "Bearer hunter2"})


def test_a_read_is_one_exact_request(site: Site, storage: WebStorage) -> None:
    """Keys stand in the URL as they are written, and the version is that of HEAD, a weak etag included."""
    info = storage.head(KEY)
    assert (10, '"one"') == info[1:3]
    assert b"234" == bytes(storage.read(KEY, 2, 3, version_of(storage, info)))
    assert b"0123456789" == bytes(storage.read("moved", 0, 10))
    assert site.seen[:2] == [
        ("HEAD", f"/{KEY}", None, "Bearer hunter2"),
        ("GET", f"/{KEY}", "bytes=2-4", "Bearer hunter2"),
    ]
    assert len(site.seen) == 4


def test_another_version_is_seen(site: Site, storage: WebStorage) -> None:
    """By its etag, else by its time; a shorter one, too."""
    old = version_of(storage, storage.head(KEY))
    site.etag = '"two"'
    with pytest.raises(ConflictError):
        storage.read(KEY, 0, 1, old)
    site.content = b"0"
    with pytest.raises(ConflictError):
        storage.read(KEY, 5, 1, version_of(storage, storage.head(KEY))._replace(size_bytes=10))
    site.etag = ""
    timed = version_of(storage, storage.head(KEY))
    assert bytes(storage.read(KEY, 0, 1, timed)) == b"0"
    site.headers = {"Last-Modified": MODIFIED.replace("10:00", "10:01")}
    with pytest.raises(ConflictError):
        storage.read(KEY, 0, 1, timed)


def test_what_cannot_be_cached_says_why(site: Site, storage: WebStorage) -> None:
    """No version, no ranges, compressed: an error of one line, not a guess."""
    site.has_ranges = False
    with pytest.raises(InvalidRequestError, match="whole files when a part is asked for"):
        storage.read(KEY, 2, 3)
    assert bytes(storage.read(KEY, 0, 10)) == site.content
    site.headers["Content-Encoding"] = "gzip"
    with pytest.raises(InvalidRequestError, match="compressed"):
        storage.head(KEY)
    site.headers, site.etag = {}, ""
    with pytest.raises(InvalidRequestError, match="neither an etag nor a time"):
        storage.head(KEY)


def test_a_server_without_head(site: Site, storage: WebStorage) -> None:
    """Is asked for the first byte instead."""
    site.has_head = False
    assert (10, '"one"') == storage.head(KEY)[1:3]


def test_it_is_not_listed_and_not_written(site: Site, storage: WebStorage) -> None:
    """Files are found by name, what is missing is missing, and nothing is written."""
    with pytest.raises(DeniedError, match="name its files"):
        storage.list("d/")
    check_directory(storage, "d")
    assert what_stands(storage, KEY).kind is FileKind.FILE
    assert what_stands(storage, "d/nothing").kind is FileKind.MISSING
    with pytest.raises(NotFoundError):
        storage.read("d/nothing", 0, 1)
    for attempt in (lambda: storage.put(KEY, b"x"), lambda: storage.delete([KEY]), lambda: storage.open_writer(KEY)):
        with pytest.raises(InvalidRequestError, match="read-only"):
            attempt()


def test_options(site: Site) -> None:
    """The scheme finds it; unknown options are named, and what authorizes is not shown."""
    with pytest.raises(InvalidRequestError, match="unknown HTTP option 'token'; known are authorization"):
        open_storage(site.root_uri, {"token": "x"})
    opened = open_storage(site.root_uri, {"authorization": "Bearer hunter2"})
    assert isinstance(opened, WebStorage)
    assert "hunter2" not in repr(opened.__dict__)
