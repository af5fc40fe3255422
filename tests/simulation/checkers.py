"""One checker per invariant of ARCHITECTURE.md, each named after the property it guards.

A checker looks at the whole cluster from outside: what was asked of whom, what was carried out, what readers got. It
knows the lake's history, and believes nobody's word. `Checkers` passes the events on.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raycache.client.client import READ_ATTEMPTS_MAX
from raycache.client.file_meta import FileMeta
from raycache.client.reading.reader import Request
from raycache.errors import ConflictError, NotFoundError, RaycacheError, UnavailableError
from raycache.messages import (
    BlockRequest,
    Heartbeat,
    HeartbeatReply,
    MountTable,
    ReadCounters,
    sum_counters,
)
from raycache.ranges import BlockRange, block_count, clip
from raycache.types import FileKind, MembershipView, SegmentId, Tier, VersionId, WorkerId
from raycache.workers.effects import Demote, DropDisk, DropMemory, Effect, Load, LoadOutcome, Promote, Reply

from .checker import Checker
from .loaded_once import BlocksAreLoadedOnce

if TYPE_CHECKING:
    from .client import SimulatedClient
    from .cluster import Cluster
    from .master import SimulatedMaster
    from .worker import SimulatedWorker

#: `locator._UNATTENDED_TTL_S`: how long a reader trusts what it looked up past a silent master.
_UNATTENDED_TTL_S = 2.0
#: Events.
_WEIGH_ALL_EVERY = 8


class ReadsAreOfOneVersion(Checker):
    """A read never mixes versions, gives the right bytes, and not older ones than the metadata TTL allows.

    However wrong the hints are: location is only a hint.
    """

    def read_ended(
        self,
        client: SimulatedClient,
        keys: Sequence[str],
        ranges: Sequence[tuple[int, int | None]],
        started_s: float,
        outcome: Sequence[bytes],
    ) -> None:
        """Compare with the lake's history."""
        plan, lake = self.cluster.plan, self.cluster.lake
        # What the master says takes a while to come; and while the lake fails, it may say what it knows from before.
        slack_s = plan.settings.master_timeout_s + client.held_up_max_s
        from_s = started_s - max(plan.settings.metadata_ttl_s, _UNATTENDED_TTL_S) - slack_s
        for key, (offset, size), got in zip(keys, ranges, outcome, strict=True):
            versions = lake.revisions(key, 0.0 if plan.lake_failing else from_s, self.cluster.engine.now_s)
            contents = [content for content in versions if content is not None]
            slices = [_slice(content, offset, size) for content in contents]
            if got in slices:
                continue
            ever = [_slice(r.content, offset, size) for r in lake.history.get(key, []) if r.content is not None]
            self.require(got not in ever, f"{client.name} got a version of {key} that is too old: {got!r}")
            self.require(False, f"{client.name} read {key} at {offset}, {size}: {got!r} is not in {slices!r}")


class ReadsNeverFailBecauseOfTheCache(Checker):
    """A read fails only for what the lake did: the file is not there, it kept changing, or the lake failed the reader."""

    def read_ended(self, client: SimulatedClient, keys: Sequence[str], started_s: float, error: RaycacheError) -> None:
        """Judge an error."""
        plan, lake, now_s = self.cluster.plan, self.cluster.lake, self.cluster.engine.now_s
        story = f"{client.name} read {list(keys)} and got {error!r}"
        match error:
            case NotFoundError():
                slack_s = plan.settings.master_timeout_s + client.held_up_max_s
                from_s = started_s - max(plan.settings.metadata_ttl_s, _UNATTENDED_TTL_S) - slack_s
                from_s = 0.0 if plan.lake_failing else from_s
                self.require(any(None in lake.revisions(key, from_s, now_s) for key in keys), story)
            case ConflictError():
                # The first attempt may have known an old version; each further one asked the lake.
                changes = sum(lake.changes(key, started_s, now_s) for key in dict.fromkeys(keys))
                self.require(changes >= READ_ATTEMPTS_MAX - 1, f"{story} after {changes} changes")
            case UnavailableError():
                self.require(bool(plan.reader_lake_failing or plan.lake_failing), story)
            case _:
                self.require(False, story)


class DiskIsChecksummed(Checker):
    """Bytes that have rotted on disk are never served, and never promoted."""

    def served_from_disk(self, worker: SimulatedWorker, segment: SegmentId) -> None:
        """Bytes of this file are about to be used."""
        stored = worker.slot.files.get(segment)
        self.require(stored is None or not stored.rotten, f"{worker.name} serves {segment}, which has rotted")


class MemoryIsWithinQuota(Checker):
    """What a worker's segments take in the object store, those included that readers were promised, is in its quota.

    What is on its way to memory counts. A lowered quota may be exceeded while leases and copies last, never by more.
    """

    def after_event(self) -> None:
        """Weigh the workers that have just acted; now and then all, for what readers alone have changed."""
        cluster = self.cluster
        weigh_all = cluster.engine.steps % _WEIGH_ALL_EVERY == 0
        if not weigh_all and not cluster.acted:
            return
        acted, cluster.acted = cluster.acted, {}
        for worker in cluster.live_workers() if weigh_all else acted:
            held = dict(worker.memory)
            for client in self.cluster.clients:
                if client.node is worker.node:
                    for (actor, segment), mapped in client.cache.table._segments.items():
                        lasts = mapped.expires_at_s > self.cluster.engine.now_s
                        if actor == worker.name and mapped.tier is Tier.MEMORY and lasts:
                            held.setdefault(segment, mapped.buffer)
            coming = sum(load.size_bytes for load in worker.running.values() if load.tier is Tier.MEMORY)
            coming += sum(worker.lifting.values())
            used = sum(len(array) for array in held.values()) + coming
            bound = max(worker.service.memory_bytes, worker.memory_bound)
            self.require(used <= bound, f"{worker.name} has {used} bytes in memory, {bound} are allowed")
            worker.memory_bound = used


class LeasesAreKept(Checker):
    """A copy is dropped only when no reader's lease on it lasts, as the reader sees it."""

    def drop(self, worker: SimulatedWorker, segment: SegmentId, tier: Tier) -> None:
        """A copy is about to be dropped."""
        now_s = self.cluster.engine.now_s
        for client in self.cluster.clients:
            mapped = client.cache.table._segments.get((worker.name, segment))
            if mapped is not None and mapped.tier is tier:
                left_s = mapped.expires_at_s - now_s
                self.require(left_s <= 0, f"{worker.name} drops {segment} while {client.name} may use it {left_s} s")


class LateMessagesAreHarmless(Checker):
    """Words of an ended epoch are refused, and what the master believes in the end is what the workers hold.

    Numbers are never used twice, over restarts of the master too: epochs, views, versions of the mount table.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._newest: dict[WorkerId, int] = {}
        #: (master, worker) -> the newest epoch that this incarnation of the master can know of.
        self._known: dict[tuple[str, WorkerId], int] = {}
        self._views: dict[int, MembershipView] = {}
        self._tables: dict[int, MountTable] = {}

    def started(self, master: SimulatedMaster, worker: WorkerId, epoch: int) -> None:
        """The master has decided on a new incarnation."""
        newest = self._newest.get(worker, 0)
        self.require(epoch > newest, f"epoch {epoch} of {worker} follows {newest}")
        self._newest[worker] = self._known[master.name, worker] = epoch

    def heard(self, master: SimulatedMaster, heartbeat: Heartbeat, reply: HeartbeatReply) -> None:
        """The master has answered a heartbeat."""
        known = self._known.get((master.name, heartbeat.worker), 0)
        if reply.accepted:
            what = f"a heartbeat of {heartbeat.worker}'s epoch {heartbeat.epoch} counts, though {known} was heard"
            self.require(heartbeat.epoch >= known, what)
            self._known[master.name, heartbeat.worker] = heartbeat.epoch
        view, table = reply.view, reply.mounts
        if view is not None:
            first = self._views.setdefault(view.view_id, view)
            self.require(view == first, f"view {view.view_id} was {first.workers}, now it is {view.workers}")
        if table is not None:
            known = self._tables.setdefault(table.version, table)
            self.require(table == known, f"mounts {table.version} were {known.mounts}, now they are {table.mounts}")

    def mounted(self, client: SimulatedClient, meta: FileMeta) -> None:
        """Something was mounted, and then resolved by the same client."""
        self.require(meta.file.uri != "" or meta.kind is not FileKind.FILE, f"{client.name} does not see its mount")

    def at_rest(self, versions: dict[VersionId, str], *, mounted: bool | None) -> None:
        """The master's locations, its view and its mounts are true."""
        master = self.cluster.master
        assert master is not None
        paths = [mount.path for mount in master.service.mounts.table().mounts]
        self.require("/lake" in paths, f"/lake is no longer mounted: {paths}")
        self.require(mounted is None or mounted == ("/m" in paths), f"/m is mounted: {mounted}, but there are {paths}")
        live = {worker.worker: worker for worker in self.cluster.live_workers()}
        view = {worker.worker: worker.epoch for worker in master.service.membership.view().workers}
        running = {name: worker.epoch for name, worker in live.items()}
        self.require(view == running, f"the view is {view}, but {running} run")
        for version, key in versions.items():
            believed = dict(master.service.locations.holders(version))
            held = {name: worker.held_masks([version])[0] for name, worker in live.items()}
            held = {name: mask for name, mask in held.items() if mask}
            self.require(believed == held, f"the master believes {key} is at {believed}, it is at {held}")


class AccountingIsExact(Checker):
    """What is said to be resident is; hits + misses + bypasses = blocks asked for; both byte triples are equal."""

    def counted(
        self, client: SimulatedClient, before: ReadCounters, after: ReadCounters, asked: Sequence[BlockRange]
    ) -> None:
        """A read was successful."""
        d = ReadCounters(*(a - b for a, b in zip(after, before, strict=True)))
        wanted_bytes = sum(part.length for part in asked)
        self.require(d.hits + d.misses + d.bypasses == len(asked), f"{client.name} counts {d} for {len(asked)} blocks")
        self.require(d.bytes_memory + d.bytes_disk + d.bytes_ufs == wanted_bytes, f"{d} for {wanted_bytes} bytes")
        missed = sum(getattr(d, name) for name in ReadCounters._fields if name.startswith("missed_"))
        self.require(missed == d.misses + d.bypasses, f"{client.name} counts {missed} reasons in {d}")
        self.require(d.bytes_local + d.bytes_remote + d.bytes_bypass == wanted_bytes, f"{d} for {wanted_bytes} bytes")

    def at_rest(self) -> None:
        """Books and stores agree; in calm, what the master sums up is what readers counted."""
        self._check_is_true()
        for worker in self.cluster.live_workers():
            stats = worker.service.stats()
            memory = sum(len(array) for array in worker.memory.values())
            disk = sum(stored.data.size for stored in worker.slot.files.values())
            self.require(memory == stats.memory_used_bytes, f"{worker.name} holds {memory} bytes, and says {stats}")
            if self.cluster.plan.disk_bytes:
                self.require(disk == stats.disk_used_bytes, f"{worker.name} has {disk} bytes on disk, and says {stats}")
        if not self.cluster.plan.calm:
            return
        assert self.cluster.master is not None
        figures = self.cluster.master.service.stats()
        told, counted = ReadCounters(), ReadCounters()
        for node in figures:
            told = told.plus(node.counters)
        for client in self.cluster.clients:
            counted = counted.plus(client.counters.ever())
        self.require(told == counted, f"the master sums up {told}, readers counted {counted}")
        rows = self.cluster.master.service.overview(0.0, self.cluster.engine.now_s, {}, []).readers
        by_reader = sum_counters(counters for _, counters, _ in rows)
        self.require(by_reader == counted, f"the master's readers sum up to {by_reader}, they counted {counted}")
        told_bytes = sum(node.stats.ufs_bytes for node in figures)
        moved_bytes = sum(worker.door.bytes for worker in self.cluster.workers.values())
        self.require(told_bytes == moved_bytes, f"workers say they loaded {told_bytes} bytes, it was {moved_bytes}")

    def _check_is_true(self) -> None:
        """`check` of the whole lake says what is there."""
        blocks = cached = 0
        for key in self.cluster.lake.history:
            content = self.cluster.lake.content(key)
            if content is not None:
                version = self.cluster.lake.version(key)
                masks = [worker.held_masks([version.id()])[0] for worker in self.cluster.live_workers()]
                blocks += block_count(len(content), self.cluster.plan.settings.block_size_bytes)
                cached += functools.reduce(operator.or_, masks, 0).bit_count()
        if blocks:
            result = self.cluster.clients[0].cache.check("/lake")
            self.require((result.blocks, result.blocks_cached) == (blocks, cached), f"{result}, not {cached}/{blocks}")


class EverythingIsBounded(Checker):
    """Reads end in bounded time; in the end no request is open, no load runs, no job hangs, nothing is retried."""

    def read_ended(self, client: SimulatedClient, own_s: float) -> None:
        """A read has ended, whatever became of it."""
        settings = self.cluster.plan.settings
        # An attempt: two look-ups (one of them a mount), two rounds of calls with objects to map, and the lake.
        attempt_s = 2 * settings.master_timeout_s + 4 * settings.worker_timeout_s + 5.0
        self.require(own_s <= READ_ATTEMPTS_MAX * attempt_s, f"{client.name} read for {own_s} s")

    def at_rest(self) -> None:
        """Nothing is left over."""
        cluster = self.cluster
        assert cluster.master is not None
        for worker in cluster.live_workers():
            service = worker.service
            left = (len(service._tickets), len(service._flights.blocks()), len(service._tiers.draining))
            self.require(left == (0, 0, 0), f"{worker.name} has (tickets, flights, draining) {left} left")
        hanging = [job_id for job_id, job in cluster.master.jobs.items() if not job.finished]
        self.require(not hanging, f"{hanging} never end")
        self.require(not cluster.master._asking, "the master waits for the lake")
        for client in cluster.clients:
            limit = cluster.plan.settings.client_mapped_bytes_max
            table = client.cache.table
            self.require(
                table.mapped_bytes <= max(limit, cluster.plan.settings.segment_size_bytes),
                f"{client.name} maps {table.mapped_bytes} bytes",
            )
            known = len(client.cache.client.locator._metas)
            self.require(known <= cluster.plan.settings.client_paths_max, f"{client.name} remembers {known} paths")


class TheLakeIsNeverWritten(Checker):
    """Load, free, evict and TTL leave the lake alone: enforced by every `LakeDoor`, which raises in this name."""


class Checkers:
    """All of them, and a tally of what happened."""

    def __init__(self, cluster: Cluster) -> None:
        from .opens import OpensSeeWhatWasClosed
        from .residue import FreedStaysFreed
        from .rules import RulesAreKept, SyncsAreExact

        self.cluster = cluster
        self.one_version = ReadsAreOfOneVersion(cluster)
        self.opens = OpensSeeWhatWasClosed(cluster)
        self.never_fail = ReadsNeverFailBecauseOfTheCache(cluster)
        self.checksummed = DiskIsChecksummed(cluster)
        self.loaded_once = BlocksAreLoadedOnce(cluster)
        self.within_quota = MemoryIsWithinQuota(cluster)
        self.leases_kept = LeasesAreKept(cluster)
        self.late_harmless = LateMessagesAreHarmless(cluster)
        self.exact = AccountingIsExact(cluster)
        self.bounded = EverythingIsBounded(cluster)
        self.rules = RulesAreKept(cluster)
        self.syncs = SyncsAreExact(cluster)
        self.freed = FreedStaysFreed(cluster)
        self.reads = 0
        self._tally: dict[str, int] = {}

    def figures(self) -> dict[str, int]:
        """How often what happened."""
        return dict(sorted(self._tally.items()))

    def count(self, what: str) -> None:
        """Once more."""
        self._tally[what] = self._tally.get(what, 0) + 1

    # --- readers ------------------------------------------------------------------------------------------------------

    def read_ended(
        self,
        client: SimulatedClient,
        keys: Sequence[str],
        ranges: Sequence[tuple[int, int | None]],
        started_s: float,
        own_s: float,
        outcome: list[bytes] | RaycacheError,
    ) -> None:
        """A read has ended; `own_s` without what it lost to nested events."""
        self.reads += 1
        self.bounded.read_ended(client, own_s)
        if isinstance(outcome, RaycacheError):
            self.count(type(outcome).__name__)
            self.never_fail.read_ended(client, keys, started_s, outcome)
            if isinstance(outcome, NotFoundError):
                self.opens.read_ended(client, keys, ranges, started_s, None)
        else:
            self.opens.read_ended(client, keys, ranges, started_s, outcome)
            self.one_version.read_ended(client, keys, ranges, started_s, outcome)

    def attempt(self, client: SimulatedClient, requests: Sequence[Request]) -> None:
        """A reader tries."""
        del client, requests
        self.count("attempts")

    def counted(
        self, client: SimulatedClient, before: ReadCounters, after: ReadCounters, asked: Sequence[BlockRange]
    ) -> None:
        """A reader has counted a successful attempt."""
        self.count("bypasses" if after.bypasses > before.bypasses else "served")
        self.exact.counted(client, before, after, asked)

    # --- workers ------------------------------------------------------------------------------------------------------

    def asked(self, worker: SimulatedWorker, request: BlockRequest) -> None:
        """A worker is asked for blocks."""
        assert type(request.purpose) is int, "an enum travels with its name"
        assert request.refusal() is None
        self.loaded_once.asked(worker, request)
        self.count("reads asked" if request.terms.hands_out else "loads asked")

    def effect(self, worker: SimulatedWorker, effect: Effect) -> None:
        """A worker is about to carry something out."""
        match effect:
            case Load():
                self.loaded_once.load(worker, effect)
            case DropMemory(segment):
                self.leases_kept.drop(worker, segment, Tier.MEMORY)
            case DropDisk(segment):
                self.leases_kept.drop(worker, segment, Tier.DISK)
            case Reply(states=states):
                for state in states:
                    self.count(state.name)
            case Demote() | Promote():
                pass
        self.count(type(effect).__name__)

    def loaded(self, worker: SimulatedWorker, load: Load, outcome: LoadOutcome) -> None:
        """A worker's load has ended."""
        self.loaded_once.loaded(worker, load, outcome)

    def served_from_disk(self, worker: SimulatedWorker, segment: SegmentId) -> None:
        """A worker uses bytes of its disk."""
        self.checksummed.served_from_disk(worker, segment)

    # --- the master ---------------------------------------------------------------------------------------------------

    def started(self, master: SimulatedMaster, worker: WorkerId, epoch: int) -> None:
        """The master starts a worker."""
        self.late_harmless.started(master, worker, epoch)

    def heard(self, master: SimulatedMaster, heartbeat: Heartbeat, reply: HeartbeatReply) -> None:
        """The master has answered a heartbeat."""
        self.count("heartbeats" if reply.accepted else "heartbeats refused")
        self.late_harmless.heard(master, heartbeat, reply)

    # --- always, and at the end ---------------------------------------------------------------------------------------

    def after_event(self) -> None:
        """After every event."""
        self.rules.after_event(list(self.cluster.acted))
        self.within_quota.after_event()

    def is_quiet(self) -> bool:
        """Whether the cluster has come to rest; where it does not, `at_rest` says what is wrong."""
        master = self.cluster.master
        if master is None or any(client.busy for client in self.cluster.clients):
            return False
        jobs: Any = master.jobs.values()
        view = master.service.membership.view().workers
        return len(view) == len(self.cluster.live_nodes()) and all(job.finished for job in jobs)

    def mounted(self, client: SimulatedClient, meta: FileMeta) -> None:
        """Something was mounted, and then resolved by the same client."""
        self.late_harmless.mounted(client, meta)

    def at_rest(self, keys: Sequence[str], *, mounted: bool | None) -> None:
        """Nothing has gone wrong for a while."""
        versions: dict[VersionId, str] = {}
        for key in keys:
            if self.cluster.lake.content(key) is not None:
                versions[self.cluster.lake.version(key).id()] = key
        for worker in self.cluster.live_workers():
            worker.service.validate()
            self.freed.check(worker)
        self.bounded.at_rest()
        self.late_harmless.at_rest(versions, mounted=mounted)
        self.syncs.at_rest()
        self.exact.at_rest()
        self.rules.at_rest()


def _slice(content: bytes, offset: int, size: int | None) -> bytes:
    start, length = clip(offset, size, len(content))
    return content[start : start + length]
