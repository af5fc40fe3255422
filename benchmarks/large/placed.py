"""Placed Ray Data epochs over more than fits: hits, several jobs at once, and time beside a fixed order."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pyarrow as pa
import ray.data

import raycache
from benchmarks.epochs import quiet
from benchmarks.large.lake import Epoch, Stage, hit_share
from benchmarks.large.simulated import ceiling
from benchmarks.measure import Finding, Shown

_FILES = 90
_BYTES = 720_000_000
_EPOCHS = 5
_COUNTED = 3


def measure(stage: Stage) -> list[Finding]:
    """Both readers of parquet at three sizes; jobs; time."""
    found = Shown()
    quiet()
    data = stage.parquet("placed", _FILES, _BYTES)
    for ratio in (4.0, 2.0, 1.33):
        for newer in (True, False):
            with stage.cache(data.total_bytes / ratio, slow=True) as cache:
                epochs = [stage.epoch(data.total_bytes, lambda c=cache, n=newer: _read(c, n)) for _ in range(_EPOCHS)]
            reader = "V2" if newer else "V1"
            found += [_of_ceiling(f"placed, {reader}, dataset {ratio}x", hit_share(epochs[-_COUNTED:]), 1 / ratio)]
            if ratio == 2.0 and newer:
                ours = epochs
    for jobs, least in ((2, 0.70), (4, 0.82)):
        with stage.cache(data.total_bytes / 2, slow=True) as cache:
            _jobs(cache, jobs, 2)
            taken = stage.epoch(data.total_bytes * jobs * _COUNTED, lambda c=cache, j=jobs: _jobs(c, j, _COUNTED))
        hits = 1 - taken.lake_share
        found += [Finding(f"placed, 2x, {jobs} jobs at once: hits", f"{hits:.3f}", f">= {least}", hits >= least)]
    with stage.cache(data.total_bytes / 2, slow=True, eviction="lru") as cache, _planned_order():
        theirs = [stage.epoch(data.total_bytes, lambda c=cache: _read(c, True)) for _ in range(_EPOCHS)]
    ratio = _seconds(ours) / _seconds(theirs)
    text = f"{ratio:.2f}x ({_seconds(ours):.1f} s, {_seconds(theirs):.1f} s)"
    found += [Finding("placed, 2x: time of an epoch / LRU in a fixed order", text, "<= 0.60x", ratio <= 0.60)]
    lru = f"{hit_share(theirs[-_COUNTED:]):.3f}"
    found += [Finding("placed, 2x: hits of LRU in a fixed order", lru)]
    return found


def _of_ceiling(what: str, hits: float, share: float) -> Finding:
    of_it = hits / ceiling(share)
    return Finding(f"{what}: hits, of C/N", f"{of_it:.3f} ({hits:.3f} of {share:.3f})", ">= 0.95", of_it >= 0.95)


def _seconds(epochs: list[Epoch]) -> float:
    return sorted(epoch.seconds for epoch in epochs[-_COUNTED:])[_COUNTED // 2]


def _read(cache: raycache.Cache, newer: bool) -> None:
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = newer
    dataset = ray.data.read_parquet("/lake/placed", filesystem=cache.filesystem())
    for _ in dataset.map_batches(_first_row, batch_format="pyarrow", batch_size=None).iter_batches(batch_size=None):
        pass


def _first_row(table: pa.Table) -> pa.Table:
    return table.slice(0, 1)


def _jobs(cache: raycache.Cache, jobs: int, epochs: int) -> None:
    """Several at once, each in a thread."""
    threads = [threading.Thread(target=lambda: [_read(cache, True) for _ in range(epochs)]) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _planned_order() -> Iterator[None]:
    os.environ["RAYCACHE_PLACEMENT_ORDER"] = "planned"
    try:
        yield
    finally:
        del os.environ["RAYCACHE_PLACEMENT_ORDER"]
