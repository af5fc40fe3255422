"""The master's decisions: the namespace, the workers, and the news each of them must hear. No Ray, no I/O, no clock.

Theory of operation. A method is an event that concerns several parts; it returns what is to be done about it, such as
workers to start. What must be durable is decided, written down and made so in this order: `mount`, `unmount` and
`add_rules` change nothing, and return journal records; `apply` makes them so, now as well as in a later master. What one part knows alone is asked of that part: `mounts`, `catalog`, `locations`,
`membership`. One thread calls it, so nothing is locked. Mutations that a client may repeat (Ray may run a call twice)
carry a request id; a repeated one has no records.

What a restart must keep is in the journal: mounts, rules on paths, and the numbers that must grow for ever. Locations and
membership are soft: the workers say them again. So are their counters; what else was counted is kept now and then (`checkpoint`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from raycache import paths as names
from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.invalidations import Invalidation
from raycache.master.figures.checkpoint import Checkpoint, Keeping, read_checkpoint
from raycache.master.figures.nodes import Figures
from raycache.master.figures.watch import Watch
from raycache.master.locations import Locations
from raycache.master.membership import Effect, Membership
from raycache.master.namespace.catalog import Catalog
from raycache.master.namespace.lookups import Need, NeedResult
from raycache.master.namespace.mount_table import Mounts
from raycache.master.quotas import QuotaShares
from raycache.master.written import WrittenLog
from raycache.messages import (
    Delivery,
    DirectRequest,
    Heartbeat,
    HeartbeatReply,
    JobProgress,
    MountInfo,
    MountTable,
    NodeFigures,
    OverviewReply,
    ResolveReply,
    ResolveRequest,
    Shares,
    StatusReply,
    WrittenNews,
)
from raycache.ranges import block_count
from raycache.rules import Rule, RuleSet, RuleTable, record_of, rules_of
from raycache.settings import Settings
from raycache.types import VersionId, WorkerId

Record: TypeAlias = dict[str, Any]

REQUESTS_REMEMBERED_MAX = 1_000
#: Invalidated versions kept for workers that have not heard of them; beyond, old blocks stay until they are evicted.
INVALIDATED_KEPT_MAX = 200_000
INVALIDATED_PER_REPLY_MAX = 10_000
_DAMAGE_SHOWN_MAX = 20
#: A restarted master's numbers are beyond what an earlier one can have given out, even if the clock went back.
_NUMBERS_PER_START = 1_000_000


@dataclasses.dataclass(slots=True)
class _Reporting:
    """How far the master has heard one worker incarnation, and the other way round."""

    epoch: int
    sequence: int = 0
    want_full: bool = True
    #: Position in the log of invalidated versions.
    heard: int = 0


class MasterService:
    """The master of one cache.

    Args:
        settings: of the cache.
        records: what earlier masters wrote in the journal, and this one's start. Unknown ones are passed over.
        start_ns: the time of this start, in nanoseconds; numbers that must grow over restarts start there.
        started_s: the same, by the clock of `now_s`.
    """

    def __init__(
        self,
        settings: Settings,
        records: Sequence[Record] = (),
        *,
        start_ns: int | None = None,
        started_s: float = float("-inf"),
    ) -> None:
        self._settings = settings
        starts = [record for record in records if record.get("op") == "start"]
        numbers = [int(record.get("start_ns") or record.get("version") or 0) for record in records]
        start_ns = time.time_ns() if start_ns is None else start_ns
        self._first_number = max([start_ns, *(number + _NUMBERS_PER_START for number in numbers)])
        # The last start is this one's own.
        self._cache_id = str(starts[-1].get("cache_id", "")) if starts else ""
        restarted = sum(record.get("cache_id", "") == self._cache_id for record in starts) > 1
        self.mounts = Mounts(self._first_number)
        self.locations = Locations()
        self.catalog = Catalog(self.mounts, self.locations.holders)
        self.membership = Membership(
            self._first_number, settings.heartbeat_timeout_s, restarted=restarted, cache_id=self._cache_id
        )
        #: When counts are to be kept for a restart.
        self.keeping = Keeping()
        self._rule_set = RuleSet()
        self._rules_version = self._first_number
        self._rule_table = RuleTable(self._first_number, ())
        self._figures = Figures()
        self._watch = Watch(self._figures)
        #: Repeatable requests that were carried out; an ordered set.
        self._requests: OrderedDict[str, None] = OrderedDict()
        self._reporting: dict[WorkerId, _Reporting] = {}
        self._invalidated: deque[VersionId] = deque()
        #: Position in the log of the first one kept.
        self._invalidated_start = 0
        #: What was written through the cache.
        self.written = WrittenLog(self._first_number, started_s)
        self._shares = QuotaShares()
        #: What of the journal was lost, a line each.
        self.damage: list[str] = []
        self.apply(records)

    # --- journal ------------------------------------------------------------------------------------------------------

    def apply(self, records: Sequence[Record]) -> None:
        """Make so what stands in the journal."""
        for record in records:
            if record.get("request_id", "") in self._requests:
                continue  # a repeated request: it had no second effect then either
            try:
                match record.get("op"):
                    case "mount" | "auto_mount":
                        self.mounts.put(_mount_of(record))
                    case "unmount":
                        self.mounts.unmount(record["path"])
                    case "rule":
                        for rule in rules_of(record):
                            self._rule_set.say(rule)
                        self._rules_version += 1
            except RaycacheError:
                continue
            if record.get("request_id"):
                self._requests[record["request_id"]] = None
                while len(self._requests) > REQUESTS_REMEMBERED_MAX:
                    self._requests.popitem(last=False)

    def snapshot(self) -> list[Record]:
        """Records that replay to the present state: for compaction."""
        start = {"op": "start", "start_ns": self._first_number, "cache_id": self._cache_id}
        mounts = [self._mount_record(mount) for mount in self.mounts.table().mounts]
        return [start, *mounts, *(record_of([rule]) for rule in self.rules.rules)]

    def checkpoint(self, now_s: float) -> Checkpoint | None:
        """What has been counted, when it is time to keep it: see `checkpoint`."""
        if not self.keeping.due(self._figures.total, now_s):
            return None
        return self._watch.checkpoint(self._cache_id, now_s)

    def restore(self, record: dict[str, Any], now_s: float, wall_s: float) -> bool:
        """Go on from a checkpoint's record; False when it is of another cache or version."""
        found = read_checkpoint(record, self._cache_id, wall_s)
        if found is not None:
            self._watch.restore(*found, now_s)
        return found is not None

    # --- mounts -------------------------------------------------------------------------------------------------------

    def mount(self, request_id: str, mount: MountInfo) -> list[Record]:
        """What has to be written down to mount something: nothing when that is there already.

        Raises:
            AlreadyExistsError, InvalidRequestError: see `Mounts.checked`.
        """
        if request_id in self._requests:
            return []
        try:
            json.dumps(mount.options)
        except (TypeError, ValueError) as error:
            raise InvalidRequestError("mount options must be texts, numbers, lists or dicts of these") from error
        checked = self.mounts.checked(mount)
        return [] if checked is None else [self._mount_record(checked) | {"request_id": request_id}]

    def auto_mount(self, root_uri: str, options: dict[str, Any]) -> list[Record]:
        """What has to be written down to let a UFS authority mount itself; nothing when it has.

        Raises:
            InvalidRequestError: not the root of a URI.
        """
        mount = self.mounts.checked_auto(root_uri, options, self._settings.metadata_ttl_s)
        return [] if mount is None else [self._mount_record(mount)]

    def unmount(self, request_id: str, path: str) -> list[Record]:
        """What has to be written down to take a mount away.

        Raises:
            NotFoundError: nothing is mounted there.
        """
        if request_id in self._requests:
            return []
        version = self.mounts.version + 1
        return [{"op": "unmount", "path": self.mounts.at(path).path, "version": version, "request_id": request_id}]

    # --- rules --------------------------------------------------------------------------------------------------------

    def add_rules(self, request_id: str, rules: Sequence[Rule]) -> list[Record]:
        """What has to be written down to say something new of some paths.

        Raises:
            InvalidRequestError: see `RuleSet.check`.
        """
        if request_id in self._requests:
            return []
        self._rule_set.check(rules)
        return [record_of(rules) | {"version": self._rules_version + 1, "request_id": request_id}]

    @property
    def rules(self) -> RuleTable:
        """All rules on paths. Made when it is asked for, once for each version."""
        if self._rule_table.version != self._rules_version:
            self._rule_table = RuleTable(self._rules_version, self._rule_set.rules)
        return self._rule_table

    def quotas_settled(self) -> bool:
        """Whether every worker keeps the present quotas, and may load up to its share of them."""
        return self._shares.settled(self.rules, self.membership.view())

    # --- namespace ----------------------------------------------------------------------------------------------------

    def fetched(self, need: Need, result: NeedResult) -> list[VersionId]:
        """Take an answer of the lake in; returns the versions it shows to be gone, of which workers will hear."""
        return self.invalidate(self.catalog.fetched(need, result))

    def resolve(self, request: ResolveRequest, errors: Mapping[Need, RaycacheError], now_s: float) -> ResolveReply:
        """Answer; `errors` are the needs that failed."""
        return self.catalog.resolve(request, errors, now_s)._replace(
            view=self.membership.news(request.view_id), mounts=self._mounts_news(request.mounts_version)
        )

    def direct(self, request: DirectRequest) -> None:
        """Let files be loaded where a reader wants them, instead of where the hash puts them."""
        block_size_bytes = self._settings.block_size_bytes
        for file, worker in zip(request.files.versions(), request.workers, strict=True):
            self.locations.expect(file.id(), worker, (1 << block_count(file.size_bytes, block_size_bytes)) - 1)

    def wrote(self, changed: Sequence[tuple[str, bool]]) -> int:
        """These paths, and where it says so what is below them, were written.

        Returns:
            The position in `written` of which all workers must hear before readers everywhere see it.
        """
        self.invalidate(self.catalog.invalidate([path for path, _ in changed]))
        found: list[Invalidation] = []
        for path, below in changed:
            with contextlib.suppress(NotFoundError):  # unmounted meanwhile: nobody knows it by this name
                found.append(Invalidation(self.mounts.resolve(names.normalise(path))[1], below))
        return self.written.append(found)

    def is_heard(self, position: int, now_s: float) -> bool:
        """Whether no reader trusts what it remembered from before this position of `written`."""
        return not self.written.unheard(position, now_s, complete=not self.membership.missing()[0])

    def invalidate(self, versions: list[VersionId]) -> list[VersionId]:
        """These versions are no longer what the lake has: workers hear of it with their heartbeats. Returns them."""
        self._invalidated.extend(versions)
        while len(self._invalidated) > INVALIDATED_KEPT_MAX:
            self._invalidated.popleft()
            self._invalidated_start += 1
        return versions

    # --- workers ------------------------------------------------------------------------------------------------------

    def nodes_changed(self, nodes: Sequence[WorkerId], now_s: float) -> list[Effect]:
        """Compare Ray's live nodes with the workers; to be called regularly, also without a change."""
        self._watch.tick(now_s)
        self.written.forget_silent(now_s)
        effects = self.membership.nodes_changed(nodes, now_s)
        self._drop_the_absent()
        self._forget_heard()
        return effects

    def lost(self, worker: WorkerId, epoch: int, now_s: float) -> None:
        """A worker's actor has ended, or could not be started."""
        if self.membership.ended(worker, epoch, now_s):
            self.keeping.hurry()
        self._drop_the_absent()

    def heartbeat(self, heartbeat: Heartbeat, now_s: float, *, delivered: bool = True) -> HeartbeatReply:
        """Take a heartbeat in.

        Args:
            heartbeat: of a worker.
            now_s: the time.
            delivered: whether the worker will get the reply; False when the heartbeat was fetched from it.
        """
        self._figures.heard(
            heartbeat.worker,
            heartbeat.epoch,
            heartbeat.sequence,
            heartbeat.read_counters,
            heartbeat.stats,
            heartbeat.deliveries,
        )
        self._watch.heard(heartbeat.worker, heartbeat.epoch, heartbeat.readers, now_s)
        weight_bytes = heartbeat.stats.memory_capacity_bytes + heartbeat.stats.disk_capacity_bytes
        if not self.membership.spoke(heartbeat.worker, heartbeat.epoch, weight_bytes, now_s):
            return HeartbeatReply(accepted=False, want_full=False, view=None, mounts=None, invalidated=[])
        if delivered:
            self.written.spoke(heartbeat.worker, heartbeat.epoch, heartbeat.written, now_s)
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
            self.locations.apply(heartbeat.worker, heartbeat.report)
        return HeartbeatReply(
            accepted=True,
            want_full=known.want_full,
            rules=None if heartbeat.rules_version == self.rules.version else self.rules,
            shares=self._divide(heartbeat) if newest and delivered else None,
            view=self.membership.news(heartbeat.view_id),
            mounts=self._mounts_news(heartbeat.mounts_version),
            invalidated=self._unheard(known) if delivered else [],
            written=self.written_news(heartbeat.written) if delivered else None,
        )

    def written_news(self, heard: int) -> WrittenNews:
        """What a worker lacks that has heard up to a position."""
        return WrittenNews(heard, self.written.position, self.written.since(heard))

    def count(self, node: WorkerId, delivery: Delivery, now_s: float) -> None:
        """Counters of a reader on a node without a worker."""
        if self._figures.count(node, delivery):
            self._watch.count(delivery.counts, now_s)

    def stats(self) -> list[NodeFigures]:
        """All nodes that ever had a worker or a reader; counters of lost workers included."""
        return self._figures.all({worker.worker: worker.epoch for worker in self.membership.view().workers})

    def status(self, uptime_s: float, now_s: float) -> StatusReply:
        """The cache as the master sees it."""
        return StatusReply(
            uptime_s,
            len(self.mounts.table().mounts),
            self.catalog.entries_count,
            self.membership.states(now_s),
            self.damage[:_DAMAGE_SHOWN_MAX],
        )

    def overview(
        self, uptime_s: float, now_s: float, hosts: Mapping[WorkerId, str], jobs: list[tuple[str, JobProgress]]
    ) -> OverviewReply:
        """Everything there is to show, from what the workers said last."""
        workers = {node: (epoch, state, age_s) for node, epoch, state, age_s in self.membership.states(now_s)}
        return OverviewReply(
            self._cache_id,
            uptime_s,
            self.catalog.entries_count,
            [(mount.path, mount.uri, mount.readonly, mount.metadata_ttl_s) for mount in self.mounts.table().mounts],
            self._watch.nodes(self.stats(), workers, hosts),
            *self._watch.series(),
            self._watch.readers(now_s),
            [(job_id, progress._replace(failures=progress.failures[:20])) for job_id, progress in jobs],
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _divide(self, heartbeat: Heartbeat) -> Shares | None:
        missing, _ = self.membership.missing()
        view = self.membership.view()
        return self._shares.divide(heartbeat, self.rules, view, complete=not missing)

    def _mount_record(self, mount: MountInfo) -> dict[str, Any]:
        return {
            "op": "mount" if mount.path.startswith("/") else "auto_mount",
            "path": mount.path,
            "uri": mount.uri,
            "options": mount.options,
            "metadata_ttl_s": mount.metadata_ttl_s,
            "readonly": mount.readonly,
            "version": self.mounts.version + 1,
        }

    def _mounts_news(self, version: int) -> MountTable | None:
        return None if version == self.mounts.version else self.mounts.table()

    def _drop_the_absent(self) -> None:
        """Nobody should be sent to a worker that is not in the view; one that comes back says everything again."""
        live = {worker.worker: worker.epoch for worker in self.membership.view().workers}
        for worker in [worker for worker, known in self._reporting.items() if live.get(worker) != known.epoch]:
            self.locations.drop(worker)
            del self._reporting[worker]

    def _unheard(self, known: _Reporting) -> list[VersionId]:
        """What a worker has not heard yet, a part at a time."""
        first = max(known.heard, self._invalidated_start)
        offset = first - self._invalidated_start
        until = min(len(self._invalidated), offset + INVALIDATED_PER_REPLY_MAX)
        unheard = [*islice(self._invalidated, offset, until)]
        known.heard = self._invalidated_start + until
        return unheard

    def _forget_heard(self) -> None:
        """What all workers have heard is of no use any more."""
        everywhere = min((known.heard for known in self._reporting.values()), default=0)
        while self._invalidated_start < everywhere and self._invalidated:
            self._invalidated.popleft()
            self._invalidated_start += 1


def _mount_of(record: Mapping[str, Any]) -> MountInfo:
    return MountInfo(
        record["path"], record["uri"], dict(record["options"]), record["metadata_ttl_s"], record["readonly"]
    )
