"""In which segment each block is.

By version: of a file with its first block alone, which most are, just the segment, packed (`packed_index`); of others the
segment of each block. Pages stand here like blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from raycache.types import BlockId, SegmentId, VersionId
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.packed_index import PackedIndex


class BlockIndex:
    """A block is in at most one segment."""

    def __init__(self) -> None:
        #: By version whose block 0 is all there is of it, the number of its segment.
        self._single = PackedIndex()
        #: By other versions, the segments of their blocks, not none.
        self._spread: dict[VersionId, dict[int, SegmentId]] = {}
        self._numbers: dict[SegmentId, int] = {}
        self._segments: dict[int, SegmentId] = {}
        self._counter = itertools.count()

    def places(self, version: VersionId) -> Mapping[int, SegmentId]:
        """By index of its blocks, the segments; empty when none is here."""
        spread = self._spread.get(version)
        if spread is not None:
            return spread
        number = self._single.get(version)
        return {} if number is None else {0: self._segments[number]}

    def items(self) -> Iterator[tuple[VersionId, Mapping[int, SegmentId]]]:
        """All versions, in no order, and their places."""
        for version, number in self._single.items():
            yield version, {0: self._segments[number]}
        yield from self._spread.items()

    def add(self, block: BlockId, segment: SegmentId) -> None:
        """Take in a block that is not here."""
        version, index = block
        spread = self._spread.get(version)
        if spread is None:
            number = self._single.pop(version)
            if number is None and index == 0:
                self._single.add(version, self._number(segment))
                return
            spread = self._spread[version] = {} if number is None else {0: self._segments[number]}
        assert index not in spread, f"block {block} of {segment} is already in {spread[index]}"
        spread[index] = segment

    def add_all(self, entries: EntryTable, segment: SegmentId) -> None:
        """Take in all blocks of a segment, none of which is here."""
        versions = entries.single_versions()
        if versions is None or any(version in self._spread for version in versions if self._spread):
            for block in entries:
                self.add(block, segment)
        else:
            self._single.add_all(versions, self._number(segment))

    def known_of(self, entries: EntryTable) -> list[BlockId]:
        """Those of a segment's blocks that are here."""
        versions = entries.single_versions()
        if versions is None or self._spread:
            return [block for block in entries if block.block_index in self.places(block.version)]
        return [BlockId(version, 0) for version in self._single.known_of(versions)]

    def remove(self, block: BlockId) -> None:
        """Take out a block that is here."""
        version, index = block
        spread = self._spread.get(version)
        if spread is None:
            number = self._single.pop(version)
            assert number is not None and index == 0, f"block {block} is not here"
            return
        del spread[index]
        if spread.keys() <= {0}:
            del self._spread[version]
            for segment in spread.values():
                self._single.add(version, self._number(segment))

    def forget(self, segment: SegmentId) -> None:
        """None of the segment's blocks is here any more, nor will be."""
        number = self._numbers.pop(segment, None)
        if number is not None:
            del self._segments[number]

    def _number(self, segment: SegmentId) -> int:
        number = self._numbers.get(segment)
        if number is None:
            number = self._numbers[segment] = next(self._counter)
            self._segments[number] = segment
        return number
