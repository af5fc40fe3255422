"""From one cache to the next, of another size: the hottest comes first, and is as warm as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import raycache
from raycache.cache import Cache
from raycache.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20
FILES = 48
HOT = range(8)
PINNED = range(40, 42)
CHANGED, GONE = 3, 20


@pytest.fixture
def lake(cluster: LocalCluster, s3_server: SeaweedServer, proxy: S3Proxy) -> Iterator[Lake]:
    """48 files of 1 MiB, which no cache has mounted yet."""
    lake = Lake.make(s3_server, proxy)
    for number in range(FILES):
        lake.put(f"f{number:02}", content(number, MIB))
    proxy.reset()
    yield lake
    raycache.stop()


def start(lake: Lake, memory: str) -> Cache:
    cache = raycache.start(memory=memory, disk="off", block_size_bytes=MIB, segment_size_bytes=MIB, lease_s=2)
    cache.mount("/lake", lake.uri, {**lake.options}, metadata_ttl_s=600)
    return cache


def paths(numbers: range) -> list[str]:
    return [f"/lake/f{number:02}" for number in numbers]


def test_the_next_cluster_is_warm_as_far_as_it_has_room(lake: Lake) -> None:
    """A map of 48 MiB goes into a cache of about 28 MiB: what was pinned or hot is there, and is read without the lake.

    A file that has changed and one that is gone are told and not loaded; a third cache, with room for all, has it all.
    """
    cache = start(lake, "30MiB")
    cache.pin(paths(PINNED))
    assert cache.load("/lake").wait(60).state == "SUCCEEDED"
    for _ in range(5):
        cache.read_many(paths(HOT))
    target = f"{lake.uri}/maps/x.parquet"
    exported = cache.export_map(target)
    assert (exported.files, exported.bytes) == (FILES, FILES * MIB)
    raycache.stop()

    lake.put(f"f{CHANGED:02}", content(1000, MIB))
    lake.delete(f"f{GONE:02}")
    cache = start(lake, "10MiB")
    lake.proxy.reset()
    result = cache.import_map(target)
    assert (result.total.files, result.changed.files, result.removed.files) == (FILES, 1, 1)
    assert result.changed_paths == (f"{lake.uri}/f{CHANGED:02}",)
    assert result.failures == ()
    assert result.loaded.files + result.no_room.files == FILES - 2
    assert 20 <= result.loaded.files <= 28
    moved = lake.proxy.counters().data_bytes
    assert cache.stats().total.evictions == 0
    hot = [path for path in paths(HOT) if path != f"/lake/f{CHANGED:02}"] + paths(PINNED)
    assert cache.check(hot).complete
    assert [(rule.kind, rule.path) for rule in cache.rules()] == [("pin", path) for path in paths(PINNED)]
    cache.read_many(hot)
    assert cache.stats().total.hit_rate == 1.0
    assert lake.proxy.counters().data_bytes == moved
    raycache.stop()

    cache = start(lake, "30MiB")
    whole = cache.import_map(target, pins=False)
    assert (whole.loaded.files, whole.no_room.files) == (FILES - 2, 0)
    assert cache.rules() == []
    assert cache.import_map(target).already.files == FILES - 2
    with pytest.raises(NotFoundError):
        cache.import_map(f"{lake.uri}/maps/none.parquet")
    with pytest.raises(InvalidRequestError):
        cache.import_map("/lake/f01")


def test_a_session_is_there_for_its_block(lake: Lake, tmp_path: Path) -> None:
    """It loads before, exports after, and stops whatever happens; the next one starts from its map."""
    for number in range(3):
        (tmp_path / f"x{number}").write_bytes(content(number, 1000))
    sizes = {"memory": "20MiB", "disk": "off", "block_size_bytes": MIB, "segment_size_bytes": MIB}
    with tempfile.TemporaryDirectory() as directory:
        target = f"file://{directory}/map.parquet"
        with raycache.session(
            load="/d", export=target, import_map=target, mounts={"/d": f"file://{tmp_path}"}, **sizes
        ) as cache:
            assert cache.check("/d").complete
            with pytest.raises(AlreadyExistsError), raycache.session(**sizes):
                pass
        with pytest.raises(NotFoundError):
            raycache.connect()
        with pytest.raises(ZeroDivisionError), raycache.session(import_map=target, **sizes) as cache:
            assert cache.check(f"file://{tmp_path}").complete
            raise ZeroDivisionError
        with pytest.raises(NotFoundError):
            raycache.connect()
