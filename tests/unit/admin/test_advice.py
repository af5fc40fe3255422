"""What is said of other sizes, from what the workers' miniatures say; no cluster."""

from __future__ import annotations

import json

import pytest

from raycache.admin.sizing.advice import combined, rate_at
from raycache.cli.main import run
from raycache.cli.session import Session
from raycache.messages import PolicyChange, PolicyReport
from tests.support.fake_cache import FakeBackend, FakeCache

GB = 1_000_000_000
#: A loop over twice what fits, at a worker of 1 GB of memory and as much disk.
LOOP = PolicyReport(
    policy="sticky",
    is_free=True,
    memory_bytes=GB,
    disk_bytes=GB,
    history=[PolicyChange(40.0, "lru", "sticky", 0.0, 0.4)],
    sizes=[0.25, 0.5, 1.0, 2.0, 4.0, 8.0],
    rates=[{"lru": 0.0, "sticky": min(1.0, size / 2)} for size in (0.25, 0.5, 1, 2, 4, 8)],
    sampled_blocks=1600,
    sample_share=0.5,
    references=9000,
    asked_bytes=8 * GB,
    watched_s=60.0,
    now_s=100.0,
)


def test_each_tier_is_varied_by_itself_and_with_the_other() -> None:
    """Twice the memory beside the same disk is one and a half times the cache; between known sizes hits lie on a line."""
    found = combined({"a": LOOP}, price_per_gb=0.5)
    rates = {(size.tier, size.factor): size.hit_rate for size in found.sizes}
    assert (rates["both", 1.0], rates["both", 2.0], rates["both", 0.5]) == (0.5, 1.0, 0.25)
    assert (rates["memory", 2.0], rates["disk", 0.25]) == pytest.approx((0.75, 0.3125))
    half = next(size for size in found.sizes if (size.tier, size.factor) == ("both", 0.5))
    assert (half.memory_bytes, half.disk_bytes, half.lake_bytes) == (GB // 2, GB // 2, 6 * GB)
    assert half.money == pytest.approx(3.0)


def test_a_policy_that_was_set_is_not_mended() -> None:
    """With LRU set, more of the same gives nothing."""
    fixed = LOOP._replace(policy="lru", is_free=False)
    assert [rate_at(fixed, size, size) for size in (0.5, 1.0, 2.0)] == [0.0, 0.0, 0.0]


def test_below_the_smallest_size_hits_fall_to_none() -> None:
    """And beyond the largest they stay."""
    assert rate_at(LOOP, 0.125, 0.125) == pytest.approx(0.0625)
    assert rate_at(LOOP, 100.0, 100.0) == 1.0


def test_workers_count_by_what_they_were_asked_for() -> None:
    """A worker that nobody reads from says nothing."""
    idle = LOOP._replace(asked_bytes=0, rates=[{"lru": 0.0}] * 6)
    found = combined({"a": LOOP, "b": idle})
    assert next(size.hit_rate for size in found.sizes if size.factor == 1.0) == 0.5
    assert combined({"b": idle}).uncertainty == 1.0


def test_the_policy_and_why_is_said_of_each_node() -> None:
    """With its changes, in seconds ago."""
    (node,) = combined({"a": LOOP}).nodes
    assert (node.policy, node.rates) == ("sticky", {"lru": 0.0, "sticky": 0.5})
    assert [(each.ago_s, each.before, each.after) for each in node.history] == [(60.0, "lru", "sticky")]


def test_without_a_disk_nothing_is_said_of_one() -> None:
    """There is nothing to multiply."""
    found = combined({"a": LOOP._replace(disk_bytes=0)})
    assert {size.tier for size in found.sizes} == {"both", "memory"}


def test_the_verb_shows_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For people with units, for programs with names."""
    cache = FakeCache()
    cache.advise = lambda: combined({"ab" * 28: LOOP}, silent=["cd" * 28])  # type: ignore[attr-defined]
    assert run(["advise"], Session(backend=FakeBackend(cache))) == 0  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "sticky" in shown and "both x 0.5" in shown and "25.0 %" in shown and "cdcdcdcdcdcd did not answer" in shown
    assert run(["advise", "--json"], Session(backend=FakeBackend(cache))) == 0  # type: ignore[arg-type]
    assert json.loads(capsys.readouterr().out)["sizes"][0]["hit_rate"] == pytest.approx(0.125)


def test_the_verb_says_when_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than zeros."""
    cache = FakeCache()
    cache.advise = lambda: combined({"ab" * 28: LOOP._replace(asked_bytes=0)})  # type: ignore[attr-defined]
    assert run(["advise"], Session(backend=FakeBackend(cache))) == 0  # type: ignore[arg-type]
    assert "Nothing is known" in capsys.readouterr().out
