"""One worker: carries out what `WorkerService` decides, as the actor does, at the simulation's pace.

What the actor's threads do in parallel are chains of events here. Data moves for real: from the lake into arrays, from
there into the slot of the machine's disk, and to readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raycache import paths as names
from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import (
    BlockReply,
    BlockRequest,
    Grant,
    GrantKind,
    Heartbeat,
    HeartbeatReply,
    MountTable,
    Selector,
    TouchRequest,
    decode,
    encode,
)
from raycache.types import MembershipView, SegmentId, Tier, WorkerId
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import (
    Compact,
    Demote,
    DropDisk,
    DropMemory,
    Effect,
    Forget,
    HeldPart,
    Load,
    LoadItem,
    Promote,
    Reply,
    Verify,
)
from raycache.workers.figures.lake_meter import LakeMeter
from raycache.workers.figures.readings import Readings
from raycache.workers.service import WorkerService
from raycache.workers.stores.loader import BlockSource, Fetched, Loader, _outcome, _runs

from .fetching import ObjectRef, fetch
from .lake import LakeDoor
from .network import Then

if TYPE_CHECKING:
    from .cluster import Cluster
    from .node import Node

_MASTER_TIMEOUT_S = 4.0


class SimulatedWorker:
    """One worker incarnation."""

    def __init__(self, cluster: Cluster, node: Node, epoch: int, name: str) -> None:
        self.cluster = cluster
        self.engine = cluster.engine
        self.node = node
        self.epoch = epoch
        self.name = name
        self.alive = True
        plan = cluster.plan
        self.limits = WorkerLimits.of(plan.settings, node.memory_bytes, node.disk_bytes)
        self.service = WorkerService(node.name, epoch, self.limits)
        self.door = LakeDoor(cluster.lake, f"worker {name}", plan.lake_failing)
        self.lake = LakeMeter()
        self.loader = Loader(self._storage_of, self._held, self.limits.block_size_bytes, threads=1)
        self.slot = node.take_slot(self)
        self.memory: dict[SegmentId, npt.NDArray[np.uint8]] = {}
        self.replies: dict[int, Then] = {}
        self.mounts = MountTable(0, ())
        self.view = MembershipView(0, ())
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
            self._run(self.service.adopt(self.slot.scan(), self.engine.now_s))
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
            case "read":
                self._read(decode(arguments[0]), reply)
            case "touch":
                request: TouchRequest = decode(arguments[0])
                if request.delivery is not None:
                    self.readings.add(request.delivery)
                renewed = self.service.renewable(request.segments)
                self._run(self.service.touch(request.segments, self.engine.now_s))
                reply(encode(renewed))
            case "free":
                selector: Selector = decode(arguments[0])
                freed, effects = self.service.free(selector, arguments[1], self.engine.now_s)
                self._run(effects)
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
        if self.service.policies.version < 0 and request.loads:

            def heard(table: Any) -> None:
                if self.alive:
                    self._heed_rules(None if isinstance(table, RaycacheError) else table, None)
                    self._read_mounted(request, reply)

            self._call_master("rules", (), heard)
        else:
            self._read_mounted(request, reply)

    def _heed_rules(self, table: Any, shares: Any) -> None:
        self._run(self.service.set_rules(table, shares, self.engine.now_s))

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
        self._run(self.service.ask(ticket, request, self.engine.now_s))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _run(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self.cluster.checkers.effect(self, effect)
            match effect:
                case Reply():
                    self._reply(effect)
                case Load():
                    self._load(effect)
                case Demote():
                    self._demote(effect.segment)
                case Promote():
                    self.lifting[effect.segment] = self.slot.files[effect.segment].data.size
                    self._later(self._disk_s(), lambda segment=effect.segment: self._promote(segment))
                case Verify():
                    self._later(self._disk_s(), lambda segment=effect.segment: self._verify(segment))
                case DropMemory():
                    self.memory.pop(effect.segment, None)
                case DropDisk():
                    self.slot.files.pop(effect.segment, None)
                case Compact():
                    if effect.tier is Tier.MEMORY:
                        self.lifting[effect.target] = sum(length for _, length in effect.parts)
                    self._later(self._disk_s(), lambda effect=effect: self._compact(effect))
                case Forget():
                    self.slot.forget(effect.segment, effect.blocks)
        self.cluster.touched(self)

    def _held(self, part: HeldPart) -> npt.NDArray[np.uint8] | None:
        if part.tier is Tier.MEMORY:
            found = self.memory.get(part.segment)
        else:
            stored = self.slot.files.get(part.segment)
            found = None if stored is None else stored.data
        return None if found is None else found[part.offset : part.offset + part.length]

    def _load(self, load: Load) -> None:
        buffer = np.zeros(load.size_bytes, dtype=np.uint8)
        runs = _runs(load.items, self.limits.block_size_bytes)
        results: list[tuple[Sequence[LoadItem], Fetched | RaycacheError] | None] = [None] * len(runs)
        self.running[load.load_id] = load

        def fetched(number: int, result: Fetched | RaycacheError) -> None:
            results[number] = (runs[number], result)
            complete = [result for result in results if result is not None]
            if len(complete) == len(runs):
                self._later(self._disk_s(), lambda: self._loaded(load, buffer, complete))

        for number, run in enumerate(runs):
            fetch(self, run, buffer, lambda result, number=number: fetched(number, result))

    def _loaded(
        self,
        load: Load,
        buffer: npt.NDArray[np.uint8],
        results: Sequence[tuple[Sequence[LoadItem], Fetched | RaycacheError]],
    ) -> None:
        outcome = _outcome(results)
        self.cluster.checkers.loaded(self, load, outcome)
        if any(state.served for state in outcome.states):
            if self._write_fails(load.tier):
                outcome = outcome.not_stored()
                if load.tier is Tier.DISK:
                    self._run(self.service.disk_failed(self.engine.now_s))
            elif load.tier is Tier.MEMORY:
                self.memory[load.segment] = buffer
            else:
                self.slot.write(load.segment, buffer, load.entries(outcome))
        del self.running[load.load_id]
        self._run(self.service.loaded(load.load_id, outcome, self.engine.now_s))
        if self.engine.random.random() < self.cluster.network.weather.doubled:
            self._run(self.service.loaded(load.load_id, outcome, self.engine.now_s))

    def _demote(self, segment: SegmentId) -> None:
        entries = self.service.entries(segment)

        def write() -> None:
            good = not self._write_fails(Tier.DISK)
            if good:
                self.slot.write(segment, self.memory[segment], entries)
            self._run(self.service.demoted(segment, good, self.engine.now_s))

        self._later(self._disk_s(), write)

    def _promote(self, segment: SegmentId) -> None:
        good = not self._write_fails(Tier.MEMORY)
        del self.lifting[segment]
        if good:
            self.cluster.checkers.served_from_disk(self, segment)
            self.memory[segment] = self.slot.files[segment].data.copy()
        self._run(self.service.promoted(segment, good, self.engine.now_s))

    def _compact(self, effect: Compact) -> None:
        good = not self._write_fails(effect.tier)
        self.lifting.pop(effect.target, None)
        if good:
            if effect.tier is Tier.DISK:
                self.cluster.checkers.served_from_disk(self, effect.segment)
            memory = effect.tier is Tier.MEMORY
            whole = self.memory[effect.segment] if memory else self.slot.files[effect.segment].data
            copy = np.concatenate([whole[offset : offset + length] for offset, length in effect.parts])
            if memory:
                self.memory[effect.target] = copy
            else:
                self.slot.write(effect.target, copy, effect.entries)
        self._run(self.service.compacted(effect.segment, good, self.engine.now_s))

    def _verify(self, segment: SegmentId) -> None:
        good = self.slot.verify(segment)
        self._run(self.service.verified(segment, good, self.engine.now_s))

    def _write_fails(self, tier: Tier) -> bool:
        plan = self.cluster.plan
        share = plan.disk_failing if tier is Tier.DISK else plan.disk_failing / 4
        return self.cluster.stormy and self.engine.random.random() < share

    # --- replies ------------------------------------------------------------------------------------------------------

    def _reply(self, effect: Reply) -> None:
        """Attach the bytes; parts are copied out by a thread, a little later."""
        payloads: list[Any] = []
        grants: list[Grant] = []
        inline: list[tuple[int, Any]] = []
        for number, grant in enumerate(effect.grants):
            path, payload = "", None
            if grant.tier is Tier.DISK:
                self.cluster.checkers.served_from_disk(self, grant.segment)
            if grant.kind is GrantKind.PLASMA:
                payload = ObjectRef(self, grant.segment, self.memory[grant.segment])
            elif grant.kind is GrantKind.FILE:
                path = f"{self.slot.path}/{grant.segment}"
            else:
                inline.append((number, grant))
            payloads.append(payload)
            grants.append(
                Grant(
                    grant.segment,
                    grant.tier,
                    grant.kind,
                    grant.length_bytes,
                    path,
                    grant.lease_s,
                    grant.entry_versions,
                    grant.entry_blocks,
                    grant.entry_offsets,
                    grant.entry_lengths,
                )
            )
        message = BlockReply(
            self.node.name,
            self.epoch,
            self.view.view_id,
            [int(state) for state in effect.states],
            effect.grant_index,
            effect.grant_offsets,
            grants,
            effect.errors,
            effect.reasons,
            claimants=effect.claimants,
        )
        blob = encode(message)

        def send() -> None:
            for number, grant in inline:
                payloads[number] = self._extract(grant)
            reply = self.replies.pop(effect.ticket, None)
            if reply is not None:
                reply((blob, payloads))

        if inline:
            slow = self.engine.random.random() < self.cluster.network.weather.slow
            self._later(1.5 if slow else 0.001, send)
        else:
            send()

    def _extract(self, grant: Any) -> npt.NDArray[np.uint8] | None:
        if grant.tier is Tier.MEMORY:
            whole = self.memory.get(grant.segment)
        else:
            stored = self.slot.files.get(grant.segment)
            whole = stored.data if stored is not None else None
        if whole is None:
            return None
        return np.concatenate([whole[offset : offset + length] for offset, length in grant.parts])

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
                rules_version=self.service.policies.version,
                quota_limits=self.service.policies.limits,
                quota_used=self.service.policies.used(),
            )
        )

    def _beat(self) -> None:
        self._run(self.service.tick(self.engine.now_s))

        blob = self._heartbeat()

        def answered(reply: Any) -> None:
            if not self.alive:
                return
            if not isinstance(reply, RaycacheError):
                self.readings.arrived(decode(blob).readers)
            if isinstance(reply, RaycacheError):
                self._want_full = True
            else:
                self._heed(reply)
            if self.alive:
                self._later(self.cluster.plan.settings.heartbeat_period_s, self._beat)

        self._call_master("heartbeat", (blob,), answered)

    def _heed(self, reply: HeartbeatReply) -> None:
        if not reply.accepted:
            self.die()
            return
        self._want_full = self._want_full or reply.want_full
        if reply.view is not None:
            self.view = reply.view
        if reply.mounts is not None and reply.mounts.version > self.mounts.version:
            self.mounts = reply.mounts
        self._heed_rules(reply.rules, reply.shares)
        if reply.invalidated:
            _, effects = self.service.free(Selector([], reply.invalidated), True, self.engine.now_s)
            self._run(effects)

    def set_memory_bytes(self, wanted: int) -> None:
        """Others need the node's memory, or give it back."""
        self._run(self.service.set_memory_bytes(wanted, self.engine.now_s))

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
            if self.alive:
                action()

        self.engine.after(delay_s, f"{self.name} goes on", act)

    def _disk_s(self) -> float:
        return 0.002 + 0.01 * self.engine.random.random()

    def _lake_s(self) -> float:
        slow = self.engine.random.random() < self.cluster.network.weather.slow
        return 0.01 + 0.05 * self.engine.random.random() + (2.0 * self.engine.random.random() if slow else 0.0)
