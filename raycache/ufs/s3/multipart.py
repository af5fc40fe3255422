"""Large S3 objects in parts, and the streaming writer.

A writer keeps one part in memory while at most `parts_inflight_max` others are on their way, so its memory is bounded
by (1 + parts_inflight_max) * part size. Parts double in size every 2,000, so that the 10,000 parts S3 allows hold
any object S3 allows without knowing its size beforehand. Each part is retried alone. Small objects never become
multipart: they are put in one request at `close`.

Completing is the one request whose repetition is not harmless: the answer of a first one may be lost. NoSuchUpload on
a repetition then means that it had worked, which a HEAD of the same size confirms.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.ufs.base import ObjectInfo, given_up_on_error
from raycache.ufs.checks import as_bytes_view
from raycache.ufs.http.body import Body
from raycache.ufs.http.etags import quoted
from raycache.ufs.s3.connection import S3Connection

_MIB = 1 << 20
PARTS_MAX = 10_000
_PARTS_BEFORE_DOUBLING = 2_000


class S3Sizes(NamedTuple):
    """When objects go in parts. S3 wants parts of 5 MiB or more, the last excepted."""

    part_size_bytes: int = 16 * _MIB
    parts_inflight_max: int = 4
    #: Above, copies go in parts: S3's limit is 5 GiB, but one request must also end within its time-out.
    copy_single_bytes_max: int = 1024 * _MIB
    copy_part_size_bytes: int = 256 * _MIB


class S3Requests(NamedTuple):
    """What parts need of their storage."""

    connection: S3Connection
    put_small: Callable[[str, Buffer], ObjectInfo]
    head: Callable[[str], ObjectInfo]
    sizes: S3Sizes


class MultipartUpload:
    """One upload in parts, from creation to `complete` or `abort`."""

    def __init__(self, requests: S3Requests, key: str, properties: dict[str, Any] | None = None) -> None:
        self._requests = requests
        self._key = key
        connection = requests.connection
        created: Any = connection.run(
            "write",
            key,
            lambda: connection.boto.create_multipart_upload(Bucket=connection.bucket, Key=key, **(properties or {})),
        )
        self._name: dict[str, Any] = {"Bucket": connection.bucket, "Key": key, "UploadId": created["UploadId"]}
        self._pool = ThreadPoolExecutor(requests.sizes.parts_inflight_max, thread_name_prefix="raycache-part")
        self._waiting: deque[Future[str]] = deque()
        self._etags: list[str] = []
        self._part_count = 0

    def send(self, send_part: Callable[[dict[str, Any]], str]) -> None:
        """Send the next part in the background; waits while too many are on their way.

        Args:
            send_part: called with boto3's arguments that name the part; returns its etag.

        Raises:
            RaycacheError: an earlier part failed.
        """
        if self._part_count == PARTS_MAX:
            raise InvalidRequestError(f"{self._key!r} is larger than S3 allows")
        self._part_count += 1
        name = {**self._name, "PartNumber": self._part_count}
        run = self._requests.connection.run
        self._waiting.append(self._pool.submit(run, "write", self._key, lambda: send_part(name)))
        while len(self._waiting) >= self._requests.sizes.parts_inflight_max:
            self._etags.append(self._waiting.popleft().result())

    def complete(self, size_bytes: int) -> str:
        """Wait for all parts and make the object visible; returns its etag."""
        while self._waiting:
            self._etags.append(self._waiting.popleft().result())
        self._pool.shutdown()
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, 1)]
        attempts = 0

        def complete_once() -> str:
            nonlocal attempts
            attempts += 1
            boto: Any = self._requests.connection.boto
            answer = boto.complete_multipart_upload(**self._name, MultipartUpload={"Parts": parts})
            return quoted(answer.get("ETag"))

        try:
            etag: str = self._requests.connection.run("write", self._key, complete_once)
        except NotFoundError as error:
            if error.fields.get("code") != "NoSuchUpload" or attempts < 2:
                raise
            found = self._requests.head(self._key)
            if found.size_bytes != size_bytes:
                raise
            etag = found.etag
        return etag

    def abort(self) -> None:
        """Remove the parts. Those on their way are awaited first, else they would stay behind."""
        for future in self._waiting:
            future.cancel()
        self._pool.shutdown(wait=True)
        connection = self._requests.connection
        with contextlib.suppress(NotFoundError):  # an earlier attempt did it
            connection.run("abort", self._key, lambda: connection.boto.abort_multipart_upload(**self._name))


class S3Writer:
    """The `UfsWriter` of S3."""

    def __init__(self, requests: S3Requests, key: str) -> None:
        self._requests = requests
        self._key = key
        self._buffer = bytearray()
        self._upload: MultipartUpload | None = None
        self._parts_sent = 0
        self._size_bytes = 0
        self._ended = False
        self._info: ObjectInfo | None = None

    def write(self, data: Buffer) -> int:
        """See `UfsWriter.write`. An error removes all parts; the writer is then of no use."""
        if self._ended:
            raise InvalidRequestError(f"the writer of {self._key!r} is closed; open another")
        view = as_bytes_view(data)
        position = 0
        with given_up_on_error(self):
            while position < len(view):
                part_size_bytes = self._part_size_bytes()
                taken = view[position : position + part_size_bytes - len(self._buffer)]
                self._buffer += taken
                position += len(taken)
                if len(self._buffer) == part_size_bytes:
                    self._send_part()
        self._size_bytes += len(view)
        return len(view)

    def close(self) -> ObjectInfo:
        """See `UfsWriter.close`."""
        if self._info is not None:
            return self._info
        if self._ended:
            raise InvalidRequestError(f"the writer of {self._key!r} was given up; open another")
        with given_up_on_error(self):
            if self._upload is None:
                self._info = self._requests.put_small(self._key, self._buffer)
            else:
                if self._buffer:
                    self._send_part()
                etag = self._upload.complete(self._size_bytes)
                self._info = with_mtime(self._requests.head, ObjectInfo(self._key, self._size_bytes, etag, None))
        self._ended = True
        self._buffer = bytearray()
        return self._info

    def abort(self) -> None:
        """See `UfsWriter.abort`."""
        if self._ended:
            return
        self._ended = True
        self._buffer = bytearray()
        if self._upload is not None:
            self._upload.abort()

    def _part_size_bytes(self) -> int:
        doublings: int = self._parts_sent // _PARTS_BEFORE_DOUBLING
        return self._requests.sizes.part_size_bytes << doublings

    def _send_part(self) -> None:
        body, self._buffer = self._buffer, bytearray()
        if self._upload is None:
            self._upload = MultipartUpload(self._requests, self._key)
        connection: Any = self._requests.connection
        self._upload.send(lambda name: str(connection.boto.upload_part(**name, Body=Body(body))["ETag"]))
        self._parts_sent += 1


def with_mtime(head: Callable[[str], ObjectInfo], written: ObjectInfo) -> ObjectInfo:
    """What was just written, with the store's time of it; None when another writer has replaced it already."""
    try:
        found = head(written.key)
    except RaycacheError:
        return written
    if not written.etag or found.etag == written.etag:
        return found
    return written
