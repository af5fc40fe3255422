"""Counters add up on a real cluster: readers at the same time, evictions, a worker that is killed."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.master.journal.file_journal import FILE_NAME, FileJournal
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.results import NodeStats
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20
FILES, BLOCKS = 24, 3
SIZE = (BLOCKS - 1) * MIB + 1000


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    """Room for a part of the data only, so that there are evictions."""
    yield raycache.start(
        memory="8MiB",
        disk="8MiB",
        block_size_bytes=MIB,
        segment_size_bytes=2 * MIB,
        extent_size_bytes=2 * MIB,
        lease_s=3,
    )
    raycache.stop()


@pytest.fixture(scope="module")
def lake(s3_server: SeaweedServer, cache: Cache) -> Iterator[Lake]:
    with S3Proxy(s3_server.endpoint_url) as proxy:
        lake = Lake.make(s3_server, proxy)
        for number in range(FILES):
            lake.put(f"train/{number:02}", content(number, SIZE))
        cache.mount("/counted", lake.uri, lake.options, metadata_ttl_s=600)
        yield lake
        cache.unmount("/counted", force=True)


@ray.remote
def read_all(seed: int) -> int:
    """Read every file once, in an order of one's own; returns the bytes, once the counts are delivered."""
    cache = raycache.connect()
    total = 0
    for number in range(FILES):
        total += cache.read(f"/counted/train/{(number * (2 * seed + 1) + seed) % FILES:02}").size
    cache.stats()
    return total


def pid_of(actor_name: str) -> int:
    actor = ray.get_actor(actor_name, namespace=RAY_NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def adds_up(node: NodeStats) -> None:
    read = node.bytes_memory + node.bytes_disk + node.bytes_ufs
    assert read == node.bytes_local + node.bytes_remote + node.bytes_bypass
    missed = sum(value for name, value in node.as_dict().items() if name.startswith("missed_"))
    assert missed == node.misses + node.bypasses


def wait_until(condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        pause.wait(0.1)


def _replaced(cache: Cache, actor_name: str) -> bool:
    names = [worker.actor_name for worker in cache.client.refresh_view().workers]
    return len(names) == 3 and actor_name not in names


def test_counters_add_up_whatever_happens(cache: Cache, lake: Lake) -> None:
    """Every block asked for is a hit, a miss or a bypass, every byte has one source; a dead worker's counts stay."""
    readers, epochs = 4, 3
    per_epoch = readers * FILES
    for epoch in range(epochs):
        if epoch == 1:
            victim = cache.client.refresh_view().workers[1]
            before = cache.stats()
        running = [read_all.options(name=f"epoch-{epoch}").remote(seed) for seed in range(readers)]
        if epoch == 1:
            # While they read; its counts of the epoch before are the master's by now.
            os.kill(pid_of(victim.actor_name), signal.SIGKILL)
        assert [FILES * SIZE] * readers == ray.get(running, timeout=120)
        if epoch == 1:
            wait_until(functools.partial(_replaced, cache, victim.actor_name))
            assert cache.stats().total.hits >= before.total.hits
            assert cache.stats().nodes[victim.worker].hits >= before.nodes[victim.worker].hits
    asked = epochs * per_epoch * BLOCKS

    def arrived() -> bool:
        # A reader whose worker was killed hands its counts over once there is another.
        total = cache.stats().total
        return total.hits + total.misses + total.bypasses >= asked

    wait_until(arrived)
    stats = cache.stats()
    for node in [*stats.nodes.values(), stats.total]:
        adds_up(node)
    total = stats.total
    assert asked == total.hits + total.misses + total.bypasses
    assert epochs * per_epoch * SIZE == total.bytes_memory + total.bytes_disk + total.bytes_ufs
    assert total.missed_cold > 0
    # The cache is too small: blocks had to go, or found no room while readers held leases on all others.
    assert total.missed_evicted + total.missed_admission > 0
    overview = cache.overview()
    by_task = dict.fromkeys(("epoch-0", "epoch-1", "epoch-2"), 0)
    for reader in overview.readers:
        if reader.dataset == "/counted/train":
            by_task[reader.task] += reader.reads.asked
    assert dict.fromkeys(by_task, per_epoch * BLOCKS) == by_task


def by_reader(cache: Cache) -> dict[tuple[str, str], int]:
    """Blocks asked for by (task, dataset)."""
    return {(reader.task, reader.dataset): reader.reads.asked for reader in cache.overview().readers}


def test_counts_survive_a_killed_master(cache: Cache, lake: Lake) -> None:
    """Those of a worker that has died before, too, which nobody says again; what is read meanwhile is counted once."""
    del lake
    victim = cache.client.refresh_view().workers[0]
    assert FILES * SIZE == ray.get(read_all.options(name="before").remote(1), timeout=120)
    os.kill(pid_of(victim.actor_name), signal.SIGKILL)
    wait_until(functools.partial(_replaced, cache, victim.actor_name))
    before, readers = cache.stats(), by_reader(cache)
    assert readers["before", "/counted/train"] == FILES * BLOCKS
    journal = FileJournal(Path({setting.name: setting.value for setting in cache.settings()}["journal"]) / FILE_NAME)

    def kept() -> bool:
        record = journal.kept()
        return record is not None and sum(readers.values()) == sum(
            sum(counters[:3]) for _, counters, _ in record["readers"]["readers"]
        )

    wait_until(kept)
    os.kill(pid_of(MASTER_NAME), signal.SIGKILL)
    assert FILES * SIZE == ray.get(read_all.options(name="meanwhile").remote(2), timeout=120)

    def asked() -> int:
        total = cache.stats().total
        return total.hits + total.misses + total.bypasses

    known = before.total.hits + before.total.misses + before.total.bypasses
    wait_until(lambda: asked() >= known + FILES * BLOCKS)
    assert known + FILES * BLOCKS == asked()
    after = cache.stats()
    for node, stats in before.nodes.items():
        for name in (
            "hits",
            "misses",
            "bypasses",
            "bytes_memory",
            "bytes_disk",
            "bytes_ufs",
            "ufs_requests",
            "evictions",
        ):
            assert getattr(after.nodes[node], name) >= getattr(stats, name), (node, name)
    assert {**readers, ("meanwhile", "/counted/train"): FILES * BLOCKS} == by_reader(cache)
