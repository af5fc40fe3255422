"""What the public calls return: small frozen records, each with `as_dict()`. No Ray, no I/O."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from raycache.messages import ReadCounters, WorkerStats


def plain(value: Any) -> Any:
    """Turn a result into what JSON knows: dicts, lists, strings, numbers."""
    if isinstance(value, Result):
        return value.as_dict()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value


class Result:
    """Base of all results."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Names and values, ready for JSON."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: plain(getattr(self, field.name)) for field in fields}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry(Result):
    """What stands at a path."""

    path: str
    #: The last part of the path.
    name: str
    #: "file" or "directory".
    kind: str
    #: 0 for a directory.
    size_bytes: int
    #: None when the store does not say.
    mtime: dt.datetime | None
    etag: str
    #: The object in the under storage.
    uri: str


@dataclasses.dataclass(frozen=True, slots=True)
class MountEntry(Result):
    """One mount; secrets in the options are shown as "***"."""

    path: str
    uri: str
    readonly: bool
    metadata_ttl_s: float
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Usage(Result):
    """Size of everything below a path, and how much of it is cached."""

    path: str
    files: int
    bytes_total: int
    bytes_cached: int
    #: Ids of nodes whose workers did not answer: what they hold is not in the figures.
    workers_silent: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Held(Result):
    """What one node holds of one file."""

    blocks: int
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class FileLocation(Result):
    """Where the blocks of one file are; exact when asked, soon a hint."""

    path: str
    size_bytes: int
    blocks: int
    #: By node id; nodes that hold nothing are left out.
    nodes: dict[str, Held]
    #: Ids of nodes whose workers did not answer: what they hold is not told.
    workers_silent: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Missing(Result):
    """A file that is not wholly cached."""

    path: str
    blocks: int
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class CachedDataset(Result):
    """What is kept of one dataset after its transforms, or of one memoized function."""

    name: str
    #: Where its results are in the namespace.
    path: str
    #: Results known to be kept, and what they hold.
    groups: int
    bytes_kept: int
    rows: int
    #: Since the master started: results read; made; waited for while somebody else made them; taken over from somebody who did
    #: not make them in time; and evicted, freed or lost.
    hits: int
    made: int
    waited: int
    taken_over: int
    lost: int
    #: What it took to make what is kept; and what was not done again.
    cpu_s: float
    saved_cpu_s: float
    #: Since one of its results was wanted; None: not since the master started.
    idle_s: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult(Result):
    """Exact residency at the moment of asking."""

    files: int
    files_complete: int
    blocks: int
    blocks_cached: int
    bytes_total: int
    bytes_cached: int
    #: All files that lack something, in path order.
    missing_files: tuple[Missing, ...]
    #: Ids of nodes whose workers did not answer: what only they hold counts as missing.
    workers_silent: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every block is held by some worker."""
        return self.blocks_cached == self.blocks

    def missing(self, limit: int | None = None) -> list[Missing]:
        """The files that lack blocks, in path order; at most `limit`."""
        return list(self.missing_files[:limit])

    def as_dict(self) -> dict[str, Any]:
        return {**Result.as_dict(self), "complete": self.complete}


@dataclasses.dataclass(frozen=True, slots=True)
class FreeResult(Result):
    """What was dropped from the cache, replicas counted one by one."""

    #: Blocks and pages.
    blocks: int
    bytes: int
    #: What was named, but is pinned, and so was left; `force=True` frees it.
    pinned_blocks: int = 0
    pinned_bytes: int = 0
    #: Ids of nodes whose workers did not answer: they may hold what was to be dropped.
    workers_silent: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class PathRule(Result):
    """One rule on a path."""

    #: "pin", "ttl" or "quota".
    kind: str
    #: A directory with everything below it, a file, or a glob.
    path: str
    #: Of a pin 1, of a TTL seconds, of a quota bytes; None: not pinned, no TTL, whatever older rules say.
    value: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Amount(Result):
    """A number of files, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class SyncResult(Result):
    """How the lake differs from what the cache knew of it, and what was done about it."""

    #: In the lake, and new to the cache.
    added: Amount
    #: In the lake in another version; bytes of the new one.
    changed: Amount
    #: No longer in the lake; bytes of what was known.
    removed: Amount
    unchanged: Amount
    #: What `load=True` has brought into the cache, of what was added and changed.
    loaded: Amount
    dry_run: bool
    elapsed_s: float
    #: Paths of files that were added or changed, and of those removed; at most 1,000 each.
    differences: tuple[str, ...]
    removed_paths: tuple[str, ...]
    #: What `load=True` could not bring in, and why; at most 1,000.
    failures: tuple[Failure, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class MapExport(Result):
    """A cache map that was written."""

    uri: str
    files: int
    #: Of the blocks held, copies not counted.
    bytes: int
    elapsed_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class MapImport(Result):
    """What became of the files of a cache map; bytes are those of the blocks in the map."""

    uri: str
    #: All that is in the map.
    total: Amount
    loaded: Amount
    #: Cached here before.
    already: Amount
    #: Another version now, or gone: not loaded.
    changed: Amount
    removed: Amount
    #: For a part of their blocks, or for all, there is no room.
    no_room: Amount
    #: Of files that have changed; at most 1,000.
    changed_paths: tuple[str, ...]
    #: What could not be loaded, and why; at most 1,000.
    failures: tuple[Failure, ...]
    elapsed_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class NodeStats(Result):
    """Counters of one node, or of all; `docs/metrics.md` defines each."""

    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    bytes_memory: int = 0
    bytes_disk: int = 0
    bytes_ufs: int = 0
    bytes_local: int = 0
    bytes_remote: int = 0
    bytes_bypass: int = 0
    #: Of the bytes in a tier, those that another node held.
    bytes_memory_remote: int = 0
    bytes_disk_remote: int = 0
    #: Misses and bypasses by reason; their sum is misses + bypasses.
    missed_cold: int = 0
    missed_evicted: int = 0
    missed_freed: int = 0
    missed_changed: int = 0
    missed_expired: int = 0
    missed_admission: int = 0
    missed_quota: int = 0
    missed_unreachable: int = 0
    missed_failed: int = 0
    tasks_started: int = 0
    tasks_out_of_turn: int = 0
    memory_used_bytes: int = 0
    memory_capacity_bytes: int = 0
    disk_used_bytes: int = 0
    disk_capacity_bytes: int = 0
    evictions: int = 0
    demotions: int = 0
    promotions: int = 0
    #: Requests to the under storage by this node's worker and readers, listings by the master not included.
    ufs_requests: int = 0
    ufs_bytes: int = 0
    blocks: int = 0
    segments: int = 0
    loads_inflight: int = 0
    refusals: int = 0
    disk_errors: int = 0
    corrupt_segments: int = 0
    #: Of `ufs_requests`, those of workers that failed; of `evictions`, those from disk.
    ufs_errors: int = 0
    evictions_disk: int = 0
    plasma_used_bytes: int = 0
    plasma_capacity_bytes: int = 0
    disk_written_bytes: int = 0
    workers_lru: int = 0
    workers_sieve: int = 0
    workers_s3_fifo: int = 0
    workers_sticky: int = 0
    policy_changes: int = 0
    peer_silences: int = 0
    #: Whether a worker is alive there now.
    alive: bool = True

    @property
    def hit_rate(self) -> float:
        """Hits / (hits + misses + bypasses); 0 when nothing was asked for."""
        return self.hits / max(1, self.hits + self.misses + self.bypasses)

    def as_dict(self) -> dict[str, Any]:
        return {**Result.as_dict(self), "hit_rate": self.hit_rate}

    @classmethod
    def of(cls, counters: ReadCounters, stats: WorkerStats, *, alive: bool) -> NodeStats:
        """Put a node's readers' counters and its worker's figures together."""
        values = counters._asdict()
        for name, value in stats._asdict().items():
            values[name] = values.get(name, 0) + value
        return cls(**values, alive=alive)


@dataclasses.dataclass(frozen=True, slots=True)
class Stats(Result):
    """`total` and `nodes[node_id]`; the total keeps the counts of workers that are gone."""

    total: NodeStats
    nodes: dict[str, NodeStats]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerStatus(Result):
    """One worker as the master sees it."""

    node_id: str
    epoch: int
    state: str
    memory_used_bytes: int
    memory_capacity_bytes: int
    disk_used_bytes: int
    disk_capacity_bytes: int
    heartbeat_age_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Status(Result):
    """The cache as a whole."""

    master: str
    uptime_s: float
    mounts: int
    files_known: int
    workers: tuple[WorkerStatus, ...]
    #: What is wrong with the master, a line each: why changes are refused, what of its journal was lost.
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Setting(Result):
    """One setting and where its value came from."""

    name: str
    value: Any
    origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class Failure(Result):
    """One file a job could not load, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Progress(Result):
    """How far a load is."""

    #: WAITING, RUNNING, VERIFYING, SUCCEEDED, FAILED or STOPPED.
    state: str
    files_total: int
    files_done: int
    files_failed: int
    blocks_total: int
    blocks_done: int
    blocks_failed: int
    bytes_total: int
    bytes_done: int
    bytes_failed: int
    #: Bytes that were resident already and moved nothing.
    bytes_already: int
    elapsed_s: float
    rate_bytes_s: float
    #: None when nothing can be said yet.
    eta_s: float | None
    #: At most 1,000 of them.
    failures: tuple[Failure, ...]
    #: What was asked for: at most 10 of the paths.
    paths: tuple[str, ...] = ()
    priority: int = 0
    #: Whether the totals are final: the lake has been listed.
    listed: bool = True
    #: Of all copies, what the cache has no room for, even when it gives everything else up: known before the load starts.
    bytes_over: int = 0
    #: By `verify=True`: bytes found good, and bytes that had to be loaded again.
    bytes_verified: int = 0
    bytes_repaired: int = 0

    @property
    def finished(self) -> bool:
        """Whether the job has ended, one way or the other."""
        return self.state in ("SUCCEEDED", "FAILED", "STOPPED")

    def as_dict(self) -> dict[str, Any]:
        return {**Result.as_dict(self), "finished": self.finished}


@dataclasses.dataclass(frozen=True, slots=True)
class LoadPlan(Result):
    """What a load would do: a dry run."""

    files: int
    blocks: int
    #: Of one copy.
    bytes: int
    files_cached: int
    bytes_cached: int
    #: What would leave the lake.
    bytes_to_move: int
    #: All tiers of all workers, whatever is in them now.
    capacity_bytes: int
    #: Whether all copies fit, when everything else is given up for them.
    fits: bool
    #: Of all copies, what does not; the files it belongs to, and some of their names.
    bytes_over: int
    files_over: int
    over: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class PathInfo(Result):
    """One file of an expanded path list."""

    path: str
    size_bytes: int
