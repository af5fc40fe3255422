"""Google Cloud Storage: its JSON API, and its XML API through obstore.

A version is the object's generation, which the store gives to every write and never twice: listings (JSON), HEAD and GET all
say it, whereas the two APIs spell etags differently. A bound read names the generation it wants.

Objects stored compressed with `Content-Encoding: gzip` are asked for as they are stored; the store would otherwise unpack
them on the way, and their sizes and ranges would be of something else.

Large objects go by a resumable upload, whose parts are sent in order: whatever got lost is asked for before it is sent again.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from typing_extensions import Buffer

from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.clouds.bucket import RangeRead
from raycache.ufs.clouds.connection import CloudConnection
from raycache.ufs.clouds.errors import refusal
from raycache.ufs.clouds.google_credentials import GoogleCredentials
from raycache.ufs.clouds.google_options import GoogleOptions
from raycache.ufs.http.etags import seconds_ns
from raycache.ufs.http.http_client import HttpAnswer, obstore_reach

_FIELDS = "name,size,generation,timeCreated"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PERSISTED = re.compile(r"(?:bytes=)?0-(\d+)")
_RESUME_INCOMPLETE = 308


class GoogleBucket:
    """The `CloudBucket` of GCS.

    Args:
        name: of the bucket.
        options: of the mount.
        connection: to its endpoint.
        credentials: who asks; None: nobody.
    """

    misses_replaced = True

    def __init__(
        self, name: str, options: GoogleOptions, connection: CloudConnection, credentials: GoogleCredentials | None
    ) -> None:
        from obstore.store import GCSStore

        self._connection = connection
        self._credentials = credentials
        self._user_project = options.user_project
        self._base = f"{options.endpoint_url}/storage/v1/b/{quote(name, safe='')}/o"
        self._uploads = f"{options.endpoint_url}/upload/storage/v1/b/{quote(name, safe='')}/o"
        self._bucket_path = f"b/{quote(name, safe='')}/o"
        reach = obstore_reach(options.reach, connection.http.proxy_url)
        reach["client_options"]["default_headers"] = self._plain_headers()
        self.store: Any = GCSStore(
            name,
            base_url=options.endpoint_url,
            skip_signature=credentials is None,
            credential_provider=credentials,
            **reach,
        )

    def list(self, prefix: str, *, delimiter: bool, start_after: str, token: str | None, limit: int) -> ListPage:
        """See `CloudBucket.list`."""
        query = {"prefix": prefix, "maxResults": limit, "fields": f"items({_FIELDS}),prefixes,nextPageToken"}
        if delimiter:
            query["delimiter"] = "/"
        if token is not None:
            query["pageToken"] = token
        elif start_after:
            query["startOffset"] = start_after
        found = _json(self._ask("GET", f"{self._base}?{urlencode(query, quote_via=quote, safe='')}"))
        objects = [_info(item) for item in found.get("items", ())]
        return ListPage(objects, found.get("prefixes", []), found.get("nextPageToken") or None)

    def head(self, key: str) -> ObjectInfo:
        """See `CloudBucket.head`."""
        return _info(_json(self._ask("GET", f"{self._url(key)}?fields={_FIELDS}")))

    def get_options(self, etag: str) -> dict[str, Any]:
        """See `CloudBucket.get_options`."""
        generation = _generation(etag)
        return {"version": generation} if generation else {}

    def etag_of(self, meta: Any) -> str:
        """See `CloudBucket.etag_of`."""
        return f'"{meta["version"]}"' if meta["version"] else ""

    def get(self, key: str, offset: int, length: int, etag: str) -> RangeRead:
        """See `CloudBucket.get`."""
        generation = _generation(etag)
        version = f"&generation={generation}" if generation else ""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        answer = self._ask("GET", f"{self._url(key)}?alt=media{version}", headers)
        sent = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != HTTPStatus.PARTIAL_CONTENT or sent is None or int(sent[1]) != offset:
            raise self._connection.errors.broken("sent another range than it was asked for", "read", key)
        return RangeRead(f'"{answer.headers["X-Goog-Generation"]}"', int(sent[3]), None, answer.body)

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `CloudBucket.put`."""
        headers = {"Content-Type": "application/octet-stream"}
        url = f"{self._uploads}?uploadType=media&name={quote(key, safe='')}"
        return _info(_json(self._ask("POST", url, headers, data)))

    def begin(self, key: str) -> _ResumableUpload:
        """See `CloudBucket.begin`."""
        url = f"{self._uploads}?uploadType=resumable&name={quote(key, safe='')}"
        answer = self._ask("POST", url, {"Content-Type": "application/json"}, b"{}")
        return _ResumableUpload(self, answer.headers["Location"])

    def copy(self, source: ObjectInfo, target_key: str) -> ObjectInfo:
        """See `CloudBucket.copy`. Large objects are rewritten in several requests."""
        condition = f"ifSourceGenerationMatch={_generation(source.etag)}"
        url = f"{self._url(source.key)}/rewriteTo/{self._bucket_path}/{quote(target_key, safe='')}?{condition}"
        rewrite_token = ""
        while True:
            more = f"&rewriteToken={quote(rewrite_token, safe='')}" if rewrite_token else ""
            found = _json(self._ask("POST", url + more, {"Content-Type": "application/json"}, b""))
            if found["done"]:
                return _info(found["resource"])
            rewrite_token = found["rewriteToken"]

    def delete(self, key: str) -> None:
        """See `CloudBucket.delete`."""
        self._ask("DELETE", self._url(key))

    def close(self) -> None:
        """See `CloudBucket.close`."""
        self._connection.http.close()

    def send_to(self, url: str, headers: dict[str, str], data: Buffer) -> HttpAnswer:
        """A PUT to the URL of an upload."""
        return self._connection.ask("PUT", url, {**self._headers(), **headers}, data, allowed=(_RESUME_INCOMPLETE,))

    def incomplete(self) -> Exception:
        """What to raise when the store kept less than it was sent."""
        return self._connection.errors.broken("kept only a part of what it was sent", "write", "")

    def forget(self, url: str) -> None:
        """Let an upload go; the store says 499 to that."""
        answer = self._connection.http.send("DELETE", url, self._headers(), b"")
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise refusal(answer)

    def _url(self, key: str) -> str:
        return f"{self._base}/{quote(key, safe='')}"

    def _plain_headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "gzip"}
        if self._user_project:
            headers["X-Goog-User-Project"] = self._user_project
        return headers

    def _headers(self) -> dict[str, str]:
        headers = self._plain_headers()
        if self._credentials is not None:
            headers["Authorization"] = f"Bearer {self._credentials()['token']}"
        return headers

    def _ask(
        self, method: str, url: str, headers: dict[str, str] | None = None, data: Buffer | None = None
    ) -> HttpAnswer:
        return self._connection.ask(method, url, {**self._headers(), **(headers or {})}, data)


class _ResumableUpload:
    """The `Upload` of GCS. The store may keep less of a part than it was sent, and says how much."""

    inflight_max = 1

    def __init__(self, bucket: GoogleBucket, url: str) -> None:
        self._bucket = bucket
        self._url = url
        #: Of whole parts.
        self._sent_bytes = 0
        #: Where the part begins that was last tried.
        self._tried_at = -1

    def send_part(self, number: int, data: Buffer) -> None:  # noqa: ARG002  # parts come in order
        """See `Upload.send_part`."""
        self._send(data, None)
        self._sent_bytes += memoryview(data).nbytes

    def complete(self, last: Buffer, size_bytes: int) -> ObjectInfo:
        """See `Upload.complete`."""
        return _info(_json(self._send(last, size_bytes)))

    def abort(self) -> None:
        """See `Upload.abort`."""
        self._bucket.forget(self._url)

    def _send(self, data: Buffer, size_bytes: int | None) -> HttpAnswer:
        view, start = memoryview(data), self._sent_bytes
        end, total = start + len(view), "*" if size_bytes is None else size_bytes
        kept = start
        if self._tried_at == start:  # a repetition: what of it arrived?
            answer = self._bucket.send_to(self._url, {"Content-Range": f"bytes */{total}"}, b"")
            if answer.status != _RESUME_INCOMPLETE:
                return answer  # all of it, and the answer was lost
            kept = max(start, _kept_bytes(answer))
        self._tried_at = start
        said = f"bytes {kept}-{end - 1}/{total}" if end > kept else f"bytes */{total}"
        answer = self._bucket.send_to(self._url, {"Content-Range": said}, view[kept - start :])
        if answer.status == _RESUME_INCOMPLETE and (size_bytes is not None or _kept_bytes(answer) < end):
            raise self._bucket.incomplete()
        return answer


def _kept_bytes(answer: HttpAnswer) -> int:
    """How much of an upload the store has."""
    found = _PERSISTED.fullmatch(answer.headers.get("Range", ""))
    return int(found[1]) + 1 if found else 0


def _generation(etag: str) -> str:
    """What an etag of ours says; "" for one that no object of GCS has."""
    generation = etag.strip('"')
    return generation if generation.isdecimal() else ""


def _json(answer: HttpAnswer) -> Any:
    return json.loads(answer.body)


def _info(item: Any) -> ObjectInfo:
    """A resource of the JSON API as ours."""
    created = item.get("timeCreated")
    mtime_ns = seconds_ns(datetime.fromisoformat(created)) if created else None
    return ObjectInfo(item["name"], int(item["size"]), f'"{item["generation"]}"', mtime_ns)
