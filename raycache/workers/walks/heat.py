"""The hottest and the coldest files, a bounded number of segments a step. Pure.

Small files that share a segment share its heat: leases are granted and renewed per segment. So the segments are ordered
first, and only as many of them opened as the answer needs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from raycache.messages import FileHeat
from raycache.types import SegmentId, VersionId
from raycache.workers.tiers.segments import SegmentTable

#: Segments weighed, and files looked at, in one step.
_SEGMENTS_MAX = 4096
_FILES_MAX = 128

_Rank = tuple[int, int, SegmentId]


class Heat:
    """One look for the `limit` hottest files and the `limit` coldest.

    Args:
        table: what is here.
        limit: of either kind.
    """

    def __init__(self, table: SegmentTable, limit: int) -> None:
        self._table = table
        self._limit = limit
        self._rows: dict[VersionId, FileHeat] = {}
        self._steps = self._walk()
        self.done = False

    def step(self) -> None:
        """Go on for a bounded time."""
        self.done = next(self._steps, None) is None

    def rows(self) -> list[FileHeat]:
        """Each file once, hottest first."""
        rows = list(self._rows.values())
        hottest = heapq.nlargest(self._limit, rows, key=_heat_order)
        coldest = heapq.nsmallest(self._limit, rows, key=_heat_order) if len(rows) > self._limit else []
        return sorted(dict.fromkeys([*hottest, *coldest]), key=_heat_order, reverse=True)

    def _walk(self) -> Iterator[bool]:
        hot: list[_Rank] = []
        cold: list[_Rank] = []
        segments = [segment for segment in self._table.since(-1) if segment.entries]
        for start in range(0, len(segments), _SEGMENTS_MAX):
            ranks = [(s.hits, s.number, s.id) for s in segments[start : start + _SEGMENTS_MAX]]
            hot = heapq.nlargest(self._limit, [*hot, *ranks])
            cold = heapq.nsmallest(self._limit, [*cold, *ranks])
            yield True
        del segments
        for order in (hot, cold):
            yield from self._open(order)

    def _open(self, order: list[_Rank]) -> Iterator[bool]:
        """Look at the files of segments, the first ones first, until there are enough."""
        found = 0
        for hits, _, name in order:
            segment = self._table.get(name)
            # All files of one segment are as hot as it; which of them are shown is by their names.
            if segment is None or found > self._limit:
                continue
            for version in dict.fromkeys(block.version for block in segment.entries):
                if version in self._table:
                    self._look(version, hits)
                found += 1
                if found % _FILES_MAX == 0:
                    yield True

    def _look(self, version: VersionId, hits: int) -> None:
        memory_bytes = disk_bytes = 0
        for block in self._table.blocks_of(version):
            segment = self._table.of_block(block)
            assert segment is not None, f"{block} is indexed nowhere"
            length = segment.entries.place(block)[1]
            memory_bytes += length * segment.in_memory
            disk_bytes += length * segment.on_disk
            hits = max(hits, segment.hits)
        self._rows[version] = FileHeat(self._table.file(version).uri, hits, memory_bytes, disk_bytes)


def _heat_order(row: FileHeat) -> tuple[int, str]:
    return row.hits, row.uri
