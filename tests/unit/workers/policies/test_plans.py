"""Plans tell when files are wanted next, however they are read; an order by them is Belady's."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.types import BlockId
from raycache.workers.policies.lru import LruPolicy
from raycache.workers.policies.planned import PlannedPolicy
from raycache.workers.policies.plans import NEVER, POSITIONS_MAX, SILENT_S, Plans


def names(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in numbers]


def name(number: int) -> bytes:
    return names(number)[0]


def test_a_plan_is_passed_as_its_files_are_asked_for() -> None:
    """Next uses are positions; what was read once is wanted at its next position, or never."""
    plans = Plans()
    assert (0, 3) == plans.tell("a", 0, names(1, 2, 1), 0.0)
    assert [0, 1, NEVER] == [plans.next_use(name(n)) for n in (1, 2, 3)]
    plans.passed(name(1))
    assert [2, 1] == [plans.next_use(name(n)) for n in (1, 2)]
    assert (1, 4) == plans.tell("a", 3, names(3), 1.0)
    assert 3 == plans.next_use(name(3))


def test_what_is_read_far_ahead_is_not_of_the_plan() -> None:
    """Another reader asks for it; readers side by side that are a little ahead are of the plan."""
    plans = Plans()
    plans.tell("a", 0, names(*range(100)), 0.0)
    plans.passed(name(90))
    assert (0, 90) == (plans.tell("a", 100, [], 0.0)[0], plans.next_use(name(90)))
    plans.passed(name(4))
    plans.passed(name(2))
    assert 5 == plans.tell("a", 100, [], 0.0)[0]
    assert [0, NEVER, NEVER] == [plans.next_use(name(n)) for n in (0, 2, 4)]


def test_what_was_left_out_is_given_up() -> None:
    """When readers are well past it, it is wanted no more."""
    plans = Plans()
    plans.tell("a", 0, names(*range(100)), 0.0)
    for number in range(1, 40):
        plans.passed(name(number))
    assert NEVER == plans.next_use(name(0))


def test_plans_share_a_scale_and_end() -> None:
    """A plan begins where the others are; a silent one is forgotten; one that is told anew replaces the old one."""
    plans = Plans()
    plans.tell("a", 0, names(*range(10)), 0.0)
    plans.passed(name(0))
    plans.passed(name(1))
    plans.tell("b", 0, names(7, 99), SILENT_S)
    assert [2, 3] == [plans.next_use(name(n)) for n in (7, 99)]
    assert plans.expire(SILENT_S + 1)
    assert [2, NEVER] == [plans.next_use(name(n)) for n in (7, 8)]
    plans.tell("b", 50, names(8), SILENT_S)
    assert [NEVER, 0] == [plans.next_use(name(n)) for n in (7, 8)]
    assert not plans.expire(SILENT_S + 1)


def test_plans_are_bounded() -> None:
    """A worker says how much of a plan it remembers."""
    plans = Plans()
    assert (0, POSITIONS_MAX) == plans.tell("a", 0, [name(1)] * (POSITIONS_MAX + 5), 0.0)


class Belady:
    """The naive model: looks through the whole rest of the plan."""

    def __init__(self, order: list[int], room: int) -> None:
        self.order, self.room, self.held, self.at = order, room, set[int](), 0

    def next_use(self, number: int) -> float:
        rest = self.order[self.at :]
        return rest.index(number) if number in rest else NEVER

    def read(self, number: int) -> bool:
        self.at += 1
        if number in self.held:
            return True
        if len(self.held) == self.room:
            victim = max(self.held, key=self.next_use)
            if self.next_use(victim) <= self.next_use(number):
                return False
            self.held.remove(victim)
        self.held.add(number)
        return False


def hits_of(order: list[int], room: int) -> list[bool]:
    """Of a planned reader of one order."""
    plans = Plans()
    plans.tell("a", 0, names(*order), 0.0)
    policy: PlannedPolicy[int] = PlannedPolicy(LruPolicy(), plans)
    held: set[int] = set()
    hits = []
    for number in order:
        plans.passed(name(number))
        hits.append(number in held)
        if number in held:
            policy.record_access(number)
            continue
        if len(held) == room:
            victim = next(policy.victims())
            if plans.next_use(name(victim)) <= plans.next_use(name(number)):
                continue
            policy.record_evict(victim)
            held.remove(victim)
        held.add(number)
        policy.record_insert(number, 1, BlockId(name(number), 0))
    assert sorted(policy.victims()) == sorted(held)
    return hits


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 2**32))
def test_planned_epochs_have_beladys_hits(files: int, epochs: int, seed: int) -> None:
    """Each epoch in an order of its own, all of them planned: as many hits as the naive model has."""
    numbers = random.Random(seed)
    order = [number for _ in range(epochs) for number in numbers.sample(range(files), files)]
    room = numbers.randint(1, files)
    model = Belady(order, room)
    assert sum(hits_of(order, room)) == sum(model.read(number) for number in order)


def test_a_known_order_has_all_hits_there_can_be_from_the_second_epoch_on() -> None:
    """As many as fit: whatever is hit in an epoch was there when it began, so no order known gives more."""
    numbers = random.Random(1)
    epochs = [numbers.sample(range(400), 400) for _ in range(6)]
    hits = hits_of([number for epoch in epochs for number in epoch], 100)
    assert [0, 100, 100, 100, 100, 100] == [sum(hits[start : start + 400]) for start in range(0, 2400, 400)]


def test_what_no_plan_names_goes_first_by_the_inner_policy() -> None:
    """Then what is wanted latest; what is wanted no more joins the others."""
    plans = Plans()
    plans.tell("a", 0, names(1, 2, 3), 0.0)
    policy: PlannedPolicy[str] = PlannedPolicy(LruPolicy(), plans)
    for key, number in (("one", 1), ("x", 8), ("three", 3), ("y", 9), ("two", 2)):
        policy.record_insert(key, 1, BlockId(name(number), 0))
    policy.record_access("x")
    assert ["y", "x", "three", "two", "one"] == list(policy.victims())
    plans.passed(name(1))
    assert ["y", "x", "one", "three", "two"] == list(policy.victims())
    policy.record_remove("x")
    policy.record_evict("three")
    assert ["y", "one", "two"] == list(policy.victims())
    policy.close()
    assert [] == plans.watchers
