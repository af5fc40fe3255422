"""Files of a web server, read-only: nothing is listed, each file is named.

A file can be cached when the server says its size, and something that names its version: an etag, else the time of its last
modification. A read is one GET of exactly the range; no condition is sent, since weak etags never match one, but the answer
must be of the version asked for. A server that sends whole files when a range is asked for is refused, unless all of the file
is wanted.

Keys stand in the URL as they are written, "%" and "?" included. Redirects are followed, a few, without the credentials when
they lead to another host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote, urljoin, urlsplit

from typing_extensions import Buffer

from raycache.errors import DeniedError, InvalidRequestError, NotFoundError, RaycacheError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.checks import changed, check_file_key, check_limit, check_range, check_version, past_end
from raycache.ufs.clouds.connection import CloudConnection
from raycache.ufs.clouds.errors import refusal
from raycache.ufs.errors import shown
from raycache.ufs.http.etags import quoted, seconds_ns
from raycache.ufs.http.http_client import HttpAnswer, HttpReach
from raycache.ufs.identity import Way, key_way
from raycache.ufs.retry import Retrier
from raycache.ufs.web.read_only import ReadOnlyStorage
from raycache.ufs.web.web_options import WebOptions

#: Kept as they are in a URL.
_SAFE = "/%?=&:@!$'()*+,;~"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REDIRECTS_MAX = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Of a server without HEAD.
_NO_HEAD = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})


class WebStorage(ReadOnlyStorage):
    """One host.

    Args:
        root_uri: `https://host` or `https://host:port`.
        options: see `WebOptions`.
        retrier: instead of the one that the options ask for.

    Raises:
        InvalidRequestError: an option is unknown or wrong.
    """

    has_directories = False

    def __init__(self, root_uri: str, options: Mapping[str, Any], retrier: Retrier | None = None) -> None:
        parsed = WebOptions.parse(options)
        self.root_uri = root_uri
        self._options = parsed
        self._connection = CloudConnection(
            root_uri,
            HttpReach(root_uri, parsed.connect_timeout_s, parsed.request_timeout_s, parsed.verify_tls, parsed.ca_file),
            retries_max=parsed.retries_max,
            secrets=lambda: filter(None, (parsed.authorization, parsed.authorization.rpartition(" ")[2])),
            advice="option authorization, and who may read it",
            retrier=retrier,
        )

    def __repr__(self) -> str:
        return f"WebStorage({self.root_uri!r})"

    @property
    def slow_downs(self) -> int:
        """How often the server has said "slow down" so far."""
        return self._connection.slow_downs

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,  # noqa: ARG002
        start_after: str = "",  # noqa: ARG002
        token: str | None = None,  # noqa: ARG002
        limit: int = 1000,
    ) -> ListPage:
        """Denied: a web server lists nothing; files are looked up one by one."""
        check_limit(limit)
        uri = self._connection.errors.uri(prefix)
        raise DeniedError(f"{shown(uri)} cannot be listed; name its files", uri=uri, code="AccessDenied")

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        if not key:
            raise NotFoundError(f"{self.root_uri} is a host, not a file; name one", uri=self.root_uri)
        return self._connection.run("read", key, lambda: self._head_once(key))

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        check_file_key(self.root_uri, key)
        uri = self._connection.errors.uri(key)
        check_range(uri, offset, length)
        try:
            info, body = self._connection.run("read", key, lambda: self._get_once(key, offset, length))
        except InvalidRequestError as error:
            if version is not None and error.fields.get("status") == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise changed(uri) from error
            raise
        check_version(uri, info, version)
        if offset + length > info.size_bytes:
            raise past_end(uri, offset, length, info.size_bytes)
        return body

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`."""
        return key_way(self.root_uri, key)

    def close(self) -> None:
        """See `UnderStorage.close`. A later call connects again."""
        self._connection.http.close()

    def _head_once(self, key: str) -> ObjectInfo:
        answer = self._ask("HEAD", key, {})
        if answer.status in _NO_HEAD:
            try:
                return self._get_once(key, 0, 1)[0]
            except RaycacheError as error:
                if error.fields.get("status") != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise
        if not 200 <= answer.status < 300:
            raise refusal(answer)
        size = answer.headers.get("Content-Length", "")
        if not size.isdecimal():
            raise self._unfit(key, "no size")
        return self._described(key, int(size), answer)

    def _get_once(self, key: str, offset: int, length: int) -> tuple[ObjectInfo, bytes]:
        answer = self._ask("GET", key, {"Range": f"bytes={offset}-{offset + length - 1}"}, length)
        if not 200 <= answer.status < 300:
            raise refusal(answer)
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            if offset == 0 and len(answer.body) <= length:
                return self._described(key, len(answer.body), answer), answer.body
            raise self._unfit(key, "whole files when a part is asked for")
        sent = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if sent is None or int(sent[1]) != offset or int(sent[2]) >= offset + length:
            raise self._connection.errors.broken("sent another range than it was asked for", "read", key)
        if len(answer.body) != min(length, int(sent[3]) - offset):
            raise self._connection.errors.broken("sent too few bytes", "read", key)
        return self._described(key, int(sent[3]), answer), answer.body

    def _described(self, key: str, size_bytes: int, answer: HttpAnswer) -> ObjectInfo:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise self._unfit(key, "compressed answers")
        etag, modified = quoted(answer.headers.get("ETag")), answer.headers.get("Last-Modified")
        if not etag and not modified:
            raise self._unfit(key, "neither an etag nor a time of modification")
        return ObjectInfo(key, size_bytes, etag, seconds_ns(parsedate_to_datetime(modified)) if modified else None)

    def _ask(self, method: str, key: str, headers: dict[str, str], body_bytes_max: int = 0) -> HttpAnswer:
        url = f"{self.root_uri}/{quote(key, safe=_SAFE)}"
        host = urlsplit(url).netloc
        for _ in range(_REDIRECTS_MAX + 1):
            known = {"Authorization": self._options.authorization} if self._options.authorization else {}
            sent = {"Accept-Encoding": "identity", **headers, **(known if urlsplit(url).netloc == host else {})}
            answer = self._connection.http.send(method, url, sent, body_bytes_max=body_bytes_max)
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                return answer
            target = urljoin(url, answer.headers["Location"])
            if urlsplit(target).scheme not in ("http", "https") or (
                url.startswith("https:") > target.startswith("https:")
            ):
                raise self._unfit(key, "a redirect to what is no https")
            url = target
        raise self._unfit(key, "one redirect after another")

    def _unfit(self, key: str, what: str) -> InvalidRequestError:
        uri = self._connection.errors.uri(key)
        return InvalidRequestError(
            f"{shown(uri)} cannot be cached: its server sends {what}; copy it to a lake", uri=uri
        )

    def _refuse(self, key: str) -> NoReturn:
        uri = self._connection.errors.uri(key)
        raise InvalidRequestError(f"cannot write {shown(uri)}: web servers are read-only lakes; use another", uri=uri)
