"""Azure Blob Storage: its REST API, and obstore for bytes.

A version is the etag, which the store gives to every write and never twice; a bound read sends it as `If-Match`. Only the
blob endpoint is used, with flat and with hierarchical accounts. The directories of a hierarchical one, which are blobs of a
kind, are left out: an empty one is not seen.

Large objects go in blocks, several at a time, and appear when their list is committed. Blocks that nobody commits are
forgotten by the store after a week; there is no request for that.
"""

from __future__ import annotations

import base64
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlencode

from typing_extensions import Buffer

from raycache.errors import UnavailableError
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.clouds.azure_credentials import AzureCredentials
from raycache.ufs.clouds.azure_options import AzureOptions
from raycache.ufs.clouds.bucket import RangeRead
from raycache.ufs.clouds.connection import CloudConnection
from raycache.ufs.clouds.errors import Refusal
from raycache.ufs.http.etags import quoted, seconds_ns
from raycache.ufs.http.http_client import HttpAnswer, obstore_reach

CODE_HEADER = "x-ms-error-code"

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
#: A copy inside an account mostly ends at once; a large one is waited for.
_COPY_POLLS_MAX = 1200
_COPY_POLL_S = 0.5


class AzureContainer:
    """The `CloudBucket` of Azure.

    Args:
        name: of the container.
        options: of the mount.
        connection: to its endpoint.
        credentials: who asks.
    """

    misses_replaced = False

    def __init__(
        self, name: str, options: AzureOptions, connection: CloudConnection, credentials: AzureCredentials
    ) -> None:
        from obstore.store import AzureStore

        self._connection = connection
        self._credentials = credentials
        self._base = f"{options.endpoint_url}/{quote(name, safe='')}"
        self.store: Any = AzureStore(
            name,
            account_name=options.account_name,
            endpoint=options.endpoint_url,
            use_emulator=False,
            **credentials.store_options,
            **obstore_reach(options.reach, connection.http.proxy_url),
        )

    def list(self, prefix: str, *, delimiter: bool, start_after: str, token: str | None, limit: int) -> ListPage:  # noqa: ARG002
        """See `CloudBucket.list`. It cannot begin behind a key."""
        query: dict[str, Any] = {"restype": "container", "comp": "list", "maxresults": limit}
        if prefix:
            query["prefix"] = prefix
        if delimiter:
            query["delimiter"] = "/"
        if token is not None:
            query["marker"] = token
        return _page(self._ask("GET", f"{self._base}?{urlencode(query, quote_via=quote, safe='')}").body)

    def head(self, key: str) -> ObjectInfo:
        """See `CloudBucket.head`."""
        answer = self._ask("HEAD", self._url(key))
        if answer.headers.get("x-ms-resource-type") == "directory" or answer.headers.get("x-ms-meta-hdi_isfolder"):
            raise Refusal(HTTPStatus.NOT_FOUND, "BlobNotFound")
        return _described(key, int(answer.headers["Content-Length"]), answer)

    def get_options(self, etag: str) -> dict[str, Any]:
        """See `CloudBucket.get_options`."""
        return {"if_match": etag} if etag else {}

    def etag_of(self, meta: Any) -> str:
        """See `CloudBucket.etag_of`."""
        return quoted(meta["e_tag"])

    def get(self, key: str, offset: int, length: int, etag: str) -> RangeRead:
        """See `CloudBucket.get`."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", **({"If-Match": etag} if etag else {})}
        answer = self._ask("GET", self._url(key), headers)
        sent = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != HTTPStatus.PARTIAL_CONTENT or sent is None or int(sent[1]) != offset:
            raise self._connection.errors.broken("sent another range than it was asked for", "read", key)
        return RangeRead(quoted(answer.headers.get("ETag")), int(sent[3]), None, answer.body)

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `CloudBucket.put`."""
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        return _described(key, memoryview(data).nbytes, self._ask("PUT", self._url(key), headers, data))

    def begin(self, key: str) -> _BlockUpload:
        """See `CloudBucket.begin`."""
        return _BlockUpload(self, key)

    def copy(self, source: ObjectInfo, target_key: str) -> ObjectInfo:
        """See `CloudBucket.copy`."""
        url = self._url(target_key)
        headers = {
            "x-ms-copy-source": self._credentials.source_url(self._url(source.key)),
            "x-ms-source-if-match": source.etag,
        }
        answer = self._ask("PUT", url, headers, b"")
        for _ in range(_COPY_POLLS_MAX):
            status = answer.headers.get("x-ms-copy-status", "success")
            if status == "success":
                return self.head(target_key)
            if status != "pending":
                raise UnavailableError(f"the copy to {self._connection.errors.uri(target_key)} has failed; try again")
            time.sleep(_COPY_POLL_S)
            answer = self._ask("HEAD", url)
        raise UnavailableError(f"the copy to {self._connection.errors.uri(target_key)} does not end; try later")

    def delete(self, key: str) -> None:
        """See `CloudBucket.delete`."""
        self._ask("DELETE", self._url(key))

    def close(self) -> None:
        """See `CloudBucket.close`."""
        self._connection.http.close()

    def put_block(self, key: str, block_id: str, data: Buffer) -> None:
        """Send a block of an object."""
        self._ask("PUT", f"{self._url(key)}?comp=block&blockid={quote(block_id, safe='')}", {}, data)

    def put_block_list(self, key: str, block_ids: Sequence[str], size_bytes: int) -> ObjectInfo:
        """Make an object of blocks."""
        names = "".join(f"<Latest>{block_id}</Latest>" for block_id in block_ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{names}</BlockList>'.encode()
        headers = {"x-ms-blob-content-type": "application/octet-stream", "Content-Type": "application/xml"}
        return _described(key, size_bytes, self._ask("PUT", f"{self._url(key)}?comp=blocklist", headers, body))

    def _url(self, key: str) -> str:
        return f"{self._base}/{quote(key, safe='/~')}"

    def _ask(
        self, method: str, url: str, headers: dict[str, str] | None = None, data: Buffer | None = None
    ) -> HttpAnswer:
        length = {} if data is None else {"Content-Length": str(memoryview(data).nbytes)}
        signed_url, sent = self._credentials.signed(method, url, {**(headers or {}), **length})
        return self._connection.ask(method, signed_url, sent, data)


class _BlockUpload:
    """The `Upload` of Azure."""

    inflight_max = 4

    def __init__(self, container: AzureContainer, key: str) -> None:
        self._container = container
        self._key = key
        self._count = 0

    def send_part(self, number: int, data: Buffer) -> None:
        """See `Upload.send_part`."""
        self._count = max(self._count, number + 1)
        self._container.put_block(self._key, _block_id(number), data)

    def complete(self, last: Buffer, size_bytes: int) -> ObjectInfo:
        """See `Upload.complete`."""
        self._container.put_block(self._key, _block_id(self._count), last)
        names = [_block_id(number) for number in range(self._count + 1)]
        return self._container.put_block_list(self._key, names, size_bytes)

    def abort(self) -> None:
        """Nothing to do: nobody has seen the blocks, and the store forgets them."""


def _block_id(number: int) -> str:
    return base64.b64encode(b"raycache-%08d" % number).decode()


def _described(key: str, size_bytes: int, answer: HttpAnswer) -> ObjectInfo:
    return ObjectInfo(
        key, size_bytes, quoted(answer.headers.get("ETag")), _mtime_ns(answer.headers.get("Last-Modified"))
    )


def _mtime_ns(text: str | None) -> int | None:
    return seconds_ns(parsedate_to_datetime(text)) if text else None


def _page(body: bytes) -> ListPage:
    """Read one answer of List Blobs.

    Raises:
        ValueError: it is none, or cut short.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314  # expat has limits against entity bombs since 2.4.1
        objects = []
        for blob in root.iterfind("Blobs/Blob"):
            properties = {child.tag: child.text for child in blob.find("Properties") or ()}
            if properties.get("ResourceType") == "directory":
                continue
            size_bytes = int(properties["Content-Length"] or 0)
            etag, mtime_ns = quoted(properties.get("Etag")), _mtime_ns(properties.get("Last-Modified"))
            objects.append(ObjectInfo(_name(blob), size_bytes, etag, mtime_ns))
        prefixes = [_name(below) for below in root.iterfind("Blobs/BlobPrefix")]
    except (ET.ParseError, KeyError) as error:
        raise ValueError(f"not a listing: {error}") from error
    return ListPage(objects, prefixes, root.findtext("NextMarker") or None)


def _name(element: ET.Element) -> str:
    """A name, which is percent-encoded where XML could not say it."""
    found = element.find("Name")
    if found is None or not found.text:
        raise ValueError("a listing without names")
    return unquote(found.text) if found.get("Encoded") == "true" else found.text
