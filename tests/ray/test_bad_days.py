"""The control plane's bad days: processes that are stopped and go on, a journal's disk that is full, a store that hangs."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster
from tests.support.lake import content
from tests.support.waiting import wait_until

MIB = 1 << 20
FILES = 12
#: (how long something is stopped, the time-out after which a worker counts as silent).
STOPS = [pytest.param(6.0, 2.0, id="short"), pytest.param(60.0, 15.0, id="long", marks=pytest.mark.long)]


@pytest.fixture
def start(cluster: LocalCluster, tmp_path: Path) -> Iterator[Callable[..., Cache]]:
    """Start a cache over a lake of some files, all of them loaded."""
    lake = tmp_path / "lake"
    lake.mkdir()
    for number in range(FILES):
        (lake / str(number)).write_bytes(content(number, MIB))

    def start(**settings: Any) -> Cache:
        assert cluster
        raycache.stop()
        cache = raycache.start(memory="60MiB", disk="off", **settings)
        cache.mount("/lake", f"file://{lake}", metadata_ttl_s=600)
        assert cache.load("/lake").wait(60).state == "SUCCEEDED"
        return cache

    yield start
    raycache.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a quarter of a MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk of its own cannot be mounted here")
    yield place
    raycache.stop()
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def silent_store() -> Iterator[socket.socket]:
    """What listens for connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server


def pid_of(name: str) -> int:
    """The process of a cache actor, asked of itself."""
    actor = ray.get_actor(name, namespace=RAY_NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def repeat_for(seconds: float, work: Callable[[], None]) -> None:
    """Do something again and again."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        work()


def stop_for(pid: int, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Stop a process, and let it go on; meanwhile do something again and again."""
    os.kill(pid, signal.SIGSTOP)
    try:
        repeat_for(seconds, meanwhile)
    finally:
        os.kill(pid, signal.SIGCONT)


def incarnations(cache: Cache) -> dict[str, int]:
    return {worker.worker: worker.epoch for worker in cache.client.refresh_view().workers}


def read_all(cache: Cache) -> None:
    for number in range(FILES):
        assert content(number, MIB) == cache.read(f"/lake/{number}").to_pybytes()


def cached_bytes(cache: Cache) -> int:
    return cache.check("/lake").bytes_cached


@pytest.mark.parametrize(("seconds", "timeout_s"), STOPS)
def test_a_master_that_is_stopped_for_a_while_loses_nothing(
    start: Callable[..., Cache], seconds: float, timeout_s: float
) -> None:
    """What is cached is read meanwhile; when it goes on, every worker is the one it was, with all that it held."""
    cache = start(heartbeat_timeout_s=timeout_s)
    before, held = incarnations(cache), cached_bytes(cache)
    read_all(cache)
    stop_for(pid_of(MASTER_NAME), seconds, lambda: read_all(cache))

    def look() -> None:
        assert before == incarnations(cache)

    repeat_for(timeout_s, look)
    assert held == cached_bytes(cache)
    assert cache.check("/lake").complete
    read_all(cache)


@pytest.mark.parametrize(("seconds", "timeout_s"), STOPS)
def test_a_worker_that_is_stopped_for_a_while_loses_nothing(
    start: Callable[..., Cache], seconds: float, timeout_s: float
) -> None:
    """It leaves the view, others read past it; when it goes on it is back, the same incarnation, with all that it held."""
    cache = start(heartbeat_timeout_s=timeout_s, worker_timeout_s=2.0)
    before, held = incarnations(cache), cached_bytes(cache)
    here = cache.client.node
    (other, *_) = [worker for worker in cache.client.refresh_view().workers if worker.worker != here]

    looks = 0

    def look() -> None:
        nonlocal looks
        cache.stat("/lake/0")
        cache.mounts()
        looks += 1

    stop_for(pid_of(other.actor_name), seconds, look)
    assert looks > 3
    wait_until(lambda: incarnations(cache) == before, 30)
    wait_until(lambda: cached_bytes(cache) == held, 30)
    read_all(cache)


def test_a_full_disk_under_the_journal_stops_changes_only(start: Callable[..., Cache], small_disk: Path) -> None:
    """Reads and look-ups go on, over a restart of the master too; changes are refused with the reason, until there is room."""
    cache = start(journal=str(small_disk / "journal"))
    before = incarnations(cache)
    stone = small_disk / "stone"
    with pytest.raises(OSError, match="space"):
        stone.write_bytes(bytes(MIB))
    # More than what is left of the last page of the journal's file.
    many = [f"/lake/[0{'a' * number}]" for number in range(150)]
    with pytest.raises(RaycacheError, match="make room"):
        cache.pin(many)
    read_all(cache)
    os.kill(pid_of(MASTER_NAME), signal.SIGKILL)
    wait_until(lambda: _answers(cache), 60)
    assert ["/lake"] == [mount.path for mount in cache.mounts()]
    assert FILES == len(cache.ls("/lake"))
    read_all(cache)
    wait_until(lambda: before == incarnations(cache), 60)
    with pytest.raises(RaycacheError, match="make room"):
        cache.pin(many)
    (problem,) = cache.status().problems
    assert "make room" in problem
    stone.unlink()
    cache.pin("/lake/0")
    assert () == cache.status().problems
    os.kill(pid_of(MASTER_NAME), signal.SIGKILL)
    wait_until(lambda: _answers(cache), 60)
    wait_until(lambda: before == incarnations(cache), 60)
    assert ["/lake/0"] == [rule.path for rule in cache.rules()]
    assert cached_bytes(cache) == FILES * MIB


def _answers(cache: Cache) -> bool:
    try:
        return bool(cache.client.calls.master("status", timeout_s=5.0))
    except UnavailableError:
        return False


def test_a_stopped_cache_leaves_no_journal(start: Callable[..., Cache], tmp_path: Path) -> None:
    """Not its mounts, not its secrets: the next cache with the same journal begins with nothing."""
    place = tmp_path / "kept" / "journal"
    cache = start(journal=str(place))
    cache.pin("/lake/0")
    assert place.exists()
    raycache.stop()
    assert not place.exists()
    cache = raycache.start(memory="60MiB", disk="off", journal=str(place))
    assert [] == cache.mounts()


def test_a_journal_that_cannot_be_is_said_at_the_start(cluster: LocalCluster, tmp_path: Path) -> None:
    """`start` names the place and what to do, at once, and leaves no half of a cache."""
    assert cluster
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="setting journal"):
        raycache.start(memory="60MiB", disk="off", journal=str(tmp_path / "file" / "journal"))
    cache = raycache.start(memory="60MiB", disk="off", journal=str(tmp_path / "journal"))
    assert cache.status().workers
    raycache.stop()


def test_a_store_that_never_answers_stops_nobody_else(start: Callable[..., Cache], silent_store: socket.socket) -> None:
    """Dozens of look-ups wait for it: look-ups, mounts and rules of others do not."""
    cache = start(master_timeout_s=120.0)
    options = {
        "endpoint_url": f"http://127.0.0.1:{silent_store.getsockname()[1]}",
        "access_key_id": "a",
        "secret_access_key": "b",
        "region": "us-east-1",
        "request_timeout_s": 120.0,
        "retries_max": 0,
    }
    calls = cache.client.calls
    master = ray.get_actor(MASTER_NAME, namespace=RAY_NAMESPACE)
    from raycache.messages import ListRequest, MountInfo, ResolveRequest, encode

    hung = MountInfo("/hung", "s3://bucket", options, 60.0, readonly=True)
    ray.get(master.auto_mount.remote("s3://bucket", encode(options)))
    waiting = [
        master.resolve.remote(encode(ResolveRequest([f"s3://bucket/{number}"], 0, 0, fresh=True)))
        for number in range(60)
    ]
    waiting += [
        master.list_directory.remote(encode(ListRequest(f"s3://bucket/d{n}", True, fresh=True))) for n in range(30)
    ]
    waiting += [master.mount.remote(f"r{number}", encode(hung)) for number in range(20)]
    # Somebody is asking it.
    assert select.select([silent_store], [], [], 30)[0]
    for number in range(5):
        calls.master("resolve", encode(ResolveRequest(["/lake/1"], 0, 0, fresh=True)))
        cache.mount(f"/m{number}", f"file://{Path(__file__).parent}")
        cache.pin(f"/lake/{number}")
    read_all(cache)
    # All of this while the others wait.
    done, _ = ray.wait(waiting, num_returns=1, timeout=0)
    assert [] == done
