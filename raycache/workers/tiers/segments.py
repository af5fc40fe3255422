"""All segments of a worker, and the index of their blocks: where each block is, and what has changed since the last report.

Invariants: a block is in at most one segment that is not draining; the index is exactly what the segments list.

What is known of a file beyond the index (`block_index`) stands in its segments (`entry_table`), so that a small file costs
some 150 bytes in all.

Pages are indexed like blocks, but they are in no mask and no report: only a request for a page finds it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from raycache.ranges import Grid, is_page
from raycache.types import BlockId, FileVersion, SegmentId, Tier, VersionId
from raycache.workers.effects import CachedPart, SegmentEntry
from raycache.workers.tiers.block_index import BlockIndex
from raycache.workers.tiers.changes import Changes
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.rule_books import RuleBooks
from raycache.workers.tiers.segment import Segment

#: Of a block that is here in pages, only the largest runs count: what lies between more of them would be too many small
#: requests.
PAGE_RUNS_MAX = 4


@dataclass(slots=True)
class SegmentTable:
    """All segments, and the index of those that can be granted."""

    segments: dict[SegmentId, Segment] = field(default_factory=dict)
    #: What the rules say of all this.
    rule_books: RuleBooks = field(default_factory=RuleBooks)
    #: Blocks indexed.
    block_count: int = 0
    _next_number: int = 0
    _index: BlockIndex = field(default_factory=BlockIndex)
    #: What the master has not heard of.
    changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        self.changes = Changes(self.segments)

    def get(self, segment: SegmentId) -> Segment | None:
        return self.segments.get(segment)

    def of_block(self, block: BlockId) -> Segment | None:
        """The segment that serves a block; never a draining one."""
        found = self._index.places(block.version).get(block.block_index)
        return None if found is None else self.segments[found]

    def add(self, segment: Segment) -> None:
        """Take in a segment; none of its blocks may be indexed already."""
        segment.number, self._next_number = self._next_number, self._next_number + 1
        self.segments[segment.id] = segment
        self._index.add_all(segment.entries, segment.id)
        self.changes.came(segment)
        self.block_count += len(segment.entries)
        self.rule_books.added(segment)

    def known_of(self, entries: EntryTable) -> list[BlockId]:
        """Those blocks that are indexed."""
        return self._index.known_of(entries)

    def unlist(self, segment: Segment, blocks: Iterable[BlockId]) -> int:
        """Take blocks of a segment out of it and of the index; returns their bytes."""
        size_bytes = 0
        removed: list[SegmentEntry] = []
        for block in list(blocks):
            removed.append(segment.entries.pop(block))
            size_bytes += removed[-1].length
            self._index.remove(block)
            if not is_page(block.block_index):
                self.changes.went(block.version)
        self.block_count -= len(removed)
        self.rule_books.removed(segment, removed)
        return size_bytes

    def forget(self, segment: Segment) -> None:
        """The segment's last copy is gone."""
        self.unlist(segment, segment.entries)
        self._index.forget(segment.id)
        del self.segments[segment.id]

    # --- files --------------------------------------------------------------------------------------------------------

    def __contains__(self, version: VersionId) -> bool:
        """Whether any block of a version is indexed."""
        return bool(self._index.places(version))

    def versions(self) -> list[VersionId]:
        """All versions of which a block is indexed, at once; of some there are only pages."""
        return [v for v, places in self._index.items() if not all(is_page(index) for index in places)]

    def is_first(self, segment: Segment, version: VersionId) -> bool:
        """Whether, of the segments with blocks of a version, this is the first one: so each version is met once."""
        return next(iter(self._index.places(version).values()), None) == segment.id

    def file(self, version: VersionId) -> FileVersion:
        """The file of a version in the index."""
        return self.segments[next(iter(self._index.places(version).values()))].entries.file(version)

    def mask(self, version: VersionId) -> int:
        """A bit for each block indexed of a version; 0 when there is none, or only pages."""
        return sum(1 << index for index in self._index.places(version) if not is_page(index))

    def since(self, number: int) -> list[Segment]:
        """The segments that came after one of that number, in that order; -1: all. Cheap, also of millions."""
        segments = list(self.segments.values())
        return segments[bisect_right(segments, number, key=lambda segment: segment.number) :]

    def segments_of(self, version: VersionId) -> list[Segment]:
        """The segments in which blocks of a version are, in the order of the blocks."""
        places = self._index.places(version)
        return [self.segments[name] for name in dict.fromkeys(places[index] for index in sorted(places))]

    def blocks_of(self, version: VersionId) -> list[BlockId]:
        """The blocks and pages indexed of a version, in order."""
        return [BlockId(version, index) for index in sorted(self._index.places(version))]

    def pages_in(self, blocks: Iterable[BlockId], grid: Grid) -> list[BlockId]:
        """The pages indexed of what these blocks hold."""
        found: list[BlockId] = []
        for version, index in blocks:
            places = self._index.places(version)
            if not is_page(index):
                pages = grid.pages_of(index)
                near = pages if len(pages) < len(places) else [page for page in places if page in pages]
                found += [BlockId(version, page) for page in near if page in places]
        return found

    def parts_of(self, block: BlockId, grid: Grid) -> tuple[CachedPart, ...]:
        """The parts of a block that are here in pages, in the order of the file; neighbours are one."""
        if is_page(block.block_index):
            return ()
        parts: list[CachedPart] = []
        for page in sorted(self.pages_in([block], grid)):
            segment = self.of_block(page)
            if segment is None or not segment.verified:
                continue
            offset, length = segment.entries.place(page)
            tier = Tier.MEMORY if segment.in_memory else Tier.DISK
            part = CachedPart(grid.offset(page.block_index), length, segment.id, tier, offset)
            last = parts[-1] if parts else None
            if last is not None and last.is_before(part):
                parts[-1] = last._replace(length=last.length + length)
            else:
                parts.append(part)
        largest = sorted(parts, key=lambda part: -part.length)[:PAGE_RUNS_MAX]
        return tuple(sorted(largest))

    def bytes_of(self, blocks: Iterable[BlockId]) -> int:
        """Bytes of indexed blocks."""
        found = ((self.of_block(block), block) for block in blocks)
        return sum(segment.entries.place(block)[1] for segment, block in found if segment is not None)

    def indexed(self) -> Iterator[tuple[BlockId, SegmentId]]:
        """The whole index."""
        for version, places in self._index.items():
            for index, segment in places.items():
                yield BlockId(version, index), segment
