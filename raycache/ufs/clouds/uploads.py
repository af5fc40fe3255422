"""Objects written piece by piece: one request when they are small, else in parts, several at a time where the store can.

A writer keeps one part in memory while at most `Upload.inflight_max` others are on their way. Each part is retried alone.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError
from raycache.ufs.base import ObjectInfo, given_up_on_error
from raycache.ufs.checks import as_bytes_view
from raycache.ufs.clouds.bucket import CloudBucket, Upload
from raycache.ufs.clouds.connection import CloudConnection

#: A multiple of 256 KiB, as GCS wants.
PART_SIZE_BYTES = 16 << 20
#: Then parts double, so that 50,000 of Azure hold any object that it allows.
_PARTS_BEFORE_DOUBLING = 10_000


class CloudWriter:
    """The `UfsWriter` of GCS and Azure.

    Args:
        bucket: where to.
        connection: repeats requests, and maps errors.
        key: of the object.
        part_size_bytes: of the first parts.
    """

    def __init__(self, bucket: CloudBucket, connection: CloudConnection, key: str, part_size_bytes: int) -> None:
        self._bucket = bucket
        self._connection = connection
        self._key = key
        self._first_part_size_bytes = part_size_bytes
        self._buffer = bytearray()
        self._upload: Upload | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._part_count = 0
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
                size = self._first_part_size_bytes << (self._part_count // _PARTS_BEFORE_DOUBLING)
                if len(self._buffer) == size:  # sent only when more comes: the last part belongs to `complete`
                    self._send_part()
                taken = view[position : position + size - len(self._buffer)]
                self._buffer += taken
                position += len(taken)
        self._size_bytes += len(view)
        return len(view)

    def close(self) -> ObjectInfo:
        """See `UfsWriter.close`."""
        if self._info is not None:
            return self._info
        if self._ended:
            raise InvalidRequestError(f"the writer of {self._key!r} was given up; open another")
        upload = self._upload
        with given_up_on_error(self):
            if upload is None:
                self._info = self._connection.run("write", self._key, lambda: self._bucket.put(self._key, self._buffer))
            else:
                self._wait(0)
                self._info = self._connection.run(
                    "write", self._key, lambda: upload.complete(self._buffer, self._size_bytes)
                )
        self._end()
        return self._info

    def abort(self) -> None:
        """See `UfsWriter.abort`."""
        if self._ended:
            return
        self._end()
        upload = self._upload
        if upload is not None:
            self._connection.run("abort", self._key, upload.abort)

    def _send_part(self) -> None:
        part, self._buffer = self._buffer, bytearray()
        if self._upload is None:
            self._upload = self._connection.run("write", self._key, lambda: self._bucket.begin(self._key))
            self._pool = ThreadPoolExecutor(self._upload.inflight_max, thread_name_prefix="raycache-part")
        upload, pool, number = self._upload, self._pool, self._part_count
        assert pool is not None
        self._part_count += 1
        self._waiting.append(
            pool.submit(self._connection.run, "write", self._key, lambda: upload.send_part(number, part))
        )
        self._wait(upload.inflight_max - 1)

    def _wait(self, count_max: int) -> None:
        """Until at most so many parts are on their way; raises what an earlier one met."""
        while len(self._waiting) > count_max:
            self._waiting.popleft().result()

    def _end(self) -> None:
        self._ended = True
        self._buffer = bytearray()
        for future in self._waiting:
            future.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
