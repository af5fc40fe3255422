"""Killing things in the middle of a read: the pipeline finishes, and its rows are right."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content
from tests.support.waiting import wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    ray.data.DataContext.get_current().use_datasource_v2 = False
    yield raycache.start(memory="60MiB", disk="200MiB", block_size_bytes=MIB, segment_size_bytes=8 * MIB)
    raycache.stop()


@pytest.fixture
def lake(s3_server: SeaweedServer, proxy: S3Proxy, cache: Cache) -> Iterator[Lake]:
    lake = Lake.make(s3_server, proxy)
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    yield lake
    cache.unmount("/lake", force=True)


@pytest.fixture
def guest(cluster: LocalCluster, cache: Cache) -> Iterator[str]:
    """A fourth node, with its worker, that a test may kill."""
    node = cluster.add_node()
    wait_until(lambda: node in {worker.worker for worker in cache.client.refresh_view().workers})
    yield node
    if node in cluster.node_ids():
        cluster.remove_node(node)
        wait_until(lambda: node not in {worker.worker for worker in cache.client.refresh_view().workers})


def pid_of(name: str) -> int:
    """The process of a cache actor, asked of itself."""
    actor = ray.get_actor(name, namespace=RAY_NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def read_and_kill(cache: Cache, lake: Lake, kill: Callable[[], None]) -> None:
    """Read a dataset, half of it warm; kill something after the first batch; every row must come."""
    # A directory of its own: other processes may remember what a path meant under the last test's mount.
    directory = f"/lake/{lake.name}"
    rows, total = lake.put_parquet(lake.name, files=12, rows=50_000)
    cache.load(f"{directory}/part-00*").wait(60)
    alive = True
    found_rows = found_total = 0
    dataset = ray.data.read_parquet(directory, filesystem=cache.filesystem(), override_num_blocks=12)
    for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        found_rows += len(batch["value"])
        found_total += int(batch["value"].sum())
        if alive:
            kill()
            alive = False
    assert (rows, total) == (found_rows, found_total)
    assert ["/lake"] == [mount.path for mount in cache.mounts() if mount.path.startswith("/")]
    lake.put("fresh.bin", content(1, 100))
    assert content(1, 100) == cache.read("/lake/fresh.bin").to_pybytes()


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_a_pipeline_survives_a_killed_actor(cache: Cache, lake: Lake, victim: str) -> None:
    """A worker or the master is killed while tasks read: all rows, no failed job; then there are three workers again."""
    name = MASTER_NAME if victim == "master" else cache.client.refresh_view().workers[1].actor_name
    read_and_kill(cache, lake, lambda: os.kill(pid_of(name), signal.SIGKILL))
    assert 3 == _workers_after(cache, name)


def test_a_pipeline_survives_a_killed_node(cluster: LocalCluster, cache: Cache, lake: Lake, guest: str) -> None:
    """A whole node is killed while tasks read: all rows, no failed job; its worker is forgotten."""
    read_and_kill(cache, lake, lambda: cluster.remove_node(guest))
    assert 3 == _workers_after(cache, guest)


def _workers_after(cache: Cache, killed: str) -> int:
    """Live workers once the dead one has been noticed and, where its node lives, replaced."""

    def healed() -> bool:
        view = cache.client.refresh_view().workers
        live_nodes = sum(node["Alive"] for node in ray.nodes())
        return len(view) == live_nodes and all(killed not in (w.actor_name, w.worker) for w in view)

    wait_until(healed)
    return len(cache.client.locator.view.workers)


def test_a_restarted_worker_takes_its_disk_over(cache: Cache, lake: Lake) -> None:
    """What a killed worker had on disk is served again by the next one, without asking the lake."""
    size = 30 * MIB
    for number in range(8):
        lake.put(f"big/{number}", content(number, size))
    assert "SUCCEEDED" == cache.load("/lake/big").wait(120).state
    held = {place.path: place.nodes for place in cache.locate("/lake/big")}
    on_disk = {node: stats.disk_used_bytes for node, stats in cache.stats().nodes.items()}
    victim = max(on_disk, key=lambda node: on_disk[node])
    assert on_disk[victim] > 0
    (name,) = [worker.actor_name for worker in cache.client.locator.view.workers if worker.worker == victim]
    os.kill(pid_of(name), signal.SIGKILL)
    assert 3 == _workers_after(cache, name)
    back = sum(place.nodes[victim].bytes for place in cache.locate("/lake/big") if victim in place.nodes)
    assert back > 0
    assert back <= sum(nodes[victim].bytes for nodes in held.values() if victim in nodes)
    for number in range(8):
        assert content(number, size) == cache.read(f"/lake/big/{number}").to_pybytes()


def test_a_node_that_joins_gets_a_worker(cache: Cache, lake: Lake, guest: str) -> None:
    """A worker appears on a node that joins later, and takes part."""
    for number in range(40):
        lake.put(f"small/{number}", content(number, 1000))
    assert "SUCCEEDED" == cache.load("/lake/small").wait(60).state
    assert any(guest in place.nodes for place in cache.locate("/lake/small"))
