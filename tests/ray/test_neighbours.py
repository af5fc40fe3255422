"""Processes of a node that are no part of the Ray cluster read through the node's endpoint: forked ones, and plain ones."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest

import raycache
from raycache.cache import Cache
from raycache.errors import NoCacheError, NotFoundError
from raycache.filesystems.pyarrow import filesystem
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20
SIZE = 17 * MIB + 5
FILES = 8


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    assert cluster
    yield raycache.start(memory="150MiB", disk="200MiB", endpoint=True)
    raycache.stop()


@pytest.fixture
def lake(cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy) -> Iterator[Lake]:
    """A cold one for each test."""
    lake = Lake.make(s3_server, proxy)
    lake.put("big", content(99, SIZE))
    for number in range(FILES):
        lake.put(f"many/{number}", content(number, 1000))
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    yield lake
    cache.unmount("/lake", force=True)


def _in_child(queue: Any, work: Callable[[], Any]) -> None:
    try:
        queue.put((True, work()))
    except Exception as error:  # whatever it is, the test looks at it
        queue.put((False, error))


def forked(work: Callable[[], Any], timeout_s: float = 30) -> Any:
    """What a forked child has found, or its error."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, work))
    child.start()
    try:
        good, found = queue.get(timeout=timeout_s)
    finally:
        child.kill()
        child.join()
    if not good:
        raise found
    return found


@pytest.mark.parametrize("tier", ["memory", "disk"])
def test_what_is_mapped_once_is_read_without_the_endpoint(cache: Cache, lake: Lake, tier: str) -> None:
    """The first test here: memory is not full yet, so leases last. Segments of both tiers are mapped by the child itself, and read there, right, while their leases last."""
    paths = [f"/lake/many/{number}" for number in range(FILES)]
    if tier == "disk":
        for number in range(8):
            lake.put(f"fill/{number}", content(number, 30 * MIB))
        cache.load("/lake/many").wait(60)
        cache.load("/lake/fill").wait(60)
    cache.read_many(paths)

    def work() -> tuple[list[bytes], int, set[int]]:
        from raycache.client import connection

        # What another node turns out to hold is on this one by the second read, and can be mapped then.
        for path in 2 * paths:
            cache.read(path)
        client = connection.connect()
        asked: list[Any] = []
        read, client.calls.read = client.calls.read, lambda reads: asked.append(reads) or read(reads)  # type: ignore[attr-defined]
        found = [cache.read(path).to_pybytes() for path in paths]
        return found, len(asked), {int(mapped.tier) for mapped in client.leases._segments.values()}

    found, asked, tiers = forked(work)
    assert ([content(number, 1000) for number in range(FILES)], 0) == (found, asked)
    assert tiers <= {0, 1}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("way", ["read", "read_many", "open", "fsspec", "pyarrow"])
def test_a_forked_child_reads(cache: Cache, lake: Lake, way: str, warm: bool) -> None:
    """Cold and warm, small files and large ones, by every way there is."""
    assert lake
    paths = [f"/lake/many/{number}" for number in range(FILES)]
    if warm:
        cache.read_many([*paths, "/lake/big"])

    def work() -> list[bytes]:
        if way == "read":
            return [cache.read(path).to_pybytes() for path in [*paths, "/lake/big"]]
        if way == "read_many":
            return [buffer.to_pybytes() for buffer in cache.read_many([*paths, "/lake/big"])]
        if way == "open":
            return [cache.open(path).read() for path in [*paths, "/lake/big"]]
        if way == "fsspec":
            fs = fsspec.filesystem("raycache")
            assert FILES == len(fs.find("/lake/many"))
            return [fs.cat_file(path) for path in [*paths, "/lake/big"]]
        arrow = filesystem()
        return [arrow.open_input_file(path).read() for path in [*paths, "/lake/big"]]

    assert [*(content(number, 1000) for number in range(FILES)), content(99, SIZE)] == forked(work)
    assert content(3, 1000) == cache.read("/lake/many/3").to_pybytes()


def test_a_forked_child_sees_what_is_written(cache: Cache, lake: Lake) -> None:
    """Close-to-open holds there, too; what is not there is not found, with the right error."""
    assert lake
    cache.mount("/w", f"{lake.uri}/w", lake.options, metadata_ttl_s=600, readonly=False)
    try:
        context = multiprocessing.get_context("fork")
        queue, go = context.Queue(), context.Event()

        def work() -> list[bytes]:
            found = [cache.read("/w/x").to_pybytes()]
            queue.put((True, None))
            go.wait(30)
            return [*found, cache.read("/w/x").to_pybytes()]

        with cache.open("/w/x", "wb") as file:
            file.write(b"one")
        child = context.Process(target=_in_child, args=(queue, work))
        child.start()
        assert (True, None) == queue.get(timeout=30)
        with cache.open("/w/x", "wb") as file:
            file.write(b"two, longer")
        go.set()
        assert (True, [b"one", b"two, longer"]) == queue.get(timeout=30)
        child.join()
        with pytest.raises(NotFoundError):
            forked(lambda: cache.read("/lake/none"))
    finally:
        cache.unmount("/w", force=True)


PLAIN = """
import sys, time
import raycache, fsspec
from raycache.filesystems.pyarrow import filesystem
cache = raycache.connect()
import ray
found = [cache.read("/lake/many/3").to_pybytes(), fsspec.filesystem("raycache").cat_file("/lake/many/3"),
         filesystem().open_input_file("/lake/many/3").read()]
print(len(set(found)), len(found[0]), len(cache.ls("/lake/many")), cache.stat("/lake/big").size_bytes, ray.is_initialized())
"""


def test_a_plain_process_reads_without_ray(cache: Cache, lake: Lake) -> None:
    """It finds the endpoint by the node's file, and does not join the cluster."""
    assert lake
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert f"1 1000 {FILES} {SIZE} False\n" == done.stdout, done.stderr
    assert any(reader.job == "endpoint" for reader in cache.overview().readers)


def test_without_an_endpoint_a_child_hears_within_a_second_what_to_do(cache: Cache, lake: Lake) -> None:
    """And when it is there again, the next child reads."""
    assert lake
    raycache.stop_endpoint()
    started_s = time.monotonic()
    with pytest.raises(NoCacheError, match=r"endpoint=True"):
        forked(lambda: cache.read("/lake/big"))
    assert time.monotonic() - started_s < 10
    raycache.start_endpoint()
    assert content(3, 1000) == forked(lambda: cache.read("/lake/many/3").to_pybytes())
