"""Reading what another node holds: a little of it moves little, most of it moves whole and stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from lake import content

import raycache
from raycache.client.cache import Cache
from raycache.testing.cluster import LocalCluster
from raycache.workers.memory import foreign_bytes

MIB = 1 << 20
SIZE = 24 * MIB


@pytest.fixture
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
    before, store_bytes = cache.stats(), foreign_bytes(own, 0)
    with cache.open(found.path) as file:
        for offset in (0, SIZE // 2, 5, 8 * MIB + 1, SIZE - 4096):
            assert content(number, SIZE)[offset : offset + 4096] == file.read_at(offset, 4096).to_pybytes()
    read = cache.stats().nodes[own]
    assert (5, 5 * 4096) == (read.hits - before.nodes[own].hits, read.bytes_remote - before.nodes[own].bytes_remote)
    assert foreign_bytes(own, 0) - store_bytes < MIB
    assert content(number, SIZE) == cache.read(found.path).to_pybytes()
    assert foreign_bytes(own, 0) - store_bytes >= SIZE
    again = cache.stats().nodes[own]
    assert SIZE == cache.read(found.path).size
    assert SIZE == cache.stats().nodes[own].bytes_local - again.bytes_local
