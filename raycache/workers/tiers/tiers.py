"""The two tiers: room, eviction, demotion, promotion, leases. Pure; what is decided goes into the outbox of the event.

Theory of operation. A segment's copy may be dropped only when it is *idle*: no open request holds it, no thread copies
it, no lease on it lasts. Room in a tier is made of idle copies, coldest first:

- memory: only copies that can be given up at once, because the disk has one, too, because the disk cannot take one (no
  disk tier, too small, failing), or because they are passive: made only since there was room. Others are demoted in the
  background; a load that needs room now goes to disk.
- disk: any idle copy.

Of a pinned segment the last copy is never evicted, only a second one; where that leaves no room there is none.

A load job evicts nothing that was loaded or used since it began, unless there is another copy: a load larger than the
cache ends with a full cache, and does not put its own end in place of its beginning. While a job fills a worker, demotions
keep the same.

Nothing is evicted unless that makes enough room. What is *discarded* (freed, or of a replaced version) leaves the index
at once; if it is not idle it drains: its bytes stay charged until it is.

Copies:  (load) -> memory -> [demote] both -> disk -> [promote] both; (restart) -> disk, unverified -> [verify] disk, or gone

A disk that fails a write is left alone for `DISK_COOLDOWN_S`; what is on it is still read. Meanwhile memory copies count
as ones the disk cannot take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from raycache.messages import MissReason
from raycache.types import BlockId, SegmentId, Tier
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import Demote, DropDisk, DropMemory, Forget, Outbox, Promote, Verify
from raycache.workers.policies.table import MakePolicy
from raycache.workers.tiers.absences import Absences
from raycache.workers.tiers.copies import Copies
from raycache.workers.tiers.eviction import ANYTHING, SPARED_MAX, EvictionOrders, JobGuard, Since, enough
from raycache.workers.tiers.ledger import TierCounts, TierLedger
from raycache.workers.tiers.segment import Operation, Segment
from raycache.workers.tiers.segments import SegmentTable

DISK_COOLDOWN_S = 30.0
#: Copies between the tiers under way at a time, each way.
COPIES_INFLIGHT_MAX = 4
#: Draining segments looked at in one tick.
SETTLED_MAX = 256


class Tiers:
    """All segments of a worker, and the books of both tiers.

    Args:
        limits: quotas and bounds.
        policy: makes one eviction policy per tier.
        out: of the worker's service.
    """

    def __init__(self, limits: WorkerLimits, policy: MakePolicy, out: Outbox) -> None:
        self._out = out
        self.limits = limits
        self.segments = SegmentTable()
        self.ledgers = {
            Tier.MEMORY: TierLedger(Tier.MEMORY, limits.memory_bytes),
            Tier.DISK: TierLedger(Tier.DISK, limits.disk_bytes),
        }
        self.orders = EvictionOrders(policy)
        #: Discarded, waiting to be idle.
        self.draining: dict[SegmentId, Segment] = {}
        self.copying = Copies()
        #: Segments of which less than half can be read; see `compaction`.
        self.wasteful: dict[SegmentId, None] = {}
        self.disk_answers = True
        #: Infinity until what an earlier incarnation has left there was found.
        self.disk_unusable_until_s = float("-inf")
        self.job_guard = JobGuard()
        self.absences = Absences()
        self.counts = TierCounts()

    # --- room ---------------------------------------------------------------------------------------------------------

    @property
    def disk_usable(self) -> bool:
        """Whether something may be written to disk."""
        there = self.disk_answers and self.ledgers[Tier.DISK].capacity_bytes > 0
        return there and self._out.now_s >= self.disk_unusable_until_s

    def reserve(self, size_bytes: int, since: Since) -> Tier | None:
        """Set room aside for a new segment, evicting as needed; None when neither tier can, and nothing was evicted.

        What stays anyway, says `since`.
        """
        self.orders.clock.count += 1
        if self._take(Tier.MEMORY, size_bytes, since):
            return Tier.MEMORY
        if self.disk_usable and self._take(Tier.DISK, size_bytes, since):
            # Demote, so that the next one finds room in memory.
            if size_bytes <= self.ledgers[Tier.MEMORY].capacity_bytes:
                self._demote_some(size_bytes)
            return Tier.DISK
        return None

    def reserve_free(self, size_bytes: int) -> bool:
        """Set free memory aside, for a passive copy or what was claimed: nothing is evicted, nor demoted soon after."""
        ledger = self.ledgers[Tier.MEMORY]
        limit_bytes = int(ledger.capacity_bytes * self.limits.memory_high_watermark)
        if ledger.charged_bytes + size_bytes > limit_bytes:
            return False
        ledger.reserve(size_bytes)
        return True

    def room_bytes(self, since: Since) -> int:
        """The largest segment that `reserve` would take."""

        def of(tier: Tier) -> int:
            droppable = sum(segment.size_bytes for segment in self._droppable(tier, since))
            return self.ledgers[tier].free_bytes + droppable

        return max(of(Tier.MEMORY), of(Tier.DISK) if self.disk_usable else 0)

    def reserve_beside(self, tier: Tier, size_bytes: int) -> bool:
        """Set room aside for a copy of what is here, evicting as a demotion may; False when there is none."""
        if tier is Tier.DISK and not self.disk_usable:
            return False
        return self._take(tier, size_bytes, Since(self.job_guard.keep_since_s(self._out.now_s)))

    def _take(self, tier: Tier, size_bytes: int, since: Since) -> bool:
        ledger = self.ledgers[tier]
        if size_bytes > ledger.capacity_bytes:
            return False
        victims = enough(self._droppable(tier, since), size_bytes - ledger.free_bytes)
        if victims is None:
            return False
        for victim in victims:
            self._drop_copy(victim, tier)
        ledger.reserve(size_bytes)
        return True

    def _droppable(self, tier: Tier, since: Since = ANYTHING) -> Iterator[Segment]:
        """Copies that can go at once, coldest first."""
        usable, now_s, spared = self.disk_usable, self._out.now_s, 0
        for name in self.orders.victims(tier):
            segment = self.segments.segments[name]
            if not segment.is_idle(now_s) or segment.is_last_pinned or since.keeps(segment):
                continue
            # What a load job brings was asked for: it is not refused.
            if not since.is_of_job and self.orders.spares(segment, tier, since.next_use):
                spared += 1
                if spared == SPARED_MAX:
                    return
                continue
            if tier is Tier.DISK or not usable or not self._is_demotable(segment):
                yield segment

    def _is_demotable(self, segment: Segment) -> bool:
        """Whether a copy in memory is worth one on disk, which has none and is large enough."""
        fits = segment.size_bytes <= self.ledgers[Tier.DISK].capacity_bytes
        return fits and not segment.on_disk and not segment.goes_first

    def _drop_copy(self, segment: Segment, tier: Tier) -> None:
        """Evict one copy."""
        if tier is Tier.MEMORY and segment.on_disk:
            self.counts.demotions += 1
        elif not (segment.in_memory and segment.on_disk):
            self.counts.evictions += 1
            self.counts.evictions_disk += tier is Tier.DISK
        self.orders.evict(segment, tier)
        self._remove_copy(segment, tier)
        if not segment.in_memory and not segment.on_disk:
            for block in segment.entries:
                self.absences.went(block, MissReason.EVICTED)
            self.wasteful.pop(segment.id, None)
            self.segments.forget(segment)

    def _remove_copy(self, segment: Segment, tier: Tier) -> None:
        self.orders.remove(segment, tier)
        self.ledgers[tier].release(segment.size_bytes)
        segment.hits = 0
        if tier is Tier.MEMORY:
            segment.in_memory = False
            self._out.put(DropMemory(segment.id))
        else:
            segment.on_disk = False
            self._out.put(DropDisk(segment.id))

    # --- arrivals -----------------------------------------------------------------------------------------------------

    def store(self, segment: Segment, tier: Tier) -> None:
        """A reserved segment has arrived in its tier."""
        self.ledgers[tier].commit(segment.size_bytes)
        self._set_copy(segment, tier)
        self.segments.add(segment)
        for block, entry in segment.entries.items():
            self.absences.arrived(block, entry.version)
        self._weigh(segment)

    def cancel(self, size_bytes: int, tier: Tier) -> None:
        """A reserved segment will not arrive."""
        self.ledgers[tier].cancel(size_bytes)

    def adopt(self, segment: Segment) -> None:
        """Take in a segment found on disk, for which there is room."""
        ledger = self.ledgers[Tier.DISK]
        ledger.reserve(segment.size_bytes)
        ledger.commit(segment.size_bytes)
        self._set_copy(segment, Tier.DISK)
        self.counts.disk_written_bytes -= segment.size_bytes
        self.segments.add(segment)
        self._weigh(segment)

    def _set_copy(self, segment: Segment, tier: Tier) -> None:
        segment.hits = 0
        if tier is Tier.MEMORY:
            segment.in_memory = True
        else:
            segment.on_disk = True
            self.counts.disk_written_bytes += segment.size_bytes
        if not segment.draining:
            self.orders.insert(segment, tier)

    # --- use ----------------------------------------------------------------------------------------------------------

    def access(self, segment: Segment) -> None:
        """A reader uses the segment: it becomes the warmest, and may be worth promoting."""
        segment.hits += 1
        segment.uses += 1
        segment.used_at_s = self._out.now_s
        self.orders.access(segment)
        # Not at every hit: the search for colder segments costs.
        if not segment.in_memory and segment.hits % self.limits.promote_after_hits == 0:
            self._promote(segment)

    @property
    def pressed(self) -> bool:
        """Whether memory holds more than it may: then no lease keeps it for long."""
        ledger = self.ledgers[Tier.MEMORY]
        return ledger.charged_bytes > ledger.capacity_bytes

    def unhold(self, segment: Segment) -> None:
        """An open request that was to be answered from the segment has been."""
        segment.holds -= 1
        self.settle_one(segment)

    # --- copies between the tiers -------------------------------------------------------------------------------------

    def _promote(self, segment: Segment) -> None:
        """Copy to memory when that costs nothing hotter: room below the high watermark, or copies with fewer hits."""
        full = len(self.copying.under(Operation.PROMOTE)) >= COPIES_INFLIGHT_MAX
        if full or segment.operation or segment.draining or not segment.verified:
            return
        ledger = self.ledgers[Tier.MEMORY]
        limit_bytes = int(ledger.capacity_bytes * self.limits.memory_high_watermark)
        if segment.size_bytes > limit_bytes:
            return
        colder = (victim for victim in self._droppable(Tier.MEMORY) if victim.hits < segment.hits)
        excess_bytes = ledger.charged_bytes + segment.size_bytes - limit_bytes
        victims = enough(colder, excess_bytes)
        if victims is None:
            return
        for victim in victims:
            self._drop_copy(victim, Tier.MEMORY)
        ledger.reserve(segment.size_bytes)
        self.copying.begin(segment, Operation.PROMOTE)
        self._out.put(Promote(segment.id))

    def promoted(self, name: SegmentId, ok: bool) -> None:
        """The copy to memory has ended. When it failed the segment stays where it is."""
        ended = self.copying.end(name, Operation.PROMOTE)
        if ended is None:
            return
        # What was freed meanwhile has been noted beside the copy on disk.
        segment, _ = ended
        if ok:
            self.ledgers[Tier.MEMORY].commit(segment.size_bytes)
            self._set_copy(segment, Tier.MEMORY)
            self.counts.promotions += 1
        else:
            self.ledgers[Tier.MEMORY].cancel(segment.size_bytes)
        self.settle_one(segment)

    def _demote_some(self, wanted_bytes: int) -> None:
        """Start copying the coldest idle memory segments to disk until `wanted_bytes` are on the way."""
        coming_bytes = self.copying.bytes_under(Operation.DEMOTE)
        for name in self.orders.victims(Tier.MEMORY):
            if coming_bytes >= wanted_bytes:
                return
            segment = self.segments.segments[name]
            if segment.is_idle(self._out.now_s) and self._is_demotable(segment):
                if not self._demote(segment):
                    return
                coming_bytes += segment.size_bytes

    def _demote(self, segment: Segment) -> bool:
        if len(self.copying.under(Operation.DEMOTE)) >= COPIES_INFLIGHT_MAX:
            return False
        if not self._take(Tier.DISK, segment.size_bytes, Since(self.job_guard.keep_since_s(self._out.now_s))):
            return False
        self.copying.begin(segment, Operation.DEMOTE)
        self._out.put(Demote(segment.id))
        return True

    def demoted(self, name: SegmentId, ok: bool) -> None:
        """The copy to disk has ended. Memory gives its copy up, unless a reader has come meanwhile."""
        ended = self.copying.end(name, Operation.DEMOTE)
        if ended is None:
            return
        segment, lost = ended
        if ok:
            self.ledgers[Tier.DISK].commit(segment.size_bytes)
            self._set_copy(segment, Tier.DISK)
            if not segment.draining and segment.is_idle(self._out.now_s):
                self._drop_copy(segment, Tier.MEMORY)
        else:
            self.ledgers[Tier.DISK].cancel(segment.size_bytes)
            self.disk_failed()
        self.settle_one(segment)
        if lost and segment.on_disk:
            self._out.put(Forget(name, lost))

    # --- checks -------------------------------------------------------------------------------------------------------

    def verify(self, segment: Segment) -> None:
        """Start checking an adopted segment, unless that runs already."""
        if segment.operation is None:
            segment.operation = Operation.VERIFY
            self._out.put(Verify(segment.id))

    def verified(self, name: SegmentId, ok: bool) -> bool:
        """The check has ended; a bad segment is gone. False for a late or duplicate word."""
        segment = self.segments.get(name)
        if segment is None or segment.operation is not Operation.VERIFY:
            return False
        segment.operation = None
        segment.verified = ok
        if not ok:
            self.counts.corrupt_segments += 1
            if not segment.draining:
                for block in segment.entries:
                    self.absences.went(block, MissReason.FAILED)
                self._discard(segment)
        self.settle_one(segment)
        return True

    def disk_failed(self) -> None:
        """A write to disk failed: leave it alone for a while."""
        self.counts.disk_errors += 1
        self.disk_unusable_until_s = self._out.now_s + DISK_COOLDOWN_S

    # --- giving up ----------------------------------------------------------------------------------------------------

    def discard_blocks(self, blocks: Iterable[BlockId], reason: MissReason | None) -> tuple[int, int]:
        """Take blocks out of the index; segments left without any are dropped, or drained. Returns (blocks, bytes).

        Without a reason they are not missed: they are here in another form.
        """
        by_segment: dict[SegmentId, list[BlockId]] = {}
        for block in blocks:
            segment = self.segments.of_block(block)
            if segment is not None:
                by_segment.setdefault(segment.id, []).append(block)
                if reason is not None:
                    self.absences.went(block, reason)
        size_bytes = 0
        for name, chosen in by_segment.items():
            segment = self.segments.segments[name]
            size_bytes += self.segments.unlist(segment, chosen)
            self.copying.lose(segment, chosen)
            if segment.entries:
                self._weigh(segment)
            else:
                self._discard(segment)
                self.settle_one(segment)
            if segment.on_disk:
                self._out.put(Forget(name, chosen))
        return sum(len(chosen) for chosen in by_segment.values()), size_bytes

    def _weigh(self, segment: Segment) -> None:
        """Note a segment that is mostly waste, unless it goes first anyway."""
        if not segment.goes_first and 2 * segment.entries.live_bytes < segment.size_bytes:
            self.wasteful[segment.id] = None

    def replace(self, segment: Segment, copy: Segment, tier: Tier) -> None:
        """A reserved copy of all that a segment lists has arrived, and takes its place."""
        blocks = list(segment.entries)
        self._discard(segment)
        self.store(copy, tier)
        self.settle_one(segment)
        if segment.on_disk:
            self._out.put(Forget(segment.id, blocks))

    def _discard(self, segment: Segment) -> None:
        self.segments.unlist(segment, segment.entries)
        for tier in Tier:
            self.orders.remove(segment, tier)
        segment.draining = True
        self.draining[segment.id] = segment
        self.wasteful.pop(segment.id, None)

    def settle_one(self, segment: Segment) -> None:
        """Drop a draining segment once nothing needs it."""
        if segment.draining and segment.is_idle(self._out.now_s):
            if segment.in_memory:
                self._remove_copy(segment, Tier.MEMORY)
            if segment.on_disk:
                self._remove_copy(segment, Tier.DISK)
            del self.draining[segment.id]
            self.segments.forget(segment)

    def settle(self) -> bool:
        """Drop what has drained by now, a bounded number; whether more may be waiting."""
        first = list(islice(self.draining, SETTLED_MAX))
        for name in first:
            # Last in line again, unless it goes.
            segment = self.draining[name] = self.draining.pop(name)
            self.settle_one(segment)
        return len(first) == SETTLED_MAX and any(name not in self.draining for name in first)

    def reclaim(self) -> None:
        """Give memory back: what is over a lowered quota at once, and in the background down to the low watermark."""
        ledger = self.ledgers[Tier.MEMORY]
        charged_bytes = ledger.charged_bytes
        over_bytes = charged_bytes - ledger.capacity_bytes - self.copying.bytes_under(Operation.DEMOTE)
        if over_bytes <= 0 and (
            charged_bytes <= ledger.capacity_bytes * self.limits.memory_high_watermark or not self.disk_usable
        ):
            return
        low_bytes = int(ledger.capacity_bytes * self.limits.memory_low_watermark)
        wanted_bytes = charged_bytes - low_bytes - self.copying.bytes_under(Operation.DEMOTE)
        for name in list(self.orders.victims(Tier.MEMORY)):
            if wanted_bytes <= 0:
                return
            segment = self.segments.segments[name]
            if not segment.is_idle(self._out.now_s):
                continue
            on_its_way = False
            if self._is_demotable(segment) and self.disk_usable:
                if len(self.copying.under(Operation.DEMOTE)) >= COPIES_INFLIGHT_MAX:
                    # Goes on when one of them has ended.
                    return
                on_its_way = self._demote(segment)
            if not on_its_way and segment.is_last_pinned:
                continue
            if not on_its_way:
                if not segment.on_disk and not segment.goes_first and over_bytes <= 0:
                    # Disk has no room: nothing is urgent, later then.
                    return
                self._drop_copy(segment, Tier.MEMORY)
            wanted_bytes -= segment.size_bytes
            over_bytes -= segment.size_bytes
