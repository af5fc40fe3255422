"""Dividing quotas over the workers, so that together they never hold more than the quota. Pure.

Theory of operation. A worker's fair share goes by its capacity, as placement does; above it, it drops its oldest blocks.
But workers hear of a new division one after the other: while one has not yet given up what it is to lose, another must
not use it. So the master keeps, for each worker, a *bound* on what it may be holding: the largest of the limit it was
last sent, the limit it said it had received, and what it said it holds. A worker's limit is its fair share or, if less,
what the bounds of the others leave. Hence all together grow only while they are below the quota.

1. A and B have 50 each; C joins: 33 each.   2. A beats: it gets 33, but holds 50: its bound stays 50.
3. C beats: the bounds leave 100 - 50 - 50 = 0.   4. A beats again, at 33: that is its bound.   5. C beats: 17.

A reply either reaches the worker before its next heartbeat or never, so a heartbeat says which limit the worker has.
A restarted master knows no bounds: until every node's worker has been heard, no limit grows.
"""

from __future__ import annotations

import dataclasses

from raycache.messages import Heartbeat, Shares
from raycache.rules import RuleTable, quotas_of
from raycache.types import MembershipView, WorkerId


@dataclasses.dataclass(slots=True)
class _Word:
    """What one worker incarnation may be holding, by quota."""

    epoch: int
    bounds: dict[str, int]
    #: Of the rules it spoke of when it had all of its fair shares.
    settled_version: int


class QuotaShares:
    """What each worker may use of each quota."""

    def __init__(self) -> None:
        self._words: dict[WorkerId, _Word] = {}

    def divide(self, heartbeat: Heartbeat, rules: RuleTable, view: MembershipView, *, complete: bool) -> Shares | None:
        """What the reply to a heartbeat says of quotas.

        Args:
            heartbeat: one whose reply it will wait for.
            rules: the quotas among them count.
            view: the live workers, this one included.
            complete: every live node has its worker in the view.

        Returns:
            Its shares; None when there are no quotas, and the worker knows of none.
        """
        quotas = quotas_of(rules)
        live = {worker.worker: worker for worker in view.workers}
        for gone in [name for name, word in self._words.items() if name not in live or live[name].epoch != word.epoch]:
            del self._words[gone]
        if not quotas and not heartbeat.quota_limits:
            self._words[heartbeat.worker] = _Word(heartbeat.epoch, {}, heartbeat.rules_version)
            return None
        others = [self._words.get(name) for name in live if name != heartbeat.worker]
        weights = sum(worker.weight_bytes for worker in view.workers)
        weight = live[heartbeat.worker].weight_bytes if heartbeat.worker in live else 0
        shares = Shares(rules.version, {}, {})
        bounds: dict[str, int] = {}
        for base, quota_bytes in quotas.items():
            fair = shares.fair[base] = quota_bytes * weight // weights if weights else 0
            if base not in heartbeat.quota_used:
                # It has not heard of this quota, so what it holds is not known: no limit grows until it is.
                shares.limits[base] = 0
                continue
            had = heartbeat.quota_limits.get(base, 0)
            theirs = [word.bounds[base] for word in others if word is not None and base in word.bounds]
            left = quota_bytes - sum(theirs) if complete and len(theirs) == len(others) else had
            shares.limits[base] = max(0, min(fair, left))
            bounds[base] = max(shares.limits[base], had, heartbeat.quota_used[base])
        settled = heartbeat.quota_limits == shares.fair
        self._words[heartbeat.worker] = _Word(heartbeat.epoch, bounds, heartbeat.rules_version if settled else -1)
        return shares

    def settled(self, rules: RuleTable, view: MembershipView) -> bool:
        """Whether every live worker has said that it knows these rules, and may use all of its fair shares."""
        words = [self._words.get(worker.worker) for worker in view.workers]
        return all(word is not None and word.settled_version == rules.version for word in words)
