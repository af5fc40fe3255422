"""A `Cache` travels as an argument of a task, also to a process that has never connected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster


@pytest.fixture
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    yield raycache.start(memory="60MiB", disk="off")
    raycache.stop()


def test_a_fresh_worker_takes_a_cache_as_its_argument(cache: Cache) -> None:
    """Connecting while Ray unpacks a task's arguments does not wait for a lock that Ray holds meanwhile."""

    @ray.remote(num_cpus=0.1, runtime_env={"env_vars": {"RAYCACHE_TEST_FRESH_PROCESS": "1"}})
    def identity(given: Cache) -> str:
        return given.id

    assert cache.id == ray.get(identity.remote(cache), timeout=60)
