"""One worker: its effects are carried out by the code that the actor runs (`workers.carrier`), at the simulation's pace.

What the actor's threads do in parallel are chains of events here: the ports pause where a thread would take its time.
Data moves for real: from the lake into arrays, from there into the slot of the machine's disk, and to readers.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raycache import paths as names
from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import (
    BlockRequest,
    Heartbeat,
    HeartbeatReply,
    MountTable,
    Selector,
    TouchRequest,
    decode,
    encode,
)
from raycache.types import BlockId, MembershipView, SegmentId, Tier, WorkerId
from raycache.workers.capacity import WorkerLimits
from raycache.workers.carrier import carry, hand_out
from raycache.workers.effects import (
    CachedPart,
    Compact,
    Effect,
    Load,
    LoadItem,
    LoadOutcome,
    Reply,
    SegmentEntry,
    SegmentGrant,
)
from raycache.workers.figures.lake_meter import LakeMeter
from raycache.workers.figures.readings import Readings
from raycache.workers.node_log import NodeLog
from raycache.workers.service import WorkerService
from raycache.workers.stores.assembly import Bytes
from raycache.workers.stores.loader import BlockSource, Loader, _outcome, _runs
from raycache.workers.walks.freeing import Freeing

from .engine import ending, spawn
from .fetching import ObjectRef, fetch
from .lake import LakeDoor
from .network import Then

if TYPE_CHECKING:
    from .cluster import Cluster
    from .node import Node

_MASTER_TIMEOUT_S = 4.0


class _HeardTwice(WorkerService):
    """Hears of the end of some loads twice."""

    def __init__(self, worker: SimulatedWorker, name: WorkerId, epoch: int, limits: WorkerLimits) -> None:
        super().__init__(name, epoch, limits)
        self._worker = worker

    def loaded(self, load_id: int, outcome: LoadOutcome, now_s: float) -> list[Effect]:
        effects = super().loaded(load_id, outcome, now_s)
        if self._worker.engine.random.random() < self._worker.cluster.network.weather.doubled:
            effects += super().loaded(load_id, outcome, now_s)
        return effects

    def begin_free(self, selector: Selector, force: bool, now_s: float) -> Freeing:
        self._worker.cluster.checkers.loaded_once.freed(selector)
        return super().begin_free(selector, force, now_s)


class SimulatedWorker:
    """One worker incarnation."""

    def __init__(self, cluster: Cluster, node: Node, epoch: int, name: str) -> None:
        self.cluster = cluster
        self.engine = cluster.engine
        self.node = node
        self.epoch = epoch
        self.name = name
        self.alive = True
        self.paused_until_s = 0.0
        plan = cluster.plan
        self.limits = WorkerLimits.of(plan.settings, node.memory_bytes, node.disk_bytes)
        self.service = _HeardTwice(self, node.name, epoch, self.limits)
        self.door = LakeDoor(cluster.lake, f"worker {name}", plan.lake_failing)
        self.lake = LakeMeter()
        self.loader = Loader(self._storage_of, self._cached, self.limits.block_size_bytes, threads=1)
        self.slot = node.take_slot(self)
        self.memory: dict[SegmentId, Bytes] = {}
        self.replies: dict[int, Then] = {}
        self.mounts = MountTable(0, ())
        self.view = MembershipView(0, ())
        self.log = NodeLog(node.start_log())
        self.readings = Readings()
        self.running: dict[int, Load] = {}
        #: Segments on their way to memory from disk, or from another segment, and their bytes.
        self.lifting: dict[SegmentId, int] = {}
        self._next_ticket = 0
        self._sequence = 0
        self._want_full = True
        #: The memory quota was lowered: what is over it may take until then to go.
        self.memory_bound = node.memory_bytes
        if node.disk_bytes:
            self.run(self.service.adopt(self.slot.scan(), self.engine.now_s))
        self._later(0.01, self._beat)

    @property
    def weight_bytes(self) -> int:
        """What placement weighs."""
        return self.node.memory_bytes + self.node.disk_bytes

    def die(self) -> None:
        """Gone at once; who waits hears of it, or runs into a timeout."""
        if not self.alive:
            return
        self.alive = False
        self.cluster.checkers.freed.check(self)
        self.engine.note(f"{self.name} dies")
        replies, self.replies = self.replies, {}
        for reply in replies.values():
            if self.engine.random.random() < 0.7:
                reply(UnavailableError(f"{self.name} is gone"))
        self.cluster.worker_died(self)

    # --- calls --------------------------------------------------------------------------------------------------------

    def receive(self, method: str, arguments: tuple[Any, ...], reply: Then) -> None:
        """See `network.Process`."""
        match method:
            case "start":
                reply(self.weight_bytes)
            case "heed_written":
                reply(self.log.heed(decode(arguments[0])))
            case "read":
                self._read(decode(arguments[0]), reply)
            case "touch":
                request: TouchRequest = decode(arguments[0])
                if request.delivery is not None:
                    self.readings.add(request.delivery)
                renewed = self.service.renewable(request.segments)
                self.run(self.service.touch(request.segments, self.engine.now_s))
                reply(encode(renewed))
            case "free":
                selector: Selector = decode(arguments[0])
                freed, effects = self.service.free(selector, arguments[1], self.engine.now_s)
                self.run(effects)
                reply(encode(freed))
            case "heed_rules":
                self._heed_rules(decode(arguments[0]), None)
                reply(None)
            case "resident":
                reply(encode(self.service.resident(decode(arguments[0]))))
            case "beat":
                reply(self._heartbeat())
            case _:
                raise AssertionError(f"the simulated worker has no {method}")

    def _read(self, request: BlockRequest, reply: Then) -> None:
        if self.service.rule_books.version < 0 and request.loads:

            def heard(table: Any) -> None:
                if self.alive:
                    self._heed_rules(None if isinstance(table, RaycacheError) else table, None)
                    self._read_mounted(request, reply)

            self._call_master("rules", (), heard)
        else:
            self._read_mounted(request, reply)

    def _heed_rules(self, table: Any, shares: Any) -> None:
        self.run(self.service.set_rules(table, shares, self.engine.now_s))

    def _read_mounted(self, request: BlockRequest, reply: Then) -> None:
        if request.mounts_version > self.mounts.version:

            def learned(table: Any) -> None:
                if not isinstance(table, RaycacheError) and table.version > self.mounts.version:
                    self.mounts = table
                if self.alive:
                    self._ask(request, reply)

            self._call_master("mount_table", (), learned)
        else:
            self._ask(request, reply)

    def _ask(self, request: BlockRequest, reply: Then) -> None:
        ticket = self._next_ticket
        self._next_ticket += 1
        self.replies[ticket] = reply
        self.cluster.checkers.asked(self, request)
        self.run(self.service.ask(ticket, request, self.engine.now_s))

    # --- see `WorkerPorts` --------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        return self.engine.now_s

    def run(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self.cluster.checkers.effect(self, effect)
            carry(effect, self)
        self.cluster.touched(self)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        spawn(work)

    def reply(self, reply: Reply) -> None:
        for grant in reply.grants:
            if grant.tier is Tier.DISK:
                self.cluster.checkers.served_from_disk(self, grant.segment)
        spawn(self._hand_out(reply))

    async def _hand_out(self, reply: Reply) -> None:
        answer = await hand_out(reply, self, view_id=self.view.view_id)
        then = self.replies.pop(reply.ticket, None)
        if then is not None:
            then(answer)

    async def fetch(self, load: Load) -> tuple[Sequence[Bytes], LoadOutcome]:
        self.running[load.load_id] = load
        buffer = np.zeros(load.size_bytes, dtype=np.uint8)
        runs = _runs(load.items, self.limits.block_size_bytes)
        outcome = _outcome(await ending(lambda then: fetch(self, runs, buffer, then)))
        self.cluster.checkers.loaded(self, load, outcome)
        return ([buffer] if any(state.served for state in outcome.states) else []), outcome

    async def store(self, load: Load, pieces: Sequence[Bytes], outcome: LoadOutcome) -> bool:
        await self._pause(self._disk_s())
        if self._write_fails(load.tier):
            return False
        if load.tier is Tier.MEMORY:
            (self.memory[load.segment],) = pieces
        else:
            self.slot.write(load.segment, pieces[0], load.entries(outcome))
        return True

    def load_ended(self, load: Load, took_s: float) -> None:
        del self.running[load.load_id]

    async def demote(self, segment: SegmentId, entries: Sequence[SegmentEntry]) -> bool:
        await self._pause(self._disk_s())
        if self._write_fails(Tier.DISK):
            return False
        self.slot.write(segment, self.memory[segment], entries)
        return True

    async def promote(self, segment: SegmentId) -> bool:
        self.lifting[segment] = self.slot.files[segment].data.size
        await self._pause(self._disk_s())
        del self.lifting[segment]
        if self._write_fails(Tier.MEMORY):
            return False
        self.cluster.checkers.served_from_disk(self, segment)
        self.memory[segment] = self.slot.files[segment].data.copy()
        return True

    async def verify(self, segment: SegmentId) -> bool:
        await self._pause(self._disk_s())
        return self.slot.verify(segment)

    async def compact(self, effect: Compact) -> bool:
        if effect.tier is Tier.MEMORY:
            self.lifting[effect.target] = sum(length for _, length in effect.parts)
        await self._pause(self._disk_s())
        self.lifting.pop(effect.target, None)
        if self._write_fails(effect.tier):
            return False
        if effect.tier is Tier.DISK:
            self.cluster.checkers.served_from_disk(self, effect.segment)
        whole = self._whole(effect.segment, effect.tier)
        assert whole is not None
        copy = np.concatenate([whole[offset : offset + length] for offset, length in effect.parts])
        if effect.tier is Tier.MEMORY:
            self.memory[effect.target] = copy
        else:
            self.slot.write(effect.target, copy, effect.entries)
        return True

    def drop_memory(self, segment: SegmentId) -> None:
        self.memory.pop(segment, None)

    def drop_disk(self, segment: SegmentId) -> None:
        self.slot.files.pop(segment, None)

    def forget(self, segment: SegmentId, blocks: Sequence[BlockId]) -> None:
        self.slot.forget(segment, blocks)

    def reference(self, segment: SegmentId) -> ObjectRef:
        return ObjectRef(self, segment, self.memory[segment])

    def path(self, segment: SegmentId) -> str:
        return f"{self.slot.path}/{segment}"

    async def extract(self, grant: SegmentGrant) -> Bytes | None:
        slow = self.engine.random.random() < self.cluster.network.weather.slow
        await self._pause(1.5 if slow else 0.001)
        whole = self._whole(grant.segment, grant.tier)
        if whole is None:
            return None
        return np.concatenate([whole[offset : offset + length] for offset, length in grant.parts])

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _whole(self, segment: SegmentId, tier: Tier) -> Bytes | None:
        if tier is Tier.MEMORY:
            return self.memory.get(segment)
        stored = self.slot.files.get(segment)
        return None if stored is None else stored.data

    def _cached(self, part: CachedPart) -> Bytes | None:
        found = self._whole(part.segment, part.tier)
        return None if found is None else found[part.offset : part.offset + part.length]

    def _write_fails(self, tier: Tier) -> bool:
        plan = self.cluster.plan
        share = plan.disk_failing if tier is Tier.DISK else plan.disk_failing / 4
        return self.cluster.stormy and self.engine.random.random() < share

    # --- the lake -----------------------------------------------------------------------------------------------------

    def _storage_of(self, item: LoadItem) -> tuple[BlockSource, str]:  # the source comes first, see `_fetch`
        return self.lake.metered(self.door, self.cluster.mount), names.split_uri(item.version.uri)[1]

    # --- background ---------------------------------------------------------------------------------------------------

    def _heartbeat(self) -> bytes:
        self._sequence += 1
        full, self._want_full = self._want_full, False
        asked = self.lake.all()
        stats = self.service.stats()._replace(
            ufs_requests=sum(reads.requests for reads in asked), ufs_bytes=sum(reads.bytes for reads in asked)
        )
        return encode(
            Heartbeat(
                self.node.name,
                self.epoch,
                self._sequence,
                self.service.report(full),
                stats,
                self.readings.total,
                self.view.view_id,
                self.mounts.version,
                self.readings.batches(),
                rules_version=self.service.rule_books.booked_version,
                quota_limits=self.service.rule_books.limits,
                quota_used=self.service.rule_books.used(),
                written=self.log.position,
                deliveries=dict(self.readings.unconfirmed),
            )
        )

    def _beat(self) -> None:
        self.run(self.service.tick(self.engine.now_s))

        sent_s, blob = self.engine.now_s, self._heartbeat()

        def answered(reply: Any) -> None:
            if not self.alive:
                return
            if not isinstance(reply, RaycacheError):
                beat = decode(blob)
                self.readings.arrived(beat.readers, beat.deliveries)
            if isinstance(reply, RaycacheError):
                self._want_full = True
            else:
                self._heed(reply, sent_s)
            if self.alive:
                self._later(self.cluster.plan.settings.heartbeat_period_s, self._beat)

        self._call_master("heartbeat", (blob,), answered)

    def _heed(self, reply: HeartbeatReply, sent_s: float) -> None:
        if not reply.accepted:
            self.die()
            return
        if reply.written is not None:
            self.log.trust(reply.written, sent_s)
        self._want_full = self._want_full or reply.want_full
        if reply.view is not None:
            self.view = reply.view
        if reply.mounts is not None and reply.mounts.version > self.mounts.version:
            self.mounts = reply.mounts
        self._heed_rules(reply.rules, reply.shares)
        if reply.invalidated:
            _, effects = self.service.free(Selector([], reply.invalidated), True, self.engine.now_s)
            self.run(effects)

    def set_memory_bytes(self, wanted: int) -> None:
        """Others need the node's memory, or give it back."""
        self.run(self.service.set_memory_bytes(wanted, self.engine.now_s))

    def held_masks(self, versions: list[bytes]) -> list[int]:
        """What is here of these versions."""
        reply = self.service.resident(versions)
        return [memory | disk for memory, disk in zip(reply.memory_masks, reply.disk_masks, strict=True)]

    @property
    def worker(self) -> WorkerId:
        """Its node's name, which is its id."""
        return self.node.name

    def _call_master(self, method: str, arguments: tuple[Any, ...], then: Then) -> None:
        self.cluster.network.call(lambda: self.cluster.master, method, arguments, _MASTER_TIMEOUT_S, then)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def act() -> None:
            if not self.alive:
                return
            if self.paused_until_s > self.engine.now_s:
                self.engine.after(self.paused_until_s - self.engine.now_s, f"{self.name} goes on", act)
            else:
                action()

        self.engine.after(delay_s, f"{self.name} goes on", act)

    async def _pause(self, delay_s: float) -> None:
        await ending(lambda then: self._later(delay_s, lambda: then(None)))

    def _disk_s(self) -> float:
        return 0.002 + 0.01 * self.engine.random.random()

    def _lake_s(self) -> float:
        slow = self.engine.random.random() < self.cluster.network.weather.slow
        return 0.01 + 0.05 * self.engine.random.random() + (2.0 * self.engine.random.random() if slow else 0.0)
