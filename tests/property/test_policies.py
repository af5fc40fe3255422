"""Each policy does what its paper says, step by step, however it is used."""

from __future__ import annotations

from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.workers.policies.protocol import ReferenceClock
from raycache.workers.policies.table import POLICIES

CAPACITY = 12


class Naive(Protocol):
    """A policy in lists, as its paper writes it down."""

    def insert(self, key: int) -> None: ...
    def access(self, key: int) -> None: ...
    def remove(self, key: int) -> None: ...
    def evict(self) -> int: ...


class NaiveLru:
    def __init__(self) -> None:
        self.order: list[int] = []

    def insert(self, key: int) -> None:
        self.order.append(key)

    def access(self, key: int) -> None:
        self.order.remove(key)
        self.order.append(key)

    def remove(self, key: int) -> None:
        self.order.remove(key)

    def evict(self) -> int:
        return self.order.pop(0)


class NaiveSieve:
    """`queue` is old to young; the hand is a position in it."""

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.visited: set[int] = set()
        self.hand = 0

    def insert(self, key: int) -> None:
        self.queue.append(key)

    def access(self, key: int) -> None:
        self.visited.add(key)

    def remove(self, key: int) -> None:
        at = self.queue.index(key)
        del self.queue[at]
        self.visited.discard(key)
        if at < self.hand:
            self.hand -= 1
        elif self.hand == len(self.queue):
            self.hand = 0

    def evict(self) -> int:
        while (key := self.queue[self.hand]) in self.visited:
            self.visited.discard(key)
            self.hand = (self.hand + 1) % len(self.queue)
        self.remove(key)
        return key


class NaiveS3Fifo:
    """Two queues from old to young, and ghosts."""

    def __init__(self) -> None:
        self.small: list[int] = []
        self.main: list[int] = []
        self.ghosts: list[int] = []
        self.uses: dict[int, int] = {}

    def insert(self, key: int) -> None:
        if key in self.ghosts:
            self.ghosts.remove(key)
            self.main.append(key)
        else:
            self.small.append(key)
        self.uses[key] = 0

    def access(self, key: int) -> None:
        self.uses[key] = min(3, self.uses[key] + 1)

    def remove(self, key: int) -> None:
        (self.small if key in self.small else self.main).remove(key)
        del self.uses[key]

    def evict(self) -> int:
        over = len(self.small) * 10 >= len(self.small) + len(self.main)
        candidates = [key for key in self.small if self.uses[key] < 2]
        if (over and candidates) or not self.main:
            key = candidates[0] if candidates else self.small[0]
            for before in self.small[: self.small.index(key)]:
                self.small.remove(before)
                self.main.append(before)
                self.uses[before] = 0
            self.ghosts.append(key)
        else:
            while self.uses[key := self.main[0]]:
                self.uses[key] -= 1
                self.main.append(self.main.pop(0))
        self.remove(key)
        while len(self.ghosts) * 10 > 9 * (len(self.small) + len(self.main)):
            self.ghosts.pop(0)
        return key


STEPS = st.lists(st.tuples(st.sampled_from(["refer", "refer", "refer", "remove"]), st.integers(0, 30)), max_size=200)


@pytest.mark.parametrize(("name", "make"), [("lru", NaiveLru), ("sieve", NaiveSieve), ("s3-fifo", NaiveS3Fifo)])
@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_a_policy_evicts_what_its_paper_evicts(name: str, make: type[Naive], steps: list[tuple[str, int]]) -> None:
    """In a cache of twelve entries, of which some are freed meanwhile, every victim is the same."""
    policy, naive = POLICIES[name](ReferenceClock()), make()
    here: set[int] = set()
    for step, key in steps:
        if step == "remove":
            policy.record_remove(key)
            if key in here:
                naive.remove(key)
                here.discard(key)
        elif key in here:
            policy.record_access(key)
            naive.access(key)
        else:
            if len(here) == CAPACITY:
                victim = next(policy.victims())
                assert not policy.spares(victim)
                assert victim == naive.evict()
                policy.record_evict(victim)
                here.discard(victim)
            policy.record_insert(key, 1)
            naive.insert(key)
            here.add(key)
        assert sorted(policy.victims()) == sorted(here)


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.integers(0, 30), max_size=200))
def test_sticky_lets_go_of_the_oldest_and_only_when_it_is_past_use(steps: list[int]) -> None:
    """What was used less than two references for each entry ago is never given up; what is given up is the oldest."""
    clock = ReferenceClock()
    policy = POLICIES["sticky"](clock)
    used: dict[int, int] = {}
    for key in steps:
        clock.count += 1
        if key in used:
            policy.record_access(key)
        elif len(used) < CAPACITY:
            policy.record_insert(key, 1)
        else:
            victim = next(policy.victims())
            assert used[victim] == min(used.values())
            if policy.spares(victim):
                continue
            assert clock.count - used[victim] > 2 * CAPACITY
            policy.record_evict(victim)
            del used[victim]
            policy.record_insert(key, 1)
        used[key] = clock.count
