"""Caches, Ray's sessions and processes end; a connection to one of them never speaks to another."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs as pafs
import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.client import connection
from raycache.errors import InvalidRequestError, NoCacheError, NotFoundError
from raycache.filesystems.pyarrow import filesystem
from raycache.testing.cluster import LocalCluster

MIB = 1 << 20
CONTENT = bytes(range(256)) * (12 * MIB // 256)
#: Of a process that has not connected: many threads read at once.
THREADS = """
import concurrent.futures, raycache
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print({bytes(content) for content in pool.map(lambda _: raycache.connect().read("/lake/small"), range(8))})
"""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(CONTENT)
    (tmp_path / "small").write_bytes(b"small")
    return tmp_path


@pytest.fixture
def start(cluster: LocalCluster, lake: Path) -> Iterator[Callable[..., Cache]]:
    """Start a cache with a mount, in place of the one there was."""

    def start(**settings: Any) -> Cache:
        assert cluster
        raycache.stop()
        cache = raycache.start(memory="60MiB", disk="off", **settings)
        cache.mount("/lake", f"file://{lake}")
        return cache

    yield start
    raycache.stop()


@ray.remote
class Reader:
    """Holds a connection over the end of its cache."""

    def __init__(self) -> None:
        self._cache = raycache.connect()

    def read(self, path: str) -> tuple[str, bool]:
        """(id of the cache that answered, whether the bytes are right)."""
        right = self._cache.read(path) == CONTENT and self._cache.read(path, 5 * MIB, 77) == CONTENT[5 * MIB :][:77]
        return self._cache.id, right


def test_an_old_connection_goes_on_with_the_cache_that_came_after(start: Callable[..., Cache]) -> None:
    """Here and in other processes, whatever the sizes of blocks and pages; never with bytes of the wrong place."""
    old = start(block_size_bytes=4 * MIB, segment_size_bytes=16 * MIB)
    first = old.id
    reader: Any = Reader.remote()  # type: ignore[attr-defined]
    assert (first, True) == ray.get(reader.read.remote("/lake/a"), timeout=60)
    assert CONTENT == old.read("/lake/a")
    new = start(block_size_bytes=1 * MIB, segment_size_bytes=4 * MIB, page_size_bytes=64 << 10)
    assert new.id != first
    # Of a path that it has never seen, so it asks whoever bears the master's name.
    assert (new.id, True) == ray.get(reader.read.remote("/lake/b"), timeout=60)
    assert (new.id, True) == ray.get(reader.read.remote("/lake/a"), timeout=60)
    assert CONTENT == old.read("/lake/c")
    assert new.id == old.id
    assert CONTENT[:9] == old.read_many(["/lake/a"])[0].to_pybytes()[:9]
    assert ["/lake"] == [mount.path for mount in old.mounts()]


@ray.remote(num_cpus=0)
def start_anew(lake: str) -> str:
    """Stop the cache, and start another one with the same mount; its id."""
    raycache.stop()
    cache = raycache.start(memory="60MiB", disk="off")
    cache.mount("/lake", f"file://{lake}")
    return cache.id


def test_filesystems_go_on_with_a_cache_that_another_process_started(
    start: Callable[..., Cache], lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a connection is used without asking whether it is still good."""
    monkeypatch.setattr(connection, "_TRUST_S", 600.0)
    cache = start()
    fs: Any = fsspec.filesystem("raycache", skip_instance_cache=True)
    arrow = filesystem()
    looks: tuple[Callable[[], object], ...] = (
        lambda: CONTENT == fs.cat("/lake/b"),
        lambda: [("/lake", [], ["a", "b", "c", "small"])] == [(top, d, sorted(f)) for top, d, f in fs.walk("/lake")],
        lambda: pafs.FileType.File == arrow.get_file_info("/lake/c").type,
    )
    for look in looks:
        assert fs.exists("/lake/a")
        assert cache.id != ray.get(start_anew.remote(str(lake)), timeout=90)
        assert look()


def test_ray_left_and_joined_again_many_times(start: Callable[..., Cache], cluster: LocalCluster) -> None:
    """As notebooks and test suites do; between two sessions a read says so, and starts nothing."""
    cache = start()
    for _ in range(20):
        assert b"small" == cache.read("/lake/small")
        cluster.disconnect()
        try:
            with pytest.raises(NoCacheError, match="left its Ray cluster"):
                cache.read("/lake/b")
            with pytest.raises(NoCacheError, match="left its Ray cluster"):
                cache.stats()
            assert not ray.is_initialized()
        finally:
            cluster.connect()


def test_threads_that_read_before_anybody_has_connected(start: Callable[..., Cache], cluster: LocalCluster) -> None:
    """They share the one connection that the first of them makes."""
    start()
    said = subprocess.run(
        [sys.executable, "-c", THREADS], env=cluster.environment(), capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert "{b'small'}\n" == said.stdout, said.stderr


def _attempts(queue: Any, cache: Cache, opened: Any) -> None:
    """In a forked child: what everything says that would have to ask Ray."""
    fs = fsspec.filesystem("raycache", skip_instance_cache=True)
    for attempt in (
        lambda: cache.read("/lake/small"),
        lambda: cache.read("/lake/b"),
        cache.stats,
        lambda: opened.read_at(0, 100),
        raycache.connect,
        lambda: fs.cat("/lake/b"),
        lambda: fs.find("/lake"),
    ):
        try:
            queue.put(repr(attempt()))
        except Exception as error:  # whatever it is, the test looks at it
            queue.put(f"{type(error).__name__}: {error}")


def test_a_forked_child_hears_at_once_what_to_do(start: Callable[..., Cache]) -> None:
    """It has Ray's objects without Ray's threads: whatever asked Ray would wait for ever."""
    cache = start()
    cache.read("/lake/small")
    opened = cache.open("/lake/c")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_attempts, args=(queue, cache, opened))
    child.start()
    try:
        said = [queue.get(timeout=30) for _ in range(7)]
    finally:
        child.kill()
        child.join()
    assert [] == [text for text in said if "NoCache" not in text or "forked" not in text or "spawn" not in text]
    assert b"small" == cache.read("/lake/small")


def test_no_cache_is_not_no_file(cluster: LocalCluster) -> None:
    """Whoever looks for files hears that there is nobody to ask, and not that nothing is there."""
    assert cluster
    raycache.stop()
    fs: Any = fsspec.filesystem("raycache", skip_instance_cache=True)
    arrow = filesystem()
    for look in (
        lambda: fs.find("/lake"),
        lambda: fs.glob("/lake/*"),
        lambda: fs.du("/lake"),
        lambda: list(fs.walk("/lake")),
        lambda: fs.exists("/lake"),
        lambda: fs.isfile("/lake"),
        lambda: fs.expand_path("/lake/*"),
        lambda: arrow.get_file_info("/lake"),
        lambda: arrow.get_file_info(pafs.FileSelector("/lake", allow_not_found=True)),
    ):
        with pytest.raises(NoCacheError, match="no cache runs") as caught:
            look()
        assert not isinstance(caught.value, FileNotFoundError)
    with pytest.raises(NotFoundError, match="no cache runs"):
        raycache.connect()
    with pytest.raises(NoCacheError, match="no cache runs"):
        raycache.connect()


def test_a_driver_on_ray_client_hears_what_to_do() -> None:
    """It is not in the cluster, so it has no memory to share with it."""
    said = subprocess.run(
        [sys.executable, "-c", "import raycache; raycache.connect('ray://127.0.0.1:1')"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert InvalidRequestError.__name__ in said.stderr
    assert "ray job submit" in said.stderr
