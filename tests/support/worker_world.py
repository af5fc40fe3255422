"""What the actor of a worker would hold and do, for `test_worker_service`."""

from __future__ import annotations

from dataclasses import dataclass, field

from raycache.messages import BlockRequest
from raycache.ranges import Grid, is_page
from raycache.types import BlockId, FileVersion
from raycache.workers.effects import Compact, Load, SegmentEntry
from raycache.workers.tiers.segments import SegmentTable

BLOCK = 8
PAGE = 2
GRID = Grid(BLOCK, PAGE)
SIZES = (3, 5, 8, 20, 44, 100, 300)
LEASE_S = 10.0


def content(version: FileVersion, block_index: int) -> bytes:
    """The bytes of a block or a page: different for every version, block and position."""
    start = GRID.offset(block_index)
    length = GRID.length(block_index, version.size_bytes)
    seed = SIZES.index(version.size_bytes) * 31 + int(version.etag) * 101
    return bytes((seed + start + i) * 7 % 251 for i in range(length))


def passive_masks(table: SegmentTable) -> dict[bytes, int]:
    """By version, the blocks, not the pages, of which the worker has a passive copy."""
    masks: dict[bytes, int] = {}
    for block, name in table.indexed():
        if table.segments[name].passive and not is_page(block.block_index):
            masks[block.version] = masks.get(block.version, 0) | 1 << block.block_index
    return masks


@dataclass
class World:
    """What the actor would hold, and what it has not done yet."""

    memory: dict[str, bytes] = field(default_factory=dict)
    disk: dict[str, bytes] = field(default_factory=dict)
    corrupt: list[str] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    demotes: list[str] = field(default_factory=list)
    demoting: dict[str, list[SegmentEntry]] = field(default_factory=dict)
    promotes: list[str] = field(default_factory=list)
    verifies: list[str] = field(default_factory=list)
    compacts: list[Compact] = field(default_factory=list)
    #: By segment on disk, the blocks that a restart would bring back.
    listed: dict[str, set[BlockId]] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    tickets: dict[int, BlockRequest] = field(default_factory=dict)
    #: What was held when the ticket came.
    held_then: dict[int, set[BlockId]] = field(default_factory=dict)
    ids: dict[bytes, FileVersion] = field(default_factory=dict)

    def busy(self, segment: str) -> bool:
        return segment in (*self.demotes, *self.promotes, *self.verifies, *(c.segment for c in self.compacts))
