"""Which segment should go first, and which should stay: the `EvictionPolicy` protocol, LRU, and the guard of load jobs.

A policy keeps records of ids, never the segments themselves; one instance per tier. It gives an order only. Whether a
segment may go now (leases, running copies) is decided by `tiers`, which skips those that may not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from raycache.types import SegmentId, Tier
from raycache.workers.tiers.segment import Segment

#: A load job fills this worker until it has not asked for blocks for this long.
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


class EvictionOrders:
    """The orders of both tiers. Passive copies in memory have one of their own: they go before all others.

    Args:
        policy: makes one for each order.
    """

    def __init__(self, policy: Callable[[], EvictionPolicy]) -> None:
        self._orders = {Tier.MEMORY: policy(), Tier.DISK: policy()}
        self._passive = policy()

    def insert(self, segment: Segment, tier: Tier) -> None:
        """The tier has a copy of the segment now."""
        self._order(segment, tier).record_insert(segment.id, segment.size_bytes)

    def access(self, segment: Segment) -> None:
        """The segment was used."""
        for tier in Tier:
            self._order(segment, tier).record_access(segment.id)

    def remove(self, segment: Segment, tier: Tier) -> None:
        """The tier's copy is gone, or not to be evicted because the segment drains. Without one, nothing happens."""
        self._order(segment, tier).record_remove(segment.id)

    def victims(self, tier: Tier) -> Iterator[SegmentId]:
        """The copies in a tier, the one to evict first in front."""
        if tier is Tier.MEMORY:
            yield from self._passive.victims()
        yield from self._orders[tier].victims()

    def _order(self, segment: Segment, tier: Tier) -> EvictionPolicy:
        return self._passive if segment.passive and tier is Tier.MEMORY else self._orders[tier]


class JobGuard:
    """All load jobs that ask this worker for blocks: what they brought is not given up for copies between the tiers."""

    def __init__(self) -> None:
        self._since_s = _NEVER
        self._until_s = -_NEVER

    def asked(self, since_s: float, now_s: float) -> None:
        """A load job that began at `since_s` asks for blocks; infinity: the request is not of a load job."""
        if since_s == _NEVER:
            return
        if now_s >= self._until_s:
            self._since_s = _NEVER
        self._since_s = min(self._since_s, since_s)
        self._until_s = now_s + FILL_S

    def keep_since_s(self, now_s: float) -> float:
        """What was loaded or used since then stays where it is; infinity: anything may go."""
        return self._since_s if now_s < self._until_s else _NEVER
