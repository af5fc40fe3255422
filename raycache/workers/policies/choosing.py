"""The eviction policy of a worker: what readers ask for is noted, and now and then the tiers go on with another. Pure.

Only requests of readers count (`Terms.is_read`): what is prefetched is read afterwards, and load jobs say nothing of what
is worth keeping. A segment that is read in place is noted once for each renewal of its lease.
"""

from __future__ import annotations

from raycache.messages import PlanNews, PlanReply, PolicyReport
from raycache.ranges import Grid
from raycache.types import Tier
from raycache.workers.policies.choice import SIZES, PolicyChoice
from raycache.workers.policies.references import key_of
from raycache.workers.policies.table import POLICIES
from raycache.workers.tickets import Ticket
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.tiers import Tiers


class Choosing:
    """Chooses for the tiers of one worker.

    Args:
        eviction: of `settings.EVICTIONS`.
        tiers: go by the policy; at first by LRU.
        grid: how files are cut.
    """

    def __init__(self, eviction: str, tiers: Tiers, grid: Grid) -> None:
        self._choice = PolicyChoice(eviction)
        self._tiers = tiers
        self._make_orders()
        self._grid = grid
        self._began_s = float("inf")

    def refer(self, ticket: Ticket) -> None:
        """Blocks are asked for; that counts if a reader asks."""
        if not ticket.terms.is_read:
            return
        plans = self._tiers.orders.plans
        if plans:
            for file in dict.fromkeys(block.version for block in ticket.blocks):
                plans.passed(file)
        references = self._choice.references
        limit = references.limit
        for position, block in enumerate(ticket.blocks):
            # Of most files the first block is asked for, and its key begins with the version: most are told by a comparison.
            if block[0] >= limit and not block[1]:
                continue
            key = key_of(block)
            if key < references.threshold:
                version = ticket.version_of(position)
                if self._grid.exists(block.block_index, version.size_bytes):
                    references.note(key, self._grid.length(block.block_index, version.size_bytes))

    def used(self, segment: Segment) -> None:
        """A reader has read a segment in place."""
        plans = self._tiers.orders.plans
        if plans:
            for file in dict.fromkeys(block.version for block in segment.entries):
                plans.passed(file)
        self._choice.references.note_segment(segment.id, segment.entries)

    def tick(self, now_s: float) -> None:
        """Look at what was asked for; to be called every second or so."""
        self._began_s = min(self._began_s, now_s)
        policy = self._choice.look(self._capacity_bytes, now_s)
        if self._tiers.orders.plans.expire(now_s) or policy is not None:
            self._make_orders()

    def plan(self, news: PlanNews, now_s: float) -> PlanReply:
        """A reader tells in which order it will read."""
        plans = self._tiers.orders.plans
        is_first = not plans
        reply = PlanReply(*plans.tell(news.plan, news.first, news.files, now_s))
        if is_first:
            self._make_orders()
        return reply

    def _make_orders(self) -> None:
        self._tiers.orders.change(POLICIES[self._choice.policy], self._tiers.segments.segments)

    @property
    def _capacity_bytes(self) -> int:
        return sum(ledger.capacity_bytes for ledger in self._tiers.ledgers.values())

    def figures(self) -> dict[str, int]:
        """Fields of `WorkerStats`."""
        return {f"workers_{self._choice.policy.replace('-', '_')}": 1, "policy_changes": self._choice.changes}

    def report(self, now_s: float) -> PolicyReport:
        """The policy in force, why, and what other policies and sizes would give."""
        choice = self._choice
        return PolicyReport(
            policy=choice.policy,
            is_free=choice.is_free,
            memory_bytes=self._tiers.ledgers[Tier.MEMORY].capacity_bytes,
            disk_bytes=self._tiers.ledgers[Tier.DISK].capacity_bytes,
            history=list(choice.history),
            sizes=list(SIZES),
            rates=[dict(choice.rates(size)) for size in SIZES],
            sampled_blocks=choice.sampled,
            sample_share=choice.references.share,
            references=choice.references_seen,
            asked_bytes=choice.asked_bytes,
            watched_s=max(0.0, now_s - self._began_s),
            now_s=now_s,
        )
