"""GET and HEAD of an object: what is mapped in one piece is sent from where it lies, anything else is fetched in threads.

An object is one version from its first byte to its last. Where it is replaced before anything was sent, the answer is the new
version; after that the connection is closed, so that a client sees that its body is short, and asks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pyarrow as pa
from aiohttp import web

from raycache.client.client import READ_ATTEMPTS_MAX, Client
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.reading.file import CacheFile
from raycache.endpoint.protocol.buckets import Buckets
from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.s3_requests import S3Call, byte_range, check_conditions, http_date
from raycache.errors import ConflictError, IsADirectoryRequestError, NotFoundError, RaycacheError
from raycache.types import FileVersion

#: Runs a function that may wait, with its arguments, in a thread.
InThread = Callable[..., Awaitable[Any]]
#: Sent in one answer, with its headers; longer bodies are streamed.
_WHOLE_BYTES_MAX = 1 << 20
#: Streamed bodies are read in pieces of this, and written in smaller ones, each of which a client must take in time.
_PIECE_BYTES = 8 << 20
_WRITE_BYTES = 1 << 20
WRITE_TIMEOUT_S = 60.0
_CONTENT_TYPE = "binary/octet-stream"
_DISK = "file://"
#: What the query may change of an answer.
_OVERRIDES = {
    "response-content-type": "Content-Type",
    "response-content-language": "Content-Language",
    "response-expires": "Expires",
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
}


class ObjectReads:
    """Answers reads of objects.

    Args:
        client: of this process.
        in_thread: see `InThread`.
    """

    def __init__(self, client: Client, in_thread: InThread) -> None:
        self._client = client
        self._in_thread = in_thread

    async def answer(self, call: S3Call, buckets: Buckets, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a GET or HEAD of a key.

        Raises:
            S3Error, RaycacheError: before anything was sent.
        """
        path = buckets.path(call.target.bucket, call.target.key)
        if call.target.key.endswith("/"):
            return await self._marker(path)
        for attempt in range(1, READ_ATTEMPTS_MAX + 1):
            meta = await self.meta(path)
            try:
                return await self._answer(call, meta, request)
            except ConflictError:
                if attempt == READ_ATTEMPTS_MAX:
                    raise
        raise AssertionError("unreachable")

    async def meta(self, path: str) -> FileMeta:
        """A file by its path.

        Raises:
            NotFoundError: no file stands there.
        """
        locator = self._client.locator
        meta = locator.cached(path, time.monotonic())
        try:
            if meta is None or meta.file.uri.startswith(_DISK):
                meta = await self._in_thread(locator.opened, path)
            return require_file(meta, path)
        except IsADirectoryRequestError as error:  # which S3 knows nothing of
            raise S3Error("NoSuchKey") from error

    async def _answer(self, call: S3Call, meta: FileMeta, request: web.BaseRequest) -> web.StreamResponse:
        size = meta.file.size_bytes
        headers = headers_of(meta.file)
        mtime_ns = meta.file.mtime_ns
        check_conditions(call.headers, headers["ETag"], None if mtime_ns is None else mtime_ns // 1_000_000_000)
        if call.query:
            self._override(call, headers)
        asked = byte_range(call.headers.get("range"), size)
        start, length, status = (0, size, 200) if asked is None else (*asked, 206)
        if asked is not None:
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        if call.method == "HEAD":
            headers["Content-Length"] = str(length)
            return web.Response(status=status, headers=headers)
        if length <= _WHOLE_BYTES_MAX:
            return web.Response(status=status, headers=headers, body=memoryview(await self._piece(meta, start, length)))
        headers["Content-Length"] = str(length)
        return await self._stream(meta, start, length, web.StreamResponse(status=status, headers=headers), request)

    def _override(self, call: S3Call, headers: dict[str, str]) -> None:
        part = call.query.get("partNumber")
        if part not in (None, "1"):
            raise S3Error("InvalidArgument", "the object has one part")
        for name, header in _OVERRIDES.items():
            value = call.query.get(name)
            if value is not None:
                if not call.signed.access_key:
                    raise S3Error("InvalidRequest", "Request specific response headers need a signed request")
                if any(ord(c) < 32 or ord(c) > 255 for c in value):
                    raise S3Error("InvalidArgument", f"{name} cannot be a header")
                headers[header] = value

    async def _piece(self, meta: FileMeta, start: int, length: int, file: CacheFile | None = None) -> pa.Buffer:
        """A range that is sent at once: in place where it can be, which costs microseconds."""
        if not length:
            return pa.py_buffer(b"")
        buffer = self._client.in_place(meta, start, length)
        if buffer is not None:
            return buffer
        return await self._in_thread((file or self._client.open_meta(meta)).read_at, start, length)

    async def _stream(
        self, meta: FileMeta, start: int, length: int, response: web.StreamResponse, request: web.BaseRequest
    ) -> web.StreamResponse:
        """Send a long body, reading a piece ahead of what is being sent."""
        end = start + length
        file = self._client.open_meta(meta, read_ahead=True)
        # Pieces end where blocks do, so that each lies in one segment.
        piece_end = min(end, (start // _PIECE_BYTES + 1) * _PIECE_BYTES)
        following: asyncio.Task[pa.Buffer] = asyncio.ensure_future(self._piece(meta, start, piece_end - start, file))
        buffer = await following
        await response.prepare(request)
        try:
            while piece_end < end:
                ahead = min(end, piece_end + _PIECE_BYTES)
                following = asyncio.ensure_future(self._piece(meta, piece_end, ahead - piece_end, file))
                await _write(response, buffer)
                buffer, piece_end = await following, ahead
            await _write(response, buffer)
            await response.write_eof()
        except (RaycacheError, TimeoutError):
            # What was promised cannot be sent: a client must not take what it has for the whole.
            following.cancel()
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _marker(self, path: str) -> web.StreamResponse:
        """A key that ends in a slash is an object only where somebody put one there, to mark a directory."""

        def marker() -> FileVersion:
            storage, key = self._client.locator.storage(self._client.locator.uri_of(path))
            info = storage.head(f"{key}/")
            return FileVersion("", info.size_bytes, info.etag, info.mtime_ns)

        try:
            found: FileVersion = await self._in_thread(marker)
        except (NotFoundError, NotADirectoryError) as error:
            raise S3Error("NoSuchKey") from error
        if found.size_bytes:
            raise S3Error("NotImplemented", "objects whose keys end in a slash are not served, unless they are empty")
        return web.Response(headers={**headers_of(found), "Content-Length": "0"})


def headers_of(file: FileVersion) -> dict[str, str]:
    """What every answer says of an object."""
    headers = {"ETag": etag_of(file), "Accept-Ranges": "bytes", "Content-Type": _CONTENT_TYPE}
    if file.mtime_ns is not None:
        headers["Last-Modified"] = http_date(file.mtime_ns // 1_000_000_000)
    return headers


def etag_of(file: FileVersion) -> str:
    """The lake's etag, with quotes; where the store has none, one that changes with size and time.

    It ends as those of uploads in parts do: nobody takes it for the digest of the content.
    """
    if file.etag:
        return file.etag if file.etag.startswith(('"', "W/")) else f'"{file.etag}"'
    return f'"{file.size_bytes:016x}{(file.mtime_ns or 0) & (1 << 64) - 1:016x}-1"'


async def _write(response: web.StreamResponse, buffer: pa.Buffer) -> None:
    view = memoryview(buffer)
    for position in range(0, len(view), _WRITE_BYTES):
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(view[position : position + _WRITE_BYTES])
