"""What an earlier incarnation left on disk: which of it is taken over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raycache.ranges import Grid
from raycache.types import BlockId, SegmentId
from raycache.workers.effects import DiskSegment, SegmentEntry
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.segments import SegmentTable


def adoptable(
    segments: Sequence[DiskSegment],
    table: SegmentTable,
    coming: Iterable[BlockId],
    grid: Grid,
    room_bytes: int,
    now_s: float,
) -> tuple[list[Segment], list[SegmentId]]:
    """Choose among segments found on disk, the newest first: what is double or does not fit is dropped.

    Args:
        segments: the oldest first.
        table: what is here already.
        coming: blocks on their way.
        grid: blocks of another size are none.
        room_bytes: of the disk tier.
        now_s: the time.

    Returns:
        Segments to be taken in, the oldest first, unverified; and the names of those to be deleted.
    """
    taken: dict[BlockId, None] = dict.fromkeys(coming)
    kept: list[Segment] = []
    dropped: list[SegmentId] = []
    for found in reversed(segments):
        if table.get(found.segment) is not None:
            continue
        entries: dict[BlockId, SegmentEntry] = {}
        for entry in found.entries:
            block = BlockId(entry.version.id(), entry.block_index)
            if block not in taken and table.of_block(block) is None and _is_block(entry, grid):
                entries[block] = entry
        if entries and found.size_bytes <= room_bytes:
            room_bytes -= found.size_bytes
            taken.update(dict.fromkeys(entries))
            packed = EntryTable(entries.items())
            kept.append(Segment(found.segment, found.size_bytes, packed, loaded_at_s=now_s - found.age_s))
        else:
            dropped.append(found.segment)
    kept.reverse()
    return kept, dropped


def _is_block(entry: SegmentEntry, grid: Grid) -> bool:
    size_bytes, index = entry.version.size_bytes, entry.block_index
    return grid.exists(index, size_bytes) and entry.length == grid.length(index, size_bytes)
