"""Loading what is missing: from the flight that is opened for a block to its landing. Pure.

Theory of operation. When an event ends, the flights opened in it join the line, in batches. Batches start in order, within
the bounds of running loads. Room is made only when a batch starts: within the quotas of its files, in memory, else on disk,
else for a part of it. What fits nowhere is NO_SPACE at once and costs nothing. When a load has ended its flights land; a
version of which a block was CHANGED or GONE is discarded as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

from raycache.errors import RaycacheError
from raycache.messages import BlockState, MissReason, Need
from raycache.types import BlockId, SegmentId, Tier, VersionId
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import Load, LoadOutcome, Outbox, SegmentEntry
from raycache.workers.flights import Flight, FlightTable, alike, batches_of, items_of, prefix_count, size_of
from raycache.workers.policies.plans import NEVER
from raycache.workers.tickets import Ticket, TicketTable
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.eviction import Since
from raycache.workers.tiers.rule_keeping import RuleKeeping
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.tiers import Tiers


class Loading:
    """The flights of a worker, and their loads.

    Args:
        limits: bounds of running loads, sizes of blocks and segments.
        tiers: where segments go.
        rule_keeping: keeps the quotas.
        tickets: wait for the flights.
        new_id: names new segments.
        out: of the worker's service.
    """

    def __init__(
        self,
        limits: WorkerLimits,
        tiers: Tiers,
        rule_keeping: RuleKeeping,
        tickets: TicketTable,
        new_id: Callable[[], SegmentId],
        out: Outbox,
    ) -> None:
        self.flights = FlightTable(limits.loads_inflight_max, limits.load_bytes_inflight_max)
        self._limits = limits
        self._grid = limits.grid
        self._tiers = tiers
        self._table = tiers.segments
        self._rule_keeping = rule_keeping
        self._rule_books = rule_keeping.rule_books
        self._tickets = tickets
        self._new_id = new_id
        self._out = out

    def join(self, ticket: Ticket, position: int, block: BlockId) -> None:
        """Let a part of a request wait for a block that is not here. When the line is full, the part is NO_SPACE."""
        flight = self.flights.get(block) or self._open(ticket, position, block)
        if flight is None:
            self._tickets.settle(ticket, position, BlockState.NO_SPACE)
            return
        need = ticket.terms.need
        assert need is not None, f"nothing is loaded for {ticket.request.purpose}"
        request, now_s = ticket.request, self._out.now_s
        flight.join((ticket.number, position), need, request.keep_since_s(now_s), request.read_since_s(now_s))
        ticket.reasons[position] = flight.reason

    def _open(self, ticket: Ticket, position: int, block: BlockId) -> Flight | None:
        version = ticket.version_of(position)
        length = self._grid.length(block.block_index, version.size_bytes)
        reason = self._tiers.absences.why(block, version)
        flight = Flight(block, version, length, ticket.request.source_actor, reason)
        return flight if self.flights.open(flight) else None

    # --- departure ----------------------------------------------------------------------------------------------------

    def start_some(self) -> None:
        """End of an event: put the flights opened in it in line, and start the loads that may start."""
        for group in alike(self.flights.take_opened(), self._rule_books.of):
            self.flights.enqueue(batches_of(group, self._limits.block_size_bytes, self._limits.segment_size_bytes))
        while (batch := self.flights.next_batch()) is not None:
            self._start(batch)

    def _start(self, batch: list[Flight]) -> None:
        """Start a load of the batch, or of the part of it that there is room for."""
        need = max(flight.need for flight in batch)
        only_free = need < Need.NEEDED
        batch = self._within_quotas(batch, evict=not only_free)
        if not batch:
            return
        if only_free and not self._tiers.reserve_free(size_of(batch)):
            for flight in batch:
                self._land(flight.block, BlockState.NO_SPACE)
            return
        plans = self._tiers.orders.plans
        since = Since(
            max(flight.keep_since_s for flight in batch),
            min(flight.read_since_s for flight in batch),
            min(plans.next_use(flight.block.version) for flight in batch) if plans else NEVER,
        )
        tier = Tier.MEMORY if only_free else self._tiers.reserve(size_of(batch), since)
        if tier is None:
            room_bytes = self._tiers.room_bytes(since)
            batch = self._fitting(batch, room_bytes)
            if not batch:
                return
            tier = self._tiers.reserve(size_of(batch), since)
            assert tier is not None, f"no room for {size_of(batch)} bytes, where {room_bytes} were promised"
        items = items_of(batch, self._grid, lambda block: self._table.parts_of(block, self._grid))
        load = Load(self.flights.new_load_id(), self._new_id(), tier, size_of(batch), items, need is Need.WELCOME)
        self.flights.start(load)
        self._rule_books.expect(load)
        self._out.put(load)

    def _within_quotas(self, batch: list[Flight], *, evict: bool) -> list[Flight]:
        """The part of a batch that the quotas of its files allow, with room made for it."""
        quotas = self._rule_books.quotas_of(flight.version.uri for flight in batch)
        if quotas:
            room_bytes = self._rule_keeping.room_bytes(quotas, size_of(batch), evict=evict)
            batch = self._fitting(batch, room_bytes, MissReason.QUOTA)
            self._rule_keeping.make_room(quotas, size_of(batch))
        return batch

    def _fitting(self, batch: list[Flight], room_bytes: int, reason: MissReason | None = None) -> list[Flight]:
        """The first blocks of a batch that fit. A block that does not fit alone is NO_SPACE; the rest goes to the front of the line."""
        for flight in batch:
            if flight.length > room_bytes:
                if reason is not None:
                    for number, position in flight.waiters:
                        self._tickets[number].reasons[position] = reason
                self._land(flight.block, BlockState.NO_SPACE)
        batch = [flight for flight in batch if flight.length <= room_bytes]
        count = prefix_count(batch, room_bytes)
        self.flights.put_back(batch[count:])
        return batch[:count]

    # --- landing ------------------------------------------------------------------------------------------------------

    def ended(self, load_id: int, outcome: LoadOutcome) -> bool:
        """A load has ended, and what was good is stored in its tier. False for a late or duplicate word."""
        load = self.flights.finish(load_id)
        if load is None:
            return False
        self._rule_books.landed(load)
        segment = self._arrived(load, outcome)
        stale: dict[VersionId, None] = {}
        for number, (item, state) in enumerate(zip(load.items, outcome.states, strict=True)):
            self._land(item.block, state, segment if state.served else None, outcome.errors.get(number))
            if state in (BlockState.CHANGED, BlockState.GONE):
                stale[item.block.version] = None
        for version in stale:
            self._tiers.discard_blocks(self._table.blocks_of(version), MissReason.CHANGED)
        # The memory quota may have been lowered while the load ran.
        self._tiers.reclaim()
        return True

    def fail_stranded(self, error: RaycacheError) -> None:
        """Land the flights that neither stand in line nor are loaded, after an event that broke off."""
        for block in self.flights.stranded():
            self._land(block, BlockState.FAILED, error=error)

    def _arrived(self, load: Load, outcome: LoadOutcome) -> Segment | None:
        """Take the load's segment in; None when no block of it is good."""
        entries = {
            item.block: SegmentEntry(item.version, item.block_index, item.offset_in_segment, item.length)
            for item, state in zip(load.items, outcome.states, strict=True)
            if state.served
        }
        if not entries:
            self._tiers.cancel(load.size_bytes, load.tier)
            return None
        packed, now_s = EntryTable(entries.items()), self._out.now_s
        segment = Segment(load.segment, load.size_bytes, packed, passive=load.passive, loaded_at_s=now_s)
        self._tiers.store(segment, load.tier)
        # Pages of these blocks are here twice now; those that a request waits to hand out go later.
        twice = self._table.pages_in(entries, self._grid)
        idle = [page for page in twice if (found := self._table.of_block(page)) is not None and not found.holds]
        self._tiers.discard_blocks(idle, reason=None)
        return segment

    def _land(
        self, block: BlockId, state: BlockState, segment: Segment | None = None, error: RaycacheError | None = None
    ) -> None:
        for number, position in self.flights.land(block).waiters:
            self._tickets.settle(self._tickets[number], position, state, segment, error)
