"""The worker actor: takes calls to the `WorkerService` and has its effects carried out.

Theory of operation. Everything the service decides happens on the actor's event loop, one thing at a time, so the
service needs no lock. Its effects are carried out by threads (`threads.py`), whose results come back to the loop as
further events. A background task sends heartbeats to the master and applies its replies; another watches the node's object
store, and gives memory back before Ray would have to spill.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path
from typing import Any

from raycache import paths as names
from raycache.clock import SystemClock
from raycache.messages import (
    BlockReply,
    BlockRequest,
    FreeReply,
    Heartbeat,
    HeartbeatReply,
    MountTable,
    Selector,
    TouchRequest,
    WorkerStats,
    decode,
    encode,
)
from raycache.messages.keeping import KeepRequest
from raycache.rules import RuleTable
from raycache.settings import Settings
from raycache.types import MembershipView, VersionId, WorkerId
from raycache.ufs.open import open_ahead, slow_downs
from raycache.workers.capacity import WorkerLimits, capacity_of
from raycache.workers.carrier import hand_out
from raycache.workers.disk_care import DiskCare
from raycache.workers.figures.exporter import Exporter
from raycache.workers.figures.readings import Readings
from raycache.workers.figures.self_check import look_around
from raycache.workers.loop.bounded_threads import BoundedThreads
from raycache.workers.loop.turns import Pulse, Turns, timed
from raycache.workers.master_link import MasterLink
from raycache.workers.node_log import NodeLog
from raycache.workers.service import WorkerService
from raycache.workers.stores.allocator import give_back, keep_buffers
from raycache.workers.stores.block_sources import BlockSources
from raycache.workers.stores.disk import open_disk
from raycache.workers.stores.loader import Loader
from raycache.workers.stores.local_room import LOOK_PERIOD_S, LocalRoom
from raycache.workers.stores.peers import Peers
from raycache.workers.stores.plasma import MemoryStore, Pressure, object_store_bytes, store_use
from raycache.workers.stores.results_intake import take_in
from raycache.workers.stores.stores import Stores
from raycache.workers.threads import ThreadPorts

#: A worker whose master has been silent this long ends itself, if there is no master any more; and in any case after this.
_ORPHAN_S = 120.0
_GIVEN_UP_S = 3600.0
#: A reader waits this long at most for the master to have its counts; after that the worker alone keeps them.
_CONFIRM_TIMEOUT_S = 3.0
_EXPORT_PERIOD_S = 1.0
_PRESSURE_PERIOD_S = 0.5
_TICK_PERIOD_S = 0.5
_PROBE_PERIOD_S = 5.0
#: How long a call waits for what it has changed to be noted on disk.
_DISK_TIMEOUT_S = 10.0
#: Loads over slow links get on only once a whole request has ended.
_STALL_MIN_S = 20.0
#: Signs of life in the time after which the master takes a worker for lost.
_PULSES_PER_TIMEOUT = 5


class WorkerActor:
    """One per node. All methods take and return blobs of `raycache.messages`."""

    def __init__(self, cache_id: str, node: WorkerId, epoch: int, settings: dict[str, Any], scratch: str) -> None:
        # Ray warns of every blocking get in an async actor, also in its threads, where it keeps nobody waiting. That no
        # get blocks the event loop is checked by `wait_for`.
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"
        self._settings = Settings(**settings)
        self._cache_id = cache_id
        self._link = MasterLink(cache_id, node, epoch, self._end)
        self._node = node
        self._epoch = epoch
        self._clock = SystemClock()
        self._object_store_bytes = object_store_bytes(node)
        self._capacity = capacity_of(self._settings, self._object_store_bytes, Path(scratch))
        self._pressure = Pressure(self._object_store_bytes, self._capacity.memory_bytes)
        disk = open_disk(self._capacity, cache_id, fsync=self._settings.disk_fsync == "always")
        if disk is None:
            self._capacity = self._capacity._replace(disk_bytes=0)
        self._log = NodeLog.create(cache_id, node)
        keep_buffers()
        # What has been imported is no garbage: to look through it takes a tenth of a second, each time.
        gc.freeze()
        self._stores = Stores(MemoryStore(), disk)
        limits = WorkerLimits.of(self._settings, self._capacity.memory_bytes, self._capacity.disk_bytes)
        self._service = WorkerService(node, epoch, limits, self._settings.eviction)
        self._mounts = MountTable(0, ())
        self._view = MembershipView(0, ())
        self._readings = Readings()
        self._exporter = Exporter(node)
        loads_max = self._settings.loads_inflight_max
        self._peers = Peers(node, self._settings)
        sources = BlockSources(self._peers, self._exporter.lake, lambda: self._mounts)
        loader = Loader(sources.of, self._stores.cached, self._settings.block_size_bytes, threads=loads_max)
        #: See `raycache.workers.loop.turns`.
        self.turns = Turns()
        stall_s = max(_STALL_MIN_S, 0.75 * self._settings.worker_timeout_s)
        self._ports = ThreadPorts(
            self._service, self._stores, loader, loads_max, self._clock, self._exporter, self.turns, stall_s=stall_s
        )
        #: Set when the next heartbeat to be made was accepted.
        self._told = asyncio.Event()
        #: The next heartbeat should go now.
        self._hurry = asyncio.Event()
        self._sequence, self._want_full = 0, True
        self._heard_s = self._clock.now_s()
        self._disk_care = DiskCare(self._service, self._stores, self._ports)
        if disk is not None:
            self._service.begin_adoption()
            self._ports.spawn(self._disk_care.adopt())
            self._probe = BoundedThreads("raycache-probe", 1, _DISK_TIMEOUT_S, 1)
            self._ports.spawn(self._ports.forever(self._watch_disk, _PROBE_PERIOD_S))
        self._pulse = Pulse(self._link.say_alive, self._settings.heartbeat_timeout_s / _PULSES_PER_TIMEOUT)
        self._ports.spawn(self._beat_forever())
        self._ports.spawn(self._tick_forever())
        self._ports.spawn(self._ports.forever(self._watch_pressure, _PRESSURE_PERIOD_S))
        apply = self._service.local_share.set
        self._local = LocalRoom(self._capacity, Path(scratch), cache_id, node, apply, self._ports.run)
        self._ports.spawn(self._ports.forever(self._export, _EXPORT_PERIOD_S))
        self._ports.spawn(self._ports.forever(self._local.look, LOOK_PERIOD_S))

    # --- calls --------------------------------------------------------------------------------------------------------

    @timed
    async def start(self) -> bytes:
        """The capacity, which placement weighs: the first call the master makes."""
        return encode(self._capacity.weight_bytes)

    async def watch(self) -> None:
        """Never return: a caller that waits for it learns of this actor's end at once."""
        await asyncio.Event().wait()

    @timed
    async def read(self, blob: bytes) -> tuple[bytes, list[Any]]:
        """Serve a `BlockRequest`: (encoded `BlockReply`, payload per grant)."""
        request: BlockRequest = decode(blob)
        if request.block_size_bytes != self._settings.block_size_bytes:
            return encode(BlockReply.refusing(request, self._node, self._epoch, self._view.view_id)), []
        await self._catch_up(request.mounts_version, loads=request.loads)
        reply = await self._ports.ask(request)
        return await hand_out(reply, self._ports, view_id=self._view.view_id, slow_downs=slow_downs())

    @timed
    async def keep(self, blob: bytes, content: list[Any]) -> bytes:
        """Keep a result: a `KeepRequest`, and the reference of its bytes; answers whether it is kept, once the master knows."""
        request: KeepRequest = decode(blob)
        await self._catch_up(request.mounts_version, loads=True)
        kept = await take_in(request, content[0], self._ports, self._node, self._settings.block_size_bytes)
        await self._tell(urgent=True)
        return encode(kept)

    async def _catch_up(self, mounts_version: int, *, loads: bool) -> None:
        """Know what the asker knows."""
        if mounts_version > self._mounts.version:
            self._take_mounts(await self._link.ask("mount_table"))
        if self._service.rule_books.version < 0 and loads:
            # Just started: what may be kept here is not known before the first word of the master.
            self._ports.run(self._service.set_rules(await self._link.ask("rules"), None, self._clock.now_s()))

    @timed
    async def is_loading(self) -> bool:
        """Whether something is on its way from the lake: then an answer that is long in coming will come."""
        return self._service.stats().loads_inflight > 0

    @timed
    async def touch(self, blob: bytes) -> bytes:
        """Take a reader's counters and renew its leases; answers which segments' leases are renewed."""
        request: TouchRequest = decode(blob)
        renewed = self._service.renewable(request.segments)
        self._ports.run(self._service.touch(request.segments, self._clock.now_s()))
        if request.delivery is not None:
            self._readings.add(request.delivery)
        if request.delivery is not None or request.urgent:
            # Confirmed when the master has it: what only this worker knows is lost with it.
            await self._tell(urgent=request.urgent)
        return encode(renewed)

    @timed
    async def free(self, blob: bytes, force: bool) -> bytes:
        """Drop blocks by `Selector`; answers a `FreeReply` when the master knows: it would send readers here, and have loaded."""
        selector: Selector = decode(blob)
        reply = await self._free(selector, force=force)
        if reply.blocks:
            await self._tell(urgent=True)
        return encode(reply)

    async def _free(self, selector: Selector, *, force: bool) -> FreeReply:
        await self._local.free(selector)
        freeing = self._service.begin_free(selector, force, self._clock.now_s())
        while not freeing.done:
            self._ports.run(self._service.free_some(freeing, self._clock.now_s()))
            await self.turns.over()
        # What is freed does not come back after a restart.
        await self._ports.janitor.done(_DISK_TIMEOUT_S)
        return freeing.reply()

    @timed
    async def heed_written(self, blob: bytes) -> int:
        """What was written through the cache: this node's readers know it when this returns; answers how far they know."""
        return self._log.heed(decode(blob))

    @timed
    async def heed_rules(self, blob: bytes) -> None:
        """A newer `RuleTable`: it holds when this call returns, apart from what leases delay."""
        table: RuleTable = decode(blob)
        self._ports.run(self._service.set_rules(table, None, self._clock.now_s()))
        while self._service.rule_books.booked_version < table.version:
            await self.turns.over()
            self._ports.run(self._service.tick(self._clock.now_s()))

    @timed
    async def policy_report(self) -> bytes:
        """Which eviction policy is in force, and what others and other sizes would give; answers a `PolicyReport`."""
        return encode(self._service.choosing.report(self._clock.now_s()))

    @timed
    async def plan(self, blob: bytes) -> bytes:
        """Take a piece of a reader's plan, `PlanNews`; answers a `PlanReply`."""
        return encode(self._service.choosing.plan(decode(blob), self._clock.now_s()))

    async def resident(self, blob: bytes) -> bytes:
        """Say exactly which blocks of these versions are here; answers a `ResidencyReply`."""
        return encode(self._service.resident(decode(blob)))

    @timed
    async def heat(self, limit: int) -> bytes:
        """Find the hottest and the coldest files that are here; answers `FileHeat`s."""
        heat = self._service.heat(limit)
        while not heat.done:
            heat.step()
            await self.turns.over()
        return encode(heat.rows())

    @timed
    async def inventory(self, blob: bytes) -> bytes:
        """List the files of which blocks are here, a page at a time; answers an `InventoryReply`."""
        listing = self._service.inventory(decode(blob))
        while not listing.done:
            listing.step(self._clock.now_s())
            await self.turns.over()
        return encode(self._service.inventory_reply(listing))

    @timed
    async def local_room(self, size_bytes: int, name: str) -> bytes:
        """Make room for a local file; answers a blob of (True, the folder for them), or of (False, error)."""
        return encode(await self._local.answer(size_bytes, name))

    @timed
    async def examine(self, clean: bool = False) -> bytes:
        """Look at disk and lake from here; answers a `Health`. Cleaning removes what dead workers have left on the disk."""
        health = await self._ports.aside(look_around, self._node, self._capacity.disk_path, self._mounts.mounts, clean)
        turns = [(kind, slow, longest_s) for kind, slow, longest_s in self.turns.kinds()]
        resting = [(peer, left_s, silences) for peer, left_s, silences in self._peers.resting()]
        return encode(health._replace(turns=turns, adopting=self._service.adopting, left_alone=resting))

    @timed
    async def check_disk(self, repair: bool) -> bytes:
        """Read all of the disk tier, and drop what is bad if it is to be repaired; answers a `DiskCheck`."""
        return encode(await self._disk_care.check(repair=repair))

    @timed
    async def beat(self) -> bytes:
        """The next heartbeat, now: for exact statistics."""
        return encode(self._heartbeat())

    @timed
    async def heed_silent(self, actor_name: str) -> None:
        """Another worker showed no sign of life to a reader on this node: leave it alone, too."""
        self._peers.heed_silent(actor_name)

    @timed
    async def shutdown(self) -> None:
        """Remove everything from disk; the actor is killed after."""
        self._log.close()
        await self._ports.in_thread(self._local.clear)
        await self._ports.in_thread(self._stores.clear)

    async def _end(self) -> None:
        with contextlib.suppress(Exception):  # a disk that hangs must not keep it
            await asyncio.wait_for(self.shutdown(), _DISK_TIMEOUT_S)
        os._exit(0)

    def _take_mounts(self, table: MountTable | None) -> None:
        if table is None or table.version <= self._mounts.version:
            return
        self._mounts = table
        for root_uri, options in {names.split_uri(m.uri)[0]: m.options for m in table.mounts}.items():
            # Now rather than at the first read: importing and connecting takes half a second.
            self._ports.spawn(self._ports.aside(open_ahead, root_uri, options))

    # --- background ---------------------------------------------------------------------------------------------------

    def _stats(self) -> WorkerStats:
        asked = self._exporter.lake.all()
        return self._service.stats()._replace(
            ufs_requests=sum(reads.requests for reads in asked),
            ufs_bytes=sum(reads.bytes for reads in asked),
            ufs_errors=sum(reads.errors for reads in asked),
            plasma_used_bytes=self._pressure.used_bytes,
            plasma_capacity_bytes=self._object_store_bytes,
            peer_silences=self._peers.breaker.silences,
        )

    def _heartbeat(self) -> Heartbeat:
        self._sequence += 1
        stats = self._stats()
        full, self._want_full = self._want_full, False
        report = self._service.report(full)
        return Heartbeat(
            self._node,
            self._epoch,
            self._sequence,
            report,
            stats,
            self._readings.total,
            self._view.view_id,
            self._mounts.version,
            self._readings.batches(),
            rules_version=self._service.rule_books.booked_version,
            quota_limits=self._service.rule_books.limits,
            quota_used=self._service.rule_books.used(),
            written=self._log.position,
            deliveries=dict(self._readings.unconfirmed),
        )

    async def _tell(self, *, urgent: bool) -> None:
        """Wait until the master has what is known now, for a while; urgent: it hears of it at once."""
        if urgent:
            self._hurry.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), _CONFIRM_TIMEOUT_S)

    async def _tick_forever(self) -> None:
        """Keep order, for a bounded time after another as long as there is something to do."""
        while True:
            try:
                self._ports.run(self._service.tick(self._clock.now_s()))
                busy = self._service.busy
            except Exception:  # a defect: what comes later may still be kept in order
                self._ports.recover("keeping order")
                busy = False
            await (self.turns.over() if busy else asyncio.sleep(_TICK_PERIOD_S))

    async def _beat_forever(self) -> None:
        unsaid: list[asyncio.Event] = []
        while True:
            more = False
            self._pulse.came_round()
            try:
                told, self._told = self._told, asyncio.Event()
                sent_s, beat = self._clock.now_s(), self._heartbeat()
                good, reply = decode(await self._link.call("heartbeat", encode(beat)))
                if good:
                    self._heed(reply, sent_s)
                    self._readings.arrived(beat.readers, beat.deliveries)
                    more = beat.report.more
                    # Who waits for the master to know everything waits for the rest of it.
                    unsaid.append(told)
                    while unsaid and not more:
                        unsaid.pop().set()
                else:
                    # It is there, and has to read its journal first; what was in the heartbeat has not arrived.
                    self._heard_s, self._want_full = self._clock.now_s(), True
                    unsaid.clear()
            except Exception:
                # The master restarts, or is gone: say everything again, and end when it stays away.
                self._want_full = True
                unsaid.clear()
                silent_s = self._clock.now_s() - self._heard_s
                if silent_s > _GIVEN_UP_S or (silent_s > _ORPHAN_S and await self._link.is_gone()):
                    await self._end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), 0 if more else self._settings.heartbeat_period_s)
            self._hurry.clear()

    def _heed(self, reply: HeartbeatReply, sent_s: float) -> None:
        self._heard_s = self._clock.now_s()
        if not reply.accepted:
            os._exit(0)  # a newer worker stands on this node
        if reply.written is not None:
            self._log.trust(reply.written, sent_s)
        self._want_full = self._want_full or reply.want_full
        if reply.view is not None:
            self._view = reply.view
        if reply.mounts is not None:
            self._take_mounts(reply.mounts)
        self._ports.run(self._service.set_rules(reply.rules, reply.shares, self._clock.now_s()))
        if reply.invalidated:
            self._ports.spawn(self._drop_invalidated(reply.invalidated))

    async def _drop_invalidated(self, versions: list[VersionId]) -> None:
        await self._free(Selector([], versions), force=True)

    async def _watch_disk(self) -> None:
        """Notice a disk that hangs."""
        try:
            await self._probe.run(self._stores.probe)
        except TimeoutError:
            self._service.disk_answers(False)
        else:
            self._service.disk_answers(True)

    async def _watch_pressure(self) -> None:
        """Keep the whole object store below a share of its capacity by giving way."""
        if self._ports.buffers_used and not self._service.stats().loads_inflight:
            self._ports.buffers_used = False
            await self._ports.in_thread(give_back)
        try:
            use = await self._ports.in_thread(store_use, self._node)
        except Exception:
            # The node is busy, or this version of Ray does not tell: the quota stands as it is until it does.
            return
        wanted = self._pressure.seen(use, self._stores.memory_used_bytes)
        if wanted != self._service.memory_bytes:
            self._ports.run(self._service.set_memory_bytes(wanted, self._clock.now_s()))

    async def _export(self) -> None:
        """Hand the figures to Ray's metrics."""
        self._exporter.export(self._readings, self._stats(), self._mounts, self._clock.now_s())
