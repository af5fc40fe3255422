"""Killing things in the middle of the first epoch of a cached dataset: rows are right, and work that was done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

import raycache
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster

FILES, ROWS = 24, 50


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for number in range(FILES):
        pq.write_table(pa.table({"id": np.arange(ROWS) + number * ROWS}), tmp_path / f"{number:02}.parquet")
    return tmp_path


def dataset(lake: Path) -> Any:
    """Each file takes a while, so that there is a middle."""

    def slow(batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        return batch

    return raycache.cached(raycache.read_parquet(f"file://{lake}").map_batches(slow))


def made(cache: raycache.Cache) -> int:
    return sum(row.made for row in cache.cached_datasets())


def wait_until(holds: Callable[[], bool], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def pid_of(name: str) -> int:
    actor = ray.get_actor(name, namespace=RAY_NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def read_and_kill(cache: raycache.Cache, lake: Path, kill: Callable[[], None]) -> None:
    """Kill something when some groups are kept; all rows must come, now and again."""
    found: list[int] = []

    def read() -> None:
        found.extend(int(row["id"]) for row in dataset(lake).take_all())

    before = made(cache)
    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: made(cache) >= before + FILES // 4)
    kill()
    reader.join(240)
    assert sorted(found) == list(range(FILES * ROWS))
    assert sorted(row["id"] for row in dataset(lake).take_all()) == list(range(FILES * ROWS))


@pytest.fixture
def cache(make_cluster: Callable[..., LocalCluster], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three nodes of their own."""
    make_cluster(nodes=3)
    with raycache.session(
        memory="40MiB", disk=f"{tmp_path_factory.mktemp('disk')}:100MiB", metadata_ttl_s=0
    ) as started:
        yield started


@pytest.mark.long
def test_a_worker_that_is_killed(cache: raycache.Cache, lake: Path) -> None:
    """Its memory is lost; what else was done stays."""
    worker = cache.client.refresh_view().workers[1]
    read_and_kill(cache, lake, lambda: os.kill(pid_of(worker.actor_name), signal.SIGKILL))
    assert made(cache) <= 2 * FILES


@pytest.mark.long
def test_the_master_that_is_killed(cache: raycache.Cache, lake: Path) -> None:
    """The workers tell the next one which results they hold."""
    read_and_kill(cache, lake, lambda: os.kill(pid_of(MASTER_NAME), signal.SIGKILL))
    # Counts began anew: those that were kept before are read, not made.
    assert made(cache) < FILES


@pytest.mark.long
def test_a_driver_that_is_killed(cache: raycache.Cache, lake: Path) -> None:
    """What it has done is kept; its claims end, and another driver makes the rest."""
    script = (
        "import ray, raycache, sys, time\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "def slow(batch):\n    time.sleep(0.3)\n    return batch\n"
        "print(raycache.cached(raycache.read_parquet('file://' + sys.argv[2]).map_batches(slow)).count())\n"
    )
    run = [sys.executable, "-c", script, ray.get_runtime_context().gcs_address, str(lake)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as first:
        wait_until(lambda: made(cache) >= FILES // 4)
        first.kill()
    done = made(cache)
    second = subprocess.run(run, capture_output=True, text=True, check=True, timeout=240)
    assert second.stdout.split() == [str(FILES * ROWS)]
    # A task that was running when its driver was killed may have kept one more.
    assert made(cache) <= FILES + 3
    assert sum(row.hits for row in cache.cached_datasets()) >= done


@pytest.mark.long
def test_a_node_that_is_lost(
    make_cluster: Callable[..., LocalCluster], lake: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It costs its own groups."""
    cluster = make_cluster(nodes=3)
    with raycache.session(memory="40MiB", disk=f"{tmp_path_factory.mktemp('disk')}:100MiB", metadata_ttl_s=0) as cache:
        own = ray.get_runtime_context().get_node_id()
        other = next(node for node in cluster.node_ids() if node != own)
        read_and_kill(cache, lake, lambda: cluster.remove_node(other))
        assert made(cache) < 2 * FILES


@pytest.mark.long
def test_results_are_there_after_a_restart_of_the_workers(cache: raycache.Cache, lake: Path) -> None:
    """Those on disk; nobody has to make them again."""
    dataset(lake).take_all()
    (row,) = cache.cached_datasets()
    assert cache.check(row.path).complete
    for worker in cache.client.refresh_view().workers:
        os.kill(pid_of(worker.actor_name), signal.SIGKILL)
    before = made(cache)
    assert sorted(row["id"] for row in dataset(lake).take_all()) == list(range(FILES * ROWS))
    assert made(cache) - before <= FILES
