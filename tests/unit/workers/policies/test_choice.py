"""The policy that is chosen for what is asked for, and how much that costs."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterable, Sequence

import pytest
import xxhash

from raycache.types import BlockId
from raycache.workers.policies.choice import SIZES, PolicyChoice
from raycache.workers.policies.miniature import Miniature
from raycache.workers.policies.references import KEYS, PENDING_MAX, SAMPLE_MAX, References, key_of
from raycache.workers.policies.table import POLICIES

OBJECTS = 400


def block(number: int) -> BlockId:
    return BlockId(xxhash.xxh3_128_digest(str(number).encode()), 0)


def shuffled(epochs: int, seed: int = 0) -> list[int]:
    numbers = random.Random(seed)
    return [name for _ in range(epochs) for name in numbers.sample(range(OBJECTS), OBJECTS)]


def zipf(count: int, exponent: float, seed: int = 0) -> list[int]:
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(OBJECTS)))
    return random.Random(seed).choices(range(OBJECTS), cum_weights=weights, k=count)


def follow(choice: PolicyChoice, names: Iterable[int], capacity: int) -> list[str]:
    """The changes of policy while these are asked for, each of one byte."""
    changes: list[str] = []
    for at, name in enumerate(names):
        key = key_of(block(name))
        if key < choice.references.threshold:
            choice.references.note(key, 1)
        if at % 50 == 49:
            changed = choice.look(capacity, float(at))
            changes += [] if changed is None else [changed]
    return changes


def best_hits(names: Sequence[int], capacity: int) -> dict[str, float]:
    caches = {name: Miniature[int](make, capacity) for name, make in POLICIES.items()}
    return {name: sum(cache.refer(each, 1) for each in names) / len(names) for name, cache in caches.items()}


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("order", ["fixed", "shuffled"])
def test_loops_are_recognised_in_their_second_round(share: float, order: str) -> None:
    """Sticky is in force before the third, and what it would hit is what it says."""
    choice = PolicyChoice("auto")
    names = list(range(OBJECTS)) * 2 if order == "fixed" else shuffled(2)
    assert follow(choice, names, int(share * OBJECTS))[-1:] == ["sticky"]
    follow(choice, list(range(OBJECTS)) * 12 if order == "fixed" else shuffled(12), int(share * OBJECTS))
    assert choice.policy == "sticky"
    assert choice.rates()["sticky"] == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("exponent", [0.8, 1.1])
def test_skewed_reuse_gets_what_suits_it_and_keeps_it(exponent: float) -> None:
    """The policy in force is within two percent of the best one, and changes once or twice."""
    choice = PolicyChoice("auto")
    names = zipf(12_000, exponent)
    changes = follow(choice, names, OBJECTS // 10)
    hits = best_hits(names, OBJECTS // 10)
    assert hits[choice.policy] >= max(hits.values()) - 0.02
    assert len(changes) <= 2


def test_a_change_of_what_is_read_is_followed() -> None:
    """From a loop to skewed reuse of the same, and back."""
    choice = PolicyChoice("auto")
    follow(choice, shuffled(4), OBJECTS // 4)
    assert choice.policy == "sticky"
    # The loop's objects were in no order of use; the hot ones are some others.
    follow(choice, [OBJECTS + name for name in zipf(4 * OBJECTS, 1.1)], OBJECTS // 4)
    assert choice.policy != "sticky" or choice.rates()["sticky"] >= max(choice.rates().values()) - 0.02
    follow(choice, shuffled(6), OBJECTS // 4)
    assert choice.policy == "sticky"
    assert [change.after for change in choice.history][-1] == "sticky"


def test_a_policy_that_was_set_stays() -> None:
    """It is only said what others would do."""
    choice = PolicyChoice("lru")
    assert follow(choice, shuffled(4), OBJECTS // 2) == []
    assert choice.rates()["sticky"] > choice.rates()["lru"] + 0.2


def test_other_sizes_are_foretold() -> None:
    """Of a loop, as much as fits, within five points."""
    choice = PolicyChoice("auto")
    follow(choice, shuffled(12), OBJECTS // 2)
    for size in SIZES:
        assert max(choice.rates(size).values()) == pytest.approx(min(1.0, size / 2), abs=0.05)


def test_a_large_sample_is_thinned_out_and_foretells_the_same() -> None:
    """With twelve thousand blocks, one in four or fewer is looked at; half of the size still gives half the hits."""
    choice = PolicyChoice("auto")
    numbers = random.Random(1)
    follow(choice, (name for _ in range(8) for name in numbers.sample(range(12_000), 12_000)), 6_000)
    assert choice.references.threshold <= KEYS // 4
    assert max(choice.rates().values()) == pytest.approx(0.5, abs=0.06)


def test_references_that_come_too_fast_are_left_out() -> None:
    """What is looked at in one turn of the loop is bounded."""
    references = References()
    for number in range(2 * PENDING_MAX):
        references.note(number, 1)
    assert len(references.take()) == PENDING_MAX
    assert references.adapt(sampled=2 * SAMPLE_MAX)


def test_miniatures_take_little_memory() -> None:
    """Less than 8 MB, whatever is read."""
    choice = PolicyChoice("auto")
    follow(choice, range(20_000), 10_000)
    follow(choice, range(20_000), 10_000)
    seen: set[int] = set()
    assert _size(choice, seen) < 8e6


def _size(thing: object, seen: set[int]) -> int:
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    total = sys.getsizeof(thing)
    if isinstance(thing, dict):
        return total + sum(_size(each, seen) for item in thing.items() for each in item)
    if isinstance(thing, (list, tuple, set)) or type(thing).__name__ == "deque":
        return total + sum(_size(each, seen) for each in thing)  # type: ignore[attr-defined]
    return total + (_size(vars(thing), seen) if hasattr(thing, "__dict__") else 0)
