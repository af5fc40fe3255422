"""Which segment should go first: the `EvictionPolicy` protocol, and LRU.

A policy keeps records of ids, never the segments themselves; one instance per tier. It gives an order only. Whether a
segment may go now (leases, running copies) is decided by `tiers`, which skips those that may not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from raycache.types import SegmentId


class EvictionPolicy(Protocol):
    """An order over the segments of one tier."""

    def record_insert(self, segment: SegmentId, size_bytes: int) -> None:
        """The segment is now in the tier; again for a known one counts as an access."""
        ...

    def record_access(self, segment: SegmentId) -> None:
        """It has been used. An unknown one is ignored."""
        ...

    def record_remove(self, segment: SegmentId) -> None:
        """It has left the tier. An unknown one is ignored."""
        ...

    def victims(self) -> Iterator[SegmentId]:
        """All segments, the one to evict first in front. Invalid after the next `record_*`."""
        ...


class LruPolicy:
    """Least recently used first. All records in O(1)."""

    def __init__(self) -> None:
        self._order: OrderedDict[SegmentId, None] = OrderedDict()

    def record_insert(self, segment: SegmentId, size_bytes: int) -> None:  # noqa: ARG002  # LRU does not weigh sizes
        self._order[segment] = None
        self._order.move_to_end(segment)

    def record_access(self, segment: SegmentId) -> None:
        if segment in self._order:
            self._order.move_to_end(segment)

    def record_remove(self, segment: SegmentId) -> None:
        self._order.pop(segment, None)

    def victims(self) -> Iterator[SegmentId]:
        return iter(self._order)
