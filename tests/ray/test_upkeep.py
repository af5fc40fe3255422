"""Pins, TTLs and quotas on a real cluster: they hold for what is loaded later, and outlive the master."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.errors import NotFoundError
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    """Little room: 16 MiB a node, memory only."""
    yield raycache.start(
        memory="16MiB", disk="off", block_size_bytes=MIB, segment_size_bytes=MIB, extent_size_bytes=MIB, lease_s=2
    )
    raycache.stop()


@pytest.fixture
def lake(s3_server: SeaweedServer, proxy: S3Proxy, cache: Cache) -> Iterator[Lake]:
    """Mounted at /lake: 6 MiB in `a`, 90 MiB in `b`."""
    lake = Lake.make(s3_server, proxy)
    for number in range(6):
        lake.put(f"a/{number}", content(number, MIB))
    for number in range(45):
        lake.put(f"b/{number:02}", content(number, 2 * MIB))
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    yield lake
    cache.unpin("/lake")
    cache.set_ttl("/lake", None)
    cache.unmount("/lake", force=True)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that must come to be."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be within 30 s"
        time.sleep(0.05)


def kill_master() -> None:
    """Kill the master's process, and wait until Ray has brought it back."""
    actor = ray.get_actor(MASTER_NAME, namespace=RAY_NAMESPACE)
    pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid != ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def test_what_is_pinned_stays_whatever_else_is_read(cache: Cache, lake: Lake) -> None:
    """Files pinned before they were loaded outlive twice the cache's room of other data, a free, and the master.

    Reads that found no room are right, too.
    """
    cache.pin("/lake/a/*")
    kill_master()
    assert [(rule.kind, rule.path) for rule in cache.rules()] == [("pin", "/lake/a/*")]
    cache.read_many([f"/lake/a/{number}" for number in range(6)])
    for number in range(45):
        assert cache.read(f"/lake/b/{number:02}").to_pybytes() == content(number, 2 * MIB)
    assert cache.check("/lake/a").complete
    assert not cache.check("/lake/b").complete
    freed = cache.free("/lake")
    assert (freed.pinned_blocks, freed.pinned_bytes) == (6, 6 * MIB)
    assert cache.check("/lake/a").complete
    cache.unpin("/lake/a")
    assert cache.free("/lake").bytes == 6 * MIB


def test_a_ttl_frees_and_nothing_else(cache: Cache, lake: Lake) -> None:
    """What was loaded before and after the TTL was set goes when its time ends; the lake has it all, the rest stays."""
    # What readers of an earlier test have leased takes room until then.
    wait_until(lambda: not sum(node.memory_used_bytes for node in cache.stats().nodes.values()))
    cache.read_many([f"/lake/a/{number}" for number in range(3)])
    cache.read("/lake/b/00")
    cache.set_ttl(["/lake/a"], 0.5)
    cache.read_many([f"/lake/a/{number}" for number in range(3, 6)])
    wait_until(lambda: cache.du("/lake/a").bytes_cached == 0)
    assert cache.check("/lake/b/00").complete
    assert cache.free("/lake/b", older_than_s=3600).blocks == 0
    lake.proxy.reset()
    assert cache.read("/lake/a/0").to_pybytes() == content(0, MIB)
    assert lake.proxy.counters().data_bytes == MIB


def test_a_quota_is_never_exceeded(cache: Cache, lake: Lake) -> None:
    """While five times the quota is loaded and read, what is cached stays below it; the oldest files have gone."""
    cache.set_quota("/lake/b", "9MiB")
    try:
        job = cache.load("/lake/b")
        while not job.progress().finished:
            assert cache.du("/lake/b").bytes_cached <= 9 * MIB
        assert 3 * MIB <= cache.du("/lake/b").bytes_cached <= 9 * MIB
        for number in range(45):
            assert cache.read(f"/lake/b/{number:02}").to_pybytes() == content(number, 2 * MIB)
        assert cache.du("/lake/b").bytes_cached <= 9 * MIB
        cache.load("/lake/a").wait(60)
        assert cache.check("/lake/a").complete
        cache.set_quota("/lake/b", 0)
        wait_until(lambda: cache.du("/lake/b").bytes_cached == 0)
    finally:
        cache.set_quota("/lake/b", None)


def test_when_a_free_returns_nobody_is_sent_to_what_it_dropped(cache: Cache, lake: Lake) -> None:
    """Neither by the master nor by what this process remembers: a reader and a load would each load it, at two workers."""
    paths = [f"/lake/a/{number}" for number in range(6)]
    for _ in range(3):
        assert cache.load("/lake/a").wait(60).state == "SUCCEEDED"
        wait_until(lambda: all(meta.places.holders for meta in cache.client.locator.resolve(paths, fresh=True)))
        cache.free("/lake/a")
        assert [()] * 6 == [meta.places.holders for meta in cache.client.locator.resolve(paths)]


def test_a_glob_that_matches_directories_means_what_is_below(cache: Cache, tmp_path: Path) -> None:
    """To everything that takes one; and one that matches nothing is an error, as is a path that does not exist."""
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        (tmp_path / f"year={year}" / "a.bin").write_bytes(b"x" * 1000)
    cache.mount("/years", f"file://{tmp_path}")
    try:
        progress = cache.load("/years/year=*").wait(60)
        assert (progress.state, progress.files_total) == ("SUCCEEDED", 2)
        assert (cache.check("/years/year=*").complete, len(cache.locate("/years/y*"))) == (True, 2)
        cache.pin("/years/year=202*")
        freed = cache.free("/years")
        assert (freed.bytes, freed.pinned_bytes) == (0, 2000)
        assert cache.free("/years/year=*", force=True).bytes == 2000
        verbs: list[Callable[[str], object]] = [
            cache.load,
            cache.check,
            cache.locate,
            cache.free,
            cache.pin,
            cache.sync,
        ]
        for verb in [*verbs, cache.expand, cache.du, cache.near, lambda path: cache.set_ttl(path, 1)]:
            for typo in ("/years/year=2020/*.typo", "/years/month=*", "/years/**/*.typo"):
                with pytest.raises(NotFoundError):
                    verb(typo)
        assert [rule.path for rule in cache.rules() if rule.path.startswith("/years")] == ["/years/year=202*"]
    finally:
        cache.unpin("/years")
        cache.unmount("/years", force=True)


def test_a_glob_frees_what_the_lake_no_longer_has(cache: Cache, tmp_path: Path) -> None:
    """That it matches nothing in the lake is no error then."""
    (tmp_path / "gone.bin").write_bytes(b"x" * 1000)
    cache.mount("/gone", f"file://{tmp_path}")
    try:
        cache.load("/gone").wait(60)
        (tmp_path / "gone.bin").unlink()
        assert cache.free("/gone/*.bin").bytes == 1000
    finally:
        cache.unmount("/gone", force=True)
