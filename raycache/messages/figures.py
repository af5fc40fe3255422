"""Counts and sizes: of readers, of workers, of nodes."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from raycache.types import SegmentId, WorkerId


class MissReason(enum.IntEnum):
    """Why a block was not in a tier when it was asked for. The names are those of `ReadCounters.missed_*`."""

    #: Never asked for since this worker started, as far as it remembers.
    COLD = 0
    #: Had to make room for others.
    EVICTED = 1
    #: Dropped on request.
    FREED = 2
    #: Another version of the file was cached.
    CHANGED = 3
    #: Its time to live had ended.
    EXPIRED = 4
    #: No room was made for it: everything else was in use, or worth more.
    ADMISSION = 5
    #: The quota of its path was used up.
    QUOTA = 6
    #: No worker could be asked, or none answered in time.
    UNREACHABLE = 7
    #: The worker could not read it from the lake, or its copy was damaged.
    FAILED = 8


class ReadCounters(NamedTuple):
    """Counted where the reader runs, per block asked for.

    hits + misses + bypasses = blocks asked for; both byte triples sum to the same; the `missed_*` sum to misses +
    bypasses.
    """

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
    #: Of the bytes in a tier, those that another node held.
    bytes_memory_remote: int = 0
    bytes_disk_remote: int = 0
    #: Misses and bypasses by `MissReason`, in its order.
    missed_cold: int = 0
    missed_evicted: int = 0
    missed_freed: int = 0
    missed_changed: int = 0
    missed_expired: int = 0
    missed_admission: int = 0
    missed_quota: int = 0
    missed_unreachable: int = 0
    missed_failed: int = 0
    #: Read tasks that a placed read has started, counted where it is planned; of these, those that went before others
    #: because more of their files was cached.
    tasks_started: int = 0
    tasks_out_of_turn: int = 0

    def plus(self, other: ReadCounters) -> ReadCounters:
        """The sum, field by field."""
        return ReadCounters(*(a + b for a, b in zip(self, other, strict=True)))


class ReadTag(NamedTuple):
    """One reader, as Ray names it, and what it read."""

    #: Ray's job id.
    job: str
    #: The name of the task or actor method; "driver" outside of both.
    task: str
    #: The first two directories of the path: `/lake/train`, `s3://bucket/train`.
    dataset: str


#: Stands for all readers that are not counted apart, since there are too many.
OTHER_READERS = ReadTag("other", "other", "other")

#: Upper bounds of the read latency buckets, in seconds; one more bucket takes what is above.
LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counts(NamedTuple):
    """What one process has read since its last delivery."""

    #: Each reader once.
    readers: list[tuple[ReadTag, ReadCounters]]
    #: Calls of `read` that had to ask a worker or the lake, by `LATENCY_BOUNDS_S`; shape (14,), or empty when there were none.
    latencies: list[int]

    def total(self) -> ReadCounters:
        """All readers together."""
        return sum_counters(counters for _, counters in self.readers)


def sum_counters(counters: Iterable[ReadCounters]) -> ReadCounters:
    """Field by field; of nothing, zeros."""
    rows = list(counters)
    return ReadCounters(*map(sum, zip(*rows, strict=True))) if rows else ReadCounters()


class Delivery(NamedTuple):
    """Counts that one reader hands over, again and again until the receiver has answered."""

    #: One process's connection to the cache; unique.
    reader: str
    #: Grows by one with every new delivery of the reader.
    number: int
    counts: Counts


class TouchRequest(NamedTuple):
    """What a reader did without a call: it read segments in place, whose leases are to be renewed, and counted."""

    segments: list[SegmentId]
    #: Only to the worker of the reader's own node.
    delivery: Delivery | None
    #: Somebody waits for all counts to be at the master: do not wait for the next heartbeat.
    urgent: bool = False


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
    #: Requests to the under storage that failed, of `ufs_requests`.
    ufs_errors: int = 0
    #: Of `evictions`, those from disk.
    evictions_disk: int = 0
    #: The node's object store, all its users together.
    plasma_used_bytes: int = 0
    plasma_capacity_bytes: int = 0
    #: Bytes written to the disk tier, whatever for.
    disk_written_bytes: int = 0
    #: 1 of the policy in force (so that a sum counts workers), and how often it has changed.
    workers_lru: int = 0
    workers_sieve: int = 0
    workers_s3_fifo: int = 0
    workers_sticky: int = 0
    policy_changes: int = 0
    #: How often another worker showed no sign of life to this one or to a reader on its node.
    peer_silences: int = 0


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
    #: What is wrong with the master, a line each.
    problems: list[str] = []  # noqa: RUF012  # a NamedTuple's default, never changed
