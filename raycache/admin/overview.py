"""The cache at a glance: what `raycache top`, `raycache report` and the dashboard show. No Ray, no I/O.

Everything comes from the workers' last heartbeats, so it is cheap to ask for, and at most about a second old; once the
readers are quiet it equals `cache.stats()`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from raycache.admin.loads import progress_of
from raycache.admin.stats import stats_of
from raycache.client.client import Client
from raycache.messages import MissReason, OverviewReply, ReadCounters, WorkerStats, sum_counters
from raycache.results import NodeStats, Progress, Result, Stats

#: Of `Reads.missed`: the reasons, in the order in which they are shown.
REASONS = tuple(reason.name.lower() for reason in MissReason)


@dataclasses.dataclass(frozen=True, slots=True)
class Reads(Result):
    """What was read: in a window of time, or by one reader; see `NodeStats` for the counters."""

    counters: ReadCounters

    @property
    def asked(self) -> int:
        """Blocks asked for."""
        return self.counters.hits + self.counters.misses + self.counters.bypasses

    @property
    def bytes_read(self) -> int:
        """Bytes handed to readers, wherever they came from."""
        return self.counters.bytes_memory + self.counters.bytes_disk + self.counters.bytes_ufs

    @property
    def hit_rate(self) -> float | None:
        """Hits / blocks asked for; None when nothing was."""
        return self.counters.hits / self.asked if self.asked else None

    @property
    def byte_hit_rate(self) -> float | None:
        """Bytes that were in a tier when asked for / bytes read; None when nothing was."""
        cached = self.counters.bytes_memory + self.counters.bytes_disk
        return cached / self.bytes_read if self.bytes_read else None

    @property
    def missed(self) -> dict[str, int]:
        """Misses and bypasses by reason, in the order of `REASONS`."""
        return {reason: getattr(self.counters, f"missed_{reason}") for reason in REASONS}

    def as_dict(self) -> dict[str, Any]:
        rates = {"hit_rate": self.hit_rate, "byte_hit_rate": self.byte_hit_rate}
        return {**self.counters._asdict(), "asked": self.asked, "bytes_read": self.bytes_read, **rates}


@dataclasses.dataclass(frozen=True, slots=True)
class NodeView(Result):
    """One node."""

    node_id: str
    #: Address of the machine; empty when it is gone.
    host: str
    #: Of its worker, as the master sees it; "none" when there is none, "gone" when the node has left the cluster.
    state: str
    epoch: int
    heartbeat_age_s: float
    #: Since the start: of readers and worker together, and apart.
    stats: NodeStats
    reads: Reads
    worker: WorkerStats
    #: The last minute, and the last 15.
    minute: Reads
    quarter: Reads
    #: Hit rate in thousandths per 30 s of the last 15 minutes, oldest first; -1 where nothing was asked for.
    spark: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ReaderView(Result):
    """What one task of one Ray job read of one dataset since the cache started, on all nodes."""

    job: str
    task: str
    dataset: str
    reads: Reads
    #: Seconds since it last read.
    quiet_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class MountView(Result):
    """One mount, without its options."""

    path: str
    uri: str
    readonly: bool
    metadata_ttl_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Overview(Result):
    """The whole cache at one moment."""

    cache_id: str
    uptime_s: float
    files_known: int
    stats: Stats
    minute: Reads
    quarter: Reads
    #: Since the start.
    ever: Reads
    mounts: tuple[MountView, ...]
    nodes: tuple[NodeView, ...]
    readers: tuple[ReaderView, ...]
    #: (id, progress), newest first.
    jobs: tuple[tuple[str, Progress], ...]
    #: Bytes read per step, oldest first: (memory here, disk here, other nodes, lake).
    series: tuple[tuple[int, int, int, int], ...]
    series_step_s: float

    @property
    def workers_alive(self) -> int:
        """Live workers."""
        return sum(node.stats.alive for node in self.nodes)


def overview_now(client: Client) -> Overview:
    """What is shown of the cache; this process's own reads are included."""
    client.flusher.flush()
    return overview_of(client.calls.master("overview"))


def overview_of(reply: OverviewReply) -> Overview:
    """The public form of the master's answer."""
    stats = stats_of([node.figures for node in reply.nodes])
    nodes = []
    for node in reply.nodes:
        epoch, state, age_s = node.worker or (0, "none", 0.0)
        node_id = node.figures.node
        nodes.append(
            NodeView(
                node_id=node_id,
                host=node.host,
                state=state if node.figures.alive or node.host else "gone",
                epoch=epoch,
                heartbeat_age_s=age_s,
                stats=stats.nodes[node_id],
                reads=Reads(node.figures.counters),
                worker=node.figures.stats,
                minute=Reads(node.minute),
                quarter=Reads(node.quarter),
                spark=tuple(node.spark),
            )
        )
    return Overview(
        cache_id=reply.cache_id,
        uptime_s=reply.uptime_s,
        files_known=reply.files_known,
        stats=stats,
        minute=_sum(node.minute for node in reply.nodes),
        quarter=_sum(node.quarter for node in reply.nodes),
        ever=_sum(node.figures.counters for node in reply.nodes),
        mounts=tuple(MountView(*mount) for mount in reply.mounts),
        nodes=tuple(nodes),
        readers=tuple(ReaderView(*tag, Reads(counters), quiet_s) for tag, counters, quiet_s in reply.readers),
        jobs=tuple((job_id, progress_of(progress)) for job_id, progress in reply.jobs),
        series=tuple(reply.series),
        series_step_s=reply.series_step_s,
    )


def _sum(counters: Iterable[ReadCounters]) -> Reads:
    return Reads(sum_counters(counters))
