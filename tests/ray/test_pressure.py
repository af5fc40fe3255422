"""The cache is a guest in the object store: it gives way when others need the room."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from tests.support.lake import content

MIB = 1 << 20
STEP = 10 * MIB


@pytest.fixture
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    yield raycache.start(memory="150MiB", disk="300MiB", lease_s=3.0)
    raycache.stop()


def test_memory_is_given_back_when_others_fill_the_store(cache: Cache, tmp_path) -> None:
    """When a job fills this node's store above its share, the memory tier shrinks; what it held is still read right."""
    cache.mount("/disk", f"file://{tmp_path}")
    for number in range(30):
        (tmp_path / str(number)).write_bytes(content(number, 10 * MIB))
    assert cache.load("/disk").wait(60).state == "SUCCEEDED"
    node = ray.get_runtime_context().get_node_id()
    before = cache.stats().nodes[node].memory_used_bytes
    assert before > 40 * MIB
    references = []
    pause = threading.Event()
    deadline = time.monotonic() + 60
    # Another tenant takes ever more, in steps, up to four fifths of the store.
    store = next(n["Resources"]["object_store_memory"] for n in ray.nodes() if n["NodeID"] == node)
    while cache.stats().nodes[node].memory_used_bytes > before // 2:
        assert time.monotonic() < deadline, "the cache keeps what others need"
        if (len(references) + 1) * STEP < store * 0.8:
            references.append(ray.put(np.ones(STEP, np.uint8)))
        pause.wait(0.2)
    del references
    for number in range(30):
        assert content(number, 10 * MIB) == cache.read(f"/disk/{number}").to_pybytes()
