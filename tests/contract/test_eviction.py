"""What every `EvictionPolicy` promises."""

from __future__ import annotations

import pytest

from raycache.workers.tiers.eviction import EvictionPolicy, LruPolicy


@pytest.fixture(params=[LruPolicy])
def policy(request: pytest.FixtureRequest) -> EvictionPolicy:
    return request.param()


def test_an_empty_policy_has_no_victims(policy: EvictionPolicy) -> None:
    """Nothing recorded, nothing to evict."""
    assert list(policy.victims()) == []


def test_victims_are_what_was_inserted_and_not_removed(policy: EvictionPolicy) -> None:
    """Each segment appears exactly once until it is removed."""
    for name in "abcd":
        policy.record_insert(name, 1)
    policy.record_insert("b", 1)
    policy.record_remove("c")
    assert sorted(policy.victims()) == ["a", "b", "d"]


def test_unknown_segments_are_ignored(policy: EvictionPolicy) -> None:
    """A late access or removal neither fails nor brings a segment back."""
    policy.record_insert("a", 1)
    policy.record_remove("a")
    policy.record_access("a")
    policy.record_remove("a")
    assert list(policy.victims()) == []


def test_looking_at_victims_changes_nothing(policy: EvictionPolicy) -> None:
    """Asking twice gives the same order."""
    for name in "abc":
        policy.record_insert(name, 1)
    assert list(policy.victims()) == list(policy.victims())


def test_lru_evicts_the_least_recently_used_first() -> None:
    """An access, and a second insertion, move a segment to the end."""
    policy = LruPolicy()
    for name in "abcd":
        policy.record_insert(name, 1)
    policy.record_access("a")
    policy.record_insert("b", 1)
    assert list(policy.victims()) == ["c", "d", "a", "b"]
