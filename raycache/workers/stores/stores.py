"""A worker's two stores, and what its threads do with them.

What moves bytes never raises: it answers whether it was done. A failure has many names (a full object store, a full or
broken disk, a segment that Ray has lost) and one meaning: the copy is not there. The service counts it; the block stays
where it is, or is read through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raycache.types import BlockId, SegmentId, Tier
from raycache.workers.effects import CachedPart, Compact, Load, LoadOutcome, SegmentEntry, SegmentGrant
from raycache.workers.stores.assembly import Bytes
from raycache.workers.stores.disk import DiskStore
from raycache.workers.stores.plasma import MemoryStore
from raycache.workers.walks.adoption import DiskSegment, FoundFile


class Stores:
    """Safe to call from several threads, for different segments.

    Args:
        memory: the memory tier's bytes.
        disk: those of the disk tier; None without one.
    """

    def __init__(self, memory: MemoryStore, disk: DiskStore | None) -> None:
        self._memory = memory
        self._disk = disk

    def store(self, load: Load, pieces: Sequence[Bytes], outcome: LoadOutcome) -> bool:
        """Put what a load has brought into its tier."""
        try:
            if load.tier is Tier.MEMORY:
                self._memory.put(load.segment, pieces)
            else:
                self._on_disk().write(load.segment, pieces, load.entries(outcome))
        except Exception:
            # See above.
            return False
        return True

    def demote(self, segment: SegmentId, entries: Sequence[SegmentEntry]) -> bool:
        """Copy a segment from memory to disk."""
        try:
            self._on_disk().write(segment, [self._memory.view(segment)], entries)
        except Exception:
            # See above.
            return False
        return True

    def promote(self, segment: SegmentId) -> bool:
        """Copy a segment from disk to memory."""
        try:
            self._memory.put(segment, [self._on_disk().read_all(segment)])
        except Exception:
            # See above.
            return False
        return True

    def compact(self, effect: Compact) -> bool:
        """Copy parts of a segment into a new one."""
        try:
            joined = self._parts(effect.segment, effect.tier, effect.parts)
            if effect.tier is Tier.DISK:
                self._on_disk().write(effect.target, [joined], effect.entries)
            else:
                self._memory.put(effect.target, [joined])
        except Exception:
            # See above.
            return False
        return True

    def cached(self, part: CachedPart) -> Bytes | None:
        """What a segment holds of a file; None when it has been evicted since."""
        try:
            if part.tier is Tier.MEMORY:
                return self._memory.view(part.segment)[part.offset : part.offset + part.length]
            return self._on_disk().read(part.segment, [(part.offset, part.length)])
        except Exception:
            # See above: the lake has it too.
            return None

    def extract(self, grant: SegmentGrant) -> Bytes | None:
        """The parts that a reader elsewhere wants, joined; None when the segment has been evicted in this very moment."""
        try:
            return self._parts(grant.segment, grant.tier, grant.parts)
        except Exception:
            # See above: it reads as a lost segment.
            return None

    def verify(self, segment: SegmentId) -> bool:
        """Whether the data on disk is what was written."""
        return self._on_disk().verify(segment)

    # --- at once ------------------------------------------------------------------------------------------------------

    @property
    def memory_used_bytes(self) -> int:
        """What the memory tier's objects take."""
        return self._memory.used_bytes

    def reference(self, segment: SegmentId) -> Any:
        """See `MemoryStore.reference`."""
        return self._memory.reference(segment)

    def path(self, segment: SegmentId) -> str:
        """Of the segment's file."""
        return str(self._on_disk().path(segment))

    def drop_memory(self, segment: SegmentId) -> None:
        """See `MemoryStore.drop`."""
        self._memory.drop(segment)

    def drop_disk(self, segment: SegmentId) -> None:
        """See `DiskStore.drop`."""
        self._on_disk().drop(segment)

    def forget(self, segment: SegmentId, blocks: Sequence[BlockId]) -> None:
        """See `DiskStore.forget`."""
        self._on_disk().forget(segment, blocks)

    # --- the life of the disk tier ------------------------------------------------------------------------------------

    def find(self) -> list[FoundFile]:
        """The files that an earlier process left on disk, see `DiskStore.find`."""
        return [] if self._disk is None else self._disk.find()

    def files(self) -> list[FoundFile]:
        """All segment files on disk, see `DiskStore.files`."""
        return [] if self._disk is None else self._disk.files()

    def describe(self, files: Sequence[FoundFile]) -> list[DiskSegment | None]:
        """See `DiskStore.describe`."""
        return [self._on_disk().describe(file) for file in files]

    def probe(self) -> None:
        """See `DiskStore.probe`."""
        self._on_disk().probe()

    def clear(self) -> None:
        """Delete everything on disk."""
        if self._disk is not None:
            self._disk.clear()

    def _parts(self, segment: SegmentId, tier: Tier, parts: Sequence[tuple[int, int]]) -> Bytes:
        if tier is Tier.DISK:
            return self._on_disk().read(segment, parts)
        whole = self._memory.view(segment)
        return np.concatenate([whole[offset : offset + length] for offset, length in parts])

    def _on_disk(self) -> DiskStore:
        assert self._disk is not None
        return self._disk
