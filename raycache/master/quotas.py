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
from raycache.types import MembershipView, WorkerId, WorkerView


@dataclasses.dataclass(slots=True)
class _Word:
    """What one worker incarnation may be holding, by quota."""

    epoch: int
    bounds: dict[str, int]
    #: Of the rules it spoke of when it had all of its fair shares.
    settled_version: int


@dataclasses.dataclass(slots=True)
class _Sum:
    """Of the bounds of all live workers that have one."""

    bytes: int = 0
    workers: int = 0


class QuotaShares:
    """What each worker may use of each quota. Sums are kept, so a heartbeat costs as much in a large cluster as in a small one."""

    def __init__(self) -> None:
        self._words: dict[WorkerId, _Word] = {}
        self._sums: dict[str, _Sum] = {}
        #: Of the rules and the view last seen.
        self._rules = RuleTable(-1, ())
        self._quotas: dict[str, int] = {}
        self._view = MembershipView(-1, ())
        self._live: dict[WorkerId, WorkerView] = {}
        self._weights = 0

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
        self._look(rules, view)
        name, epoch = heartbeat.worker, heartbeat.epoch
        self._forget(name)
        if not self._quotas and not heartbeat.quota_limits:
            self._words[name] = _Word(epoch, {}, heartbeat.rules_version)
            return None
        weight = self._live[name].weight_bytes if name in self._live else 0
        others = len(self._live) - (name in self._live)
        shares = Shares(rules.version, {}, {})
        bounds: dict[str, int] = {}
        for base, quota_bytes in self._quotas.items():
            fair = shares.fair[base] = quota_bytes * weight // self._weights if self._weights else 0
            if base not in heartbeat.quota_used:
                # It has not heard of this quota, so what it holds is not known: no limit grows until it is.
                shares.limits[base] = 0
                continue
            had = heartbeat.quota_limits.get(base, 0)
            theirs = self._sums.get(base) or _Sum()
            left = quota_bytes - theirs.bytes if complete and theirs.workers == others else had
            limit = shares.limits[base] = max(0, min(fair, left))
            bounds[base] = max(limit, had, heartbeat.quota_used[base])
        settled = heartbeat.quota_limits == shares.fair
        self._remember(name, _Word(epoch, bounds, heartbeat.rules_version if settled else -1))
        return shares

    def settled(self, rules: RuleTable, view: MembershipView) -> bool:
        """Whether every live worker has said that it knows these rules, and may use all of its fair shares."""
        words = [self._words.get(worker.worker) for worker in view.workers]
        return all(word is not None and word.settled_version == rules.version for word in words)

    def _look(self, rules: RuleTable, view: MembershipView) -> None:
        """Take in what has changed since the last heartbeat, usually nothing."""
        if rules is not self._rules:
            self._rules, self._quotas = rules, quotas_of(rules)
        if view is not self._view:
            self._view = view
            self._live = {worker.worker: worker for worker in view.workers}
            self._weights = sum(worker.weight_bytes for worker in view.workers)
            live = self._live
            for gone in [
                name for name, word in self._words.items() if name not in live or live[name].epoch != word.epoch
            ]:
                self._forget(gone)

    def _remember(self, name: WorkerId, word: _Word) -> None:
        if name not in self._live:
            word.bounds.clear()
        self._words[name] = word
        for base, size in word.bounds.items():
            total = self._sums.setdefault(base, _Sum())
            total.bytes += size
            total.workers += 1

    def _forget(self, name: WorkerId) -> None:
        word = self._words.pop(name, None)
        for base, size in word.bounds.items() if word is not None else ():
            total = self._sums.get(base)
            if total is not None:
                total.bytes -= size
                total.workers -= 1
                if not total.workers:
                    del self._sums[base]
