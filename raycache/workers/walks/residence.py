"""Which blocks of some versions are here. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from raycache.messages import ResidencyReply
from raycache.ranges import is_page
from raycache.types import VersionId
from raycache.workers.tiers.segments import SegmentTable


def residency(versions: Iterable[VersionId], table: SegmentTable) -> ResidencyReply:
    """Which blocks of these versions are here, in which tier, and the heat of each; pages are no blocks."""
    reply = ResidencyReply([], [], [])
    for version in versions:
        memory_mask = disk_mask = 0
        for block in table.blocks_of(version):
            if is_page(block.block_index):
                continue
            segment = table.of_block(block)
            assert segment is not None
            memory_mask |= segment.in_memory << block.block_index
            disk_mask |= segment.on_disk << block.block_index
        reply.memory_masks.append(memory_mask)
        reply.disk_masks.append(disk_mask)
        reply.hits.append(max((segment.hits for segment in table.segments_of(version)), default=0))
    return reply
