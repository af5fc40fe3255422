"""What an earlier incarnation left on disk, taken over a segment at a time while the worker serves. Pure.

Theory of operation. At first nothing is known of the disk, and nothing is written to it. Then the files are found, with their
sizes: room is set aside for them, the newest first; what does not fit is deleted. Then each is described, the oldest first,
so that the newest are the warmest, and what is described is taken over, unchecked. Until then its blocks are a miss; what was
loaded meanwhile, or is on its way, is left out. What is freed meanwhile is left out, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from raycache.messages import Selector
from raycache.ranges import Grid
from raycache.types import BlockId, SegmentId, Tier
from raycache.workers.effects import DropDisk, Outbox
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.tiers import Tiers
from raycache.workers.walks.freeing import Freeing

#: What is freed while segments are taken over is remembered; when that is too much, the rest of them is deleted.
_FREED_MAX = 1000


class FoundFile(NamedTuple):
    """A segment file on disk of which nothing else is known."""

    segment: SegmentId
    #: Of the file, which is more than its data.
    size_bytes: int
    #: Since it was written.
    age_s: float = 0.0


class DiskSegment(NamedTuple):
    """A segment found on disk after a restart; its bytes have not been checked."""

    segment: SegmentId
    size_bytes: int
    entries: EntryTable
    #: Since it was written.
    age_s: float = 0.0


class Adoption:
    """Taking over what is on a worker's disk.

    Args:
        tiers: take it.
        grid: blocks of another size are none.
        out: of the worker's service.
    """

    def __init__(self, tiers: Tiers, grid: Grid, out: Outbox) -> None:
        self._tiers = tiers
        self._grid = grid
        self._out = out
        #: To be described, and the room set aside for each, the oldest first.
        self.coming: dict[SegmentId, FoundFile] = {}
        self._freed: list[tuple[Selector, bool]] = []

    def begin(self) -> None:
        """The disk is about to be looked at."""
        self._tiers.disk_unusable_until_s = float("inf")

    def found(self, files: Sequence[FoundFile]) -> None:
        """What is there, the oldest first. One more call of `take` for each that is `coming` then."""
        self._tiers.disk_unusable_until_s = float("-inf")
        ledger = self._tiers.ledgers[Tier.DISK]
        kept: list[FoundFile] = []
        for file in reversed(files):
            if self._tiers.segments.get(file.segment) is not None:
                continue
            if file.size_bytes <= ledger.free_bytes:
                ledger.reserve(file.size_bytes)
                kept.append(file)
            else:
                self._out.put(DropDisk(file.segment))
        self.coming = {file.segment: file for file in reversed(kept)}
        if not kept:
            self._freed.clear()

    def take(self, name: SegmentId, found: DiskSegment | None, flying: Iterable[BlockId]) -> None:
        """A file has been described; None: it is no whole segment.

        Args:
            name: of the segment.
            found: what it holds.
            flying: blocks on their way.
        """
        file = self.coming.pop(name, None)
        if file is None:
            return
        self._tiers.cancel(file.size_bytes, Tier.DISK)
        segment = None if found is None else self._segment_of(found, flying)
        if segment is None:
            self._out.put(DropDisk(name))
            return
        self._tiers.adopt(segment)
        for selector, force in self._freed:
            Freeing(selector, self._tiers, self._out.now_s, force=force).free_in(segment)
        if not self.coming:
            self._freed.clear()

    def freed(self, selector: Selector, *, force: bool) -> None:
        """Blocks are freed, also those that are not here yet."""
        if self.coming or self._tiers.disk_unusable_until_s == float("inf"):
            self._freed.append((selector, force))
            if len(self._freed) > _FREED_MAX:
                for name in list(self.coming):
                    self.take(name, None, ())

    @property
    def reserved_bytes(self) -> int:
        """Room set aside for what is coming."""
        return sum(file.size_bytes for file in self.coming.values())

    def _segment_of(self, found: DiskSegment, flying: Iterable[BlockId]) -> Segment | None:
        entries = found.entries
        for block in [*entries.misfits(self._grid), *(block for block in flying if block in entries)]:
            entries.pop(block)
        for block in self._tiers.segments.known_of(entries):
            entries.pop(block)
        if not entries:
            return None
        loaded_at_s = self._out.now_s - found.age_s
        return Segment(found.segment, found.size_bytes, entries, loaded_at_s=loaded_at_s, verified=False)
