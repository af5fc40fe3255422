"""Master to a page or a terminal that shows the cache: everything it needs, in one answer."""

from __future__ import annotations

from typing import NamedTuple

from raycache.messages.figures import NodeFigures, ReadCounters, ReadTag
from raycache.messages.load_jobs import JobProgress


class FileHeat(NamedTuple):
    """How much one file is used on one node."""

    uri: str
    #: Reads of its busiest segment since that came to its present tier.
    hits: int
    memory_bytes: int
    disk_bytes: int


class NodeOverview(NamedTuple):
    """One node: as `NodeFigures`, with what it counted lately."""

    figures: NodeFigures
    #: Within the last minute, and the last 15 minutes.
    minute: ReadCounters
    quarter: ReadCounters
    #: Hit rate in thousandths per 30 s of the last 15 minutes, oldest first; -1 where nothing was asked for.
    spark: list[int]
    #: (epoch, state, heartbeat age in seconds) of its worker; None when it has none.
    worker: tuple[int, str, float] | None
    #: Address of the machine; empty when it is gone.
    host: str


class OverviewReply(NamedTuple):
    """The cache at one moment, from the workers' last heartbeats."""

    cache_id: str
    uptime_s: float
    files_known: int
    #: (path, URI, read-only, metadata TTL in seconds).
    mounts: list[tuple[str, str, bool, float]]
    nodes: list[NodeOverview]
    #: Bytes read per step, oldest first: (from memory here, from disk here, from other nodes, from the lake).
    series: list[tuple[int, int, int, int]]
    series_step_s: float
    #: (who, what, seconds since it last read), the last one to read first.
    readers: list[tuple[ReadTag, ReadCounters, float]]
    #: Newest first; at most 20 failures each.
    jobs: list[tuple[str, JobProgress]]
