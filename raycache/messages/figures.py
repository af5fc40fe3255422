"""Counts and sizes: of readers, of workers, of nodes."""

from __future__ import annotations

from typing import NamedTuple

from raycache.types import SegmentId, WorkerId


class ReadCounters(NamedTuple):
    """Counted where the reader runs. hits + misses + bypasses = blocks asked for; both byte triples sum to the same."""

    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    #: By where the block was when asked for.
    bytes_memory: int = 0
    bytes_disk: int = 0
    bytes_ufs: int = 0
    #: By how it travelled.
    bytes_local: int = 0
    bytes_remote: int = 0
    bytes_bypass: int = 0
    #: Requests the reader itself sent to the under storage, and the bytes they brought.
    ufs_requests: int = 0
    ufs_bytes: int = 0

    def plus(self, other: ReadCounters) -> ReadCounters:
        """The sum, field by field."""
        return ReadCounters(*(a + b for a, b in zip(self, other, strict=True)))


class Delivery(NamedTuple):
    """Counts that one reader hands over, again and again until the receiver has answered."""

    #: One process's connection to the cache; unique.
    reader: str
    #: Grows by one with every new delivery of the reader.
    number: int
    counters: ReadCounters


class TouchRequest(NamedTuple):
    """What a reader did without asking: segments it read in place (renew their leases), and its counts."""

    segments: list[SegmentId]
    #: Only to the worker of the reader's own node.
    delivery: Delivery | None


class WorkerStats(NamedTuple):
    """One worker incarnation's own figures; counters since its start."""

    memory_used_bytes: int = 0
    memory_capacity_bytes: int = 0
    disk_used_bytes: int = 0
    disk_capacity_bytes: int = 0
    evictions: int = 0
    demotions: int = 0
    promotions: int = 0
    ufs_requests: int = 0
    ufs_bytes: int = 0
    blocks: int = 0
    segments: int = 0
    loads_inflight: int = 0
    #: Requests answered NO_SPACE, per block.
    refusals: int = 0
    disk_errors: int = 0
    corrupt_segments: int = 0


class NodeFigures(NamedTuple):
    """What the master knows of one node: counters of all worker incarnations there, sizes of the live one."""

    node: WorkerId
    alive: bool
    counters: ReadCounters
    stats: WorkerStats


class StatusReply(NamedTuple):
    """The cache as the master sees it."""

    uptime_s: float
    mounts: int
    files_known: int
    #: (node, epoch, state, heartbeat age in seconds) of every worker.
    workers: list[tuple[WorkerId, int, str, float]]
