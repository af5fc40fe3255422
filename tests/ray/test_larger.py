"""A dataset that is larger than the cache: real nodes, a real S3 server, every byte counted by a proxy."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
import ray.data

import raycache
from raycache.cache import Cache
from raycache.cli.main import run
from raycache.testing.cluster import LocalCluster
from raycache.testing.data import write_parquet_dataset, write_small_files
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.waiting import wait_until

#: Many epochs on a real cluster: `make test-larger`.
pytestmark = pytest.mark.long

FILES = 36
FILE_BYTES = 1_000_000


@pytest.fixture(scope="module")
def bucket(s3_server: SeaweedServer) -> str:
    """`rows/`: parquet; `blobs/0000/`: as many files of as many bytes."""
    made = s3_server.make_bucket("larger")
    s3 = s3_server.pyarrow_filesystem()
    write_parquet_dataset(s3, f"{made}/rows", FILES, FILES * FILE_BYTES, compression="none")
    write_small_files(s3, f"{made}/blobs", FILES, (FILE_BYTES, FILE_BYTES))
    return made


@pytest.fixture
def half(cluster: LocalCluster, s3_server: SeaweedServer, proxy: S3Proxy, bucket: str) -> Iterator[Cache]:
    """A cache with room for half of either, which takes back what was read at once."""
    del cluster
    cache = raycache.start(
        memory=FILES * FILE_BYTES // 6, disk="off", lease_s=0.1, block_size_bytes=1 << 18,
        segment_size_bytes=1 << 20, extent_size_bytes=1 << 20,
    )  # fmt: skip
    try:
        cache.mount("/lake", f"s3://{bucket}", s3_server.options(proxy.endpoint_url), metadata_ttl_s=3600)
        yield cache
    finally:
        raycache.stop()


def _rows(cache: Cache) -> int:
    return (
        ray.data.read_parquet("/lake/rows", filesystem=cache.filesystem(), override_num_blocks=FILES)
        .map_batches(lambda table: table.slice(0, 1), batch_format="pyarrow", batch_size=None)
        .count()
    )


def test_half_of_an_epoch_is_found_again(half: Cache, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks go first whose files are cached, and are counted; in the planned order none does, and little is found."""
    shares: dict[str, float] = {}
    for order in ("cached-first", "planned"):
        monkeypatch.setenv("RAYCACHE_PLACEMENT_ORDER", order)
        half.free("/lake/rows")
        before = half.stats().total
        for _ in range(4):
            proxy.reset()
            assert _rows(half) == FILES
        shares[order] = proxy.counters().data_bytes / (FILES * FILE_BYTES)
        after = half.stats().total
        started = after.tasks_started - before.tasks_started
        assert (started > 0, after.tasks_out_of_turn > before.tasks_out_of_turn) == (order == "cached-first",) * 2
    # Half is what there is room for; the last tasks of one epoch may be read before their news have come.
    assert shares["cached-first"] < 0.8 * shares["planned"]


def test_a_loop_in_the_readers_own_order_makes_workers_sticky(half: Cache, proxy: S3Proxy) -> None:
    """After some rounds half of each is hit, what is refused is counted, and the advice foretells the double size."""
    paths = [f"/lake/blobs/0000/{number:06d}.bin" for number in range(FILES)]

    def settled() -> bool:
        proxy.reset()
        for path in paths:
            assert half.read(path).size == FILE_BYTES
        return half.stats().total.workers_sticky == 3

    wait_until(settled, timeout_s=60)
    wait_until(lambda: settled() and proxy.counters().data_bytes <= 0.56 * FILES * FILE_BYTES, timeout_s=30)
    total = half.stats().total
    assert total.missed_admission > 0
    assert total.policy_changes >= 3
    advice = half.advise()
    rates = {size.factor: size.hit_rate for size in advice.sizes if size.tier == "both"}
    assert rates[4.0] >= rates[1.0] >= rates[0.25]
    assert {node.policy for node in advice.nodes} == {"sticky"}


def test_a_known_order_keeps_what_comes_first(half: Cache, proxy: S3Proxy) -> None:
    """Shuffled epochs, planned: from the second on as much is found again as fits, at once."""
    paths = [f"/lake/blobs/0000/{number:06d}.bin" for number in range(FILES)]
    numbers = random.Random(3)
    epochs = [numbers.sample(paths, FILES) for _ in range(4)]
    half.plan_reads([path for epoch in epochs for path in epoch])
    wait_until(lambda: _cached(half, paths) > 0, timeout_s=30)
    shares = []
    for epoch in epochs:
        proxy.reset()
        for path in epoch:
            assert half.read(path).size == FILE_BYTES
        shares.append(proxy.counters().data_bytes / (FILES * FILE_BYTES))
    assert max(shares[1:]) <= 0.65


def test_what_comes_next_is_loaded_ahead(half: Cache, proxy: S3Proxy) -> None:
    """Without anything having been read, an eighth of the cache, of the front of the plan."""
    paths = [f"/lake/blobs/0000/{number:06d}.bin" for number in reversed(range(FILES))]
    half.plan_reads(paths)
    wait_until(lambda: _cached(half, paths) == 2 * FILE_BYTES, timeout_s=30)
    proxy.reset()
    assert half.read_many(paths[:2])
    assert proxy.counters().data_requests == 0


def _cached(cache: Cache, paths: list[str]) -> int:
    return cache.check(paths).bytes_cached


def test_the_verb_asks_the_workers(half: Cache, cluster: LocalCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """From a terminal, without anything having been read: it says that nothing is known."""
    del half
    assert run(["advise", "--json", "--address", cluster.address]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["uncertainty"], len(said["nodes"])) == (1.0, 3)
