"""Workload: where tasks run, and what it costs and saves. Everything of one cluster size in one run, on one cache.

Shares of tasks and bytes read on the node that holds them; tasks over rolling windows; a busy node, skewed data, a lost
node; what placement itself costs. Rivals: the same reads placed by Ray Data alone, on the same cache, and on S3.
"""

from __future__ import annotations

import collections
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
import ray

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.epochs import quiet
from benchmarks.measure import Finding, Shown
from examples import rolling_windows
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata.datasource import LocatedDatasource
from raycache.testing.cluster import LocalCluster
from raycache.testing.data import write_parquet_dataset
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

FILES = 90
FILE_BYTES = 500_000


def measure() -> list[Finding]:
    """Run everything; about five minutes."""
    rows = Shown()
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        bucket = server.make_bucket("locality")
        s3 = server.pyarrow_filesystem()
        for name in ("warm", "cold"):
            write_parquet_dataset(s3, f"{bucket}/{name}3", FILES, FILES * FILE_BYTES, compression="none")
            write_parquet_dataset(s3, f"{bucket}/{name}5", FILES, FILES * FILE_BYTES, compression="none")
        write_parquet_dataset(s3, f"{bucket}/skewed", FILES, FILES * FILE_BYTES, compression="none")
        lost = write_parquet_dataset(s3, f"{bucket}/lost", FILES, FILES * FILE_BYTES, compression="none")
        write_parquet_dataset(s3, f"{bucket}/many", 1000, 1000 * 20_000, compression="none")
        rolling_windows.write_days(server.client(), bucket, ("default", "near", "direct", "default-1", "near-1"))
        for nodes in (3, 5):
            with touched_cluster(nodes, 1 << 30) as cluster:
                quiet()
                without_copies: dict[str, rolling_windows.Result] = {}
                if nodes == 3:
                    proxied = server.pyarrow_filesystem(proxy.endpoint_url)
                    # Six tasks, which start the worker processes: not measured.
                    rolling_windows.run_direct(proxied, f"{bucket}/direct", proxy, rolling_windows.DAYS - 5)
                    with _cache(server, bucket, proxy, replicas_max=1) as cache:
                        without_copies = {
                            "Ray's scheduling": rolling_windows.run_cached(cache, "/lake/default-1", proxy, near=False),
                            "near_many": rolling_windows.run_cached(cache, "/lake/near-1", proxy, near=True),
                        }
                with _cache(server, bucket, proxy) as cache:
                    rows += _shares(cache, nodes)
                    if nodes == 3:
                        rows += _windows(cache, f"{bucket}/direct", proxied, proxy, without_copies)
                        rows += _adverse(cache)
                        rows += _overhead(cache)
                        rows += _lost_node(cluster, lost.rows)
    return rows


@contextlib.contextmanager
def _cache(server: SeaweedServer, bucket: str, proxy: S3Proxy, **settings: Any) -> Iterator[raycache.Cache]:
    cache = raycache.start(memory="60%", disk="1GiB", **settings)
    try:
        cache.mount("/lake", f"s3://{bucket}", server.options(proxy.endpoint_url), metadata_ttl_s=3600)
        # The first Ray Data run of a process pays for starting up: not measured.
        _read(lambda: raycache.read_parquet("/lake/many/part-00000.parquet"))
        yield cache
    finally:
        raycache.stop()


def _unplaced(cache: raycache.Cache, path: str, **arguments: Any) -> ray.data.Dataset:
    """A read through the cache that Ray schedules."""
    with mock.patch.dict(os.environ, RAYCACHE_PLACEMENT="plain"):
        return ray.data.read_parquet(path, filesystem=cache.filesystem(), **arguments)


def _with_node(batch: pa.Table) -> pa.Table:
    node = ray.get_runtime_context().get_node_id()
    return pa.table({"path": batch["path"].unique(), "node": [node] * len(batch["path"].unique())})


def _read(dataset: Callable[[], ray.data.Dataset]) -> float:
    """Read everything, little of which reaches the driver; returns seconds."""
    started = time.perf_counter()
    dataset().map_batches(lambda table: table.slice(0, 1), batch_format="pyarrow", batch_size=None).take_all()
    return time.perf_counter() - started


# --- shares -------------------------------------------------------------------------------------------------------------


def _shares(cache: raycache.Cache, nodes: int) -> list[Finding]:
    """Tasks and bytes on the node that holds them: placed warm, scheduled by Ray, placed cold."""
    rows: list[Finding] = []
    warm, cold = f"/lake/warm{nodes}", f"/lake/cold{nodes}"
    cache.load(warm).wait(120)
    for name, path, dataset, bound in (
        ("raycache.read_parquet, warm", warm, lambda p: raycache.read_parquet(p, **_ONE_EACH), 0.95),
        # After it: this one leaves copies on other nodes.
        ("Ray's scheduling, warm", warm, lambda p: _unplaced(cache, p, **_ONE_EACH), 0.0),
        ("raycache.read_parquet, cold", cold, lambda p: raycache.read_parquet(p, **_ONE_EACH), 0.90),
    ):
        before = settled(cache)
        files = [file.path for file in cache.expand(path)]
        # Copies that the reading itself makes are not counted as where the file was.
        homes = dict(zip(files, Whereabouts(cache.client).place(files), strict=True))
        ran = {
            row["path"]: row["node"]
            for row in dataset(path).map_batches(_with_node, batch_format="pyarrow", batch_size=None).take_all()
        }
        after = settled(cache)
        local, remote = after.bytes_local - before.bytes_local, after.bytes_remote - before.bytes_remote
        tasks = sum(node in homes[file][:1] for file, node in ran.items()) / len(files)
        share = min(tasks, local / (local + remote))
        what = f"{nodes} nodes, {name}: tasks, bytes local"
        met = share >= bound if bound else None
        rows.append(
            Finding(what, f"{tasks:.0%}, {local / (local + remote):.0%}", f">= {bound:.0%}" if bound else "", met)
        )
    return rows


_ONE_EACH: dict[str, Any] = {"include_paths": True, "override_num_blocks": FILES}


def settled(cache: raycache.Cache) -> Any:
    """The counters of all nodes, once every process has delivered its own."""
    return rolling_windows.settled(cache)


# --- windows ------------------------------------------------------------------------------------------------------------


def _windows(
    cache: raycache.Cache,
    directory: str,
    s3: pyarrow.fs.FileSystem,
    proxy: S3Proxy,
    without_copies: dict[str, rolling_windows.Result],
) -> list[Finding]:
    """240 tasks over overlapping 90-day windows, each way on a copy of the data that nobody has read.

    Where readers keep what they have pulled, Ray's scheduling brings every file to every node once, 329 files each;
    windows in runs must share 89 files at each border of two runs. So no schedule can move less than 89 / 329 of it.
    `without_copies`: with `replicas_max=1` workers make no copies. Reader processes still keep what they have mapped,
    but not the few files of another node's segment that come inline, as they do at a border.
    """
    found = {
        "no cache": rolling_windows.run_direct(s3, directory, proxy),
        "Ray's scheduling": rolling_windows.run_cached(cache, "/lake/default", proxy, near=False),
        "near_many": rolling_windows.run_cached(cache, "/lake/near", proxy, near=True),
    }
    rows: list[Finding] = []
    for name, result in (found | {f"{name}, replicas_max=1": way for name, way in without_copies.items()}).items():
        figures = f"{result.seconds:.1f} s, {result.s3_bytes / 1e6:.1f} MB, {result.moved_bytes / 1e6:.1f} MB"
        rows.append(Finding(f"rolling windows, {name}: time, from S3, between nodes", figures))
    near = found["near_many"]
    most = rolling_windows.DAYS / (rolling_windows.WINDOW - 1)
    fewer = found["Ray's scheduling"].moved_bytes / max(1, near.moved_bytes)
    what = "rolling windows: bytes between nodes, Ray's scheduling / near_many"
    rows.append(Finding(what, f"{fewer:.1f}x", f"at most {most:.1f}x"))
    once = near.s3_bytes / near.data_bytes
    what = "rolling windows, near_many: bytes from S3 / data"
    rows.append(Finding(what, f"{once:.3f}x", "1.000x", abs(once - 1) < 0.001))
    return rows


# --- adverse ------------------------------------------------------------------------------------------------------------


@ray.remote(num_cpus=1)
class _Occupant:
    """Holds the CPU of its node."""

    def here(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


def _adverse(cache: raycache.Cache) -> list[Finding]:
    """One node busy, and all data on one node: placed against spread."""
    rows: list[Finding] = []

    def compare(what: str, path: str) -> Finding:
        placed, spread = [], []
        for _ in range(3):
            spread.append(_read(lambda: _unplaced(cache, path, override_num_blocks=FILES)))
            placed.append(_read(lambda: raycache.read_parquet(path, override_num_blocks=FILES)))
        ratio = statistics.median(placed) / statistics.median(spread)
        return Finding(f"{what}: placed / SPREAD, time", f"{ratio:.2f}x", "<= 1.25x", ratio <= 1.25)

    node = Whereabouts(cache.client).nodes[-1]
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    occupant = _Occupant.options(scheduling_strategy=strategy).remote()
    ray.get(occupant.here.remote(), timeout=60)
    rows.append(compare("one node's CPUs busy", "/lake/warm3"))
    ray.kill(occupant)
    files = cache.ls("/lake/skewed")
    cache.direct(dict.fromkeys(files, Whereabouts(cache.client).nodes[-1]))
    cache.prefetch(files, 1 << 40)
    cache.load(files).wait(120)
    rows.append(compare("all data on one node", "/lake/skewed"))
    return rows


def _lost_node(cluster: LocalCluster, expected: int) -> list[Finding]:
    """A raylet is killed in the middle of a placed read."""
    rows = 0
    killed = False
    dataset = raycache.read_parquet("/lake/lost", override_num_blocks=FILES)
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        rows += batch.num_rows
        if not killed and rows > expected // 5:
            killed = True
            cluster.remove_node(2, kill=True)
    return [Finding("one raylet killed in the middle: rows", f"{rows / expected:.0%}", "100%", rows == expected)]


#: Of the time to the first batch.
FIRST_ROUNDS = 15


# --- overhead -----------------------------------------------------------------------------------------------------------


def _overhead(cache: raycache.Cache) -> list[Finding]:
    """What placing costs: per task, in planning, and until the first batch."""
    cache.load("/lake/many").wait(120)
    placed, plain = [], []
    for _ in range(3):
        plain.append(_read(lambda: _unplaced(cache, "/lake/many", override_num_blocks=1000)))
        placed.append(_read(lambda: raycache.read_parquet("/lake/many", override_num_blocks=1000)))
    task_ms = (statistics.median(placed) - statistics.median(plain)) * 1000 / 1000
    rows: list[Finding] = [Finding("placement at 1,000 tasks, a task", f"{task_ms:+.2f} ms", "<= 2 ms", task_ms <= 2)]
    with tempfile.TemporaryDirectory(prefix="raycache-bench-") as directory:
        for index in range(100_000):
            Path(directory, f"f{index:06d}").write_bytes(b"x")
        cache.ls(f"file://{directory}")
        started = time.perf_counter()
        dataset = raycache.read_binary_files(f"file://{directory}", override_num_blocks=200)
        read = dataset._logical_plan.dag  # noqa: SLF001  # planning only, nothing is read
        assert isinstance(read.datasource, LocatedDatasource)
        tasks = read.datasource.located_tasks(200, None, dataset.context)
        planning_s = time.perf_counter() - started
        assert len(tasks) == 200
        rows.append(Finding("planning a read of 100,000 files", f"{planning_s:.1f} s", "<= 5 s", planning_s <= 5))
    return rows + _first_batch()


def _first_batch() -> list[Finding]:
    """From the call of `read_parquet` to the first batch, on copies of the same files; planning is what the call takes."""
    local = pa.fs.LocalFileSystem()
    seconds: dict[str, list[tuple[float, float]]] = {}
    context = ray.data.DataContext.get_current()
    with tempfile.TemporaryDirectory(prefix="raycache-bench-") as directory:
        write_parquet_dataset(local, directory, FILES, FILES * FILE_BYTES, compression="none")
        readers: list[tuple[str, Callable[[], ray.data.Dataset]]] = [
            ("V1", lambda: ray.data.read_parquet(directory, filesystem=local)),
            ("raycache", lambda: raycache.read_parquet("/lake/warm3")),
        ]
        # V2 last: what its actors leave behind would be paid for by whoever comes next.
        for name, make in [*readers * FIRST_ROUNDS, *[("V2", readers[0][1])] * 5]:
            context.use_datasource_v2 = name == "V2"
            started = time.perf_counter()
            dataset = make()
            planned = time.perf_counter()
            batches = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
            next(batches)
            seconds.setdefault(name, []).append((planned - started, time.perf_counter() - started))
            # To the end: tasks of a read that is left keep their CPUs for a second, and whoever comes next waits.
            collections.deque(batches, maxlen=0)
        context.use_datasource_v2 = False
    # The first rounds start task processes.
    kept = {name: found[len(found) // 3 :] for name, found in seconds.items()}
    planning, first = ({n: statistics.median(x[i] for x in found) for n, found in kept.items()} for i in (0, 1))
    most_s = max(x[1] for x in kept["raycache"])
    bound_s = min(0.7, first["V1"], first["V2"])
    stock = f"{first['V1']:.3f}, {first['V2']:.2f} s; {planning['V1']:.3f}, {planning['V2']:.2f} s"
    ours = f"{first['raycache']:.3f} s; {planning['raycache']:.3f} s; {most_s:.3f} s"
    return [
        Finding("first batch, stock Ray Data on local files (V1, V2); planning", stock),
        Finding(
            "first batch, raycache warm; planning; slowest", ours, f"<= {bound_s:.3f} s", first["raycache"] <= bound_s
        ),
    ]
