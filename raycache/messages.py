"""What crosses process borders: requests and replies, as columns.

A Ray call costs about 1 ms whatever it carries, and lists of objects pickle slowly, so every message is a batch whose
fields are parallel lists: field[i] speaks of item i. Messages are pickled once into `bytes` (`encode`), since Ray's own
serializer walks lists of strings in Python. Only object references and arrays travel beside the blob.

Shapes: F files, B blocks asked for, G grants (segments handed out), E entries of a segment.
"""

from __future__ import annotations

import enum
import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple

from raycache.errors import RaycacheError
from raycache.types import FileVersion, MembershipView, SegmentId, Tier, VersionId, WorkerId

#: The Ray namespace and the name of the master actor.
RAY_NAMESPACE = "raycache"
MASTER_NAME = "raycache-master"

VERSION_ID_BYTES = 16


def encode(message: Any) -> bytes:
    """Pickle one message into a blob for an actor call."""
    return pickle.dumps(message, protocol=5)


def decode(blob: bytes) -> Any:
    """The message of `encode`. Only for blobs from this cluster's own actors and clients."""
    return pickle.loads(blob)


class FileColumns(NamedTuple):
    """F file versions, as columns."""

    uris: list[str]
    sizes_bytes: list[int]
    etags: list[str]
    mtimes_ns: list[int]

    @classmethod
    def of(cls, versions: Iterable[FileVersion]) -> FileColumns:
        """Turn rows into columns."""
        rows = list(versions)
        if not rows:
            return cls([], [], [], [])
        return cls(*(list(column) for column in zip(*rows, strict=True)))

    def versions(self) -> list[FileVersion]:
        """Turn columns into rows."""
        return [FileVersion(*row) for row in zip(*self, strict=True)]


# --- mounts -----------------------------------------------------------------------------------------------------------


class MountInfo(NamedTuple):
    """One mount, secrets included: travels between our own processes only. `repr` and `redacted` hide the options."""

    #: Absolute path in the namespace without a trailing slash ("/" for the root), or, for a self-mounted UFS
    #: authority, its URI root (`s3://bucket`).
    path: str
    #: What is mounted, without a trailing slash: `s3://bucket/prefix`, `file:///data`.
    uri: str
    #: Of the under storage: endpoint, keys, region, ...; may hold secrets.
    options: dict[str, Any]
    metadata_ttl_s: float
    readonly: bool

    def __repr__(self) -> str:
        return f"MountInfo(path={self.path!r}, uri={self.uri!r}, readonly={self.readonly}, options=...)"


class MountTable(NamedTuple):
    """All mounts; the version grows with every change."""

    version: int
    mounts: tuple[MountInfo, ...]

    def of_uri(self, uri: str) -> MountInfo | None:
        """The mount whose options open this URI: the longest mounted URI above it."""
        above = [m for m in self.mounts if uri == m.uri or uri.startswith(m.uri.rstrip("/") + "/")]
        return max(above, key=lambda mount: len(mount.uri), default=None)

    def of_path(self, path: str) -> MountInfo | None:
        """The mount a namespace path or a URI belongs to: the longest one above it."""
        if not path.startswith("/"):
            return self.of_uri(path)
        above = [m for m in self.mounts if path == m.path or path.startswith(m.path.rstrip("/") + "/")]
        return max(above, key=lambda mount: len(mount.path), default=None)


# --- client -> master ---------------------------------------------------------------------------------------------------


class ResolveRequest(NamedTuple):
    """Which file versions stand at these paths, and where are their blocks?"""

    #: Shape (F,), normalised: absolute in the namespace, or a UFS URI.
    paths: list[str]
    #: What the client knows; newer ones come back with the reply.
    view_id: int
    mounts_version: int
    #: Ask the under storage again even where the metadata TTL has not passed.
    fresh: bool = False


class ResolveReply(NamedTuple):
    """Answers in the order of the request's paths."""

    #: Shape (F,), of `FileKind`.
    kinds: list[int]
    #: Shape (F,). For a directory only `uris` means something (no trailing slash); for MISSING nothing does.
    files: FileColumns
    #: Shape (F,): seconds the client may keep the answer.
    expires_in_s: list[float]
    #: Shape (F,): per file a tuple of (worker, block bit mask): hints.
    holders: list[tuple[tuple[WorkerId, int], ...]]
    #: By position: why a path could not be resolved (denied, unavailable); its kind is MISSING.
    errors: dict[int, RaycacheError]
    #: None when the client's is current.
    view: MembershipView | None
    mounts: MountTable | None


class ListRequest(NamedTuple):
    """What is below a directory?"""

    path: str
    #: Everything below, not only the direct children.
    recursive: bool
    fresh: bool = False


class ListReply(NamedTuple):
    """Entries sorted by name; shape (E,) each."""

    #: Relative to the directory asked for; directories have no trailing slash.
    names: list[str]
    #: Of `FileKind`: FILE or DIRECTORY (only direct ones, and only when not recursive).
    kinds: list[int]
    sizes_bytes: list[int]
    etags: list[str]
    mtimes_ns: list[int]
    #: The URI the names are relative to, no trailing slash.
    base_uri: str
    expires_in_s: float


class Hello(NamedTuple):
    """What a client learns when it connects."""

    #: One incarnation of the cache, from start to stop.
    cache_id: str
    #: `Settings.as_dict()`, and the origin of each value.
    settings: dict[str, Any]
    origins: dict[str, str]
    view: MembershipView
    mounts: MountTable


class JobProgress(NamedTuple):
    """How far a load job is; see `client.results.Progress`, which has the same fields."""

    #: WAITING, RUNNING, SUCCEEDED, FAILED or STOPPED.
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
    bytes_already: int
    elapsed_s: float
    rate_bytes_s: float
    eta_s: float | None
    #: (path, reason), at most 1,000.
    failures: list[tuple[str, str]]


class LoadRequest(NamedTuple):
    """Make these files resident."""

    #: Shape (F,): as the user knows them, for progress and failures.
    paths: list[str]
    files: FileColumns
    replicas: int


# --- client -> worker ---------------------------------------------------------------------------------------------------


class BlockRequest(NamedTuple):
    """Give me these parts of blocks; load what you do not hold."""

    #: The reader's node: on the worker's own node segments are handed out in place.
    node: WorkerId
    view_id: int
    mounts_version: int
    #: Shape (F,).
    files: FileColumns
    #: Shape (B,): which file of `files`.
    file_index: list[int]
    #: Shape (B,): which block of the file.
    block_index: list[int]
    #: Shape (B,): the part wanted, within the block.
    offsets: list[int]
    lengths: list[int]
    #: As the asker knows it; a worker of another cache generation refuses.
    block_size_bytes: int
    #: False: a load; make the blocks resident and say so, hand nothing out.
    hand_out: bool = True
    #: The actor name of a worker that holds the blocks: fetch what is missing from it, not from the lake.
    source_actor: str = ""
    #: Serve what is here, load nothing: the asker is another worker, which can ask the lake itself. Were its blocks loaded
    #: for it, workers could wait for each other in a circle.
    held_only: bool = False


class BlockState(enum.IntEnum):
    """What became of one block asked for. A miss or a refusal is a value, not an error."""

    HIT_MEMORY = 0
    HIT_DISK = 1
    #: Was missing; has been fetched from the under storage (or from another worker) for this request.
    LOADED = 2
    #: Nothing could make room: read through.
    NO_SPACE = 3
    #: The object is no longer this version (412, or another size or mtime).
    CHANGED = 4
    #: The object is gone (404).
    GONE = 5
    #: The under storage failed; see `errors`.
    FAILED = 6

    @property
    def served(self) -> bool:
        """Whether a grant carries the bytes."""
        return self <= BlockState.LOADED


class GrantKind(enum.IntEnum):
    """How a segment is handed to the reader."""

    #: payload = object reference of a numpy uint8 array holding the whole segment.
    PLASMA = 0
    #: `path` = a file on the reader's own machine to map; the segment's bytes start at offset 0.
    FILE = 1
    #: payload = numpy uint8 array holding just the wanted parts, one after the other.
    INLINE = 2


class Grant(NamedTuple):
    """A lease on one segment: the right to read it in place for a while."""

    segment: SegmentId
    tier: Tier
    kind: GrantKind
    length_bytes: int
    path: str
    lease_s: float
    #: Shape (E,): all blocks in the segment, so that further files of it cost no call. Empty for INLINE.
    entry_versions: list[VersionId]
    entry_blocks: list[int]
    entry_offsets: list[int]
    entry_lengths: list[int]


class BlockReply(NamedTuple):
    """The answer to a `BlockRequest`; travels as (encode(reply), payloads), payloads[g] belonging to grants[g]."""

    worker: WorkerId
    epoch: int
    view_id: int
    #: Shape (B,), of `BlockState`.
    states: list[int]
    #: Shape (B,): index into `grants`, -1 when not served.
    grant_index: list[int]
    #: Shape (B,): where in the grant's bytes the block starts; for INLINE, where the wanted part starts.
    grant_offsets: list[int]
    grants: list[Grant]
    #: By position.
    errors: dict[int, RaycacheError]


class Selector(NamedTuple):
    """Which blocks to free. A block is meant when any of the three lists names its file."""

    #: Exact UFS URIs.
    uris: list[str]
    #: UFS URI prefixes: everything that starts with one of them.
    prefixes: list[str]
    versions: list[VersionId]


class FreeReply(NamedTuple):
    """What one worker dropped. Pinned or leased bytes that must wait are counted too: they go when the lease ends."""

    blocks: int
    bytes: int


class ResidencyReply(NamedTuple):
    """What one worker holds of F files, exactly: bit masks of blocks, per tier (a block may be in both)."""

    memory_masks: list[int]
    disk_masks: list[int]


# --- counters -----------------------------------------------------------------------------------------------------------


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


class TouchRequest(NamedTuple):
    """What a reader did without asking: segments it read in place (renew their leases), and its counts."""

    segments: list[SegmentId]
    #: Only to the worker of the reader's own node.
    counters: ReadCounters | None


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


# --- worker <-> master --------------------------------------------------------------------------------------------------


class BlockReport(NamedTuple):
    """What a worker holds (full) or what changed since its last report; shape (R,) each."""

    full: bool
    versions: list[VersionId]
    #: Shape (R,): the blocks now held of that version, as a bit mask; 0 = none any more.
    masks: list[int]


class Heartbeat(NamedTuple):
    """A worker's periodic word."""

    worker: WorkerId
    epoch: int
    #: Grows by one with every heartbeat of an epoch; an older one is dropped, a gap makes the master ask for a full report.
    sequence: int
    report: BlockReport
    stats: WorkerStats
    #: Of all readers on this node, since this worker's start.
    read_counters: ReadCounters
    view_id: int
    mounts_version: int


class HeartbeatReply(NamedTuple):
    """What the worker should know."""

    #: False: the epoch is stale or unknown; register again (or exit when a newer worker exists).
    accepted: bool
    #: The next report should be full.
    want_full: bool
    view: MembershipView | None
    mounts: MountTable | None
    #: Versions replaced or removed in the lake: drop their blocks.
    invalidated: list[VersionId]
