"""Dropping what a `Selector` means, or having it go first, a bounded number of blocks a step. Pure.

Blocks that were here when it began are dropped, also when their segment was rewritten meanwhile, or taken over from disk;
what is loaded after it began may stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from raycache.messages import FreeReply, MissReason, Selector
from raycache.types import BlockId
from raycache.workers.tiers.entry_table import spans_of
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.segments import SegmentTable
from raycache.workers.tiers.tiers import Tiers

#: Files looked at in one step; those that are named by version may have many blocks.
_FILES_MAX = 256
_VERSIONS_MAX = 64
#: Segments without any such file, looked at in one step.
_SEGMENTS_MAX = 256


class Freeing:
    """One `free` under way.

    Args:
        selector: what goes.
        tiers: what is here.
        began_s: the time.
        force: pinned blocks go too.
    """

    def __init__(self, selector: Selector, tiers: Tiers, began_s: float, *, force: bool) -> None:
        self._selector = selector
        self._versions = frozenset(selector.versions)
        self._tiers = tiers
        self._began_s = began_s
        self._force = force
        # Versions are named when the lake no longer has them.
        self._reason = MissReason.CHANGED if selector.versions else MissReason.FREED
        self._spans = spans_of(selector.patterns)
        self._blocks = self._bytes = self._pinned = self._pinned_bytes = 0
        self._steps = self._walk()
        self.done = False

    def step(self) -> None:
        """Go on for a bounded time."""
        self.done = next(self._steps, None) is None

    def reply(self) -> FreeReply:
        """What has been dropped so far, and what is pinned and therefore left."""
        return FreeReply(self._blocks, self._bytes, self._pinned, self._pinned_bytes)

    def free_in(self, segment: Segment) -> None:
        """Drop what is meant in one segment, at once, or have it go first."""
        if self._selector.superseded:
            self._supersede(segment)
            return
        self._drop([block for block in segment.entries if block.version in self._versions])
        named = segment.entries.named(self._spans)
        self._drop([block for uri, blocks in named for block in self._meant(segment, uri, blocks)])

    def _walk(self) -> Iterator[bool]:
        table = self._tiers.segments
        for number, version in enumerate(self._selector.versions, 1):
            if version in table and self._selector.superseded:
                for segment in table.segments_of(version):
                    self._supersede(segment)
            elif version in table:
                self._drop(self._spare_pinned(table.file(version).uri, table.blocks_of(version)))
            if number % _VERSIONS_MAX == 0:
                yield True
        if self._selector.patterns:
            after = -1
            while (segments := self._older(table, after)) and segments[-1].number > after:
                after = segments[-1].number
                yield from self._walk_segments(segments)

    def _older(self, table: SegmentTable, after: int) -> list[Segment]:
        """Segments that came later, of bytes that were here before: rewritten ones, adopted ones."""
        return [segment for segment in table.since(after) if segment.loaded_at_s <= self._began_s]

    def _walk_segments(self, segments: list[Segment]) -> Iterator[bool]:
        looked = 0
        for number, segment in enumerate(segments, 1):
            chosen: list[BlockId] = []
            for uri, blocks in segment.entries.named(self._spans):
                chosen += self._meant(segment, uri, blocks)
                looked += 1
                if looked % _FILES_MAX == 0:
                    self._drop(chosen)
                    chosen = []
                    yield True
            self._drop(chosen)
            if number % _SEGMENTS_MAX == 0:
                yield True

    def _meant(self, segment: Segment, uri: str, blocks: list[BlockId]) -> list[BlockId]:
        old_enough = self._began_s - segment.loaded_at_s >= self._selector.older_than_s
        named = old_enough and any(pattern.names(uri) for pattern in self._selector.patterns)
        return self._spare_pinned(uri, blocks) if named else []

    def _spare_pinned(self, uri: str, blocks: list[BlockId]) -> list[BlockId]:
        if self._force or not self._tiers.segments.rule_books.of(uri).pinned:
            return blocks
        self._pinned += len(blocks)
        self._pinned_bytes += self._tiers.segments.bytes_of(blocks)
        return []

    def _supersede(self, segment: Segment) -> None:
        """One that holds something else besides stays as it is."""
        if self._versions.issuperset(block.version for block in segment.entries):
            self._tiers.orders.supersede(segment)

    def _drop(self, blocks: list[BlockId]) -> None:
        if blocks:
            count, size_bytes = self._tiers.discard_blocks(blocks, self._reason)
            self._blocks += count
            self._bytes += size_bytes
