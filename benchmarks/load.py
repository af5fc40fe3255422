"""Workload: warm-ups. What leaves the lake and how often it is asked, how fast, what kills and faults cost.

The lake is a real S3 server behind a counting proxy. For the rate it answers after 30 ms and gives 60 MB/s a connection;
the rival is the client library alone: it lists what there is, and has 32 requests in flight, whose bytes it throws away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obstore
import ray
from obstore.store import S3Store

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.epochs import quiet
from benchmarks.measure import Finding
from raycache.cache import Cache
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import Fault, FaultKind, RequestKind, S3Proxy
from raycache.testing.seaweed import SeaweedServer

BLOCK = 8 << 20
INFLIGHT = 32
LATENCY_S = 0.03
CONNECTION_BYTES_S = 60e6
#: Of all connections together: two cores give no more to a network beside a cache, a server and a proxy.
LAKE_BYTES_S = 300e6
#: Until the memory of a load's buffers is given back.
_SETTLE_S = 3.0


class Data(NamedTuple):
    """Objects under one prefix."""

    name: str
    keys: list[str]
    size_bytes: int

    @property
    def path(self) -> str:
        return f"/lake/{self.name}"

    @property
    def bytes(self) -> int:
        return len(self.keys) * self.size_bytes

    @property
    def blocks(self) -> int:
        return len(self.keys) * -(-self.size_bytes // BLOCK)


class Bench(NamedTuple):
    """What all parts share."""

    server: SeaweedServer
    proxy: S3Proxy
    cluster: LocalCluster
    cache: Cache
    bucket: str

    def write(self, name: str, files: int, size_bytes: int) -> Data:
        """Put objects of random bytes."""
        store = S3Store(self.bucket, config=_config(self.server.options()), client_options={"allow_http": True})
        random = np.random.default_rng(0)
        content = random.bytes(size_bytes)
        keys = [f"{name}/{number:06}" for number in range(files)]

        def put(number: int) -> None:
            obstore.put(store, keys[number], number.to_bytes(8, "little") + content[8:], use_multipart=False)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, range(files)))
        return Data(name, keys, size_bytes)

    def free(self, data: Data) -> None:
        self.cache.free(data.path, force=True)
        self.proxy.reset()


def measure(only: Sequence[str] = ()) -> list[Finding]:
    """Run all parts, or some."""
    rows: list[Finding] = []
    with _bench() as bench:
        for name, part in PARTS.items():
            if only and name not in only:
                continue
            for finding in part(bench):
                print(f"{finding.what}: {finding.figure}", file=sys.stderr, flush=True)
                rows.append(finding)
    return rows


@contextlib.contextmanager
def _bench() -> Iterator[Bench]:
    with (
        SeaweedServer() as server,
        S3Proxy(server.endpoint_url) as proxy,
        touched_cluster(3, 2 << 30) as cluster,
    ):
        quiet()
        bucket = server.make_bucket("load")
        cache = raycache.start(memory="60%", disk="3GiB")
        try:
            options = {**server.options(), "endpoint_url": proxy.endpoint_url}
            cache.mount("/lake", f"s3://{bucket}", options, metadata_ttl_s=3600)
            yield Bench(server, proxy, cluster, cache, bucket)
        finally:
            raycache.stop()


# --- parts ------------------------------------------------------------------------------------------------------------


def _once(bench: Bench) -> Iterator[Finding]:
    """Each byte leaves the lake once, whatever happens meanwhile."""
    for data in (bench.write("large", 32, 62_500_000), bench.write("small", 20_000, 100_000)):
        what = f"{len(data.keys)} files of {data.size_bytes / 1e6:g} MB"
        for name, replicas, reading in (("", 1, False), (", replicas=2", 2, False), (", with readers", 1, True)):
            bench.free(data)
            with _readers(bench, data) if reading else contextlib.nullcontext():
                progress = bench.cache.load(data.path, replicas=replicas).wait(500)
            counted = bench.proxy.counters()
            assert progress.state == "SUCCEEDED", progress
            complete = bench.cache.check(data.path).complete
            share = counted.data_bytes / data.bytes
            yield Finding(f"{what}{name}: bytes out of S3", f"{share:.4f}x", "1.000x", complete and share == 1.0)
            asked = counted.data_requests / data.blocks
            yield Finding(f"{what}{name}: data requests per block", f"{asked:.4f}", "1", asked == 1.0)
        bench.free(data)


def _rate(bench: Bench) -> Iterator[Finding]:
    """A load against the bare client, in turn, on the same shaped lake: as fast as it goes, and where it is the bound."""
    large, small = bench.write("rate-large", 32, 31_250_000), bench.write("rate-small", 5_000, 100_000)
    for data, total_bytes_s in ((large, 0.0), (large, LAKE_BYTES_S), (small, 0.0)):
        bare: list[float] = []
        ours: list[float] = []
        bench.proxy.shape(LATENCY_S, CONNECTION_BYTES_S, total_bytes_s)
        # One more than counts: what a worker touches for the first time of the object store costs it a fault a page.
        for _ in range(4):
            bare.append(_timed(lambda data=data: _bare(bench, data)))  # type: ignore[misc]
            bench.free(data)
            ours.append(_timed(lambda data=data: bench.cache.load(data.path).wait(300)))  # type: ignore[misc]
        bench.free(data)
        bench.proxy.shape()
        own, rival = statistics.median(ours[1:]), statistics.median(bare[1:])
        what = f"{len(data.keys)} files of {data.size_bytes / 1e6:g} MB"
        what += f", {total_bytes_s / 1e6:.0f} MB/s in all" if total_bytes_s else ""
        if data is large and not total_bytes_s:
            yield Finding(f"{what}: the first load of a cache", f"{data.bytes / ours[0] / 1e6:.0f} MB/s")
        figures = f"{data.bytes / own / 1e6:.0f} against {data.bytes / rival / 1e6:.0f} MB/s: {rival / own:.2f}x"
        yield Finding(f"{what}: load rate against the bare client", figures, ">= 0.9x", rival / own >= 0.9)


def _memory(bench: Bench) -> Iterator[Finding]:
    """What very many small files cost the master and the workers; of a local directory, which is quickly written."""
    first, files = 20_000, 200_000
    with tempfile.TemporaryDirectory(prefix="raycache-bench-") as directory:
        for number in range(first + files):
            parent = Path(directory) / ("first" if number < first else "many") / f"part-{number // 1000:04}"
            if number % 1000 == 0:
                parent.mkdir(parents=True)
            (parent / f"image-{number:08}.jpg").write_bytes(number.to_bytes(8, "little") * 8)
        bench.cache.mount("/many", f"file://{directory}")
        # What loads leave behind for good, however many: imports, threads, what is on the way at a time.
        assert bench.cache.load("/many/first").wait(60).state == "SUCCEEDED"
        time.sleep(_SETTLE_S)
        master = _pid(MASTER_NAME)
        workers = [_pid(worker.actor_name) for worker in bench.cache.client.refresh_view().workers]
        before, workers_before = _anonymous_bytes(master), sum(map(_anonymous_bytes, workers))
        most = before
        job = bench.cache.load("/many/many")
        started = time.perf_counter()
        while not (progress := job.progress()).finished:
            most = max(most, _anonymous_bytes(master))
            time.sleep(0.2)
        seconds = time.perf_counter() - started
        assert (progress.state, progress.files_done) == ("SUCCEEDED", files), progress
        time.sleep(_SETTLE_S)
        cost = (_anonymous_bytes(master) - before) / files
        workers_cost = (sum(map(_anonymous_bytes, workers)) - workers_before) / files
        bench.cache.unmount("/many", force=True)
    figure = f"{(most - before) / 1e6:+.0f} MB at most, {before / 1e6:.0f} MB before; {files / seconds:,.0f} files/s"
    yield Finding(f"{files:,} files: the master's memory", figure, "+-50 MB", most - before <= 50e6)
    for who, size in (("the master", cost), ("all workers", workers_cost)):
        yield Finding(f"{files:,} files: each costs {who}", f"{size:.0f} bytes", "<= 300", size <= 300)


def _anonymous_bytes(pid: int) -> int:
    """A process's own memory: without the object store and other files that it has mapped."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def _kills(bench: Bench) -> Iterator[Finding]:
    """Something dies in the middle: the same job ends, and moves no more than was lost and missing."""
    data = bench.write("kills", 60, 8_000_000)
    for victim in ("worker", "master", "raylet"):
        bench.free(data)
        node = bench.cluster.add_node() if victim == "raylet" else bench.cluster.node_ids()[1]
        _until(lambda node=node: any(w.worker == node for w in bench.cache.client.refresh_view().workers))  # type: ignore[misc]
        job = bench.cache.load(data.path, bandwidth="60MB/s")
        _until(lambda job=job: job.progress().bytes_done >= 0.4 * data.bytes)  # type: ignore[misc]
        held = sum(p.nodes[node].bytes for p in bench.cache.locate(data.path) if node in p.nodes)
        worker = next(w for w in bench.cache.client.refresh_view().workers if w.worker == node)
        if victim == "raylet":
            bench.cluster.remove_node(node)
        else:
            os.kill(_pid(MASTER_NAME if victim == "master" else worker.actor_name), signal.SIGKILL)
        progress = job.wait(300)
        lost = 0 if victim == "master" else held
        share = bench.proxy.counters().data_bytes / (data.bytes + lost)
        good = progress.state == "SUCCEEDED" and bench.cache.check(data.path).complete and share <= 1.1
        figure = f"{progress.state}, complete, {share:.3f}x of all bytes and the {lost / 1e6:.0f} MB lost"
        yield Finding(f"{victim} killed at 40 %: bytes out of S3", figure, "<= 1.1x", good)


def _faults(bench: Bench) -> Iterator[Finding]:
    """An ill lake, with one object that never comes."""
    data = bench.write("faults", 2_000, 100_000)
    bench.free(data)
    requests = (RequestKind.DATA,)
    bad = data.keys[1_234]
    bench.proxy.inject(
        Fault(FaultKind.INTERNAL_ERROR, 1.0, f"{bench.bucket}/{bad}", requests),
        Fault(FaultKind.SLOW_DOWN, 0.05, "*", requests),
        Fault(FaultKind.RESET, 0.01, "*", requests),
        Fault(FaultKind.TRUNCATE, 0.01, "*", requests),
    )
    progress = bench.cache.load(data.path).wait(300)
    injected = bench.proxy.counters().faults_injected
    bench.proxy.inject()
    named = [failure.path for failure in progress.failures]
    missing = [file.path for file in bench.cache.check(data.path).missing()]
    good = progress.state == "FAILED" and named == missing == [f"/lake/{bad}"]
    figure = f"{progress.state}, names {len(named)}, lacks {len(missing)} of {len(data.keys)}; {injected} faults"
    yield Finding("5 % 503, 1 % resets, 1 % cut bodies, one object never", figure, "names it alone", good)


PARTS: dict[str, Callable[[Bench], Iterator[Finding]]] = {
    "once": _once,
    "rate": _rate,
    "memory": _memory,
    "kills": _kills,
    "faults": _faults,
}


# --- inside -----------------------------------------------------------------------------------------------------------


def _config(options: dict[str, str]) -> dict[str, str]:
    return {
        "aws_access_key_id": options["access_key_id"],
        "aws_secret_access_key": options["secret_access_key"],
        "aws_endpoint": options["endpoint_url"],
        "aws_region": "us-east-1",
    }


def _bare(bench: Bench, data: Data) -> None:
    """Find the objects, as a load does, and read them."""
    options = {**bench.server.options(), "endpoint_url": bench.proxy.endpoint_url}
    store = S3Store(bench.bucket, config=_config(options), client_options={"allow_http": True})
    found = [meta for page in obstore.list(store, f"{data.name}/") for meta in page]
    parts = [
        (meta["path"], start, min(meta["size"], start + BLOCK))
        for meta in found
        for start in range(0, meta["size"], BLOCK)
    ]
    with ThreadPoolExecutor(INFLIGHT) as pool:
        moved = sum(pool.map(lambda part: len(obstore.get_range(store, part[0], start=part[1], end=part[2])), parts))
    assert moved == data.bytes


@contextlib.contextmanager
def _readers(bench: Bench, data: Data) -> Iterator[None]:
    """Read files at random through the cache, in two threads."""
    ended = threading.Event()

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        while not ended.is_set():
            bench.cache.read(f"/lake/{data.keys[random.integers(len(data.keys))]}")

    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(read, seed) for seed in range(2)]
        try:
            yield
        finally:
            ended.set()
            for one in work:
                one.result()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _pid(name: str) -> int:
    actor = ray.get_actor(name, namespace=RAY_NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def _until(condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s")
        time.sleep(0.05)
