"""Rewriting segments that are mostly waste, in the background. Pure, like `tiers`.

Theory of operation. Blocks that are freed, replaced or expired singly leave holes: a segment's bytes are charged as long
as one of its blocks can be read. When less than half of them can, and the segment is idle, what is left of it is
copied into a new segment of the same tier, which then takes its place: so waste never exceeds what is of use, apart from
what is leased. A segment with copies in both tiers is rewritten in memory, and its copy on disk goes too.

While the copy is made, readers go on with the old segment, and what is freed meanwhile is left out in the end. When a
request waits to be answered from the old one at that moment, the copy is dropped, and made again later. A segment found
on disk after a restart is checked first: a copy gets a checksum of its own, which must not vouch for bad bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from raycache.types import BlockId, SegmentId, Tier
from raycache.workers.effects import Compact, DropDisk, DropMemory, Forget, Outbox, SegmentEntry
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.segment import Operation, Segment
from raycache.workers.tiers.tiers import Tiers

#: Under way at a time.
INFLIGHT_MAX = 2
#: Segments looked at in one tick.
LOOKED_MAX = 64


class _Rewrite(NamedTuple):
    target: SegmentId
    tier: Tier
    size_bytes: int
    #: As they lie in the target.
    entries: dict[BlockId, SegmentEntry]


class Compaction:
    """Keeps the waste in a worker's segments bounded."""

    def __init__(self, tiers: Tiers, new_id: Callable[[], SegmentId], out: Outbox) -> None:
        self._tiers = tiers
        self._out = out
        self._new_id = new_id
        #: By the segment that is being rewritten.
        self._running: dict[SegmentId, _Rewrite] = {}

    def start(self) -> None:
        """Begin with what is mostly waste, as far as it is idle and there is room; to be called every second or so."""
        for name in list(islice(self._tiers.wasteful, LOOKED_MAX)):
            if len(self._running) >= INFLIGHT_MAX:
                return
            segment = self._tiers.segments.get(name)
            # The rewrite of another one may have needed its room.
            if segment is None:
                continue
            if not segment.is_idle(self._out.now_s):
                # Last in line again.
                self._tiers.wasteful[name] = self._tiers.wasteful.pop(name)
                continue
            if segment.verified:
                self._rewrite(segment)
            else:
                # One at a time: a restart may bring many, and a check reads all of a segment.
                self._tiers.verify(segment)
                return

    def _rewrite(self, segment: Segment) -> None:
        tier = Tier.MEMORY if segment.in_memory else Tier.DISK
        size_bytes = segment.entries.live_bytes
        # Before room is made: it must not be made of this segment.
        self._tiers.copying.begin(segment, Operation.COMPACT)
        if not self._tiers.reserve_beside(tier, size_bytes):
            self._tiers.copying.end(segment.id, Operation.COMPACT)
            return
        parts: list[tuple[int, int]] = []
        entries: dict[BlockId, SegmentEntry] = {}
        offset = 0
        # In the order in which they lie, so that a file's blocks stay together.
        for block, entry in sorted(segment.entries.items(), key=lambda item: item[1].offset):
            if parts and sum(parts[-1]) == entry.offset:
                parts[-1] = (parts[-1][0], parts[-1][1] + entry.length)
            else:
                parts.append((entry.offset, entry.length))
            entries[block] = entry._replace(offset=offset)
            offset += entry.length
        rewrite = self._running[segment.id] = _Rewrite(self._new_id(), tier, size_bytes, entries)
        self._out.put(Compact(segment.id, rewrite.target, tier, parts, list(entries.values())))

    def compacted(self, name: SegmentId, ok: bool) -> None:
        """The copy has ended: it takes the place of the old segment. A late or duplicate word is ignored."""
        rewrite = self._running.pop(name, None)
        ended = self._tiers.copying.end(name, Operation.COMPACT)
        if rewrite is None or ended is None:
            return
        segment, lost = ended
        if not ok:
            # It is tried again when more of it has been freed.
            self._tiers.wasteful.pop(name, None)
            if rewrite.tier is Tier.DISK:
                self._tiers.disk_failed()
        if not ok or segment.holds or segment.draining:
            self._tiers.cancel(rewrite.size_bytes, rewrite.tier)
            if ok:
                self._out.put((DropMemory if rewrite.tier is Tier.MEMORY else DropDisk)(rewrite.target))
            self._tiers.settle_one(segment)
            return
        left = EntryTable((block, entry) for block, entry in rewrite.entries.items() if block in segment.entries)
        copy = Segment(rewrite.target, rewrite.size_bytes, left, loaded_at_s=segment.loaded_at_s)
        copy.uses, copy.used_at_s = segment.uses, segment.used_at_s
        self._tiers.replace(segment, copy, rewrite.tier)
        if lost and rewrite.tier is Tier.DISK:
            self._out.put(Forget(rewrite.target, lost))

    def reserved_bytes(self, tier: Tier) -> int:
        """What running copies have set aside."""
        return sum(rewrite.size_bytes for rewrite in self._running.values() if rewrite.tier is tier)
