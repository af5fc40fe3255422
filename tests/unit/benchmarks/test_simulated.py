"""The figures that the choice of policies rests on, small: 200 objects, 12 epochs."""

from __future__ import annotations

import pytest

from benchmarks.large.simulated import ceiling, fixed, hit_rate, mixed, shuffled

SIZE = {"objects": 200, "epochs": 12}


@pytest.mark.parametrize("order", [fixed, shuffled])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_sticky_and_cached_first_reach_the_ceiling(order: object, share: float) -> None:
    """Whatever the order of a loop: hits are as many as fit."""
    assert hit_rate("sticky", share, order, **SIZE) == pytest.approx(ceiling(share))
    assert hit_rate("lru", share, order, cached_first=True, **SIZE) == pytest.approx(ceiling(share))


@pytest.mark.parametrize(("policy", "most"), [("lru", 0.0), ("sieve", 0.0), ("s3-fifo", 0.0)])
def test_a_loop_in_order_defeats_the_other_policies(policy: str, most: float) -> None:
    """At half the size none of them has a hit."""
    assert hit_rate(policy, 0.5, fixed, **SIZE) <= most


def test_shuffled_loops_rank_the_policies() -> None:
    """At half the size: LRU .15, S3-FIFO .19, SIEVE .45, sticky .50."""
    rates = [hit_rate(policy, 0.5, shuffled, **SIZE) for policy in ("lru", "s3-fifo", "sieve", "sticky")]
    assert rates == sorted(rates)
    assert rates == pytest.approx([0.15, 0.19, 0.45, 0.50], abs=0.04)


@pytest.mark.parametrize("jobs", [2, 4])
def test_jobs_at_once_help_each_other_when_they_take_the_coldest_first(jobs: int) -> None:
    """Out of step with each other, they reach nearly what jobs in step would; sticky, a single job's share."""
    assert hit_rate("lru", 0.5, shuffled, jobs=jobs, cached_first=True, **SIZE) >= 0.95 * ceiling(0.5, jobs)
    assert hit_rate("sticky", 0.5, shuffled, jobs=jobs, **SIZE) == pytest.approx(0.5, abs=0.02)


def test_sticky_moves_on_to_another_loop() -> None:
    """What is of no use any more gives way, after some rounds of the new loop."""
    from raycache.workers.policies.miniature import Miniature
    from raycache.workers.policies.table import POLICIES

    cache: Miniature[int] = Miniature(POLICIES["sticky"], 100)
    for first in (0, 1000):
        for _ in range(8):
            hits = sum(cache.refer(first + name, 1) for name in range(200))
        assert hits == 100


def test_a_scan_of_one_job_does_not_wash_out_what_another_needs() -> None:
    """Beside a loop over fifteen times what fits, LRU hits a third of the hot ones; what is chosen hits most of them."""
    lru, chosen = mixed("lru", rounds=24_000), mixed("auto", rounds=24_000)
    assert lru < 0.4
    assert chosen > 0.75
