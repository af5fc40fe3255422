"""A worker's own figures, as its heartbeats carry them."""

from __future__ import annotations

from raycache.messages import WorkerStats
from raycache.types import Tier
from raycache.workers.tiers.tiers import Tiers


def stats_of(tiers: Tiers, loads_inflight: int, refusals: int) -> WorkerStats:
    """What the tiers know, and these."""
    memory, disk = tiers.ledgers[Tier.MEMORY], tiers.ledgers[Tier.DISK]
    return WorkerStats(
        memory_used_bytes=memory.used_bytes,
        memory_capacity_bytes=memory.capacity_bytes,
        disk_used_bytes=disk.used_bytes,
        disk_capacity_bytes=disk.capacity_bytes,
        evictions=tiers.evictions,
        demotions=tiers.demotions,
        promotions=tiers.promotions,
        blocks=tiers.segments.block_count,
        segments=len(tiers.segments.segments),
        loads_inflight=loads_inflight,
        refusals=refusals,
        disk_errors=tiers.disk_errors,
        corrupt_segments=tiers.corrupt_segments,
        evictions_disk=tiers.evictions_disk,
    )
