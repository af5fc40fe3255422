"""PUT, copy and DELETE of objects, on mounts with `readonly=False`: through to the lake, as every write of the cache."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree import ElementTree as ET

from aiohttp import web

from raycache.client.client import Client
from raycache.client.writing.whole_file import CacheWriter
from raycache.endpoint.bucket_reads import answer
from raycache.endpoint.object_reads import InThread, etag_of
from raycache.endpoint.protocol import xml_answers as xml
from raycache.endpoint.protocol.buckets import Buckets
from raycache.endpoint.protocol.request_bodies import RequestBody
from raycache.endpoint.protocol.s3_errors import S3Error, s3_error_of
from raycache.endpoint.protocol.s3_requests import S3Call, check_conditions, matches_etag, parse_target
from raycache.endpoint.protocol.signatures import SentHeaders
from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.types import FileVersion

#: Collected before they go to the lake's writer in a thread.
_WRITE_BYTES = 4 << 20
_DELETES_MAX = 1_000
XML_BYTES_MAX = 2 << 20


class ObjectWrites:
    """Answers changes of objects.

    Args:
        client: of this process.
        in_thread: see `InThread`.
    """

    def __init__(self, client: Client, in_thread: InThread) -> None:
        self._client = client
        self._in_thread = in_thread

    async def put(self, call: S3Call, buckets: Buckets, request: web.BaseRequest) -> web.Response:
        """Answer PutObject."""
        path = self.path(call, buckets)
        body = RequestBody(request.content, call.headers, call.signed)
        await self.require_conditions(call, path)
        await go_on(request)
        if call.target.key.endswith("/"):
            if body.size_bytes:
                raise S3Error("NotImplemented", "objects whose keys end in a slash may only be empty")
            await body.whole(0)
            await self._in_thread(self._client.writes.make_directory, path, marked=True)
            return web.Response(headers={"ETag": etag_of(FileVersion("", 0, "", 0))})
        writer: CacheWriter = await self._in_thread(self._client.writes.open, path)
        try:
            await self.write(writer, body)
            # What stood there may have changed while the body came.
            await self.require_conditions(call, path)
        except BaseException:
            await asyncio.shield(self._in_thread(writer.abort))
            raise
        return web.Response(headers={"ETag": await self.publish(writer, path)})

    async def write(self, writer: Any, body: RequestBody) -> None:
        """Write a body to its end."""
        waiting: list[bytes] = []
        size = 0
        async for piece in body.pieces():
            waiting.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                await self._in_thread(writer.write, b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            await self._in_thread(writer.write, b"".join(waiting))

    async def publish(self, writer: CacheWriter, path: str) -> str:
        """Let a file appear; returns its etag."""
        await self._in_thread(writer.close)
        found: FileVersion = (await self._in_thread(self._client.locator.file, path)).file
        return etag_of(found)

    async def copy(self, call: S3Call, buckets: Buckets) -> web.Response:
        """Answer CopyObject."""
        target = self.path(call, buckets)
        source, found = await self.copy_source(call, buckets)
        await self.require_conditions(call, target)
        if source != target:
            await self._in_thread(self._client.writes.copy, [(source, target)])
            found = (await self._in_thread(self._client.locator.file, target)).file
        elif call.headers.get("x-amz-metadata-directive").upper() != "REPLACE":
            raise S3Error("InvalidRequest", "This copy request is illegal: an object is copied to itself.")
        content: dict[str, xml.Content] = {"LastModified": xml.timestamp(found.mtime_ns), "ETag": etag_of(found)}
        return answer(xml.document("CopyObjectResult", content))

    async def copy_source(self, call: S3Call, buckets: Buckets) -> tuple[str, FileVersion]:
        """The path and the version that a copy takes.

        Raises:
            S3Error: it cannot be, or is not what the conditions say.
            NotFoundError: it is not there.
        """
        text = call.headers.get("x-amz-copy-source").partition("?")[0]
        found = parse_target(text if text.startswith("/") else f"/{text}")
        if not found.bucket or not found.key:
            raise S3Error("InvalidArgument", "Copy Source must mention the source bucket and key")
        path = buckets.path(found.bucket, found.key)
        file: FileVersion = (await self._in_thread(self._client.locator.file, path)).file
        prefix = "x-amz-copy-source-"
        conditions = [
            (n.removeprefix(prefix), call.headers.get(n)) for n in call.headers.names() if n.startswith(prefix)
        ]
        mtime_s = None if file.mtime_ns is None else file.mtime_ns // 1_000_000_000
        try:
            check_conditions(SentHeaders(conditions), etag_of(file), mtime_s)
        except S3Error as error:
            raise S3Error("PreconditionFailed") from error
        return path, file

    async def delete(self, call: S3Call, buckets: Buckets) -> web.Response:
        """Answer DeleteObject: what is not there is deleted, too."""
        path = self.path(call, buckets)
        if call.headers.get("if-match"):
            await self.require_conditions(call, path)
        await self._delete(path, is_marker=call.target.key.endswith("/"))
        return web.Response(status=204)

    async def delete_many(self, call: S3Call, buckets: Buckets, request: web.BaseRequest) -> web.Response:
        """Answer DeleteObjects."""
        buckets.of(call.target.bucket)
        await go_on(request)
        root = parse_xml(await RequestBody(request.content, call.headers, call.signed).whole(XML_BYTES_MAX), "Delete")
        items = children(root, "Object")
        keys = [text_of(item, "Key") for item in items]
        quiet = text_of(root, "Quiet") == "true"
        if not 0 < len(keys) <= _DELETES_MAX or not all(keys):
            raise S3Error("MalformedXML")
        deleted: list[xml.Content] = []
        failed: list[xml.Content] = []
        paths: dict[str, str] = {}
        for key, item in zip(keys, items, strict=True):
            try:
                path = self.path(
                    call._replace(target=call.target._replace(key=parse_target(f"/b/{quoted(key)}").key)), buckets
                )
                await self._require_listed(item, path)
                if key.endswith("/"):
                    await self._delete(path, is_marker=True)
                    deleted.append({"Key": key})
                else:
                    paths[key] = path
            except (S3Error, RaycacheError) as error:
                failed.append(_failure(key, error))
        try:
            if paths:
                await self._in_thread(self._client.writes.delete, list(paths.values()))
            deleted += [{"Key": key} for key in paths]
        except RaycacheError:
            for key, path in paths.items():
                try:
                    await self._delete(path, is_marker=False)
                    deleted.append({"Key": key})
                except RaycacheError as error:
                    failed.append(_failure(key, error))
        return answer(xml.document("DeleteResult", {"Deleted": [] if quiet else deleted, "Error": failed}))

    def path(self, call: S3Call, buckets: Buckets) -> str:
        """The path that is to be changed.

        Raises:
            S3Error: nothing is mounted there.
        """
        try:
            return buckets.path(call.target.bucket, call.target.key)
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise S3Error("AccessDenied") from error
            raise

    async def require_conditions(self, call: S3Call, path: str) -> None:
        """Compare what stands at a path with the conditions of a request that changes it.

        Raises:
            S3Error: PreconditionFailed, or NoSuchKey where an etag is wanted of nothing.
        """
        match, none_match = call.headers.get("if-match"), call.headers.get("if-none-match")
        if not match and not none_match:
            return
        if none_match not in ("", "*"):
            raise S3Error("NotImplemented", "If-None-Match of a write can only be *")
        await self._require_etags(match, none_match, path)

    async def _require_etags(self, match: str, none_match: str, path: str) -> None:
        try:
            meta = (await self._in_thread(self._client.locator.resolve, [path], fresh=True))[0]
            etag = etag_of(meta.file) if meta.version else ""
        except NotFoundError:
            etag = ""
        if match and not etag:
            raise S3Error("NoSuchKey")
        if (none_match and etag) or (match and not matches_etag(match, etag)):
            raise S3Error("PreconditionFailed")

    async def _require_listed(self, item: ET.Element, path: str) -> None:
        """Compare what stands at a path with what a list of deletes says of it."""
        if text_of(item, "VersionId") not in ("", "null"):
            raise S3Error("InvalidArgument", "Invalid version id specified")
        if children(item, "Size") or children(item, "LastModifiedTime"):
            raise S3Error("NotImplemented", "a delete can only be bound to an etag")
        etag = text_of(item, "ETag")
        if etag:
            await self._require_etags(etag, "", path)

    async def _delete(self, path: str, *, is_marker: bool) -> None:
        if not is_marker:
            await self._in_thread(self._client.writes.delete, [path])
            return
        try:
            await self._in_thread(self._client.writes.remove_directory, path)
        except (NotFoundError, InvalidRequestError):
            return  # not there, or no marker: something lies below


async def go_on(request: web.BaseRequest) -> None:
    """Tell a client that waits for it that its body is wanted."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The answer itself is still to come.
        request.writer.output_size = 0


def parse_xml(body: bytes, root: str) -> ET.Element:
    """A body of XML; MalformedXML where it is none, or has declarations of its own."""
    try:
        if b"<!" in body:
            raise S3Error("MalformedXML")
        found = ET.fromstring(body)  # noqa: S314  # without declarations there is nothing to expand
    except (ET.ParseError, ValueError) as error:
        raise S3Error("MalformedXML") from error
    if local_name(found) != root:
        raise S3Error("MalformedXML")
    return found


def local_name(element: ET.Element) -> str:
    """A tag without its namespace, which some clients leave out."""
    return element.tag.rpartition("}")[2]


def children(element: ET.Element, name: str) -> list[ET.Element]:
    """The elements of a name."""
    return [child for child in element if local_name(child) == name]


def text_of(element: ET.Element, name: str) -> str:
    """The text of an element's first child of a name."""
    found = children(element, name)
    return (found[0].text or "") if found else ""


def quoted(key: str) -> str:
    """A key as it would stand in a request, so that it is judged alike."""
    return key.replace("%", "%25").replace("?", "%3F")


def _failure(key: str, error: S3Error | RaycacheError) -> dict[str, xml.Content]:
    found = error if isinstance(error, S3Error) else s3_error_of(error)
    return {"Key": key, "Code": found.code, "Message": str(found)}
