"""The orders in which copies leave the tiers, and the guard of load jobs.

Theory of operation. Each tier has an order of its own, all by one policy (`workers/policies`). What something new may take
the place of, the policy says, too: nothing makes room for it that the policy spares. Load jobs are not refused so: somebody
has asked for what they bring. While readers' plans are known (`policies/plans`), what they name is ordered by its next use,
and makes no room for what is wanted later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from raycache.types import SegmentId, Tier
from raycache.workers.policies.planned import PlannedPolicy
from raycache.workers.policies.plans import NEVER, Plans
from raycache.workers.policies.protocol import EvictionPolicy, ReferenceClock
from raycache.workers.policies.table import MakePolicy
from raycache.workers.tiers.segment import Segment

#: A load job fills this worker until it has not asked for blocks for this long.
FILL_S = 60.0
_NEVER = float("inf")
#: Copies that the policy spares, in front of the order, after which nothing is looked for behind them.
SPARED_MAX = 16


class Since(NamedTuple):
    """What does not make room for something new."""

    #: What was loaded or used since then, unless it has another copy: it is of the load job that wants the room.
    kept_s: float = _NEVER
    #: What was not read since then: a reader that goes through everything once has still to read it.
    read_s: float = -_NEVER
    #: What is wanted sooner than the new one is after this time, as far as plans tell, see `Plans.next_use`.
    next_use: float = NEVER

    @property
    def is_of_job(self) -> bool:
        """Whether a load job wants the room."""
        return self.kept_s < _NEVER

    def keeps(self, segment: Segment) -> bool:
        """Whether a segment stays."""
        return not segment.superseded and (segment.used_at_s < self.read_s or segment.is_kept(self.kept_s))


#: All may go.
ANYTHING = Since()


class EvictionOrders:
    """The orders of both tiers. What is superseded has one of its own in each, and so have passive copies in memory: the first go
    before all others, the second next.

    Args:
        policy: makes one for each order.
    """

    def __init__(self, policy: MakePolicy) -> None:
        self.clock = ReferenceClock()
        self.plans = Plans()
        self._make(policy)

    def _make(self, policy: MakePolicy) -> None:
        self.plans.watchers.clear()
        self._orders: dict[Tier, EvictionPolicy[SegmentId]] = {tier: self._planned(policy) for tier in Tier}
        self._passive: EvictionPolicy[SegmentId] = policy(self.clock)
        self._superseded: dict[Tier, EvictionPolicy[SegmentId]] = {tier: policy(self.clock) for tier in Tier}

    def _planned(self, policy: MakePolicy) -> EvictionPolicy[SegmentId]:
        inner = policy(self.clock)
        return PlannedPolicy(inner, self.plans) if self.plans else inner

    def change(self, policy: MakePolicy, segments: Mapping[SegmentId, Segment]) -> None:
        """Go on with another policy, or with the first plan or without the last; at first in the order of before. O(S)."""
        ordered = {tier: [segments[name] for name in self.victims(tier)] for tier in Tier}
        self._make(policy)
        for tier, found in ordered.items():
            for segment in found:
                self.insert(segment, tier)

    def insert(self, segment: Segment, tier: Tier) -> None:
        """The tier has a copy of the segment now."""
        self._order(segment, tier).record_insert(segment.id, segment.size_bytes, next(iter(segment.entries), None))

    def supersede(self, segment: Segment, *, superseded: bool = True) -> None:
        """Something newer stands for what is in the segment; or it was read again, and is like any other."""
        if segment.superseded == superseded:
            return
        tiers = [tier for tier in Tier if (segment.in_memory if tier is Tier.MEMORY else segment.on_disk)]
        for tier in tiers:
            self.remove(segment, tier)
        segment.superseded = superseded
        for tier in tiers if not segment.draining else ():
            self.insert(segment, tier)

    def access(self, segment: Segment) -> None:
        """The segment was used."""
        self.clock.count += 1
        self.supersede(segment, superseded=False)
        for tier in Tier:
            self._order(segment, tier).record_access(segment.id)

    def evict(self, segment: Segment, tier: Tier) -> None:
        """The tier's copy makes room."""
        self._order(segment, tier).record_evict(segment.id)

    def remove(self, segment: Segment, tier: Tier) -> None:
        """The tier's copy is gone, or not to be evicted because the segment drains. Without one, nothing happens."""
        self._order(segment, tier).record_remove(segment.id)

    def spares(self, segment: Segment, tier: Tier, next_use: float = NEVER) -> bool:
        """Whether the only copy of a segment is worth more than what wants its place.

        Args:
            segment: here.
            tier: of the copy.
            next_use: of what wants the place, if a plan names that.
        """
        if segment.goes_first or (segment.in_memory and segment.on_disk):
            return False
        if next_use < NEVER:
            first = next(iter(segment.entries), None)
            return first is not None and self.plans.next_use(first.version) <= next_use
        return self._orders[tier].spares(segment.id)

    def victims(self, tier: Tier) -> Iterator[SegmentId]:
        """The copies in a tier, the one to evict first in front."""
        yield from self._superseded[tier].victims()
        if tier is Tier.MEMORY:
            yield from self._passive.victims()
        yield from self._orders[tier].victims()

    def _order(self, segment: Segment, tier: Tier) -> EvictionPolicy[SegmentId]:
        if segment.superseded:
            return self._superseded[tier]
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


def enough(candidates: Iterator[Segment], wanted_bytes: int) -> list[Segment] | None:
    """The first candidates that together give `wanted_bytes`; None when all of them do not."""
    chosen: list[Segment] = []
    for segment in candidates if wanted_bytes > 0 else ():
        chosen.append(segment)
        wanted_bytes -= segment.size_bytes
        if wanted_bytes <= 0:
            break
    return chosen if wanted_bytes <= 0 else None
