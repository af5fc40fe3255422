"""What every `EvictionPolicy` promises."""

from __future__ import annotations

import pytest

from raycache.workers.policies.protocol import EvictionPolicy, ReferenceClock
from raycache.workers.policies.table import POLICIES


@pytest.fixture(params=sorted(POLICIES))
def policy(request: pytest.FixtureRequest) -> EvictionPolicy[str]:
    return POLICIES[request.param](ReferenceClock())


def test_an_empty_policy_has_no_victims(policy: EvictionPolicy[str]) -> None:
    """Nothing recorded, nothing to evict."""
    assert list(policy.victims()) == []


def test_victims_are_what_was_inserted_and_not_gone(policy: EvictionPolicy[str]) -> None:
    """Each copy appears exactly once until it is removed or evicted."""
    for name in "abcdef":
        policy.record_insert(name, 1)
    policy.record_insert("b", 1)
    policy.record_remove("c")
    for _ in range(3):
        policy.record_access("e")
    policy.record_evict("e")
    assert sorted(policy.victims()) == ["a", "b", "d", "f"]
    for name in "fbda":
        policy.record_evict(name)
        assert name not in list(policy.victims())
    assert list(policy.victims()) == []


def test_unknown_copies_are_ignored(policy: EvictionPolicy[str]) -> None:
    """A late access, removal or eviction neither fails nor brings a copy back."""
    policy.record_insert("a", 1)
    policy.record_remove("a")
    policy.record_access("a")
    policy.record_remove("a")
    policy.record_evict("a")
    assert list(policy.victims()) == []


def test_looking_at_victims_changes_nothing(policy: EvictionPolicy[str]) -> None:
    """Asking twice gives the same order."""
    for name in "abc":
        policy.record_insert(name, 1)
    policy.record_access("a")
    assert list(policy.victims()) == list(policy.victims())
