"""Syncing with a lake that changes behind the cache's back: exactly the difference moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import raycache
from raycache.cache import Cache
from raycache.errors import NotFoundError
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

FILES = 300


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    yield raycache.start(memory="60MiB", disk="off", block_size_bytes=1 << 20, segment_size_bytes=2 << 20)
    raycache.stop()


@pytest.fixture
def lake(s3_server: SeaweedServer, proxy: S3Proxy, cache: Cache) -> Iterator[Lake]:
    """300 files of some kilobytes in ten directories at /lake, all cached; metadata is trusted for ten minutes."""
    lake = Lake.make(s3_server, proxy)
    for number in range(FILES):
        lake.put(key_of(number), content(number, 10_000 + number))
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    assert cache.load("/lake").wait(60).state == "SUCCEEDED"
    proxy.reset()
    yield lake
    cache.unmount("/lake", force=True)


def key_of(number: int) -> str:
    return f"d{number % 10}/f{number:03}"


def test_a_sync_moves_exactly_the_difference(cache: Cache, lake: Lake) -> None:
    """Three files changed, two removed, four added: told by a dry run, and then just these bytes are loaded.

    Everything is cached afterwards, in the lake's version, and the next sync finds nothing.
    """
    for number in range(3):
        lake.put(key_of(number), content(1000 + number, 20_000))
    for number in range(5, 7):
        lake.delete(key_of(number))
    for number in range(FILES, FILES + 4):
        lake.put(key_of(number), content(number, 5_000))
    assert cache.read(f"/lake/{key_of(0)}").to_pybytes() == content(0, 10_000)  # the metadata is still trusted
    lake.proxy.reset()
    told = cache.sync("/lake", dry_run=True)
    assert (told.added.files, told.changed.files, told.removed.files) == (4, 3, 2)
    assert (told.added.bytes, told.changed.bytes) == (20_000, 60_000)
    assert lake.proxy.counters().data_bytes == 0
    result = cache.sync("/lake", load=True)
    assert (result.added, result.changed, result.removed) == (told.added, told.changed, told.removed)
    assert (result.loaded.files, result.loaded.bytes, result.failures) == (7, 80_000, ())
    assert lake.proxy.counters().data_bytes == 80_000
    assert cache.check("/lake").complete
    assert cache.read(f"/lake/{key_of(0)}").to_pybytes() == content(1000, 20_000)
    with pytest.raises(NotFoundError):
        cache.read(f"/lake/{key_of(5)}")
    assert lake.proxy.counters().data_bytes == 80_000
    again = next(iter(cache.sync("/lake", load=True, watch=0.1)))
    assert (again.added.files, again.changed.files, again.removed.files) == (0, 0, 0)
    assert again.unchanged.files == FILES + 2
    assert lake.proxy.counters().data_bytes == 80_000


def test_without_a_listing_the_cached_files_are_what_is_known(
    cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy
) -> None:
    """A directory is compared by what the workers hold, where the master has never listed it.

    Of 30 files one was not read, one is replaced, one removed: each is found.
    """
    lake = Lake.make(s3_server, proxy)
    for number in range(30):
        lake.put(f"f{number:02}", content(number, 10_000))
    cache.mount("/other", lake.uri, lake.options, metadata_ttl_s=600)
    try:
        cache.read_many([f"/other/f{number:02}" for number in range(1, 30)])
        lake.put("f02", content(5, 7_000))
        lake.delete("f03")
        proxy.reset()
        result = cache.sync("/other", load=True)
        assert (result.added.files, result.changed.files, result.removed.files) == (1, 1, 1)
        assert sorted(result.differences) == ["/other/f00", "/other/f02"]
        assert result.removed_paths == ("/other/f03",)
        assert proxy.counters().data_bytes == 10_000 + 7_000
    finally:
        cache.unmount("/other", force=True)
