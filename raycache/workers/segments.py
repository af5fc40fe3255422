"""Segments and the index of blocks: what is held here, in which copies, and what has changed since the last report.

A segment is one buffer with a table of blocks. It has a copy in memory, on disk, or both. A *draining* segment has left
the index (no new grants) but its bytes are still charged, because a reader's lease, an open request or a running copy
still needs them.

Invariants: a block is in at most one segment that is not draining; `masks` is exactly the set of indexed blocks.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from raycache.rules import Pattern
from raycache.types import BlockId, FileVersion, SegmentId, VersionId
from raycache.workers.effects import Entry
from raycache.workers.policies import Policies


class Operation(enum.Enum):
    """What is being done to a segment by a thread; while it is, no copy may be dropped."""

    DEMOTE = "demote"
    PROMOTE = "promote"
    VERIFY = "verify"


@dataclass(slots=True)
class Segment:
    """One segment held."""

    id: SegmentId
    size_bytes: int
    #: The blocks that can be read from it; blocks freed singly, or whose load failed, are not here.
    entries: dict[BlockId, Entry]
    in_memory: bool = False
    on_disk: bool = False
    #: False: found on disk after a restart, to be checked before first use.
    verified: bool = True
    operation: Operation | None = None
    #: A reader may read it in place until then.
    leased_until_s: float = float("-inf")
    #: Open requests that will be answered from it.
    holds: int = 0
    #: Uses since it came to its present tier.
    hits: int = 0
    draining: bool = False
    #: A copy of what another worker holds, made because there was room: the first to be evicted, never demoted.
    passive: bool = False
    loaded_at_s: float = 0.0
    #: Heat, in whatever tier: how often it was used, and when last.
    uses: int = 0
    used_at_s: float = float("-inf")
    #: By the rules, see `policies`: its last copy is never evicted; some blocks are to go at that time.
    pinned: bool = False
    expires_at_s: float = float("inf")

    @property
    def is_last_pinned(self) -> bool:
        """Whether what the rules pin would be gone with any copy of this segment."""
        return self.pinned and not (self.in_memory and self.on_disk)

    def is_spared(self, since_s: float) -> bool:
        """Whether a job that began then would lose what it has just brought, or what readers use."""
        only_copy = not (self.in_memory and self.on_disk)
        return max(self.loaded_at_s, self.used_at_s) >= since_s and only_copy and not self.passive


def bits(mask: int) -> list[int]:
    """The positions of a mask's ones, ascending."""
    return [position for position, digit in enumerate(reversed(f"{mask:b}")) if digit == "1"]


def _spans(base: str) -> list[tuple[str, str | None]]:
    """Where a base and what is below it stand among sorted URIs: from one up to another."""
    return [(base, base + "\0"), (base + "/", base + "0")] if base else [("", None)]


@dataclass(slots=True)
class SegmentTable:
    """All segments, and the index of those that can be granted."""

    segments: dict[SegmentId, Segment] = field(default_factory=dict)
    #: Per version, the blocks indexed; never 0.
    masks: dict[VersionId, int] = field(default_factory=dict)
    #: The file of every version in `masks`.
    files: dict[VersionId, FileVersion] = field(default_factory=dict)
    #: What the rules say of all this.
    policies: Policies = field(default_factory=Policies)
    #: (uri, version) of every file in `files`.
    _sorted: SortedDict[tuple[str, VersionId], None] = field(default_factory=SortedDict)
    _index: dict[BlockId, SegmentId] = field(default_factory=dict)
    #: Versions whose mask has changed since `take_changed`.
    _changed: dict[VersionId, None] = field(default_factory=dict)

    def get(self, segment: SegmentId) -> Segment | None:
        return self.segments.get(segment)

    def of_block(self, block: BlockId) -> Segment | None:
        """The segment that serves a block; never a draining one."""
        found = self._index.get(block)
        return None if found is None else self.segments[found]

    def add(self, segment: Segment) -> None:
        """Take in a segment; none of its blocks may be indexed already."""
        self.segments[segment.id] = segment
        for block, entry in segment.entries.items():
            assert block not in self._index, f"block {block} of {segment.id} is already in {self._index[block]}"
            self._index[block] = segment.id
            self.masks[block.version] = self.masks.get(block.version, 0) | 1 << block.block_index
            self.files[block.version] = entry.version
            self._changed[block.version] = None
            self._sorted.setdefault((entry.version.uri, block.version))
        self.policies.added(segment)

    def unlist(self, segment: Segment, blocks: Iterable[BlockId]) -> int:
        """Take blocks of a segment out of it and of the index; returns their bytes."""
        size_bytes = 0
        removed: list[Entry] = []
        for block in list(blocks):
            removed.append(segment.entries.pop(block))
            size_bytes += removed[-1].length
            del self._index[block]
            mask = self.masks[block.version] & ~(1 << block.block_index)
            if mask:
                self.masks[block.version] = mask
            else:
                uri = self.files.pop(block.version).uri
                del self.masks[block.version], self._sorted[uri, block.version]
            self._changed[block.version] = None
        self.policies.removed(segment, removed)
        return size_bytes

    def forget(self, segment: Segment) -> None:
        """The segment's last copy is gone."""
        self.unlist(segment, segment.entries)
        del self.segments[segment.id]

    def named(self, patterns: Sequence[Pattern], after: tuple[str, VersionId] = ("", b"")) -> Iterator[VersionId]:
        """The versions of files that any of the patterns names, by (uri, version), those after a place."""
        spans = sorted({span for pattern in patterns for span in _spans(pattern.base)})
        for start, end in spans:
            first = max((start, b""), after)
            for uri, version in self._sorted.irange(first, end and (end, b""), inclusive=(first != after, False)):
                if any(pattern.names(uri) for pattern in patterns):
                    after = (uri, version)
                    yield version

    def segments_of(self, version: VersionId) -> list[Segment]:
        """The segments in which blocks of a version are."""
        return [self.segments[name] for name in dict.fromkeys(self._index[block] for block in self.blocks_of(version))]

    def blocks_of(self, version: VersionId) -> list[BlockId]:
        """The blocks indexed of a version, in order."""
        return [BlockId(version, index) for index in bits(self.masks.get(version, 0))]

    def bytes_of(self, blocks: Iterable[BlockId]) -> int:
        """Bytes of indexed blocks."""
        return sum(self.segments[self._index[block]].entries[block].length for block in blocks)

    def take_changed(self) -> list[VersionId]:
        """Versions changed since the last call."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    @property
    def block_count(self) -> int:
        """Blocks indexed."""
        return len(self._index)

    def indexed(self) -> Iterator[tuple[BlockId, SegmentId]]:
        """The whole index."""
        return iter(self._index.items())
