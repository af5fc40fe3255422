"""A file object over the cache: one version of one file, read by position.

The version is fixed at opening, so a reader never sees a mixture: when the object is replaced meanwhile, blocks still
cached are served, and anything else raises `ConflictError`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from typing_extensions import Buffer

from raycache.client.file_meta import FileMeta
from raycache.client.reading.read_ahead import ReadAhead
from raycache.client.reading.reader import Reader, Request
from raycache.client.reading.to_bytes import bytes_of
from raycache.clock import Clock
from raycache.errors import InvalidRequestError
from raycache.ranges import Grid, block_count, clip


class CacheFile(io.RawIOBase):
    """A binary file opened for reading.

    Args:
        announce: tells workers which blocks will be read next; None: no read-ahead, for readers that skip what they do
            not want.
    """

    def __init__(
        self,
        meta: FileMeta,
        reader: Reader,
        clock: Clock,
        grid: Grid,
        announce: Callable[[range], None] | None = None,
    ) -> None:
        super().__init__()
        self._announce = announce
        self._ahead = ReadAhead(block_count(meta.file.size_bytes, grid.block_size_bytes))
        self.name = meta.path
        self.mode = "rb"
        #: Bytes of the whole file.
        self.size = meta.file.size_bytes
        self._meta = meta
        self._reader = reader
        self._clock = clock
        self._shift = grid.block_size_bytes.bit_length() - 1
        #: How far it was read from the front without a gap.
        self._front_end = 0
        self._position = 0

    def read_at(self, offset: int, size: int | None) -> pa.Buffer:
        """Read without moving; clipped to the file.

        Returns:
            A buffer, zero-copy where the range lies in one mapped segment.

        Raises:
            InvalidRequestError: a negative offset, or a closed file.
            ConflictError: the object has been replaced.
        """
        if self.closed:
            raise InvalidRequestError(f"{self.name} is closed")
        offset, length = clip(offset, size, self.size)
        in_order = offset == self._front_end
        if in_order:
            self._front_end += length
        if length:
            buffer = self._reader.in_place(self._meta, offset, length, self._clock.now_s())
            if buffer is not None:
                return buffer
            # Who reads elsewhere first does not come from the front.
            if not in_order and not self._front_end:
                self._front_end = -1
        request = Request(self._meta, offset, length, in_order)
        # Who picks what he wants is not helped by more.
        if length and self._announce is not None and not self._reader.picks(request):
            blocks = self._ahead.after(offset >> self._shift, (offset + length - 1) >> self._shift)
            if blocks:
                self._announce(blocks)
        return self._reader.read([request])[0]

    def read_buffer(self, size: int = -1) -> pa.Buffer:
        """Read from the current position as a buffer; pyarrow takes it without a copy."""
        buffer = self.read_at(self._position, None if size is None or size < 0 else size)
        self._position += buffer.size
        return buffer

    def read(self, size: int | None = -1) -> bytes:
        return bytes_of(self.read_buffer(-1 if size is None else size))

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, target: Buffer) -> int:
        view = memoryview(target).cast("B")
        buffer = self.read_buffer(len(view))
        view[: buffer.size] = memoryview(buffer).cast("B")
        return int(buffer.size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset >= 0:
            self._position = offset
            return offset
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}.get(whence)
        if base is None:
            raise InvalidRequestError(f"whence {whence} is unknown; give 0, 1 or 2")
        if base + offset < 0:
            raise InvalidRequestError(f"position {base + offset} is negative; give 0 or more")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def info(self) -> dict[str, Any]:
        """Path, size and version."""
        file = self._meta.file
        return {"name": self.name, "size": self.size, "type": "file", "uri": file.uri, "etag": file.etag}
