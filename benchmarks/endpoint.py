"""The S3 endpoint beside the S3 server whose data it serves, by the same client; scans by polars; a loader with forked workers.

Every pair of figures is measured in turn in one run. The client is obstore, in threads of one process; what it reads is hashed on
both sides alike. CPU seconds are those of the server's processes and of the client's, from /proc.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from obstore.store import S3Store

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.measure import Finding, Shown
from raycache.cache import Cache
from raycache.testing.processes import processes_below
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

CONNECTIONS = (1, 8, 32)
ROUNDS = 3
SMALL_FILES, SMALL_BYTES = 2_000, 100_000
LARGE_FILES, LARGE_BYTES = 8, 64 << 20
RANGE_BYTES = 64 << 10
SCAN_FILES, SCAN_BYTES = 16, 1_000_000_000
LAKE_DELAY_S, LAKE_RATE = 0.03, 60_000_000
LOADER_FILES, LOADER_WORKERS, LOADER_BATCH = 20_000, 4, 64
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Requests(NamedTuple):
    """What is asked for in one run."""

    name: str
    requests: int
    #: (client, number, random) -> bytes read.
    read: Callable[[S3Store, int, random.Random], int]
    ratio_min: float


class Run(NamedTuple):
    """What one run cost."""

    seconds: float
    server_s: float
    client_s: float
    bytes: int


def measure() -> list[Finding]:
    """Run everything."""
    found = Shown()
    with SeaweedServer() as server, touched_cluster(1, 3 << 30, cpus_per_node=2):
        bucket = server.make_bucket("bench")
        _fill(server, bucket)
        cache = raycache.start(memory="60%", disk="off", lease_s=600.0, endpoint=True)
        try:
            cache.mount("/lake", f"s3://{bucket}", server.options(), metadata_ttl_s=3600)
            for path in ("/lake/small", "/lake/large"):
                cache.load(path).wait(300)
            found += _side_by_side(cache, server, bucket)
            found += _scans(cache, server, bucket)
            cache.free("/lake", force=True)
            found += _loader(cache, server, bucket)
        finally:
            raycache.stop()
    return found


def _fill(server: SeaweedServer, bucket: str) -> None:
    client, bytes_of = server.client(), np.random.default_rng(0).bytes
    for number in range(SMALL_FILES):
        client.put_object(Bucket=bucket, Key=f"small/{number:05}", Body=bytes_of(SMALL_BYTES))
    for number in range(LARGE_FILES):
        client.put_object(Bucket=bucket, Key=f"large/{number}", Body=bytes_of(LARGE_BYTES))
    rows = SCAN_BYTES // SCAN_FILES // 32
    for number in range(SCAN_FILES):
        values = np.random.default_rng(number)
        table = pa.table({name: values.random(rows) for name in "abcd"})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="none", use_dictionary=False)
        client.put_object(Bucket=bucket, Key=f"scan/{number:02}.parquet", Body=sink.getvalue().to_pybytes())


# --- one client, two servers ------------------------------------------------------------------------------------------


def _small(store: S3Store, number: int, picked: random.Random) -> int:
    del number
    body = obstore.get(store, f"small/{picked.randrange(SMALL_FILES):05}").bytes()
    xxhash.xxh3_64_intdigest(body)
    return len(body)


def _range(store: S3Store, number: int, picked: random.Random) -> int:
    start = picked.randrange(LARGE_BYTES - RANGE_BYTES)
    body = obstore.get_range(store, f"large/{number % LARGE_FILES}", start=start, end=start + RANGE_BYTES)
    xxhash.xxh3_64_intdigest(body)
    return len(body)


def _large(store: S3Store, number: int, picked: random.Random) -> int:
    del picked
    body = obstore.get(store, f"large/{number % LARGE_FILES}").bytes()
    xxhash.xxh3_64_intdigest(body)
    return len(body)


WORKLOADS = (
    Requests("100 KB objects", 2_000, _small, 2.0),
    Requests("64 KiB ranges", 1_500, _range, 2.0),
    Requests("64 MB objects", 32, _large, 1.2),
)


def _side_by_side(cache: Cache, server: SeaweedServer, bucket: str) -> Iterator[Finding]:
    endpoint = cache.endpoint()
    options: dict[str, Any] = endpoint.storage_options()
    ours = S3Store(bucket, config=options, client_options={"allow_http": True})
    keys = server.options()
    theirs = S3Store(
        bucket, endpoint=keys["endpoint_url"], access_key_id=keys["access_key_id"],
        secret_access_key=keys["secret_access_key"], region=keys["region"], virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )  # fmt: skip
    own_pid, their_pid = _endpoint_pid(), server.pid or 0
    best_rate = 0.0
    for workload in WORKLOADS:
        for connections in CONNECTIONS:
            runs: tuple[list[Run], list[Run]] = ([], [])
            for number in range(ROUNDS + 1):
                for side in (0, 1) if number % 2 else (1, 0):
                    store, pid = ((ours, own_pid), (theirs, their_pid))[side]
                    run = _run(workload, store, connections, pid)
                    if number:  # the first warms both up
                        runs[side].append(run)
            rates = [statistics.median(workload.requests / run.seconds for run in side) for side in runs]
            ratio = rates[0] / rates[1]
            yield Finding(
                f"{workload.name}, {connections} connections: endpoint / SeaweedFS",
                f"{ratio:.2f}x ({rates[0]:,.0f}/s, {rates[1]:,.0f}/s)",
                f">= {workload.ratio_min:g}x",
                ratio >= workload.ratio_min,
            )
            for name, side in zip(("endpoint", "SeaweedFS"), runs, strict=True):
                yield Finding(f"- CPU, {name}", _cpu(side, workload.requests))
            if workload.name == "64 KiB ranges":
                server_s = statistics.median(run.server_s for run in runs[0])
                best_rate = max(best_rate, workload.requests / max(server_s, _TICK_S))
    yield Finding(
        "64 KiB ranges a second of the server's CPU", f"{best_rate:,.0f}", "10,000 (stretch)", best_rate >= 10_000
    )


def _run(workload: Requests, store: S3Store, connections: int, pid: int) -> Run:
    taken: list[int] = []

    def work(worker: int) -> None:
        picked = random.Random(worker)
        taken.append(sum(workload.read(store, n, picked) for n in range(worker, workload.requests, connections)))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(connections)]
    cpu_s, client_s, started_s = _cpu_s(pid), time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started_s
    return Run(seconds, _cpu_s(pid) - cpu_s, time.process_time() - client_s, sum(taken))


def _cpu(runs: Sequence[Run], requests: int) -> str:
    server_s = statistics.median(run.server_s for run in runs)
    client_s = statistics.median(run.client_s for run in runs)
    gigabytes = runs[0].bytes / 1e9
    return (
        f"server {server_s / requests * 1e6:,.0f} us a request, {server_s / gigabytes:.2f} s/GB; "
        f"client {client_s / requests * 1e6:,.0f} us, {client_s / gigabytes:.2f} s/GB"
    )


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and all below it so far."""
    total = 0
    for each in (pid, *processes_below(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def _endpoint_pid() -> int:
    """Of the process that serves this node."""
    for pid in processes_below(os.getpid()):  # not that of another cluster on this machine
        with contextlib.suppress(OSError):
            if "EndpointActor" in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    raise RuntimeError("the endpoint's process was not found")


# --- scans ------------------------------------------------------------------------------------------------------------


def _scans(cache: Cache, server: SeaweedServer, bucket: str) -> Iterator[Finding]:
    clients = [name for name in ("polars", "duckdb") if importlib.util.find_spec(name)]
    if "polars" not in clients:
        yield Finding("a scan by polars", "polars is not installed: `make bench-endpoint` installs it")
        return
    with S3Proxy(server.endpoint_url) as proxy:
        proxy.shape(LAKE_DELAY_S, LAKE_RATE)
        keys = server.options(proxy.endpoint_url)
        cache.mount("/scan", f"s3://{bucket}/scan", keys, metadata_ttl_s=3600)
        cache.load("/scan").wait(300)
        slow = {
            "aws_endpoint_url": keys["endpoint_url"], "aws_access_key_id": keys["access_key_id"],
            "aws_secret_access_key": keys["secret_access_key"], "aws_region": keys["region"], "aws_allow_http": "true",
        }  # fmt: skip
        _polars("s3://scan/*.parquet", cache.endpoint().storage_options())
        seconds: tuple[list[float], list[float]] = ([], [])
        asked = 0
        for number in range(3):
            for side in (0, 1) if number % 2 else (1, 0):
                before = proxy.counters()
                started_s = time.perf_counter()
                if side:
                    _polars(f"s3://{bucket}/scan/*.parquet", slow)
                else:
                    _polars("s3://scan/*.parquet", cache.endpoint().storage_options())
                    after = proxy.counters()
                    asked += after.data_requests + after.list_requests - before.data_requests - before.list_requests
                seconds[side].append(time.perf_counter() - started_s)
        ratio = statistics.median(seconds[0]) / statistics.median(seconds[1])
        yield Finding(
            f"polars scans {SCAN_BYTES / 1e9:g} GB of parquet, warm: endpoint / S3 with 30 ms and 60 MB/s a connection",
            f"{ratio:.2f}x ({statistics.median(seconds[0]):.2f} s, {statistics.median(seconds[1]):.2f} s)",
            "<= 0.5x",
            ratio <= 0.5,
        )
        yield Finding("- requests to the lake meanwhile", str(asked), "0", asked == 0)
        cache.unmount("/scan")


def _polars(url: str, options: dict[str, str]) -> None:
    import polars as pl

    frame = pl.scan_parquet(url, storage_options=options)
    frame.select(pl.all().sum()).collect()


# --- a loader with forked workers -------------------------------------------------------------------------------------


class Files:
    """A map dataset, as torch's `DataLoader` takes it."""

    def __init__(self, paths: list[str], read: Callable[[str], Any]) -> None:
        self._paths = paths
        self._read = read

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.frombuffer(self._read(self._paths[index]), np.uint8)


def _loader(cache: Cache, server: SeaweedServer, bucket: str) -> Iterator[Finding]:
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    folder = folder / f"raycache-bench-{os.getpid()}"
    folder.mkdir()
    try:
        client = server.client()
        body = np.random.default_rng(1).bytes(SMALL_BYTES)
        count = LOADER_FILES // 10
        for number in range(count):
            client.put_object(Bucket=bucket, Key=f"loader/{number:05}", Body=body)
            (folder / f"{number:05}").write_bytes(body)
        names = [f"{number % count:05}" for number in range(LOADER_FILES)]
        order = random.Random(0)
        ours = Files([f"/lake/loader/{name}" for name in names], cache.read)
        local = Files([str(folder / name) for name in names], lambda path: Path(path).read_bytes())
        cold_s = _epoch(ours, order)
        seconds: tuple[list[float], list[float]] = ([], [])
        for number in range(3):
            for side in (0, 1) if number % 2 else (1, 0):
                seconds[side].append(_epoch((ours, local)[side], order))
        ratio = statistics.median(seconds[1]) / statistics.median(seconds[0])
        kind = (
            "torch's DataLoader"
            if importlib.util.find_spec("torch")
            else "a loader of the same protocol (no torch here)"
        )
        yield Finding(
            f"{kind}, {LOADER_WORKERS} forked workers, {LOADER_FILES:,} reads of 100 KB, warm: cache / local files",
            f"{ratio:.2f}x ({LOADER_FILES / statistics.median(seconds[0]):,.0f}/s, "
            f"{LOADER_FILES / statistics.median(seconds[1]):,.0f}/s)",
            ">= 0.5x",
            ratio >= 0.5,
        )
        yield Finding("- the same, cold", f"{LOADER_FILES / cold_s:,.0f}/s")
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def _epoch(dataset: Files, order: random.Random) -> float:
    """Seconds for all items once, in random order, in batches."""
    started_s = time.perf_counter()
    if importlib.util.find_spec("torch"):
        from torch.utils.data import DataLoader

        loader = DataLoader(
            dataset, LOADER_BATCH, shuffle=True, num_workers=LOADER_WORKERS, multiprocessing_context="fork"
        )  # type: ignore[var-annotated,arg-type]
        taken = sum(len(batch) for batch in loader)
    else:
        taken = sum(_forked(dataset, order))
    if taken != len(dataset):
        raise RuntimeError(f"{taken} of {len(dataset)} items came")
    return time.perf_counter() - started_s


def _forked(dataset: Files, order: random.Random) -> Iterator[int]:
    """Batches from forked processes, over a queue, with their content in shared memory: what torch does."""
    indices = list(range(len(dataset)))
    order.shuffle(indices)
    batches = [indices[start : start + LOADER_BATCH] for start in range(0, len(indices), LOADER_BATCH)]
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue(maxsize=2 * LOADER_WORKERS)

    def work(worker: int) -> None:
        for batch in batches[worker::LOADER_WORKERS]:
            items = np.stack([dataset[index] for index in batch])
            queue.put((len(items), int(items[:, 0].sum())))

    children = [context.Process(target=work, args=(worker,)) for worker in range(LOADER_WORKERS)]
    for child in children:
        child.start()
    for _ in batches:
        yield queue.get(timeout=120)[0]
    for child in children:
        child.join()
