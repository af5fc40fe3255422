"""A block and its pages: what is here of one serves the other, and need not leave the lake again. Pure."""

from __future__ import annotations

from raycache.ranges import Grid, is_page
from raycache.types import BlockId, Tier
from raycache.workers.effects import HeldPart
from raycache.workers.flights import FlightTable
from raycache.workers.tiers.segments import SegmentTable

#: More parts would make too many small requests of what lies between them: only the largest count.
PARTS_MAX = 4


def block_around(page: BlockId, table: SegmentTable, flights: FlightTable, grid: Grid) -> BlockId | None:
    """The block around a page, where it is here or on its way and the page itself is not here: it serves the page."""
    if table.of_block(page) is not None:
        return None
    whole = BlockId(page.version, grid.block_of(page.block_index))
    return whole if table.of_block(whole) is not None or flights.get(whole) is not None else None


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
