"""What `cache.stats()` knows of readers elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster

#: A heartbeat of a worker that has nothing urgent to say.
PERIOD_S = 60.0


@pytest.fixture
def cache(cluster: LocalCluster, tmp_path: Path) -> Iterator[Cache]:
    (tmp_path / "x").write_bytes(b"x" * 1000)
    started = raycache.start(memory="60MiB", disk="off", heartbeat_period_s=PERIOD_S)
    started.mount("/lake", f"file://{tmp_path}")
    yield started
    raycache.stop()


def test_what_a_task_has_read_is_known_without_waiting_for_a_heartbeat(cache: Cache) -> None:
    """The workers are asked: what they were told is in the sums."""

    @ray.remote(num_cpus=1)
    def read() -> int:
        return raycache.connect().read("/lake/x").size

    assert ray.get(read.remote(), timeout=60) == 1000
    deadline_s = time.monotonic() + PERIOD_S / 2
    while not (total := cache.stats().total).misses:
        assert time.monotonic() < deadline_s, "a read task is not counted"
    assert total.misses == 1
