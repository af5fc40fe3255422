"""A worker's own figures. Pure."""

from __future__ import annotations

import dataclasses

from raycache.messages import WorkerStats
from raycache.types import Tier
from raycache.workers.tiers.tiers import Tiers


def stats_of(tiers: Tiers, loads_inflight: int, refusals: int, local_bytes: int) -> WorkerStats:
    """What the tiers hold and have done; requests to the under storage are counted by the lake meter."""
    memory, disk = tiers.ledgers[Tier.MEMORY], tiers.ledgers[Tier.DISK]
    return WorkerStats(
        memory_used_bytes=memory.used_bytes,
        memory_capacity_bytes=memory.capacity_bytes,
        disk_used_bytes=disk.used_bytes + local_bytes,
        disk_capacity_bytes=disk.capacity_bytes + local_bytes,
        **dataclasses.asdict(tiers.counts),
        blocks=tiers.segments.block_count,
        segments=len(tiers.segments.segments),
        loads_inflight=loads_inflight,
        refusals=refusals,
    )
