"""Dividing quotas: fair when all is quiet, and never more than the quota in all while workers come, go and lag."""

from __future__ import annotations

import random

from raycache.master.quotas import QuotaShares
from raycache.messages import BlockReport, Heartbeat, ReadCounters, WorkerStats
from raycache.rules import Pattern, Rule, RuleKind, RuleTable
from raycache.types import MembershipView, WorkerView

LAKE = "s3://b/lake"


class Fleet:
    """Workers that keep to what they are told, some time after they were told; every word is one heartbeat."""

    def __init__(self, quota: int, **weights: int) -> None:
        self.quota = quota
        self.version = 1
        self.shares = QuotaShares()
        self.weights = weights
        self.told: dict[str, dict[str, int]] = {name: {} for name in weights}
        self.fair: dict[str, int] = {}
        self.used: dict[str, int] = dict.fromkeys(weights, 0)

    def beat(self, name: str, *, complete: bool = True, lost: bool = False, knows: bool = True) -> int:
        """A heartbeat and its reply, which may get lost; returns what the reply says."""
        rules, view = self._world()
        stats, counters = WorkerStats(), ReadCounters()
        beat = Heartbeat(name, 1, 1, BlockReport(False, [], []), stats, counters, 0, 0)
        beat = beat._replace(
            rules_version=self.version,
            quota_limits=self.told[name],
            quota_used={LAKE: self.used[name]} if knows else {},
        )
        reply = self.shares.divide(beat, rules, view, complete=complete)
        assert reply is not None
        if not lost:
            self.told[name] = reply.limits
            self.fair[name] = reply.fair[LAKE]
        return reply.limits[LAKE]

    def settled(self) -> bool:
        """Whether the master believes that all have their shares."""
        return self.shares.settled(*self._world())

    def _world(self) -> tuple[RuleTable, MembershipView]:
        workers = tuple(WorkerView(n, 1, weight, n) for n, weight in sorted(self.weights.items()))
        rules = RuleTable(self.version, (Rule(RuleKind.QUOTA, Pattern(LAKE), self.quota),))
        return rules, MembershipView(1, workers)

    def total(self) -> int:
        """What workers may hold in all: what they were told, or still have."""
        return sum(max(self.told[name].get(LAKE, 0), self.used[name]) for name in self.weights)


def test_shares_go_by_capacity() -> None:
    """After two rounds each worker has its part of the quota."""
    fleet = Fleet(100, a=1, b=3)
    for name in "abab":
        fleet.beat(name)
    assert fleet.told == {"a": {LAKE: 25}, "b": {LAKE: 75}}


def test_it_is_settled_when_everyone_has_said_so() -> None:
    """Told is not yet heard: only the next heartbeat shows that a worker may use its share."""
    fleet = Fleet(100, a=1, b=1)
    for name in "abab":
        assert not fleet.settled()
        fleet.beat(name)
    assert not fleet.settled()
    fleet.beat("a")
    fleet.beat("b")
    assert fleet.settled()
    fleet.quota = 80
    fleet.version = 2
    fleet.beat("a")
    assert not fleet.settled()


def test_a_new_worker_gets_what_others_have_given_up() -> None:
    """As long as the old ones hold their old parts there is nothing for it."""
    fleet = Fleet(100, a=1, b=1)
    for name in "abab":
        fleet.beat(name)
    fleet.used = {"a": 50, "b": 50, "c": 0}
    fleet.weights["c"], fleet.told["c"] = 2, {}
    assert [fleet.beat(name) for name in "abc"] == [25, 25, 0]
    assert fleet.fair == {"a": 25, "b": 25, "c": 50}
    fleet.used["a"] = 25
    assert [fleet.beat(name) for name in "ac"] == [25, 25]
    fleet.used["b"] = 25
    assert [fleet.beat(name) for name in "bc"] == [25, 50]


def test_who_holds_more_than_a_new_quota_falls_to_its_fair_part_only() -> None:
    """A quota set on what is cached already takes from each worker what it has too much; meanwhile nobody loads."""
    fleet = Fleet(90, a=1, b=1, c=1)
    fleet.used = {"a": 200, "b": 200, "c": 5}
    assert [fleet.beat(name) for name in "abc"] == [0, 0, 0]
    assert fleet.fair == {"a": 30, "b": 30, "c": 30}
    fleet.used = {"a": 30, "b": 30, "c": 5}
    assert [fleet.beat(name) for name in "abca"] == [0, 30, 30, 30]


def test_who_has_not_heard_of_a_quota_may_hold_anything() -> None:
    """A heartbeat from before the rule says nothing of what is held; nobody may load until the next one does."""
    fleet = Fleet(100, a=1, b=1)
    fleet.beat("a", knows=False)
    assert fleet.beat("b") == 0
    fleet.used["a"] = 80
    assert [fleet.beat(name) for name in "ab"] == [50, 20]


def test_a_master_that_has_not_heard_everyone_gives_nothing_new() -> None:
    """After a restart a worker keeps what it had; the rest comes when all have spoken."""
    fleet = Fleet(100, a=1, b=1)
    fleet.told = {"a": {LAKE: 10}, "b": {LAKE: 50}}
    assert fleet.beat("a") == 10
    assert fleet.beat("b") == 50
    assert fleet.beat("a") == 50
    fleet.shares = QuotaShares()
    assert fleet.beat("a", complete=False) == 50


def test_the_quota_is_kept_at_every_moment() -> None:
    """Whatever the order of heartbeats, lost replies and slow workers: all together never hold more than the quota."""
    for seed in range(300):
        draw = random.Random(seed)
        fleet = Fleet(100, a=1, b=2)
        names = ["a", "b"]
        for _ in range(60):
            name = draw.choice(names)
            match draw.randrange(5):
                case 0 if len(names) < 4:
                    names.append(new := f"w{len(names)}")
                    fleet.weights[new], fleet.told[new], fleet.used[new] = draw.randint(1, 5), {}, 0
                case 1:
                    fleet.used[name] = draw.randint(0, max(fleet.used[name], fleet.told[name].get(LAKE, 0)))
                case 2:
                    fleet.used[name] = max(fleet.used[name], fleet.told[name].get(LAKE, 0))
                case _:
                    fleet.beat(name, lost=draw.random() < 0.2)
            assert fleet.total() <= 100, f"seed {seed}: {fleet.told} told, {fleet.used} used"
        for _ in range(3):
            for name in names:
                fleet.used[name] = min(fleet.used[name], fleet.fair.get(name, 100))
                fleet.beat(name)
        assert fleet.total() > 100 - len(names)
