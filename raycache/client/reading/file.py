"""A file object over the cache: one version of one file, read by position.

The version is fixed at opening, so a reader never sees a mixture: when the object is replaced meanwhile, blocks still
cached are served, and anything else raises `ConflictError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import pyarrow as pa

from raycache.client.file_meta import FileMeta
from raycache.client.reading.neighbour_reader import NeighbourReader
from raycache.client.reading.positioned import PositionedFile
from raycache.client.reading.read_ahead import ReadAhead
from raycache.client.reading.reader import Reader, Request
from raycache.clock import Clock
from raycache.ranges import Grid, block_count, clip


class CacheFile(PositionedFile):
    """A binary file opened for reading.

    Args:
        meta: of the file.
        reader: of this process.
        clock: monotonic time.
        grid: how files are cut.
        announce: tells workers which blocks will be read next; None: no read-ahead, for readers that skip what they do
            not want.
    """

    def __init__(
        self,
        meta: FileMeta,
        reader: Reader | NeighbourReader,
        clock: Clock,
        grid: Grid,
        announce: Callable[[range], None] | None = None,
    ) -> None:
        super().__init__(meta.path, meta.file.size_bytes)
        self._announce = announce
        self._ahead = ReadAhead(block_count(meta.file.size_bytes, grid.block_size_bytes))
        self._meta = meta
        self._reader = reader
        self._clock = clock
        self._shift = grid.block_size_bytes.bit_length() - 1
        #: How far it was read from the front without a gap.
        self._front_end = 0

    def read_at(self, offset: SupportsIndex, size: SupportsIndex | None = None) -> pa.Buffer:
        """Read without moving; clipped to the file.

        Returns:
            A buffer, zero-copy where the range lies in one mapped segment.

        Raises:
            InvalidRequestError: a negative offset, or a closed file.
            ConflictError: the object has been replaced.
        """
        if not self._is_open:
            self._require_open()
        offset, length = clip(offset, size, self.size)
        in_order = offset == self._front_end
        if in_order:
            self._front_end += length
        if length:
            buffer = self._reader.in_place(self._meta, offset, length, self._clock.now_s())
            if buffer is not None:
                return buffer
            # A file that is first read elsewhere is not read from the front.
            if not in_order and not self._front_end:
                self._front_end = -1
        request = Request(self._meta, offset, length, in_order)
        # Read-ahead does not help random access.
        if length and self._announce is not None and not self._reader.picks(request):
            blocks = self._ahead.after(offset >> self._shift, (offset + length - 1) >> self._shift)
            if blocks:
                self._announce(blocks)
        return self._reader.read([request])[0]

    def info(self) -> dict[str, Any]:
        """Path, size and version."""
        file = self._meta.file
        return {"name": self.name, "size": self.size, "type": "file", "uri": file.uri, "etag": file.etag}
