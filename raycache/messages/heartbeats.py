"""Worker to master and back: heartbeats."""

from __future__ import annotations

from typing import NamedTuple

from raycache.invalidations import Invalidation
from raycache.messages.encoding import MountTable
from raycache.messages.figures import ReadCounters, ReadTag, WorkerStats
from raycache.rules import RuleTable
from raycache.types import MembershipView, VersionId, WorkerId


class BlockReport(NamedTuple):
    """What a worker holds (full) or what changed since its last report; shape (R,) each."""

    #: It begins to say everything; what it has said before holds until it has ended.
    full: bool
    versions: list[VersionId]
    #: Shape (R,): the blocks now held of that version, as a bit mask; 0 = none any more.
    masks: list[int]
    #: The next report goes on with this.
    more: bool = False


class Shares(NamedTuple):
    """What one worker may use of each quota."""

    #: Of the rules these are shares of; for a worker that has heard of newer ones they mean nothing.
    rules_version: int
    #: By the quota's path: bytes above which it drops its oldest blocks.
    fair: dict[str, int]
    #: By the quota's path: bytes up to which it may load; less than `fair` while others hold more than theirs.
    limits: dict[str, int]


class WrittenNews(NamedTuple):
    """What was written through the cache between two positions of the master's log; see `raycache.invalidations`."""

    start: int
    position: int
    found: list[Invalidation]


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
    #: Batches of reader counts not known to have arrived: (number, growing by one with every batch of an epoch, counts).
    readers: list[tuple[int, list[tuple[ReadTag, ReadCounters]]]] = []  # noqa: RUF012  # never changed
    rules_version: int = -1
    #: `Shares.limits` as last told.
    quota_limits: dict[str, int] = {}  # noqa: RUF012  # a NamedTuple's default, never changed
    #: By quota, the bytes taken here.
    quota_used: dict[str, int] = {}  # noqa: RUF012
    #: How far the worker has heard what was written.
    written: int = 0
    #: Deliveries in `read_counters` whose readers may not know it: the last number, by reader.
    deliveries: dict[str, int] = {}  # noqa: RUF012


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
    #: None: the worker's is current.
    rules: RuleTable | None = None
    #: What the worker may use from now on; None: no news.
    shares: Shares | None = None
    #: What the worker has not heard of what was written; its readers may trust their log once that is appended.
    written: WrittenNews | None = None
