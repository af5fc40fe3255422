"""The worker's decisions: what is served from where, what is loaded, kept, moved and dropped. Pure and sans-I/O.

Theory of operation. Calls and results come in as method calls with the time; each returns the effects to carry out
(`effects.py`). One thread calls. A request (`ask`) becomes a ticket: every block of it is looked up, and is

- here: the ticket *holds* its segment until the reply, so that nothing, not even the request itself, can evict it;
- here, but adopted from disk and unchecked: the ticket waits for a `Verify`; a bad segment is dropped and its blocks
  count as missing;
- on its way: the ticket joins the flight;
- missing: a flight is opened, see `loading.py`.

A ticket with nothing open is answered, exactly once, at the end of the event that decided its last block. A block that is
freed while its ticket waits for others is not handed out any more (`tickets.final_states`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import xxhash

from raycache.errors import UnavailableError
from raycache.messages import (
    BlockReport,
    BlockRequest,
    BlockState,
    FreeReply,
    InventoryReply,
    InventoryRequest,
    ResidencyReply,
    Selector,
    Shares,
    WorkerStats,
)
from raycache.ranges import is_page
from raycache.rules import RuleTable
from raycache.types import BlockId, SegmentId, Tier, VersionId, WorkerId
from raycache.workers.answer_table import Answer, Presence
from raycache.workers.capacity import WorkerLimits
from raycache.workers.claims import Claims
from raycache.workers.effects import Effect, LoadOutcome, Outbox, Reply, SegmentEntry
from raycache.workers.figures.tier_stats import stats_of
from raycache.workers.loading import Loading
from raycache.workers.policies.choosing import Choosing
from raycache.workers.policies.table import POLICIES
from raycache.workers.tickets import SHORT_LEASE_S, Ticket, TicketTable, final_states, refused, reply_of
from raycache.workers.tiers.compaction import Compaction
from raycache.workers.tiers.invariants import validate_tiers
from raycache.workers.tiers.rule_books import RuleBooks
from raycache.workers.tiers.rule_keeping import RuleKeeping
from raycache.workers.tiers.segment import Operation, Segment
from raycache.workers.tiers.tiers import Tiers
from raycache.workers.walks.adoption import Adoption, DiskSegment, FoundFile
from raycache.workers.walks.freeing import Freeing
from raycache.workers.walks.heat import Heat
from raycache.workers.walks.inventory_pages import InventoryWalk, OpenInventories
from raycache.workers.walks.local_share import LocalShare
from raycache.workers.walks.reporting import Reporting
from raycache.workers.walks.residence import residency


class WorkerService:
    """One worker incarnation.

    Args:
        worker: the node it stands on; readers there get segments in place.
        epoch: part of the default segment ids, so that they differ from those an earlier incarnation left on disk.
        limits: quotas and bounds.
        eviction: of `settings.EVICTIONS`.
        new_id: names new segments; unique in this incarnation and among adopted segments.
    """

    def __init__(
        self,
        worker: WorkerId,
        epoch: int,
        limits: WorkerLimits,
        eviction: str = "lru",
        new_id: Callable[[], SegmentId] | None = None,
    ) -> None:
        self.worker = worker
        self.epoch = epoch
        self.limits = limits
        self._grid = limits.grid
        self._out = Outbox()
        self._tiers = Tiers(limits, POLICIES["lru"], self._out)
        self.choosing = Choosing(eviction, self._tiers, limits.grid)
        self._table = self._tiers.segments
        self._rule_keeping = RuleKeeping(self._tiers, self._out)
        self._rule_books = self._rule_keeping.rule_books
        self._claims = Claims(worker, limits.grid, limits.extent_size_bytes)
        self._tickets = TicketTable()
        #: By adopted segment, what waits for its check: (ticket, position).
        self._verify_waiters: dict[SegmentId, list[tuple[int, int]]] = {}
        prefix = f"{xxhash.xxh3_64_hexdigest(worker.encode())[:8]}-{epoch:x}"
        numbers = itertools.count()
        new_id = new_id or (lambda: f"{prefix}-{next(numbers):x}")
        self._loading = Loading(limits, self._tiers, self._rule_keeping, self._tickets, new_id, self._out)
        self._flights = self._loading.flights
        self._compaction = Compaction(self._tiers, new_id, self._out)
        self._adoption = Adoption(self._tiers, limits.grid, self._out)
        self._reporting = Reporting(self._table)
        self._listings = OpenInventories(self._table)
        self.local_share = LocalShare(self._tiers, self._out, self._conclude)
        self._settling = False
        self._refusals = 0

    # --- requests -----------------------------------------------------------------------------------------------------

    def ask(self, ticket: int, request: BlockRequest, now_s: float) -> list[Effect]:
        """Serve or load blocks; a `Reply` to the ticket comes now, or from a later call. Tickets are never reused."""
        self._out.now_s = now_s
        error = request.refusal()
        if error is not None:
            self._out.put(refused(ticket, request, error))
            return self._conclude()
        opened = self._tickets.open(ticket, request)
        self._tiers.job_guard.asked(request.keep_since_s(now_s), now_s)
        self.choosing.refer(opened)
        for position in range(len(opened.blocks)):
            self._look_up(opened, position)
        return self._conclude()

    def _look_up(self, ticket: Ticket, position: int) -> None:
        """Decide one block, or make it wait for something; see `answer_table.py`."""
        error = ticket.refusal(position, self._grid)
        if error is not None:
            self._tickets.settle(ticket, position, BlockState.FAILED, error=error)
            return
        block = ticket.blocks[position]
        if is_page(block.block_index) and self._table.of_block(block) is None:
            whole = BlockId(block.version, self._grid.block_of(block.block_index))
            if self._table.of_block(whole) is not None or self._flights.get(whole) is not None:
                block = ticket.serve_by(position, whole, self._grid)
        segment = self._table.of_block(block)
        if segment is not None and not segment.in_memory and not self._tiers.disk_answers:
            self._tickets.settle(ticket, position, BlockState.NO_SPACE)
            return
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
                self._tickets.settle(ticket, position, state, segment)
            case Answer.CHECK:
                assert segment is not None
                self._verify_waiters.setdefault(segment.id, []).append((ticket.number, position))
                self._tiers.verify(segment)
            case Answer.JOIN | Answer.LOAD:
                self._loading.join(ticket, position, block)
            case Answer.SEND_ON:
                self._tickets.settle(ticket, position, BlockState.ELSEWHERE)
            case Answer.REFUSE | None:
                self._tickets.settle(ticket, position, BlockState.NO_SPACE)

    def _presence(self, ticket: Ticket, position: int, block: BlockId, segment: Segment | None) -> Presence:
        """Where a block is, and whether another worker has claimed it, if the request asks for that."""
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

    def _conclude(self) -> list[Effect]:
        """End an event: start what may start, answer what is decided."""
        self._loading.start_some()
        for ticket in self._tickets.take_decided():
            self._answer(ticket)
        return self._out.drain()

    def _answer(self, ticket: Ticket) -> None:
        states = final_states(ticket)
        if ticket.terms.counts_refusals:
            self._refusals += states.count(BlockState.NO_SPACE)
        memory_s = SHORT_LEASE_S if self._tiers.pressed else self.limits.lease_s
        leases_s = {Tier.MEMORY: memory_s, Tier.DISK: self.limits.lease_s}
        reply = reply_of(ticket, states, local=ticket.request.node == self.worker, leases_s=leases_s)
        for grant in reply.grants:
            ticket.held[grant.segment].lease(self._out.now_s + (grant.lease_s or SHORT_LEASE_S))
        self._close(ticket, reply)

    def _close(self, ticket: Ticket, reply: Reply) -> None:
        self._tickets.close(ticket)
        self._out.put(reply)
        for segment in ticket.held.values():
            self._tiers.unhold(segment)

    # --- what became of effects -----------------------------------------------------------------------------------------

    def loaded(self, load_id: int, outcome: LoadOutcome, now_s: float) -> list[Effect]:
        """A load has ended, and what was good is stored in the load's tier. A late or duplicate word is ignored."""
        self._out.now_s = now_s
        return self._conclude() if self._loading.ended(load_id, outcome) else []

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
        """A `Verify` has ended; what waited for it is served from the segment, or loaded when that was bad."""
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

    def recover(self, now_s: float) -> list[Effect]:
        """An event broke off, by a defect: what it has left waiting for nothing fails, so that nobody waits for ever."""
        self._out.now_s = now_s
        error = UnavailableError("the worker met a defect, see its log; read past the cache")
        for ticket in self._tickets.unanswered():
            self._close(ticket, refused(ticket.number, ticket.request, error))
        self._loading.fail_stranded(error)
        waiting = set(self._flights.waiters()).union(*self._verify_waiters.values())
        for ticket, position in self._tickets.unsettled():
            if (ticket.number, position) not in waiting:
                self._tickets.settle(ticket, position, BlockState.FAILED, error=error)
        return self._conclude()

    # --- readers and operators ----------------------------------------------------------------------------------------

    def touch(self, segments: list[SegmentId], now_s: float) -> list[Effect]:
        """Readers used these leased segments again: renew the leases. What is gone or drains is ignored."""
        self._out.now_s = now_s
        renewed = [self._table.segments[name] for name in self.renewable(segments)]
        # All leases first: one segment's promotion must not evict another that is renewed here.
        for segment in renewed:
            segment.lease(now_s + self.limits.lease_s)
        for segment in renewed:
            self._tiers.access(segment)
            self.choosing.used(segment)
        return self._conclude()

    def renewable(self, segments: list[SegmentId]) -> list[SegmentId]:
        """Those of the segments that `touch` would renew; readers must let the others go when their leases end.

        While memory is to be given back, none in memory is renewed: what is always in use would never be given back.
        """
        found = [(name, self._table.get(name)) for name in segments]
        here = [(name, s) for name, s in found if s is not None and s.verified and not s.draining]
        return [name for name, s in here if not (s.in_memory and self._tiers.pressed)]

    def begin_free(self, selector: Selector, force: bool, now_s: float) -> Freeing:
        """Begin to drop blocks, with `force` also pinned ones; `free_some` goes on until it is done.

        What is leased goes when the lease ends: readers have mapped it. Blocks on their way are not stopped: a request waits
        for each.
        """
        if not selector.versions:
            self._claims.clear()  # the next reader of an extent is its first again
        self._adoption.freed(selector, force=force)
        return Freeing(selector, self._tiers, now_s, force=force)

    def free_some(self, freeing: Freeing, now_s: float) -> list[Effect]:
        """Drop a bounded number of blocks."""
        self._out.now_s = now_s
        freeing.step()
        return self._conclude()

    def free(self, selector: Selector, force: bool, now_s: float) -> tuple[FreeReply, list[Effect]]:
        """Drop all of it at once: where little is here."""
        freeing = self.begin_free(selector, force, now_s)
        effects: list[Effect] = []
        while not freeing.done:
            effects += self.free_some(freeing, now_s)
        return freeing.reply(), effects

    def resident(self, versions: list[VersionId]) -> ResidencyReply:
        """Say exactly which blocks are here."""
        return residency(versions, self._table)

    def heat(self, limit: int) -> Heat:
        """Look for the hottest and the coldest files, step by step."""
        return Heat(self._table, limit)

    def inventory(self, request: InventoryRequest) -> InventoryWalk:
        """Make a page of the files of which blocks are here, step by step; then `inventory_reply` follows."""
        return self._listings.resume(request)

    def inventory_reply(self, listing: InventoryWalk) -> InventoryReply:
        """The page that has been made."""
        reply = listing.reply()
        self._listings.keep(listing, reply)
        return reply

    def has_copy(self, segment: SegmentId, tier: Tier) -> bool:
        """Whether a segment has a copy in a tier, or one on its way there."""
        if (found := self._table.get(segment)) is None:
            return False
        here, coming = (found.on_disk, Operation.DEMOTE) if tier is Tier.DISK else (found.in_memory, Operation.PROMOTE)
        return here or found.operation is coming

    def segments_on_disk(self) -> list[SegmentId]:
        """Those in the tables."""
        return [segment.id for segment in self._table.since(-1) if segment.on_disk]

    def expects(self, segment: SegmentId) -> bool:
        """Whether a segment file belongs to something that is here, or that is taken over."""
        return self._table.get(segment) is not None or segment in self._adoption.coming

    def recheck(self, segment: SegmentId, now_s: float) -> list[Effect]:
        """Have a segment on disk checked again, which drops it if it is bad."""
        self._out.now_s = now_s
        if (found := self._table.get(segment)) is not None and found.operation is None and not found.draining:
            found.verified = False
            self._tiers.verify(found)
        return self._conclude()

    def entries(self, segment: SegmentId) -> list[SegmentEntry]:
        """What to write into the segment's footer; empty when it is being given up."""
        found = self._table.get(segment)
        return [] if found is None else list(found.entries.values())

    # --- the tiers ----------------------------------------------------------------------------------------------------

    def begin_adoption(self) -> None:
        """What an earlier incarnation has left on disk is looked for; `found_on_disk` follows."""
        self._adoption.begin()

    def found_on_disk(self, files: Sequence[FoundFile], now_s: float) -> tuple[list[FoundFile], list[Effect]]:
        """What was found, the oldest first: those of the files that are to be described for `adopt_one`, in that order."""
        self._out.now_s = now_s
        self._adoption.found(files)
        return list(self._adoption.coming.values()), self._conclude()

    def adopt_one(self, name: SegmentId, found: DiskSegment | None, now_s: float) -> list[Effect]:
        """Take in one of them, or delete it. What is here already is left out."""
        self._out.now_s = now_s
        self._adoption.take(name, found, self._flights.blocks())
        return self._conclude()

    def adopt(self, segments: Sequence[DiskSegment], now_s: float) -> list[Effect]:
        """Take in all there is, the oldest first, at once."""
        _, effects = self.found_on_disk([FoundFile(found.segment, found.size_bytes) for found in segments], now_s)
        for found in segments:
            effects += self.adopt_one(found.segment, found, now_s)
        return effects

    def disk_answers(self, answers: bool) -> None:
        """Whether the disk answers at all: while it does not, what is only there is read past the cache."""
        self._tiers.disk_answers = answers

    @property
    def adopting(self) -> int:
        """Segments on disk that are not here yet."""
        return len(self._adoption.coming)

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
    def rule_books(self) -> RuleBooks:
        """What the rules say of what is here."""
        return self._rule_books

    def set_rules(self, table: RuleTable | None, shares: Shares | None, now_s: float) -> list[Effect]:
        """Take over newer rules, and this worker's shares of the quotas; None: no news."""
        self._out.now_s = now_s
        if table is not None:
            self._rule_keeping.set_rules(table)
        if shares is not None:
            self._rule_keeping.set_shares(shares)
        return self._conclude()

    def tick(self, now_s: float) -> list[Effect]:
        """To be called every second or so: ends leases, keeps the rules, gives memory back in the background."""
        self._out.now_s = now_s
        self._rule_keeping.tick()
        self._compaction.start()
        self._settling = self._tiers.settle()
        self._tiers.reclaim()
        self.choosing.tick(now_s)
        return self._conclude()

    @property
    def busy(self) -> bool:
        """Whether the last tick has left something that the next one can go on with at once."""
        return self._rule_keeping.busy or self._settling

    # --- reports ------------------------------------------------------------------------------------------------------

    def report(self, full: bool) -> BlockReport:
        """The next blocks to be told of: of all versions, or of those that changed since the last report of either kind."""
        return self._reporting.report(full)

    def stats(self) -> WorkerStats:
        """The service's own figures; requests to the under storage are counted by the lake meter."""
        loads, local_bytes = len(self._flights.running), self.local_share.bytes
        return stats_of(self._tiers, loads, self._refusals, local_bytes)._replace(**self.choosing.figures())

    def validate(self) -> None:
        """Check every invariant; for tests and the simulator. AssertionError with the story."""
        reserved = dict.fromkeys(Tier, 0)
        for load in self._flights.running.values():
            reserved[load.tier] += load.size_bytes
        for tier in Tier:
            reserved[tier] += self._compaction.reserved_bytes(tier)
        reserved[Tier.DISK] += self._adoption.reserved_bytes
        validate_tiers(self._tiers, reserved)
        self._flights.validate()
        self._rule_books.validate(self._table.segments, self._flights.running.values())
        waiting = self._flights.waiters() + [w for waiters in self._verify_waiters.values() for w in waiters]
        self._tickets.validate(waiting, self._table.segments)
        for block in self._flights.blocks():
            assert self._table.of_block(block) is None, f"{block} is here and on its way"
