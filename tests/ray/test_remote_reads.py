"""Reading what another node holds: a little of it moves little, most of it moves whole and stays; and who loads what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raycache
from raycache.cache import Cache
from raycache.messages import RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from raycache.workers.stores.plasma import store_use
from tests.support.lake import Lake, content

MIB = 1 << 20
SIZE = 24 * MIB


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    """Segments larger than the files, so that a file is one object."""
    yield raycache.start(memory="200MiB", disk="off")
    raycache.stop()


def test_a_small_read_from_another_node_moves_little(cache: Cache, tmp_path: Path) -> None:
    """4 KB reads of a 24 MB segment bring their bytes only; the whole file comes as one object, and is a copy then."""
    own = ray.get_runtime_context().get_node_id()
    cache.mount("/elsewhere", f"file://{tmp_path}", metadata_ttl_s=600)
    for number in range(8):
        (tmp_path / str(number)).write_bytes(content(number, SIZE))
    assert "SUCCEEDED" == cache.load("/elsewhere").wait(60).state
    paths = [f"/elsewhere/{number}" for number in range(8)]
    found = next(file for file in cache.locate(paths) if own not in file.nodes)
    number = int(found.path.rpartition("/")[2])
    before, store_bytes = cache.stats(), store_use(own).used_bytes
    with cache.open(found.path) as file:
        for offset in (0, SIZE // 2, 5, 8 * MIB + 1, SIZE - 4096):
            assert content(number, SIZE)[offset : offset + 4096] == file.read_at(offset, 4096).to_pybytes()
    read = cache.stats().nodes[own]
    assert (5, 5 * 4096) == (read.hits - before.nodes[own].hits, read.bytes_remote - before.nodes[own].bytes_remote)
    assert store_use(own).used_bytes - store_bytes < MIB
    assert content(number, SIZE) == cache.read(found.path).to_pybytes()
    assert store_use(own).used_bytes - store_bytes >= SIZE
    again = cache.stats().nodes[own]
    assert SIZE == cache.read(found.path).size
    assert SIZE == cache.stats().nodes[own].bytes_local - again.bytes_local


@ray.remote(num_cpus=0)
def read_all(paths: list[str]) -> list[bytes]:
    """What a task of a user does."""
    cache = raycache.connect()
    return [cache.read(path).to_pybytes() for path in paths]


@pytest.fixture
def lake(cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy) -> Lake:
    """Nine files of 1 MB, mounted at their own name."""
    lake = Lake.make(s3_server, proxy)
    for number in range(9):
        lake.put(str(number), content(number, MIB))
    cache.mount(f"/{lake.name}", lake.uri, lake.options, metadata_ttl_s=600)
    proxy.reset()
    return lake


@ray.remote(num_cpus=0)
def read_beginnings(paths: list[str]) -> list[bytes]:
    """What a task of a user does that needs little of each file."""
    cache = raycache.connect()
    found = []
    for path in paths:
        with cache.open(path) as file:
            found.append(file.read_at(0, 4096).to_pybytes())
    return found


def on_each_node(shares: list[list[str]], work: Any = read_all) -> list[list[bytes]]:
    """Read a share of paths in a task on each node, all at the same time."""
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    placed = [work.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)) for node in nodes]
    return ray.get([task.remote(share) for task, share in zip(placed, shares, strict=True)], timeout=60)


def test_what_nobody_has_is_loaded_where_a_task_reads_it(cache: Cache, lake: Lake, proxy: S3Proxy) -> None:
    """Wherever the hash would put it, nothing moves between nodes, and each byte leaves the lake once."""
    paths = [f"/{lake.name}/{number}" for number in range(9)]
    before = cache.stats().total.bytes_remote
    found = on_each_node([paths[0::3], paths[1::3], paths[2::3]])
    assert [[content(number, MIB) for number in range(share, 9, 3)] for share in range(3)] == found
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    assert {path: {nodes[number % 3]} for number, path in enumerate(paths)} == {
        file.path: set(file.nodes) for file in cache.locate(paths)
    }
    assert cache.stats().total.bytes_remote == before
    assert proxy.counters().data_bytes == 9 * MIB


def test_tasks_that_read_the_same_agree_on_one(cache: Cache, lake: Lake, proxy: S3Proxy) -> None:
    """Three nodes read all files at the same time: one of them loads each, and a load job finds them there."""
    paths = [f"/{lake.name}/{number}" for number in range(9)]
    job = cache.load(f"/{lake.name}")
    found = on_each_node([paths, paths[::-1], paths])
    assert [content(number, MIB) for number in range(9)] == found[0] == found[1][::-1] == found[2]
    assert "SUCCEEDED" == job.wait(60).state
    assert proxy.counters().data_bytes == 9 * MIB


def test_a_driver_spreads_what_it_reads(cache: Cache, lake: Lake) -> None:
    """Or all that somebody looks at would gather on the head node."""
    paths = [f"/{lake.name}/{number}" for number in range(9)]
    assert [content(number, MIB) for number in range(9)] == [cache.read(path).to_pybytes() for path in paths]
    assert len({node for file in cache.locate(paths) for node in file.nodes}) > 1


def test_no_worker_waits_for_objects_in_its_event_loop(cache: Cache, tmp_path: Path) -> None:
    """Parts are taken out of memory for readers elsewhere in threads, and Ray has nothing to warn of in a worker's log."""
    (tmp_path / "file").write_bytes(content(3, SIZE))
    cache.mount("/beginnings", f"file://{tmp_path}", metadata_ttl_s=600)
    assert "SUCCEEDED" == cache.load("/beginnings").wait(60).state
    beginnings = on_each_node([["/beginnings/file"]] * 3, read_beginnings)
    assert [[content(3, SIZE)[:4096]]] * 3 == beginnings
    for worker in cache.client.refresh_view().workers:
        actor: Any = ray.get_actor(worker.actor_name, namespace=RAY_NAMESPACE)
        log = ray.get(actor.__ray_call__.remote(lambda _: str(Path("/proc/self/fd/2").readlink())), timeout=30)
        assert "blocking ray.get" not in Path(log).read_text()
