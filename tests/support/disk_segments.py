"""Segments as a restart finds them on disk."""

from __future__ import annotations

from collections.abc import Sequence

from raycache.types import BlockId
from raycache.workers.effects import SegmentEntry
from raycache.workers.stores.disk import DiskStore
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.walks.adoption import DiskSegment


def on_disk(name: str, size_bytes: int, entries: Sequence[SegmentEntry], age_s: float = 0.0) -> DiskSegment:
    """A segment file with these blocks."""
    rows = ((BlockId(entry.version.id(), entry.block_index), entry) for entry in entries)
    return DiskSegment(name, size_bytes, EntryTable(rows), age_s)


def scan(store: DiskStore) -> list[DiskSegment]:
    """All segments of a store; what is torn is deleted, as by a worker."""
    found: list[DiskSegment] = []
    for file in store.find():
        described = store.describe(file)
        if described is None:
            store.drop(file.segment)
        else:
            found.append(described)
    return found
