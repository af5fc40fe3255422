"""The master's decisions: the namespace, the workers, and the news each of them must hear. No Ray, no I/O, no clock.

Theory of operation. Every method is an event that takes the time and returns effects: journal records to write, needs
to ask the lake, workers to start. One thread calls it, so nothing is locked. Mutations that a client may repeat (Ray
may run a call twice) carry a request id; a repeated one has no second effect, and returns the same records, so that a
record whose writing failed is written by the repetition.

What a restart must keep is in the journal: mounts, rules on paths, and the numbers that must grow for ever. Locations and
membership are soft: the workers say them again. So are their counters; what else was counted is kept now and then (`checkpoint`).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from raycache.errors import InvalidRequestError, RaycacheError
from raycache.master.figures.checkpoint import Checkpoint, Keeping, read_checkpoint
from raycache.master.figures.nodes import Figures
from raycache.master.figures.watch import Watch
from raycache.master.locations import Locations
from raycache.master.membership import AdoptWorker, Effect, ForgetWorker, Membership, StartWorker
from raycache.master.namespace.catalog import Catalog
from raycache.master.namespace.comparison import Sync
from raycache.master.namespace.lister import Part
from raycache.master.namespace.lookups import HeadNeed, ListNeed, Need, NeedResult
from raycache.master.namespace.mount_table import Mounts, RedactedMount
from raycache.master.quotas import QuotaShares
from raycache.master.records import rule_record, rules_of
from raycache.messages import (
    Delivery,
    DirectRequest,
    Heartbeat,
    HeartbeatReply,
    HoldersReply,
    JobProgress,
    ListReply,
    ListRequest,
    MountInfo,
    MountTable,
    NodeFigures,
    Overview,
    ResolveReply,
    ResolveRequest,
    Shares,
    StatusReply,
    SyncRequest,
)
from raycache.ranges import block_count
from raycache.rules import Pattern, Rule, RuleTable, add_rules
from raycache.settings import Settings
from raycache.types import FileVersion, MembershipView, VersionId, WorkerId

__all__ = [
    "AdoptWorker", "ForgetWorker", "HeadNeed", "ListNeed", "MasterService", "Need", "NeedResult", "StartWorker",
]  # fmt: skip

# The method `list` hides the type of that name inside the class.
Records: TypeAlias = list[dict[str, Any]]
Versions: TypeAlias = list[VersionId]
Effects: TypeAlias = list[Effect]
AllFigures: TypeAlias = list[NodeFigures]
Jobs: TypeAlias = list[tuple[str, JobProgress]]

REQUESTS_REMEMBERED_MAX = 1_000
#: Invalidated versions kept for workers that have not heard of them; beyond, old blocks stay until they are evicted.
INVALIDATED_KEPT_MAX = 200_000
INVALIDATED_PER_REPLY_MAX = 10_000
#: A restarted master's numbers are beyond what an earlier one can have given out, even if the clock went back.
_NUMBERS_PER_START = 1_000_000


@dataclasses.dataclass(slots=True)
class _Reporting:
    """How far the master has heard one worker incarnation, and it the master."""

    epoch: int
    sequence: int = 0
    want_full: bool = True
    #: Position in the log of invalidated versions.
    heard: int = 0


class MasterService:
    """The master of one cache.

    Args:
        settings: of the cache.
        start_ns: the time of this start, in nanoseconds; numbers that must grow over restarts start there.
    """

    def __init__(self, settings: Settings, *, start_ns: int | None = None) -> None:
        self._settings = settings
        self._first_number = time.time_ns() if start_ns is None else start_ns
        self._mounts = Mounts(self._first_number)
        self._locations = Locations()
        self._catalog = Catalog(self._mounts, self._locations.holders)
        self._membership = Membership(self._first_number, settings.heartbeat_timeout_s)
        self._figures = Figures()
        self._watch = Watch(self._figures)
        self._keeping = Keeping()
        self._requests: OrderedDict[str, Records] = OrderedDict()
        self._reporting: dict[WorkerId, _Reporting] = {}
        self._invalidated: deque[VersionId] = deque()
        #: Position in the log of the first one kept.
        self._invalidated_start = 0
        self._cache_id = ""
        self._rules = RuleTable(self._first_number, ())
        self._shares = QuotaShares()

    # --- journal ------------------------------------------------------------------------------------------------------

    def replay(self, records: Records) -> None:
        """Take over what earlier masters wrote; to be called once, first. Records it does not know are passed over."""
        starts = [record for record in records if record.get("op") == "start"]
        numbers = [int(record.get("start_ns") or record.get("version") or 0) for record in records]
        # The last start is this one's own.
        self._first_number = max([self._first_number, *(number + _NUMBERS_PER_START for number in numbers)])
        self._cache_id = str(starts[-1].get("cache_id", "")) if starts else ""
        restarted = sum(record.get("cache_id", "") == self._cache_id for record in starts) > 1
        self._membership = Membership(self._first_number, self._settings.heartbeat_timeout_s, restarted=restarted)
        self._mounts = Mounts(self._first_number)
        self._catalog = Catalog(self._mounts, self._locations.holders)
        self._rules = RuleTable(self._first_number, ())
        for record in records:
            if record.get("request_id", "") in self._requests:
                continue  # a repeated request: it had no second effect then either
            try:
                match record.get("op"):
                    case "mount":
                        self._mounts.mount(_mount_of(record))
                    case "auto_mount":
                        mount = _mount_of(record)
                        self._mounts.auto_mount(mount.uri, mount.options, mount.metadata_ttl_s)
                    case "unmount":
                        self._mounts.unmount(record["path"])
                    case "rule":
                        self._add_rules(rules_of(record))
            except RaycacheError:
                continue
            if record.get("request_id"):
                self._remember(record["request_id"], [dict(record)])

    def snapshot(self) -> Records:
        """Records that replay to the present state: for compaction."""
        start = {"op": "start", "start_ns": self._first_number, "cache_id": self._cache_id}
        mounts = [self._mount_record(mount) for mount in self._mounts.table().mounts]
        return [start, *mounts, *(rule_record([rule]) for rule in self._rules.rules)]

    def checkpoint(self, now_s: float) -> Checkpoint | None:
        """What has been counted, when it is time to keep it: see `checkpoint`."""
        if not self._keeping.due(self._figures.total, now_s):
            return None
        return self._watch.checkpoint(self._cache_id, now_s)

    def checkpoint_failed(self) -> None:
        """The last checkpoint could not be written."""
        self._keeping.failed()

    def restore(self, record: dict[str, Any], now_s: float, wall_s: float) -> bool:
        """Go on from a checkpoint's record, after `replay`; False when it is of another cache or version."""
        found = read_checkpoint(record, self._cache_id, wall_s)
        if found is not None:
            self._watch.restore(*found, now_s)
        return found is not None

    # --- mounts -------------------------------------------------------------------------------------------------------

    def mount(self, request_id: str, mount: MountInfo, now_s: float) -> Records:  # noqa: ARG002
        """Mount something; returns the journal records.

        Raises:
            AlreadyExistsError, InvalidRequestError: see `Mounts.mount`.
        """
        if request_id in self._requests:
            return self._requests[request_id]
        try:
            json.dumps(mount.options)
        except (TypeError, ValueError) as error:
            raise InvalidRequestError("mount options must be texts, numbers, lists or dicts of these") from error
        record = self._mount_record(self._mounts.mount(mount)) | {"request_id": request_id}
        return self._remember(request_id, [record])

    def auto_mount(self, root_uri: str, options: dict[str, Any], now_s: float) -> Records:  # noqa: ARG002
        """Let a UFS authority mount itself; nothing to do when it has. Returns the journal records.

        Raises:
            InvalidRequestError: not the root of a URI.
        """
        mount = self._mounts.auto_mount(root_uri, options, self._settings.metadata_ttl_s)
        return [] if mount is None else [self._mount_record(mount)]

    def unmount(self, request_id: str, path: str, now_s: float) -> Records:  # noqa: ARG002
        """Take a mount away; returns the journal records.

        Raises:
            NotFoundError: nothing is mounted there.
        """
        if request_id in self._requests:
            return self._requests[request_id]
        mount = self._mounts.unmount(path)
        record = {
            "op": "unmount", "path": mount.path, "version": self._mounts.table().version, "request_id": request_id,
        }  # fmt: skip
        return self._remember(request_id, [record])

    def mounted_uri(self, path: str) -> str:
        """What is mounted at a path.

        Raises:
            NotFoundError: nothing is.
        """
        return self._mounts.at(path).uri

    def mount_table(self) -> MountTable:
        """All mounts, secrets included."""
        return self._mounts.table()

    def place(self, path: str) -> tuple[MountInfo, str]:
        """The mount that answers for a normalised path, and the URI it stands for; see `Mounts.resolve`."""
        return self._mounts.resolve(path)

    def nested_mounts(self, path: str) -> list[str]:
        """Mounts below a namespace path, relative to it."""
        return self._mounts.nested_in(path) if path.startswith("/") else []

    def holders(self, version: VersionId) -> tuple[tuple[WorkerId, int], ...]:
        """(worker, mask of blocks) for each that has said it holds some of a version."""
        return self._locations.holders(version)

    def redacted_mounts(self) -> list[RedactedMount]:
        """All mounts as they may be shown."""
        return self._mounts.redacted()

    # --- rules --------------------------------------------------------------------------------------------------------

    def add_rules(self, request_id: str, rules: Sequence[Rule], now_s: float) -> Records:  # noqa: ARG002
        """Say something new of some paths; returns the journal records.

        Raises:
            InvalidRequestError: see `rules.add_rule`.
        """
        if request_id in self._requests:
            return self._requests[request_id]
        self._add_rules(rules)
        record = rule_record(rules) | {"version": self._rules.version, "request_id": request_id}
        return self._remember(request_id, [record])

    def rules(self) -> RuleTable:
        """All rules on paths."""
        return self._rules

    def quotas_settled(self) -> bool:
        """Whether every worker keeps the present quotas, and may load up to its share of them."""
        return self._shares.settled(self._rules, self._membership.view())

    # --- namespace ----------------------------------------------------------------------------------------------------

    def resolve_needs(self, request: ResolveRequest, now_s: float) -> list[Need]:
        """What to ask the lake before `resolve`."""
        return self._catalog.resolve_needs(request, now_s)

    def list_needs(self, request: ListRequest, now_s: float) -> list[Need]:
        """What to ask the lake before `list`."""
        return self._catalog.list_needs(request, now_s)

    def fetched(self, need: Need, result: NeedResult, now_s: float) -> Versions:  # noqa: ARG002
        """Take an answer of the lake in; returns the versions it shows to be gone, of which workers will hear."""
        return self._invalidate(self._catalog.fetched(need, result))

    def resolve(self, request: ResolveRequest, errors: Mapping[Need, RaycacheError], now_s: float) -> ResolveReply:
        """Answer; `errors` are the needs that failed."""
        return self._catalog.resolve(request, errors, now_s)._replace(
            view=self._membership.news(request.view_id), mounts=self._mounts_news(request.mounts_version)
        )

    def holders_of(self, versions: Sequence[VersionId]) -> HoldersReply:
        """Who holds blocks of these versions."""
        return self._locations.holders_of(versions)

    def direct(self, request: DirectRequest) -> None:
        """Somebody knows better than the hash where files should be loaded."""
        block_size_bytes = self._settings.block_size_bytes
        for file, worker in zip(request.files.versions(), request.workers, strict=True):
            self._locations.expect(file.id(), worker, (1 << block_count(file.size_bytes, block_size_bytes)) - 1)

    def list(self, request: ListRequest, now_s: float, errors: Mapping[Need, RaycacheError] | None = None) -> ListReply:
        """Answer; `errors` are the needs that failed.

        Raises:
            NotFoundError, NotADirectoryRequestError, InvalidRequestError, or an error of the lake; see `Catalog.listing`.
        """
        return self._catalog.listing(request, errors or {}, now_s)

    def invalidate(self, paths: Sequence[str], now_s: float) -> Versions:  # noqa: ARG002
        """Somebody wrote these paths, or below them; returns the versions of which workers will hear."""
        return self._invalidate(self._catalog.invalidate(paths))

    # --- sync ---------------------------------------------------------------------------------------------------------

    def begin_sync(self, pattern: Pattern, request: SyncRequest, now_s: float) -> Sync:
        """Begin a comparison with the lake; see `Catalog.begin_sync`."""
        return self._catalog.begin_sync(pattern, now_s, dry_run=request.dry_run, files_max=request.files_max)

    def sync_part(self, sync: Sync, part: Part, prefix: str) -> Versions:
        """Take in a part of the listing; returns the versions of which workers will hear."""
        return self._invalidate(sync.take(part, prefix=prefix))

    def end_sync(self, sync: Sync) -> Versions:
        """All parts have come; see `Sync.end`."""
        return self._invalidate(sync.end())

    def sync_stale(self, sync: Sync, files: Sequence[FileVersion]) -> Versions:
        """Look through a part of what a worker holds; returns the versions of which workers will hear."""
        return self._invalidate(sync.stale(files))

    # --- workers ------------------------------------------------------------------------------------------------------

    def nodes_changed(self, nodes: Sequence[WorkerId], now_s: float) -> Effects:
        """Compare Ray's live nodes with the workers; to be called regularly, also without a change."""
        self._watch.tick(now_s)
        effects = self._membership.nodes_changed(nodes, now_s)
        self._drop_the_absent()
        return effects

    def register(self, worker: WorkerId, epoch: int, weight_bytes: int, now_s: float) -> bool:
        """A worker has started; returns whether it is its node's current one."""
        return self._membership.spoke(worker, epoch, weight_bytes, now_s)

    def lost(self, worker: WorkerId, epoch: int, now_s: float) -> None:
        """A worker's actor has ended, or could not be started."""
        if self._membership.ended(worker, epoch, now_s):
            self._keeping.hurry()
        self._drop_the_absent()

    def heartbeat(self, heartbeat: Heartbeat, now_s: float, *, delivered: bool = True) -> HeartbeatReply:
        """Take in a worker's word.

        Args:
            heartbeat: the word.
            now_s: the time.
            delivered: whether the worker will get the reply; False when the word was fetched from it.
        """
        self._figures.heard(
            heartbeat.worker, heartbeat.epoch, heartbeat.sequence, heartbeat.read_counters, heartbeat.stats
        )
        self._watch.heard(heartbeat.worker, heartbeat.epoch, heartbeat.readers, now_s)
        weight_bytes = heartbeat.stats.memory_capacity_bytes + heartbeat.stats.disk_capacity_bytes
        if not self._membership.spoke(heartbeat.worker, heartbeat.epoch, weight_bytes, now_s):
            return HeartbeatReply(accepted=False, want_full=False, view=None, mounts=None, invalidated=[])
        known = self._reporting.get(heartbeat.worker)
        if known is None or known.epoch != heartbeat.epoch:
            known = _Reporting(heartbeat.epoch, heard=self._invalidated_start + len(self._invalidated))
            self._reporting[heartbeat.worker] = known
        newest = heartbeat.sequence > known.sequence
        if newest:
            if heartbeat.report.full:
                known.want_full = False
            elif heartbeat.sequence != known.sequence + 1:
                known.want_full = True  # something in between was lost
            known.sequence = heartbeat.sequence
            self._locations.apply(heartbeat.worker, heartbeat.report)
        return HeartbeatReply(
            accepted=True,
            want_full=known.want_full,
            rules=None if heartbeat.rules_version == self._rules.version else self._rules,
            shares=self._divide(heartbeat) if newest and delivered else None,
            view=self._membership.news(heartbeat.view_id),
            mounts=self._mounts_news(heartbeat.mounts_version),
            invalidated=self._unheard(known) if delivered else [],
        )

    def count(self, node: WorkerId, delivery: Delivery, now_s: float) -> None:
        """Counters of a reader on a node without a worker."""
        if self._figures.count(node, delivery):
            self._watch.count(delivery.counts, now_s)

    def view(self) -> MembershipView:
        """The live workers."""
        return self._membership.view()

    @property
    def settling(self) -> bool:
        """Whether this master has restarted, and workers of the one before may not have spoken yet."""
        return self._membership.settling

    def missing_workers(self) -> tuple[int, int]:
        """(live nodes without a live worker, live workers); (1, 0) before the nodes were first seen."""
        return self._membership.missing()

    def stats(self) -> AllFigures:
        """All nodes that ever had a worker or a reader; counters of lost workers included."""
        return self._figures.all({worker.worker: worker.epoch for worker in self._membership.view().workers})

    def status(self, uptime_s: float, now_s: float) -> StatusReply:
        """The cache as the master sees it."""
        return StatusReply(
            uptime_s, len(self._mounts.table().mounts), self._catalog.entries_count, self._membership.states(now_s)
        )

    def overview(self, uptime_s: float, now_s: float, hosts: Mapping[WorkerId, str], jobs: Jobs) -> Overview:
        """Everything there is to show, from what the workers said last."""
        workers = {node: (epoch, state, age_s) for node, epoch, state, age_s in self._membership.states(now_s)}
        return Overview(
            self._cache_id,
            uptime_s,
            self._catalog.entries_count,
            [(mount.path, mount.uri, mount.readonly, mount.metadata_ttl_s) for mount in self._mounts.table().mounts],
            self._watch.nodes(self.stats(), workers, hosts),
            *self._watch.series(),
            self._watch.readers(now_s),
            [(job_id, progress._replace(failures=progress.failures[:20])) for job_id, progress in jobs],
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _add_rules(self, rules: Sequence[Rule]) -> None:
        self._rules = RuleTable(self._rules.version + 1, add_rules(self._rules.rules, rules))

    def _divide(self, heartbeat: Heartbeat) -> Shares | None:
        missing, _ = self._membership.missing()
        view = self._membership.view()
        return self._shares.divide(heartbeat, self._rules, view, complete=not missing)

    def _mount_record(self, mount: MountInfo) -> dict[str, Any]:
        return {
            "op": "mount" if mount.path.startswith("/") else "auto_mount",
            "path": mount.path,
            "uri": mount.uri,
            "options": mount.options,
            "metadata_ttl_s": mount.metadata_ttl_s,
            "readonly": mount.readonly,
            "version": self._mounts.table().version,
        }

    def _mounts_news(self, version: int) -> MountTable | None:
        table = self._mounts.table()
        return None if version == table.version else table

    def _remember(self, request_id: str, records: Records) -> Records:
        self._requests[request_id] = records
        while len(self._requests) > REQUESTS_REMEMBERED_MAX:
            self._requests.popitem(last=False)
        return self._requests[request_id]

    def _drop_the_absent(self) -> None:
        """Nobody should be sent to a worker that is not in the view; one that comes back says everything again."""
        live = {worker.worker: worker.epoch for worker in self._membership.view().workers}
        for worker in [worker for worker, known in self._reporting.items() if live.get(worker) != known.epoch]:
            self._locations.drop(worker)
            del self._reporting[worker]

    def _invalidate(self, versions: Versions) -> Versions:
        self._invalidated.extend(versions)
        while len(self._invalidated) > INVALIDATED_KEPT_MAX:
            self._invalidated.popleft()
            self._invalidated_start += 1
        return versions

    def _unheard(self, known: _Reporting) -> Versions:
        """What a worker has not been told yet, a part at a time; what all have been told is forgotten."""
        first = max(known.heard, self._invalidated_start)
        offset = first - self._invalidated_start
        until = min(len(self._invalidated), offset + INVALIDATED_PER_REPLY_MAX)
        told = [*islice(self._invalidated, offset, until)]
        known.heard = self._invalidated_start + until
        if not self._invalidated:
            return told
        everywhere = min(other.heard for other in self._reporting.values())
        while self._invalidated_start < everywhere and self._invalidated:
            self._invalidated.popleft()
            self._invalidated_start += 1
        return told


def _mount_of(record: Mapping[str, Any]) -> MountInfo:
    return MountInfo(
        record["path"], record["uri"], dict(record["options"]), record["metadata_ttl_s"], record["readonly"]
    )
