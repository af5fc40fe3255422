"""The worker's decisions: what is served from where, what is loaded, kept, moved and dropped. Pure and sans-I/O.

Theory of operation. Calls and results come in as method calls with the time; each returns the effects to carry out
(`effects.py`). One thread calls. A request (`ask`) becomes a ticket: every block of it is looked up, and is

- here: the ticket *holds* its segment until the reply, so that nothing, not even the request itself, can evict it;
- here, but adopted from disk and unchecked: the ticket waits for a `Verify`; a bad segment is dropped and its blocks
  count as missing;
- on its way: the ticket joins the flight;
- missing: a flight is opened, grouped with others into a batch, and queued.

Batches start in order, within the bounds of running loads. Room is made only when a batch starts: in memory, else on
disk, else for a part of it; what fits nowhere is NO_SPACE at once and costs nothing. A load that comes back lands its
flights; a ticket with nothing open is answered, exactly once. CHANGED or GONE discards everything of that version.

A block that is freed while a ticket waits for others is not handed out any more (`tickets.final_states`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import xxhash

from raycache.errors import RaycacheError
from raycache.messages import (
    BlockReport,
    BlockRequest,
    BlockState,
    FileHeat,
    FreeReply,
    InventoryReply,
    InventoryRequest,
    MissReason,
    Need,
    ResidencyReply,
    Selector,
    Shares,
    WorkerStats,
)
from raycache.ranges import is_page
from raycache.rules import RuleTable
from raycache.types import BlockId, SegmentId, Tier, VersionId, WorkerId
from raycache.workers.answers import Answer, Presence
from raycache.workers.capacity import WorkerLimits
from raycache.workers.claims import Claims
from raycache.workers.effects import DiskSegment, DropDisk, Effect, Entry, Load, LoadOutcome, Outbox
from raycache.workers.figures.heat import extremes
from raycache.workers.figures.worker_stats import stats_of
from raycache.workers.flights import Flight, FlightTable, items_of, pack, prefix_count, size_of
from raycache.workers.pages_here import block_around, held_parts
from raycache.workers.selection import by_policy, choose, inventory, residency
from raycache.workers.tickets import SHORT_LEASE_S, Ticket, final_states, refused, reply_of, validate_tickets
from raycache.workers.tiers.adoption import adoptable
from raycache.workers.tiers.compaction import Compaction
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.eviction import EvictionPolicy, LruPolicy
from raycache.workers.tiers.invariants import validate_tiers
from raycache.workers.tiers.rule_books import Policies
from raycache.workers.tiers.rule_keeping import Upkeep
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.tiers import Tiers


class WorkerService:
    """One worker incarnation.

    Args:
        worker: the node it stands on; readers there get segments in place.
        epoch: part of the default segment ids, so that they differ from those an earlier incarnation left on disk.
        limits: quotas and bounds.
        policy: makes one eviction policy per tier.
        new_id: names new segments; unique in this incarnation and among adopted segments.
    """

    def __init__(
        self,
        worker: WorkerId,
        epoch: int,
        limits: WorkerLimits,
        policy: Callable[[], EvictionPolicy] = LruPolicy,
        new_id: Callable[[], SegmentId] | None = None,
    ) -> None:
        self.worker = worker
        self.epoch = epoch
        self.limits = limits
        self._grid = limits.grid
        self._out = Outbox()
        self._tiers = Tiers(limits, policy, self._out)
        self._table = self._tiers.segments
        self._upkeep = Upkeep(self._tiers, self._out)
        self._policies = self._upkeep.policies
        self._claims = Claims(worker, limits.grid, limits.extent_size_bytes)
        self._flights = FlightTable(limits.loads_inflight_max, limits.load_bytes_inflight_max)
        self._tickets: dict[int, Ticket] = {}
        #: Tickets with nothing open, to be answered before the current call returns.
        self._ready: list[Ticket] = []
        #: Who waits for the check of an adopted segment: (ticket, position).
        self._verify_waiters: dict[SegmentId, list[tuple[int, int]]] = {}
        prefix = f"{xxhash.xxh3_64_hexdigest(worker.encode())[:8]}-{epoch:x}"
        numbers = itertools.count()
        self._new_id = new_id or (lambda: f"{prefix}-{next(numbers):x}")
        self._compaction = Compaction(self._tiers, self._new_id, self._out)
        self._refusals = 0

    # --- requests -----------------------------------------------------------------------------------------------------

    def ask(self, ticket: int, request: BlockRequest, now_s: float) -> list[Effect]:
        """Serve or load blocks; a `Reply` to the ticket comes now, or from a later call. Tickets are never reused."""
        assert ticket not in self._tickets, f"ticket {ticket} is open already"
        self._out.now_s = now_s
        error = request.refusal()
        if error is not None:
            self._out.put(refused(ticket, request, error))
            return self._conclude()
        opened = Ticket.of(ticket, request)
        self._tickets[ticket] = opened
        self._tiers.filling.asked(request.keep_since_s(now_s), now_s)
        if not opened.blocks:
            self._ready.append(opened)
        for position in range(len(opened.blocks)):
            self._look_up(opened, position)
        return self._conclude()

    def _look_up(self, ticket: Ticket, position: int) -> None:
        """Decide one block, or make it wait for something; see `answers.py`."""
        error = ticket.refusal(position, self._grid)
        if error is not None:
            self._settle(ticket, position, BlockState.FAILED, error=error)
            return
        block = ticket.blocks[position]
        if is_page(block.block_index):
            whole = block_around(block, self._table, self._flights, self._grid)
            if whole is not None:
                block = ticket.serve_by(position, whole, self._grid)
        segment = self._table.of_block(block)
        answer = ticket.answers[self._presence(ticket, position, block, segment)]
        if answer is Answer.RECHECK:
            assert segment is not None
            answer = Answer.SERVE if ticket.recheck(segment) else Answer.CHECK
        match answer:
            case Answer.SERVE:
                assert segment is not None
                if segment.id not in ticket.held:
                    self._tiers.access(segment)
                state = BlockState.HIT_MEMORY if segment.in_memory else BlockState.HIT_DISK
                self._settle(ticket, position, state, segment)
            case Answer.CHECK:
                assert segment is not None
                self._verify_waiters.setdefault(segment.id, []).append((ticket.number, position))
                self._tiers.verify(segment)
            case Answer.JOIN:
                self._join(ticket, position, self._flights.get(block))
            case Answer.LOAD:
                self._join(ticket, position, self._open_flight(ticket, position, block))
            case Answer.SEND_ON:
                self._settle(ticket, position, BlockState.ELSEWHERE)
            case Answer.REFUSE | None:
                self._settle(ticket, position, BlockState.NO_SPACE)

    def _presence(self, ticket: Ticket, position: int, block: BlockId, segment: Segment | None) -> Presence:
        """Where a block is, and who has claimed it, if that is asked."""
        if segment is not None:
            return Presence.HERE if segment.verified else Presence.UNCHECKED
        if self._flights.get(block) is not None:
            return Presence.COMING
        if ticket.terms.need is not None:
            request, version = ticket.request, ticket.version_of(position)
            claimant = self._claims.answer(request, request.claim(position), block, version, self._table)
            if claimant is not None:
                ticket.claimants[position] = claimant
                return Presence.CLAIMED
        return Presence.ABSENT

    def _open_flight(self, ticket: Ticket, position: int, block: BlockId) -> Flight | None:
        """Have a block loaded; None: too many wait already."""
        version = ticket.version_of(position)
        length = self._grid.length(block.block_index, version.size_bytes)
        reason = self._tiers.absences.why(block, version)
        flight = Flight(block, version, length, ticket.request.source_actor, reason)
        return flight if self._flights.open(flight) else None

    def _join(self, ticket: Ticket, position: int, flight: Flight | None) -> None:
        """Wait for a flight."""
        if flight is None:
            self._settle(ticket, position, BlockState.NO_SPACE)
            return
        need = ticket.terms.need
        assert need is not None, f"nothing is loaded for {ticket.request.purpose}"
        flight.join((ticket.number, position), need, ticket.request.keep_since_s(self._out.now_s))
        ticket.reasons[position] = flight.reason

    def _settle(
        self,
        ticket: Ticket,
        position: int,
        state: BlockState,
        segment: Segment | None = None,
        error: RaycacheError | None = None,
    ) -> None:
        if ticket.settle(position, state, segment, error):
            self._ready.append(ticket)

    def _conclude(self) -> list[Effect]:
        """End an event: start what may start, answer what is decided."""
        for alike in by_policy(self._flights.take_opened(), self._policies.of):
            self._flights.enqueue(pack(alike, self.limits.block_size_bytes, self.limits.segment_size_bytes))
        while (batch := self._flights.next_batch()) is not None:
            self._start(batch)
        ready, self._ready = self._ready, []
        for ticket in ready:
            self._answer(ticket)
        return self._out.drain()

    def _answer(self, ticket: Ticket) -> None:
        del self._tickets[ticket.number]
        states = final_states(ticket)
        if ticket.terms.counts_refusals:
            self._refusals += states.count(BlockState.NO_SPACE)
        memory_s = SHORT_LEASE_S if self._tiers.pressed else self.limits.lease_s
        leases_s = {Tier.MEMORY: memory_s, Tier.DISK: self.limits.lease_s}
        reply = reply_of(ticket, states, local=ticket.request.node == self.worker, leases_s=leases_s)
        for grant in reply.grants:
            self._tiers.lease(ticket.held[grant.segment], self._out.now_s + (grant.lease_s or SHORT_LEASE_S))
        self._out.put(reply)
        for segment in ticket.held.values():
            self._tiers.unhold(segment)

    # --- loads --------------------------------------------------------------------------------------------------------

    def _start(self, batch: list[Flight]) -> None:
        """Start a load of the batch, or of the part of it that there is room for."""
        need = max(flight.need for flight in batch)
        only_free = need < Need.NEEDED
        batch = self._within_quotas(batch, spare=only_free)
        if not batch:
            return
        if only_free and not self._tiers.reserve_spare(size_of(batch)):
            for flight in batch:
                self._land(flight.block, BlockState.NO_SPACE)
            return
        keep_since_s = max(flight.keep_since_s for flight in batch)
        tier = Tier.MEMORY if only_free else self._tiers.reserve(size_of(batch), keep_since_s)
        if tier is None:
            room_bytes = self._tiers.room_bytes(keep_since_s)
            batch = self._fitting(batch, room_bytes)
            if not batch:
                return
            tier = self._tiers.reserve(size_of(batch), keep_since_s)
            assert tier is not None, f"no room for {size_of(batch)} bytes, where {room_bytes} were promised"
        items = items_of(batch, self._grid, lambda block: held_parts(block, self._table, self._grid))
        load = Load(self._flights.new_load_id(), self._new_id(), tier, size_of(batch), items, need is Need.WELCOME)
        self._flights.start(load)
        self._policies.expect(load)
        self._out.put(load)

    def _within_quotas(self, batch: list[Flight], *, spare: bool) -> list[Flight]:
        """The part of a batch that the quotas of its files allow, with room made for it."""
        quotas = self._policies.quotas_of(flight.version.uri for flight in batch)
        if quotas:
            room_bytes = self._upkeep.room_bytes(quotas, size_of(batch), spare=spare)
            batch = self._fitting(batch, room_bytes, MissReason.QUOTA)
            self._upkeep.make_room(quotas, size_of(batch))
        return batch

    def _fitting(self, batch: list[Flight], room_bytes: int, reason: MissReason | None = None) -> list[Flight]:
        """The first part of a batch that fits; what does not fit alone has no space, the rest is in line again."""
        for flight in batch:
            if flight.length > room_bytes:
                if reason is not None:
                    for number, position in flight.waiters:
                        self._tickets[number].reasons[position] = reason
                self._land(flight.block, BlockState.NO_SPACE)
        batch = [flight for flight in batch if flight.length <= room_bytes]
        count = prefix_count(batch, room_bytes)
        self._flights.put_back(batch[count:])
        return batch[:count]

    def _land(
        self, block: BlockId, state: BlockState, segment: Segment | None = None, error: RaycacheError | None = None
    ) -> None:
        for number, position in self._flights.land(block).waiters:
            self._settle(self._tickets[number], position, state, segment, error)

    def loaded(self, load_id: int, outcome: LoadOutcome, now_s: float) -> list[Effect]:
        """A load has ended, and what was good is stored in the load's tier. A late or duplicate word is ignored."""
        self._out.now_s = now_s
        load = self._flights.finish(load_id)
        if load is None:
            return []
        self._policies.landed(load)
        entries = {
            item.block: Entry(item.version, item.block_index, item.offset_in_segment, item.length)
            for item, state in zip(load.items, outcome.states, strict=True)
            if state.served
        }
        segment: Segment | None = None
        if entries:
            table = EntryTable(entries.items())
            segment = Segment(load.segment, load.size_bytes, table, passive=load.passive, loaded_at_s=now_s)
            self._tiers.store(segment, load.tier)
            # What was here of these blocks in pages is here twice now; what a request waits to hand out goes later.
            twice = self._table.pages_in(entries, self._grid)
            idle = [page for page in twice if (found := self._table.of_block(page)) is not None and not found.holds]
            self._tiers.discard_blocks(idle, reason=None)
        else:
            self._tiers.cancel(load.size_bytes, load.tier)
        stale: dict[VersionId, None] = {}
        for number, (item, state) in enumerate(zip(load.items, outcome.states, strict=True)):
            good = state.served
            self._land(item.block, state, segment if good else None, outcome.errors.get(number))
            if state in (BlockState.CHANGED, BlockState.GONE):
                stale[item.block.version] = None
        for version in stale:
            self._tiers.discard_version(version)
        # The memory quota may have been lowered while the load ran.
        self._tiers.reclaim()
        return self._conclude()

    # --- what became of other effects -----------------------------------------------------------------------------------

    def demoted(self, segment: SegmentId, ok: bool, now_s: float) -> list[Effect]:
        """A `Demote` has ended."""
        self._out.now_s = now_s
        self._tiers.demoted(segment, ok)
        self._tiers.reclaim()
        return self._conclude()

    def promoted(self, segment: SegmentId, ok: bool, now_s: float) -> list[Effect]:
        """A `Promote` has ended."""
        self._out.now_s = now_s
        self._tiers.promoted(segment, ok)
        self._tiers.reclaim()
        return self._conclude()

    def verified(self, segment: SegmentId, ok: bool, now_s: float) -> list[Effect]:
        """A `Verify` has ended; who waited is served from the segment, or from a load of what it should have held."""
        self._out.now_s = now_s
        if self._tiers.verified(segment, ok):
            for number, position in self._verify_waiters.pop(segment, []):
                self._look_up(self._tickets[number], position)
        return self._conclude()

    def compacted(self, segment: SegmentId, ok: bool, now_s: float) -> list[Effect]:
        """A `Compact` has ended."""
        self._out.now_s = now_s
        self._compaction.compacted(segment, ok)
        return self._conclude()

    def disk_failed(self, now_s: float) -> list[Effect]:
        """A write of a disk load failed (its `loaded` follows): no more writes for a while."""
        self._out.now_s = now_s
        self._tiers.disk_failed()
        return self._conclude()

    # --- readers and operators ----------------------------------------------------------------------------------------

    def touch(self, segments: list[SegmentId], now_s: float) -> list[Effect]:
        """Readers used these leased segments again: renew the leases. What is gone or drains is ignored."""
        self._out.now_s = now_s
        renewed = [self._table.segments[name] for name in self.renewable(segments)]
        # All leases first: one segment's promotion must not evict another that is renewed here.
        for segment in renewed:
            self._tiers.lease(segment, now_s + self.limits.lease_s)
        for segment in renewed:
            self._tiers.access(segment)
        return self._conclude()

    def renewable(self, segments: list[SegmentId]) -> list[SegmentId]:
        """Those of the segments that `touch` would renew; readers must let the others go when their leases end.

        While memory is to be given back, none in memory: or what is always in use would never be.
        """
        found = [(name, self._table.get(name)) for name in segments]
        held = [(name, s) for name, s in found if s is not None and s.verified and not s.draining]
        return [name for name, s in held if not (s.in_memory and self._tiers.pressed)]

    def free(self, selector: Selector, force: bool, now_s: float) -> tuple[FreeReply, list[Effect]]:
        """Drop blocks, with `force` also pinned ones. What is leased goes when the lease ends: readers have mapped it.

        Blocks on their way are not stopped: somebody waits for them.
        """
        self._out.now_s = now_s
        blocks, pinned = choose(selector, self._table, now_s, force=force)
        pinned_bytes = self._table.bytes_of(pinned)
        # Versions are named when the lake no longer has them.
        reason = MissReason.CHANGED if selector.versions else MissReason.FREED
        if not selector.versions:
            # Who reads it next is the first again.
            self._claims.clear()
        count, size_bytes = self._tiers.discard_blocks(blocks, reason)
        return FreeReply(count, size_bytes, len(pinned), pinned_bytes), self._conclude()

    def resident(self, versions: list[VersionId]) -> ResidencyReply:
        """Say exactly which blocks are here."""
        return residency(versions, self._table)

    def heat(self, limit: int) -> list[FileHeat]:
        """The hottest and the coldest files; see `heat.extremes`."""
        return extremes(self._table, limit)

    def inventory(self, request: InventoryRequest, now_s: float) -> InventoryReply:
        """List the files of which blocks are here, a page at a time."""
        return inventory(request, self._table, now_s)

    def entries(self, segment: SegmentId) -> list[Entry]:
        """What to write into the segment's footer; empty when it is being given up."""
        found = self._table.get(segment)
        return [] if found is None else list(found.entries.values())

    # --- the tiers ----------------------------------------------------------------------------------------------------

    def adopt(self, segments: list[DiskSegment], now_s: float) -> list[Effect]:
        """Take in what an earlier incarnation left on disk, oldest first. What is double or does not fit is dropped."""
        self._out.now_s = now_s
        room_bytes = self._tiers.ledgers[Tier.DISK].free_bytes
        kept, dropped = adoptable(segments, self._table, self._flights.blocks(), self._grid, room_bytes, now_s)
        for segment in kept:
            self._tiers.adopt(segment)
        for name in dropped:
            self._out.put(DropDisk(name))
        return self._conclude()

    @property
    def memory_bytes(self) -> int:
        """The memory tier's quota now."""
        return self._tiers.ledgers[Tier.MEMORY].capacity_bytes

    def set_memory_bytes(self, n: int, now_s: float) -> list[Effect]:
        """Set the memory tier's quota; a lower one is kept to as soon as leases and copies allow."""
        self._out.now_s = now_s
        self._tiers.ledgers[Tier.MEMORY].resize(n)
        self._tiers.reclaim()
        return self._conclude()

    # --- rules --------------------------------------------------------------------------------------------------------

    @property
    def policies(self) -> Policies:
        """What the rules say of what is here."""
        return self._policies

    def set_rules(self, table: RuleTable | None, shares: Shares | None, now_s: float) -> list[Effect]:
        """Take over newer rules, and this worker's shares of the quotas; None: no news."""
        self._out.now_s = now_s
        if table is not None:
            self._upkeep.set_rules(table, self._flights.running.values())
        if shares is not None:
            self._upkeep.set_shares(shares)
        return self._conclude()

    def tick(self, now_s: float) -> list[Effect]:
        """To be called every second or so: ends leases, keeps the rules, gives memory back in the background."""
        self._out.now_s = now_s
        self._upkeep.tick()
        self._compaction.start()
        self._tiers.settle()
        self._tiers.reclaim()
        return self._conclude()

    # --- reports ------------------------------------------------------------------------------------------------------

    def report(self, full: bool) -> BlockReport:
        """Per version, the blocks held: all versions, or those that changed since the last report of either kind."""
        changed = self._table.take_changed()
        versions = self._table.versions() if full else changed
        return BlockReport(full, versions, [self._table.mask(version) for version in versions])

    def stats(self) -> WorkerStats:
        """The service's own figures; requests to the under storage are counted by the lake meter."""
        return stats_of(self._tiers, len(self._flights.running), self._refusals)

    def validate(self) -> None:
        """Check every invariant; for tests and the simulator. AssertionError with the story."""
        reserved = dict.fromkeys(Tier, 0)
        for load in self._flights.running.values():
            reserved[load.tier] += load.size_bytes
        for tier in Tier:
            reserved[tier] += self._compaction.reserved_bytes(tier)
        validate_tiers(self._tiers, reserved)
        self._flights.validate()
        self._policies.validate(self._table.segments, self._flights.running.values())
        assert not self._ready, "a ticket with nothing open was not answered"
        waiting = self._flights.waiters() + [w for waiters in self._verify_waiters.values() for w in waiters]
        validate_tickets(self._tickets, waiting, self._table.segments)
        for block in self._flights.blocks():
            assert self._table.of_block(block) is None, f"{block} is here and on its way"
