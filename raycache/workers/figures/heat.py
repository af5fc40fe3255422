"""Which files are used most, and which least, of those held here. Pure; costs one pass over all segments."""

from __future__ import annotations

import heapq

from raycache.messages import FileHeat
from raycache.types import VersionId
from raycache.workers.tiers.segments import SegmentTable


def extremes(table: SegmentTable, limit: int) -> list[FileHeat]:
    """The `limit` hottest files, and the `limit` coldest, each once, hottest first.

    Small files that share a segment share its heat: leases are granted and renewed per segment.
    """
    heats: dict[VersionId, FileHeat] = {}
    for segment in table.segments.values():
        for block, entry in segment.entries.items():
            known = heats.get(block.version) or FileHeat(entry.version.uri, 0, 0, 0)
            heats[block.version] = FileHeat(
                known.uri,
                max(known.uses, segment.hits),
                known.memory_bytes + entry.length * segment.in_memory,
                known.disk_bytes + entry.length * segment.on_disk,
            )
    rows = list(heats.values())
    hottest = heapq.nlargest(limit, rows, key=_order)
    coldest = heapq.nsmallest(limit, rows, key=_order) if len(rows) > limit else []
    return sorted(dict.fromkeys([*hottest, *coldest]), key=_order, reverse=True)


def _order(row: FileHeat) -> tuple[int, str]:
    return row.uses, row.uri
