"""Reads past the cache: what no worker could serve comes from the under storage itself, and is counted as such.

Parts that follow each other in a file are fetched with one request, several requests at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from raycache.client.counters import Counters
from raycache.client.file_meta import FileMeta
from raycache.client.locator import Locator
from raycache.client.reading.read_operation import Part, ReadOperation
from raycache.client.reading.spans import Span
from raycache.errors import ConflictError, NotFoundError
from raycache.messages import MissReason
from raycache.ranges import Grid

#: Adjacent parts of one file are fetched together up to this.
BYPASS_REQUEST_BYTES_MAX = 16 << 20
_BYPASS_THREADS = 8


class Bypass:
    """The way of one process past the cache.

    Args:
        locator: knows the under storages.
        counters: where reads are counted.
        grid: how files are cut.
    """

    def __init__(self, locator: Locator, counters: Counters, grid: Grid) -> None:
        self._locator = locator
        self._counters = counters
        self._grid = grid
        self._pool: ThreadPoolExecutor | None = None

    def read(
        self, operation: ReadOperation, metas: Sequence[FileMeta], reasons: Mapping[int, MissReason]
    ) -> Iterator[tuple[int, Span]]:
        """Read the parts that are due for it; a part whose file is another version by now becomes stale.

        Args:
            operation: the read.
            metas: shape (F,), of its targets.
            reasons: by part, why no worker served it.

        Yields:
            (part index, where its bytes are).
        """
        parts = operation.parts
        groups = merged(parts, sorted(operation.bypass), self._grid)
        if len(groups) == 1:
            buffers = [self._fetch(metas, parts, groups[0])]
        else:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_BYPASS_THREADS, thread_name_prefix="raycache-bypass")
            buffers = list(self._pool.map(lambda group: self._fetch(metas, parts, group), groups))
        for group, buffer in zip(groups, buffers, strict=True):
            if buffer is None:
                operation.stale.extend(group)
                continue
            start = 0
            for position, part_index in enumerate(group):
                part = parts[part_index]
                reason = reasons.get(part_index, MissReason.UNREACHABLE)
                dataset, requests = metas[part.target_index].dataset, 0 if position else 1
                self._counters.bypass(part.length, dataset, reason, requests=requests, blocks=part.blocks)
                yield part_index, Span(buffer, start, part.length)
                start += part.length

    def _fetch(self, metas: Sequence[FileMeta], parts: Sequence[Part], group: list[int]) -> pa.Buffer | None:
        """Read adjacent parts with one request; None when the file is another version by now."""
        first = parts[group[0]]
        file = metas[first.target_index].file
        storage, key = self._locator.storage(file.uri)
        offset = self._grid.offset(first.block_index) + first.offset
        length = sum(parts[i].length for i in group)
        try:
            return pa.py_buffer(storage.read(key, offset, length, file))
        except (ConflictError, NotFoundError):
            return None


def merged(parts: Sequence[Part], part_indices: list[int], grid: Grid) -> list[list[int]]:
    """Group parts (in order) that follow each other in one file, up to `BYPASS_REQUEST_BYTES_MAX`."""
    groups: list[list[int]] = []
    end, size, target_index = -1, 0, -1
    for part_index in part_indices:
        part = parts[part_index]
        start = grid.offset(part.block_index) + part.offset
        fits = size + part.length <= BYPASS_REQUEST_BYTES_MAX
        if groups and part.target_index == target_index and start == end and fits:
            groups[-1].append(part_index)
            size += part.length
        else:
            groups.append([part_index])
            size = part.length
        end, target_index = start + part.length, part.target_index
    return groups
