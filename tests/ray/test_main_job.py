"""The main job on real components: three raylets, a real S3 server, a counting proxy before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.errors import (
    AlreadyExistsError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    """One cache for the module: 1 MiB blocks, so that small files have several."""
    # Stock V2 spends its time starting footer actors; both go through the same filesystem.
    ray.data.DataContext.get_current().use_datasource_v2 = False
    cache = raycache.start(
        memory="60MiB", disk="200MiB", block_size_bytes=MIB, segment_size_bytes=8 * MIB, extent_size_bytes=8 * MIB
    )
    yield cache
    raycache.stop()


@pytest.fixture
def lake(s3_server: SeaweedServer, proxy: S3Proxy) -> Iterator[Lake]:
    lake = Lake.make(s3_server, proxy)
    yield lake
    proxy.inject()
    proxy.shape()
    proxy.down(False)
    proxy.reset()


@pytest.fixture
def mounted(cache: Cache, lake: Lake) -> Iterator[Lake]:
    """The lake mounted at /lake."""
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    lake.proxy.reset()
    yield lake
    cache.unmount("/lake", force=True)


def test_a_pipeline_reads_cold_once_and_warm_never(cache: Cache, mounted: Lake) -> None:
    """Cold, every byte of the dataset leaves S3 exactly once; warm, no request reaches it; rows are right both times."""
    rows, total = mounted.put_parquet("data", files=6, rows=100_000)
    stored = cache.du("/lake/data").bytes_total
    mounted.proxy.reset()
    for epoch in ("cold", "warm"):
        dataset = ray.data.read_parquet("/lake/data", filesystem=cache.filesystem())
        sums = dataset.map_batches(lambda batch: {"n": [len(batch["value"])], "s": [batch["value"].sum()]}).take_all()
        assert (rows, total) == (sum(row["n"] for row in sums), sum(row["s"] for row in sums)), epoch
        counted = mounted.proxy.counters()
        if epoch == "cold":
            assert stored == counted.data_bytes
            mounted.proxy.reset()
        else:
            assert (0, 0) == (counted.data_requests, counted.data_bytes)


def test_an_s3_uri_goes_through_the_cache_too(cache: Cache, mounted: Lake) -> None:
    """The same files by their s3:// path share the blocks: nothing is fetched again."""
    rows, _ = mounted.put_parquet("data", files=2)
    cache.load("/lake/data").wait(60)
    mounted.proxy.reset()
    assert rows == ray.data.read_parquet(f"{mounted.uri}/data", filesystem=cache.filesystem()).count()
    assert 0 == mounted.proxy.counters().data_requests


def test_reading_on_fetches_each_byte_once_and_a_jump_only_its_page(cache: Cache, mounted: Lake) -> None:
    """An open file is read ahead while it is read in order: never twice, never behind its end; jumps load no more."""
    data = content(2, 11 * MIB + 77)
    mounted.put("long.bin", data)
    mounted.put("other.bin", data)
    with cache.open("/lake/long.bin") as file:
        assert data == b"".join(iter(lambda: file.read(300_000), b""))
    assert len(data) == mounted.proxy.counters().data_bytes
    mounted.proxy.reset()
    with cache.open("/lake/other.bin") as file:
        for block in (7, 2, 9):
            file.seek(block * MIB + 5)
            assert data[block * MIB + 5 : block * MIB + 9] == file.read(4)
    assert 3 * (16 << 10) == mounted.proxy.counters().data_bytes


def test_every_node_reads_one_cold_file_once(cache: Cache, cluster: LocalCluster, mounted: Lake) -> None:
    """Tasks on all nodes that read the same cold file at the same time cost one fetch of it."""
    data = content(1, 5 * MIB + 123)
    mounted.put("big.bin", data)

    @ray.remote(num_cpus=0.1)
    def read() -> bytes:
        return raycache.connect().read("/lake/big.bin").to_pybytes()

    tasks = [
        read.options(label_selector={"ray.io/node-id": node}).remote() for node in cluster.node_ids() for _ in range(3)
    ]
    assert all(data == result for result in ray.get(tasks, timeout=120))
    assert len(data) == mounted.proxy.counters().data_bytes


def test_a_read_is_zero_copy_on_the_node_that_holds_it(cache: Cache, mounted: Lake) -> None:
    """Two reads of a locally held file give the very same memory."""
    for number in range(12):
        mounted.put(f"f{number}", content(number, 1000))
    paths = [f"/lake/f{number}" for number in range(12)]
    first = cache.read_many(paths)
    second = cache.read_many(paths)
    assert [content(number, 1000) for number in range(12)] == [buffer.to_pybytes() for buffer in second]
    held = ray.get_runtime_context().get_node_id()
    local = [i for i, place in enumerate(cache.locate(paths)) if held in place.nodes]
    assert local
    assert all(first[i].address == second[i].address for i in local)


def test_ranges_and_file_objects_read_what_is_there(cache: Cache, mounted: Lake) -> None:
    """Offsets, ends, past the end, whole files over block borders: as POSIX would."""
    data = content(2, 3 * MIB + 17)
    mounted.put("r.bin", data)
    for offset, size in [(0, 0), (0, 10), (MIB - 5, 10), (MIB, MIB), (3 * MIB, None), (0, None), (len(data) + 9, 5)]:
        expected = data[offset:] if size is None else data[offset : offset + size]
        assert expected == cache.read("/lake/r.bin", offset, size).to_pybytes(), (offset, size)
    with cache.open("/lake/r.bin") as file:
        assert data[:7] == file.read(7)
        assert 3 * MIB == file.seek(-17, 2)
        assert data[3 * MIB :] == file.read()
        target = bytearray(100)
        file.seek(MIB - 50)
        assert 100 == file.readinto(target)
        assert data[MIB - 50 : MIB + 50] == bytes(target)
    with pytest.raises(InvalidRequestError):
        cache.read("/lake/r.bin", -1, 5)


def test_counters_add_up(cache: Cache, mounted: Lake) -> None:
    """Hits, misses and bypasses are the blocks asked for; both byte triples are the bytes read."""
    data = content(3, 2 * MIB + 5)
    mounted.put("c.bin", data)
    before = cache.stats().total
    cache.read("/lake/c.bin")
    cache.read("/lake/c.bin")
    after = cache.stats().total
    assert (3, 3, 0) == tuple(getattr(after, f) - getattr(before, f) for f in ("misses", "hits", "bypasses"))
    where = sum(getattr(after, f) - getattr(before, f) for f in ("bytes_memory", "bytes_disk", "bytes_ufs"))
    how = sum(getattr(after, f) - getattr(before, f) for f in ("bytes_local", "bytes_remote", "bytes_bypass"))
    assert (2 * len(data), 2 * len(data)) == (where, how)
    assert len(data) == after.ufs_bytes - before.ufs_bytes


def test_load_check_free(cache: Cache, mounted: Lake) -> None:
    """A load makes exactly the files resident, check says so, free takes them away and leaves the lake alone."""
    sizes = [0, 1, MIB, 2 * MIB + 1] + [10_000] * 20
    for number, size in enumerate(sizes):
        mounted.put(f"d/{number:03}", content(number, size))
    assert not cache.check("/lake/d").complete
    progress = cache.load("/lake/d").wait(60)
    assert ("SUCCEEDED", sum(sizes), len(sizes)) == (progress.state, progress.bytes_done, progress.files_done)
    counted = mounted.proxy.counters()
    assert sum(sizes) == counted.data_bytes
    result = cache.check("/lake/d")
    assert (True, len(sizes), sum(sizes)) == (result.complete, result.files_complete, result.bytes_cached)
    again = cache.load("/lake/d").wait(60)
    assert again.bytes_total == again.bytes_already
    assert counted.data_bytes == mounted.proxy.counters().data_bytes
    freed = cache.free("/lake/d")
    assert sum(sizes) == freed.bytes
    assert 0 == cache.check("/lake/d").bytes_cached
    assert content(2, MIB) == cache.read("/lake/d/002").to_pybytes()


def test_a_load_of_replicas_asks_the_lake_once(cache: Cache, mounted: Lake) -> None:
    """With replicas=2 every block is on two nodes, and the second copy came from the first."""
    for number in range(4):
        mounted.put(f"d/{number}", content(number, MIB + number))
    progress = cache.load("/lake/d", replicas=2).wait(60)
    assert "SUCCEEDED" == progress.state
    assert [2, 2, 2, 2] == [len(place.nodes) for place in cache.locate("/lake/d")]
    assert progress.bytes_total == mounted.proxy.counters().data_bytes


def test_a_replaced_object_is_never_mixed(cache: Cache, mounted: Lake) -> None:
    """A file half cached when it is replaced: a read gives one version whole; the open file conflicts or is whole."""
    old, new = content(4, 3 * MIB), content(5, 3 * MIB)
    mounted.put("m.bin", old)
    opened = cache.open("/lake/m.bin")
    assert old[:100] == opened.read(100)
    mounted.put("m.bin", new)
    with pytest.raises(raycache.ConflictError):
        opened.seek(2 * MIB)
        opened.read()
    assert new == cache.read("/lake/m.bin").to_pybytes()


def test_after_the_ttl_the_new_version_is_read(cache: Cache, lake: Lake) -> None:
    """With a TTL of zero a replaced object is seen at the next read, whole."""
    cache.mount("/ttl", lake.uri, lake.options, metadata_ttl_s=0)
    try:
        for seed in (6, 7):
            lake.put("t.bin", content(seed, MIB + 1))
            assert content(seed, MIB + 1) == cache.read("/ttl/t.bin").to_pybytes()
    finally:
        cache.unmount("/ttl")


def test_files_larger_than_the_cache_are_read_through(cache: Cache, mounted: Lake) -> None:
    """Three files of half the whole cache's memory: all bytes right, what does not fit is counted, quotas hold."""
    size = 100 * MIB
    for number in range(2):
        mounted.put(f"huge{number}", content(number, size))
    for number in range(2):
        assert content(number, size) == cache.read(f"/lake/huge{number}").to_pybytes()
    for node in cache.stats().nodes.values():
        assert node.memory_used_bytes <= node.memory_capacity_bytes
        assert node.disk_used_bytes <= node.disk_capacity_bytes


def test_s3_gone_after_warm_up_does_not_matter(cache: Cache, mounted: Lake) -> None:
    """When the lake goes away, a warm pipeline finishes."""
    # Other processes may remember what a path meant under the last test's mount for some seconds.
    _, total = mounted.put_parquet("lasting", files=3)
    assert "SUCCEEDED" == cache.load("/lake/lasting").wait(60).state
    mounted.proxy.down(True)
    dataset = ray.data.read_parquet("/lake/lasting", filesystem=cache.filesystem())
    assert total == dataset.sum("value")


def test_a_flaky_lake_is_retried(cache: Cache, mounted: Lake) -> None:
    """Some requests fail with 503, some are cut off: every byte is right all the same."""
    from raycache.testing.proxy.proxy import Fault, FaultKind

    mounted.put("f.bin", content(8, 4 * MIB))
    mounted.proxy.inject(
        Fault(FaultKind.SLOW_DOWN, probability=0.3), Fault(FaultKind.TRUNCATE, probability=0.2), seed=3
    )
    assert content(8, 4 * MIB) == cache.read("/lake/f.bin").to_pybytes()


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "ünï/cödé",
        "100%25",
        "a+b&c=d",
        "tab\tx",
        "semi;colon",
        "hash#tag",
        "q?x=1",
        "/".join(["x" * 200] * 4),
        "dot.d/e",
    ],
)
def test_odd_names_read_back(cache: Cache, mounted: Lake, key: str) -> None:
    """Spaces, unicode, percent signs, doubled slashes, long names: found by stat, listed, and read."""
    mounted.put(f"odd/{key}", b"odd")
    path = f"/lake/odd/{key}"
    assert b"odd" == cache.read(path).to_pybytes()
    assert 3 == cache.stat(path).size_bytes
    assert path in cache.ls("/lake/odd", recursive=True)


def test_objects_that_are_prefixes_markers_and_empties(cache: Cache, mounted: Lake) -> None:
    """A path that is both file and directory is a file that can be listed; a marker is a directory; empty is empty."""
    mounted.put("both", b"file")
    mounted.put("both/below", b"below")
    mounted.put("marker/", b"")
    mounted.put("empty", b"")
    assert b"file" == cache.read("/lake/both").to_pybytes()
    assert "/lake/both/below" in cache.ls("/lake", recursive=True)
    assert "directory" == cache.stat("/lake/marker").kind
    assert [] == cache.ls("/lake/marker")
    assert b"" == cache.read("/lake/empty").to_pybytes()
    assert cache.check("/lake/empty").complete


def test_bad_requests_are_one_line_errors_of_the_right_class(cache: Cache, mounted: Lake, lake: Lake) -> None:
    """Every misuse says what to do, and never a secret."""
    secret = lake.options["secret_access_key"]
    cases = [
        (FileNotFoundError, lambda: cache.read("/lake/nothing")),
        (NotFoundError, lambda: cache.ls("/lake/nothing")),
        (NotFoundError, lambda: cache.stat("/nowhere/x")),
        (IsADirectoryError, lambda: (mounted.put("dir/x", b"1"), cache.read("/lake/dir"))),
        (InvalidRequestError, lambda: cache.read("relative/path")),
        (InvalidRequestError, lambda: cache.load("/lake", replicas=0)),
        (AlreadyExistsError, lambda: cache.mount("/lake", "s3://other-bucket", lake.options)),
        (NotFoundError, lambda: cache.unmount("/unknown")),
        (NotFoundError, lambda: cache.mount("/m", "s3://no-such-bucket-here", lake.options)),
        (NotFoundError, lambda: cache.mount("/m", "file:///no/such/directory")),
        (DeniedError, lambda: cache.mount("/m", lake.uri, {**lake.options, "secret_access_key": "wrong"})),
        (UnavailableError, lambda: cache.mount("/m", lake.uri, {**lake.options, "endpoint_url": "http://127.0.0.1:9"})),
        (InvalidRequestError, lambda: cache.mount("/m", "nonsense", {})),
        (NotFoundError, lambda: cache.job("unknown")),
        (DeniedError, lambda: cache.open("/lake/new", "wb")),
    ]
    for expected, call in cases:
        with pytest.raises(expected) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        assert secret not in text
    assert secret not in str(cache.mounts())


def test_nothing_is_mounted_twice_and_uris_mount_themselves(cache: Cache, mounted: Lake) -> None:
    """Nested mounts work; a URI below an explicit mount uses its options."""
    mounted.put("sub/x", b"sub")
    cache.mount("/lake/inner", f"{mounted.uri}/sub", mounted.options)
    assert b"sub" == cache.read("/lake/inner/x").to_pybytes()
    assert b"sub" == cache.read(f"{mounted.uri}/sub/x").to_pybytes()
    cache.unmount("/lake/inner")


def test_a_path_mounted_anew_is_looked_up_anew(cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy) -> None:
    """After an unmount and a mount of another bucket, the path means the new one."""
    for text in (b"first", b"second"):
        lake = Lake.make(s3_server, proxy)
        lake.put("x", text)
        cache.mount("/again", lake.uri, lake.options, metadata_ttl_s=1)
        assert text == cache.read("/again/x").to_pybytes()
        cache.unmount("/again")


def test_start_again_connects_or_refuses(cache: Cache) -> None:
    """The same start is the same cache; other settings are an error that says to stop first."""
    assert cache.id == raycache.start().id
    with pytest.raises(AlreadyExistsError, match="stop"):
        raycache.start(memory="61MiB")


def test_a_writable_mount_writes_through(cache: Cache, lake: Lake) -> None:
    """A written file is in the lake at close, replaces atomically, and the next read sees it."""
    cache.mount("/out", lake.uri, lake.options, readonly=False, metadata_ttl_s=600)
    try:
        for text in (b"one", b"two, longer"):
            with cache.open("/out/w.txt", "wb") as file:
                file.write(text)
            assert text == cache.read("/out/w.txt").to_pybytes()
        table = pa.table({"id": np.arange(1000)})
        ray.data.from_arrow(table).write_parquet("/out/ds", filesystem=cache.filesystem())
        assert 1000 == ray.data.read_parquet("/out/ds", filesystem=cache.filesystem()).count()
    finally:
        cache.unmount("/out")
