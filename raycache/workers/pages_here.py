"""What is here already, in pages, of a block that is to be loaded: it need not leave the lake again. Pure."""

from __future__ import annotations

from raycache.ranges import Grid, is_page
from raycache.types import BlockId, Tier
from raycache.workers.effects import HeldPart
from raycache.workers.tiers.segments import SegmentTable

#: More parts would make too many small requests of what lies between them: only the largest count.
PARTS_MAX = 4


def held_parts(block: BlockId, table: SegmentTable, grid: Grid) -> tuple[HeldPart, ...]:
    """The parts of a block that are here, in the order of the file; neighbours are one."""
    if is_page(block.block_index):
        return ()
    parts: list[HeldPart] = []
    for page in sorted(table.pages_in([block], grid)):
        segment = table.of_block(page)
        if segment is None or not segment.verified:
            continue
        offset, length = segment.entries.place(page)
        tier = Tier.MEMORY if segment.in_memory else Tier.DISK
        part = HeldPart(grid.offset(page.block_index), length, segment.id, tier, offset)
        last = parts[-1] if parts else None
        if last is not None and last.is_before(part):
            parts[-1] = last._replace(length=last.length + length)
        else:
            parts.append(part)
    largest = sorted(parts, key=lambda part: -part.length)[:PARTS_MAX]
    return tuple(sorted(largest))
