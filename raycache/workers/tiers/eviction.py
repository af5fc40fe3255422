"""Which segment should go first, and which should stay: the `EvictionPolicy` protocol, LRU, and the guard of load jobs.

A policy keeps records of ids, never the segments themselves; one instance per tier. It gives an order only. Whether a
segment may go now (leases, running copies) is decided by `tiers`, which skips those that may not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from raycache.types import SegmentId

#: A load job that has not asked for so long does not fill this worker any more.
FILL_S = 60.0
_NEVER = float("inf")


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


class JobGuard:
    """The load jobs that ask this worker for blocks, as one: what they brought is not given up for copies between the tiers."""

    def __init__(self) -> None:
        self._since_s = _NEVER
        self._until_s = -_NEVER

    def asked(self, since_s: float, now_s: float) -> None:
        """A load job that began then asks for blocks; infinity: it is none."""
        if since_s == _NEVER:
            return
        if now_s >= self._until_s:
            self._since_s = _NEVER
        self._since_s = min(self._since_s, since_s)
        self._until_s = now_s + FILL_S

    def keep_since_s(self, now_s: float) -> float:
        """What was loaded or used since then stays where it is; infinity: nothing is spared."""
        return self._since_s if now_s < self._until_s else _NEVER
