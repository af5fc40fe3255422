"""Load jobs on a real cluster: each byte leaves the lake once, kills and faults are survived, nothing is thrashed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray

import raycache
from raycache.admin.loads import Job
from raycache.cache import Cache
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.results import Progress
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import Fault, FaultKind, RequestKind, S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20
SIZES = [3 * MIB + 5] * 4 + [100_000] * 40
#: Blocks of 1 MiB.
BLOCKS = 4 * 4 + 40


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    yield raycache.start(memory="40MiB", disk="60MiB", block_size_bytes=MIB, segment_size_bytes=4 * MIB, lease_s=2)
    raycache.stop()


@pytest.fixture
def lake(s3_server: SeaweedServer, proxy: S3Proxy, cache: Cache) -> Iterator[Lake]:
    lake = Lake.make(s3_server, proxy)
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    yield lake
    proxy.shape()
    proxy.inject()
    cache.unmount("/lake", force=True)


def fill(lake: Lake, sizes: list[int] = SIZES) -> list[bytes]:
    """Write files d/000, d/001, ...; returns their contents."""
    contents = [content(number, size) for number, size in enumerate(sizes)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: lake.put(f"d/{number:03}", contents[number]), range(len(sizes))))
    lake.proxy.reset()
    return contents


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        pause.wait(0.05)


def under_way(job: Job, share: float = 0.2) -> Progress:
    """Wait until some of a job is done, and some is not."""
    wait_until(lambda: (p := job.progress()).finished or (p.listed and p.bytes_done >= share * p.bytes_total))
    progress = job.progress()
    assert progress.state == "RUNNING", progress
    return progress


def pid_of(name: str) -> int:
    """The process of a cache actor, asked of itself."""
    actor = ray.get_actor(name, namespace=RAY_NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


@pytest.mark.parametrize("replicas", [1, 2])
def test_each_byte_leaves_the_lake_once(cache: Cache, lake: Lake, replicas: int) -> None:
    """With replicas and with readers meanwhile: bytes out of S3 are the data's, requests are its blocks."""
    contents = fill(lake)
    lake.proxy.shape(latency_s=0.02)
    job = cache.load("/lake/d", replicas=replicas)
    for number in range(0, len(SIZES), 3):
        assert contents[number] == cache.read(f"/lake/d/{number:03}").to_pybytes()
    progress = job.wait(60)
    assert (progress.state, progress.files_done, progress.bytes_done) == ("SUCCEEDED", len(SIZES), sum(SIZES))
    counted = lake.proxy.counters()
    assert (sum(SIZES), BLOCKS) == (counted.data_bytes, counted.data_requests)
    assert cache.check("/lake/d").complete
    copies = [len(place.nodes) for place in cache.locate("/lake/d")]
    assert min(copies) >= replicas
    again = cache.load("/lake/d", replicas=replicas, verify=True).wait(60)
    assert (again.state, again.bytes_already, again.bytes_verified) == ("SUCCEEDED", sum(SIZES), sum(SIZES))
    assert sum(SIZES) == lake.proxy.counters().data_bytes


def test_a_dry_run_and_a_load_of_metadata_move_nothing(cache: Cache, lake: Lake) -> None:
    """Both tell what there is; after the second, looking files up asks nobody."""
    fill(lake)
    plan = cache.load(["/lake/d/00*", "/lake/d/001", "/lake/d"], dry_run=True)
    assert (plan.files, plan.bytes, plan.bytes_cached, plan.fits) == (len(SIZES), sum(SIZES), 0, True)
    with pytest.raises(NotFoundError):
        cache.load("/lake/nothing")
    progress = cache.load("/lake/d", metadata_only=True).wait(60)
    assert (progress.state, progress.files_done, progress.bytes_total) == ("SUCCEEDED", len(SIZES), sum(SIZES))
    before = lake.proxy.counters()
    assert before.data_requests == 0
    assert cache.stat("/lake/d/010").size_bytes == SIZES[10]
    assert before.requests == lake.proxy.counters().requests


def test_a_load_larger_than_the_cache_keeps_what_it_brought(cache: Cache, lake: Lake) -> None:
    """It says so before it starts, ends FAILED naming what did not fit, and never evicts its own blocks."""
    fill(lake, [4 * MIB] * 100)
    plan = cache.load("/lake/d", dry_run=True)
    assert not plan.fits
    job = cache.load("/lake/d")
    progress = job.wait(120)
    assert progress.state == "FAILED"
    assert progress.bytes_over >= 400 * MIB - 3 * 100 * MIB - 8 * MIB
    assert all("did not fit" in failure.reason for failure in progress.failures)
    assert progress.bytes_done > 200 * MIB
    checked = cache.check("/lake/d")
    assert progress.bytes_done == checked.bytes_cached == lake.proxy.counters().data_bytes


def test_a_stopped_job_goes_on_where_it_was(cache: Cache, lake: Lake) -> None:
    """After stop nothing more moves; resume brings the rest and nothing twice."""
    fill(lake)
    job = cache.load("/lake/d", bandwidth="4MiB/s")
    under_way(job)
    job.stop()
    assert job.progress().state == "STOPPED"
    job.resume()
    progress = job.wait(60)
    assert (progress.state, progress.bytes_done) == ("SUCCEEDED", sum(SIZES))
    assert progress.bytes_already > 0
    assert sum(SIZES) == lake.proxy.counters().data_bytes
    assert job.id == cache.jobs()[0][0]


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_a_kill_in_the_middle_costs_only_what_was_lost(cache: Cache, lake: Lake, victim: str) -> None:
    """A worker or the master dies while a load runs: the same job ends well, and little is moved twice."""
    sizes = [MIB] * 60
    fill(lake, sizes)
    worker = cache.client.refresh_view().workers[0]
    job = cache.load("/lake/d", bandwidth="20MiB/s")
    under_way(job, 0.3)
    held = [nodes[worker.worker].bytes for place in cache.locate("/lake/d") if worker.worker in (nodes := place.nodes)]
    os.kill(pid_of(MASTER_NAME if victim == "master" else worker.actor_name), signal.SIGKILL)
    progress = job.wait(120)
    assert (progress.state, progress.bytes_done) == ("SUCCEEDED", sum(sizes))
    assert cache.check("/lake/d").complete
    # What had come to the worker after that look, and what was on its way there: a few batches of an eighth of a second.
    lost = sum(held) + 10 * MIB if victim == "worker" else 0
    assert lake.proxy.counters().data_bytes <= 1.1 * (sum(sizes) + lost)


def test_what_a_sync_loads_outlives_its_caller_and_the_master(cache: Cache, cluster: LocalCluster, lake: Lake) -> None:
    """The program that synced is killed, then the master: the load goes on, within its bandwidth, and moves nothing twice.

    A second sync, with the job running or not, has nothing to load.
    """
    sizes = [MIB] * 60
    contents = fill(lake, sizes)
    before = [job_id for job_id, _ in cache.jobs()]
    program = subprocess.Popen(
        [sys.executable, "-c", "from raycache.cli.main import main; main()",
         "sync", "/lake/d", "--load", "--bandwidth", "15MiB/s"],
        env={**os.environ, **cluster.environment()},
    )  # fmt: skip
    wait_until(lambda: len(cache.jobs()) > len(before))
    program.kill()
    program.wait(30)
    ((job_id, begun),) = [found for found in cache.jobs() if found[0] not in before]
    assert (begun.paths, begun.finished) == (("/lake/d",), False)
    job = cache.job(job_id)
    under_way(job, 0.1)
    os.kill(pid_of(MASTER_NAME), signal.SIGKILL)
    progress = job.wait(120)
    assert (progress.state, progress.files_done, progress.bytes_done) == ("SUCCEEDED", len(sizes), sum(sizes))
    assert cache.check("/lake/d").complete
    assert lake.proxy.counters().data_bytes <= 1.1 * sum(sizes)
    assert contents[7] == cache.read("/lake/d/007").to_pybytes()
    again = cache.sync("/lake/d", load=True)
    assert (again.added.files, again.changed.files, again.loaded.files, again.failures) == (0, 0, 0, ())
    with pytest.raises(InvalidRequestError, match="bandwidth"):
        cache.sync("/lake/d", load=True, bandwidth="0")


def test_a_faulty_lake_costs_one_file(cache: Cache, lake: Lake) -> None:
    """Slow-downs, resets and cut bodies are got over; the one object that never comes is named, all else is right."""
    contents = fill(lake)
    data = (RequestKind.DATA,)
    lake.proxy.inject(
        Fault(FaultKind.INTERNAL_ERROR, 1.0, f"{lake.bucket}/{lake.name}/d/007", data),
        Fault(FaultKind.SLOW_DOWN, 0.05, "*", data),
        Fault(FaultKind.RESET, 0.01, "*", data),
        Fault(FaultKind.TRUNCATE, 0.01, "*", data),
        seed=3,
    )
    progress = cache.load("/lake/d").wait(120)
    assert ("FAILED", ["/lake/d/007"]) == (progress.state, [failure.path for failure in progress.failures])
    lake.proxy.inject()
    assert ["/lake/d/007"] == [missing.path for missing in cache.check("/lake/d").missing()]
    for number in (0, 1, 8, 20, 43):
        assert contents[number] == cache.read(f"/lake/d/{number:03}").to_pybytes()


def test_a_file_of_several_blocks_is_read_in_place(cache: Cache, lake: Lake) -> None:
    """Its blocks were put into the object store one by one, and are one run of it: a read copies nothing.

    Also what is left of a segment that lost most of its files: it is rewritten, and its bytes come back.
    """
    contents = fill(lake, [3 * MIB + 5, *[100_000] * 30])
    assert cache.load("/lake/d").wait(60).state == "SUCCEEDED"
    path = "/lake/d/000"
    while cache.read(path).to_pybytes() != contents[0] or not lives_in_plasma(cache.read(path).address):
        # On another node the first reads make a copy here.
        assert cache.check(path).complete
    assert lives_in_plasma(cache.read(path, MIB - 10, MIB + 20).address)
    cache.free([f"/lake/d/{number:03}" for number in range(28)])

    def used_bytes() -> int:
        total = cache.stats().total
        return total.memory_used_bytes + total.disk_used_bytes

    left = [f"/lake/d/{number:03}" for number in range(28, 31)]
    wait_until(lambda: used_bytes() < 2 * len(left) * 100_000)
    assert cache.check(left).complete
    assert [buffer.to_pybytes() for buffer in cache.read_many(left)] == contents[28:]


def lives_in_plasma(address: int) -> bool:
    """Whether an address of this process is in Ray's object store."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        start, _, end = line.partition(" ")[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return "plasma" in line
    return False
