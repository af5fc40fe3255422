"""Uploads in parts. Parts wait on this node's disk, and go to the lake, in order, when the upload is completed.

So parts may come in any order and be sent again, whatever the lake is, and a client speaks to one node until the end. What is
never completed is dropped after a day, or with the process. A completion that takes long sends spaces, as S3 does, so that
clients go on waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import shutil
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from raycache.client.client import Client
from raycache.endpoint.bucket_reads import answer
from raycache.endpoint.object_reads import InThread
from raycache.endpoint.object_writes import XML_BYTES_MAX, ObjectWrites, children, go_on, parse_xml, text_of
from raycache.endpoint.protocol import xml_answers as xml
from raycache.endpoint.protocol.buckets import Buckets
from raycache.endpoint.protocol.request_bodies import RequestBody
from raycache.endpoint.protocol.s3_errors import S3Error, s3_error_of
from raycache.endpoint.protocol.s3_requests import S3Call, whole_number
from raycache.errors import RaycacheError

_PARTS_MAX = 10_000
_UPLOADS_MAX = 1_000
#: Completed ones that are remembered.
_COMPLETED_MAX = 1_000
_PART_BYTES_MIN = 5 << 20
_EXPIRES_S = 24 * 3600
#: Of the disk that parts wait on, what is left to others.
_FREE_SHARE_MIN = 0.05
_COPY_BYTES = 8 << 20
_PATIENCE_S = 5.0
_COPY_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})")


class _UploadPart(NamedTuple):
    file: Path
    size_bytes: int
    etag: str
    came_ns: int


class _Upload:
    def __init__(self, bucket: str, key: str, path: str, folder: Path) -> None:
        self.bucket = bucket
        self.key = key
        self.path = path
        self.folder = folder
        self.parts: dict[int, _UploadPart] = {}
        self.began_s = time.monotonic()
        self.began_ns = time.time_ns()
        self.completing = False


class MultipartUploads:
    """Answers uploads in parts.

    Args:
        client: of this process.
        writes: of whole objects.
        in_thread: see `InThread`.
    """

    def __init__(self, client: Client, writes: ObjectWrites, in_thread: InThread) -> None:
        self._client = client
        self._writes = writes
        self._in_thread = in_thread
        self._uploads: dict[str, _Upload] = {}
        #: Answers, for clients that ask again because they have not got it.
        self._answers: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._folder: Path | None = None

    def close(self) -> None:
        """Drop everything."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def create(self, call: S3Call, buckets: Buckets) -> web.Response:
        """Answer CreateMultipartUpload."""
        path = self._writes.path(call, buckets)
        # Denied now, and not when everything has been sent.
        (await self._in_thread(self._client.writes.open, path)).abort()
        await self._in_thread(self._expire)
        if len(self._uploads) >= _UPLOADS_MAX:
            raise S3Error("SlowDown", "too many uploads are under way")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="raycache-uploads-"))
        upload_id = secrets.token_hex(16)
        folder = self._folder / upload_id
        folder.mkdir()
        self._uploads[upload_id] = _Upload(call.target.bucket, call.target.key, path, folder)
        return answer(
            xml.document(
                "InitiateMultipartUploadResult",
                {"Bucket": call.target.bucket, "Key": call.target.key, "UploadId": upload_id},
            )
        )

    async def put_part(self, call: S3Call, buckets: Buckets, request: web.BaseRequest) -> web.Response:
        """Answer UploadPart and UploadPartCopy."""
        upload = self._of(call)
        number = whole_number(call.query, "partNumber", 0, (1, _PARTS_MAX))
        name = upload.folder / f"{number}-{secrets.token_hex(4)}"
        if call.headers.get("x-amz-copy-source"):
            part = await self._copied(call, buckets, name)
            self._add(upload, number, part)
            content: dict[str, xml.Content] = {"LastModified": xml.timestamp(part.came_ns), "ETag": part.etag}
            return answer(xml.document("CopyPartResult", content))
        body = RequestBody(request.content, call.headers, call.signed)
        usage = shutil.disk_usage(upload.folder)
        if usage.free - body.size_bytes < _FREE_SHARE_MIN * usage.total:
            raise S3Error("ServiceUnavailable", "the disk for parts of uploads is full")
        await go_on(request)
        writer = _PartWriter(name)
        try:
            await self._writes.write(writer, body)
        except BaseException:
            writer.drop()
            raise
        part = writer.finish()
        self._add(upload, number, part)
        return web.Response(headers={"ETag": part.etag})

    async def complete(self, call: S3Call, request: web.BaseRequest) -> web.StreamResponse:
        """Answer CompleteMultipartUpload."""
        await go_on(request)
        body = await RequestBody(request.content, call.headers, call.signed).whole(XML_BYTES_MAX)
        answered = self._answers.get((call.target.bucket, call.target.key, call.query["uploadId"]))
        if answered is not None:
            return answer(answered)
        upload = self._of(call)
        parts = self._wanted(upload, body)
        await self._writes.require_conditions(call, upload.path)
        if upload.completing:
            raise S3Error("ServiceUnavailable", "the upload is being completed")
        upload.completing = True
        publishing = asyncio.ensure_future(self._publish(upload, parts))
        try:
            done, _ = await asyncio.wait([publishing], timeout=_PATIENCE_S)
            if done:
                return answer(self._completed(call, upload, publishing.result(), request))
            return await self._complete_slowly(call, upload, publishing, request)
        finally:
            upload.completing = False

    async def abort(self, call: S3Call) -> web.Response:
        """Answer AbortMultipartUpload."""
        self._of(call)
        await self._in_thread(self._drop, call.query["uploadId"])
        return web.Response(status=204)

    def list_parts(self, call: S3Call) -> web.Response:
        """Answer ListParts."""
        upload = self._of(call)
        after = whole_number(call.query, "part-number-marker", 0, (0, _PARTS_MAX))
        count = whole_number(call.query, "max-parts", 1_000, (0, 2**31 - 1))
        rows = [(number, part) for number, part in sorted(upload.parts.items()) if number > after]
        shown = rows[: min(count, 1_000)]
        content: dict[str, xml.Content] = {
            "Bucket": upload.bucket,
            "Key": upload.key,
            "UploadId": call.query["uploadId"],
            "PartNumberMarker": str(after),
            "NextPartNumberMarker": str(shown[-1][0] if shown else after),
            "MaxParts": str(min(count, 1_000)),
            "IsTruncated": "true" if len(shown) < len(rows) else "false",
            "Part": [
                {
                    "PartNumber": str(number),
                    "LastModified": xml.timestamp(part.came_ns),
                    "ETag": part.etag,
                    "Size": str(part.size_bytes),
                }
                for number, part in shown
            ],
        }
        return answer(xml.document("ListPartsResult", content))

    def list_uploads(self, call: S3Call) -> web.Response:
        """Answer ListMultipartUploads: those that this node has begun."""
        prefix = call.query.get("prefix", "")
        found = sorted(
            (upload.key, upload_id, upload)
            for upload_id, upload in self._uploads.items()
            if upload.bucket == call.target.bucket and upload.key.startswith(prefix)
        )
        content: dict[str, xml.Content] = {
            "Bucket": call.target.bucket,
            "Prefix": prefix,
            "IsTruncated": "false",
            "Upload": [
                {"Key": key, "UploadId": upload_id, "Initiated": xml.timestamp(upload.began_ns)}
                for key, upload_id, upload in found
            ],
        }
        return answer(xml.document("ListMultipartUploadsResult", content))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _of(self, call: S3Call) -> _Upload:
        upload = self._uploads.get(call.query.get("uploadId", ""))
        if upload is None or (upload.bucket, upload.key) != (call.target.bucket, call.target.key):
            raise S3Error("NoSuchUpload")
        return upload

    def _add(self, upload: _Upload, number: int, part: _UploadPart) -> None:
        old = upload.parts.pop(number, None)
        upload.parts[number] = part
        if old is not None:
            old.file.unlink(missing_ok=True)

    async def _copied(self, call: S3Call, buckets: Buckets, name: Path) -> _UploadPart:
        path, file = await self._writes.copy_source(call, buckets)
        start, length = _copy_range(call.headers.get("x-amz-copy-source-range"), file.size_bytes)

        def copy() -> _UploadPart:
            writer = _PartWriter(name)
            try:
                for offset in range(start, start + length, _COPY_BYTES):
                    writer.write(self._client.read(path, offset, min(_COPY_BYTES, start + length - offset)))
            except BaseException:
                writer.drop()
                raise
            return writer.finish()

        part: _UploadPart = await self._in_thread(copy)
        return part

    def _wanted(self, upload: _Upload, body: bytes) -> list[_UploadPart]:
        items = children(parse_xml(body, "CompleteMultipartUpload"), "Part")
        numbers = [text_of(item, "PartNumber") for item in items]
        if not items or not all(text.isascii() and text.isdigit() for text in numbers):
            raise S3Error("MalformedXML")
        order = [int(text[:6]) for text in numbers]
        if order != sorted(set(order)):
            raise S3Error("InvalidPartOrder")
        parts = [upload.parts.get(number) for number in order]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts) or any(
            text_of(item, "ETag").strip().strip('"') != part.etag.strip('"')
            for item, part in zip(items, found, strict=True)
        ):
            raise S3Error("InvalidPart")
        if any(part.size_bytes < _PART_BYTES_MIN for part in found[:-1]):
            raise S3Error("EntityTooSmall")
        return found

    async def _publish(self, upload: _Upload, parts: list[_UploadPart]) -> str:
        writer = await self._in_thread(self._client.writes.open, upload.path)
        try:
            await self._in_thread(_write_all, writer, parts)
        except BaseException:
            await asyncio.shield(self._in_thread(writer.abort))
            raise
        return await self._writes.publish(writer, upload.path)

    def _completed(self, call: S3Call, upload: _Upload, etag: str, request: web.BaseRequest) -> bytes:
        self._drop(call.query["uploadId"])
        location = f"http://{request.headers.get('Host', '')}/{upload.bucket}/{upload.key}"
        content: dict[str, xml.Content] = {
            "Location": location,
            "Bucket": upload.bucket,
            "Key": upload.key,
            "ETag": etag,
        }
        body = xml.document("CompleteMultipartUploadResult", content)
        self._answers[upload.bucket, upload.key, call.query["uploadId"]] = body
        if len(self._answers) > _COMPLETED_MAX:
            self._answers.popitem(last=False)
        return body

    async def _complete_slowly(
        self, call: S3Call, upload: _Upload, publishing: asyncio.Future[str], request: web.BaseRequest
    ) -> web.StreamResponse:
        """Keep a client waiting. It has its 200 by then, so an error stands in the body, as S3 does it."""
        response = web.StreamResponse(headers={"Content-Type": "application/xml"})
        await response.prepare(request)
        while not publishing.done():
            await response.write(b" ")
            await asyncio.wait([publishing], timeout=_PATIENCE_S)
        try:
            body = self._completed(call, upload, publishing.result(), request)
        except RaycacheError as error:
            found = s3_error_of(error)
            body = xml.error(found.code, str(found), call.target.path, "")
        await response.write(body.removeprefix(b'<?xml version="1.0" encoding="UTF-8"?>\n'))
        await response.write_eof()
        return response

    def _expire(self) -> None:
        for upload_id, upload in list(self._uploads.items()):
            if time.monotonic() - upload.began_s > _EXPIRES_S and not upload.completing:
                self._drop(upload_id)

    def _drop(self, upload_id: str) -> None:
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            shutil.rmtree(upload.folder, ignore_errors=True)


class _PartWriter:
    """A part on its way to the disk."""

    def __init__(self, name: Path) -> None:
        self._name = name
        self._file = name.open("xb")
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size_bytes = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._digest.update(view)
        self._size_bytes += len(view)
        return len(view)

    def finish(self) -> _UploadPart:
        self._file.close()
        return _UploadPart(self._name, self._size_bytes, f'"{self._digest.hexdigest()}"', time.time_ns())

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            self._name.unlink(missing_ok=True)


def _copy_range(text: str, size_bytes: int) -> tuple[int, int]:
    """(start, length) of what is copied: unlike a range that is read, it must lie in the source as it stands."""
    if not text:
        return 0, size_bytes
    found = _COPY_RANGE.fullmatch(text)
    if found is None or int(found[2]) < int(found[1]):
        raise S3Error("InvalidArgument", "x-amz-copy-source-range must be bytes=first-last")
    if int(found[2]) >= size_bytes:
        raise S3Error("InvalidRange")
    return int(found[1]), int(found[2]) + 1 - int(found[1])


def _write_all(writer: Any, parts: list[_UploadPart]) -> None:
    for part in parts:
        with part.file.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                writer.write(piece)
