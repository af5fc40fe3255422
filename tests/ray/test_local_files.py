"""Whole local files of the cache on a real cluster: right, once, counted, and gone when they should be."""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raycache
from raycache.cache import Cache
from raycache.errors import NoSpaceError, NotFoundError
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content
from tests.support.waiting import wait_until

MIB = 1 << 20
SIZE = 19 * MIB + 3
DISK = 100 * MIB


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    assert cluster
    yield raycache.start(memory="60MiB", disk=f"{DISK}")
    raycache.stop()


@pytest.fixture
def lake(cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy) -> Iterator[Lake]:
    lake = Lake.make(s3_server, proxy)
    lake.put("model/a.bin", content(1, SIZE))
    lake.put("model/deep/b.bin", content(2, 1000))
    lake.put("model/empty", b"")
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    yield lake
    with contextlib.suppress(NotFoundError):  # the last test starts another cache
        cache.free("/lake", force=True)
        cache.unmount("/lake", force=True)


def test_a_file_is_whole_and_read_only(cache: Cache, lake: Lake) -> None:
    """It can be mapped; it is made once, and costs the lake nothing again."""
    with cache.local("/lake/model/a.bin") as path:
        assert ("a.bin", content(1, SIZE)) == (path.name, path.read_bytes())
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert content(1, SIZE)[SIZE // 2 : SIZE // 2 + 100] == mapped[SIZE // 2 : SIZE // 2 + 100]
        assert not path.stat().st_mode & 0o222
        lake.proxy.reset()
        with cache.local("/lake/model/a.bin") as again:
            assert path == again
        assert 0 == lake.proxy.counters().data_requests
    with cache.local("/lake/model/empty") as path:
        assert b"" == path.read_bytes()
    with pytest.raises(NotFoundError), cache.local("/lake/none"):
        pass


@pytest.mark.parametrize("memory", [False, True])
def test_a_directory_keeps_its_tree(cache: Cache, lake: Lake, memory: bool) -> None:
    """With the names that it has in the lake; in memory by choice."""
    assert lake
    with cache.local("/lake/model", memory=memory) as path:
        found = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        assert {"a.bin": content(1, SIZE), "deep/b.bin": content(2, 1000), "empty": b""} == found
        assert path.is_relative_to("/dev/shm") == memory


@pytest.mark.long  # it wants all the room there is
def test_many_ask_at_once_and_each_byte_leaves_the_lake_once(cluster: LocalCluster, cache: Cache, lake: Lake) -> None:
    """On all nodes, and by several threads of each, where the cache has room for it."""

    @ray.remote(num_cpus=0)
    def take() -> list[bool]:
        import raycache as here

        found: list[bool] = []

        def use() -> None:
            with here.connect().local("/lake/model") as path:
                found.append(path.joinpath("a.bin").stat().st_size == SIZE)

        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    # What readers of an earlier test have leased takes room until then.
    wait_until(lambda: not sum(node.memory_used_bytes for node in cache.stats().nodes.values()), timeout_s=60)
    lake.proxy.reset()
    tasks = [
        take.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in cluster.node_ids()
    ]
    assert [[True] * 3] * len(tasks) == ray.get(tasks, timeout=120)
    assert SIZE + 1000 == lake.proxy.counters().data_bytes


def test_a_path_stays_until_it_is_freed(cache: Cache, lake: Lake) -> None:
    """It counts within the disk's quota meanwhile."""
    assert lake
    path = cache.local_path("/lake/model/a.bin")
    node = ray.get_runtime_context().get_node_id()
    for number in range(4):
        lake.put(f"more/{number}", content(number, 30 * MIB))
        with cache.local(f"/lake/more/{number}") as more:
            assert 30 * MIB == more.stat().st_size
            used = cache.stats().nodes[node]
            assert SIZE + 30 * MIB <= used.disk_used_bytes <= DISK == used.disk_capacity_bytes
    assert content(1, SIZE) == path.read_bytes()
    cache.free("/lake/model")
    assert not path.exists()


def test_what_does_not_fit_is_refused(cache: Cache, lake: Lake) -> None:
    """What is in use is not taken away for it."""
    lake.put("large", content(1, 90 * MIB))
    with cache.local("/lake/model/a.bin") as path:
        with pytest.raises(NoSpaceError), cache.local("/lake/large"):
            pass
        assert SIZE == path.stat().st_size
    with cache.local("/lake/large") as path:
        assert 90 * MIB == path.stat().st_size


def test_a_replaced_file_is_another_one(cache: Cache, lake: Lake) -> None:
    """Whoever uses the old one keeps it."""
    with cache.local("/lake/model/deep/b.bin") as old:
        lake.put("model/deep/b.bin", content(3, 2000))
        cache.sync("/lake/model")
        with cache.local("/lake/model/deep/b.bin") as new:
            assert (content(2, 1000), content(3, 2000)) == (old.read_bytes(), new.read_bytes())


def test_nothing_is_left_when_the_cache_stops(cache: Cache, lake: Lake) -> None:
    """Neither on disk nor in memory; it runs last."""
    assert lake
    paths = [cache.local_path("/lake/model/a.bin", memory=memory) for memory in (False, True)]
    assert all(isinstance(path, Path) and path.exists() for path in paths)
    raycache.stop()
    assert not any(path.exists() for path in paths)
    raycache.start(memory="60MiB", disk=f"{DISK}")
