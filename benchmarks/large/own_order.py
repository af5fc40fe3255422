"""Readers with an order of their own, whole files through `cache.read`: loops, skewed reuse, and what was foretold of both."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import raycache
from benchmarks.large.lake import Stage, hit_share
from benchmarks.measure import Finding, Shown

_FILES = 150
_FILE_BYTES = 2_000_000
_EPOCHS = 5
_COUNTED = 3
Order = Callable[[int], Sequence[int]]


def _fixed(epoch: int) -> Sequence[int]:
    del epoch
    return range(_FILES)


def _shuffled(epoch: int) -> Sequence[int]:
    return random.Random(epoch).sample(range(_FILES), _FILES)


def _zipf(exponent: float) -> Order:
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(_FILES)))

    def order(epoch: int) -> Sequence[int]:
        return random.Random(epoch).choices(range(_FILES), cum_weights=weights, k=2 * _FILES)

    return order


def measure(stage: Stage) -> list[Finding]:
    """Loops at three sizes, Zipf under each policy, and advice."""
    found = Shown()
    data = stage.blobs("own", _FILES, _FILE_BYTES)
    for ratio in (4.0, 2.0, 1.33):
        for name, order in (("fixed", _fixed), ("shuffled", _shuffled)):
            hits, _ = _hits(stage, data.total_bytes, 1 / ratio, order)
            text = f"{hits * ratio:.3f} ({hits:.3f} of {1 / ratio:.3f})"
            found += [
                Finding(f"own order, {name}, dataset {ratio}x: hits, of C/N", text, ">= 0.95", hits * ratio >= 0.95)
            ]
    for exponent in (0.8, 1.1):
        order = _zipf(exponent)
        rates = {
            policy: _hits(stage, data.total_bytes, 0.2, order, eviction=policy)[0]
            for policy in ("auto", "lru", "sieve", "s3-fifo", "sticky")
        }
        best = max(rates.values())
        text = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
        met = rates["auto"] >= best - 0.02
        found += [Finding(f"own order, Zipf {exponent}: hits", text, "auto within 0.02 of the best", met)]
    for name, order in (("fixed", _fixed), ("shuffled", _shuffled), ("Zipf 0.8", _zipf(0.8))):
        _, cache_says = _hits(stage, data.total_bytes, 0.4, order, epochs=2 * _EPOCHS)
        for factor in (0.5, 2.0):
            real, _ = _hits(stage, data.total_bytes, 0.4 * factor, order)
            off = abs(cache_says[factor] - real)
            text = f"{cache_says[factor]:.3f} said, {real:.3f} found"
            found += [Finding(f"advice, {name}, {factor}x", text, "within 0.03", off <= 0.03)]
    return found


def _hits(
    stage: Stage, total_bytes: int, share: float, order: Order, *, eviction: str = "auto", epochs: int = _EPOCHS
) -> tuple[float, dict[float, float]]:
    """Hits of the last epochs, of bytes; and what was then said of other sizes, by factor."""
    with stage.cache(total_bytes * share, eviction=eviction) as cache:
        measured = [
            stage.epoch(len(order(epoch)) * _FILE_BYTES, lambda c=cache, e=epoch: _read(c, order(e)))
            for epoch in range(epochs)
        ]
        advice = cache.advise()
    return hit_share(measured[-_COUNTED:]), {size.factor: size.hit_rate for size in advice.sizes if size.tier == "both"}


def _read(cache: raycache.Cache, names: Sequence[int]) -> None:
    for name in names:
        cache.read(f"/lake/own/0000/{name:06d}.bin")
