"""240 tasks, each over a 90-day window of daily parquet files; neighbouring windows share 89 of their files.

    python examples/rolling_windows.py [--tasks 240] [--window 90]

The same tasks three times, each on a copy of the data that nobody has read: straight from S3; through the cache, scheduled
as Ray likes; through the cache with `cache.near_many`, which sends neighbouring windows to one node and has their files
loaded there. Everything runs on this machine: an S3 server, three Ray nodes, the cache. "Between nodes" is what readers
took from workers of other nodes.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import ray
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import connected_or_local
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

TASKS, WINDOW = 240, 90
DAYS = TASKS + WINDOW - 1


class Result(NamedTuple):
    """One way of running all tasks."""

    seconds: float
    #: What left S3, what crossed between nodes, and the size of all files.
    s3_bytes: int
    moved_bytes: int
    data_bytes: int
    #: The sum of all tasks' results: the same every time.
    total: float


def daily_file(day: int, rows: int = 2000) -> bytes:
    """One day of prices."""
    draw = np.random.default_rng(day)
    prices = pa.table({"asset": np.arange(rows) % 50, "price": draw.normal(100 + day / 10, 5, rows).astype(np.float32)})
    target = io.BytesIO()
    pq.write_table(prices, target)
    return target.getvalue()


def write_days(client: Any, bucket: str, copies: Sequence[str], days: int = DAYS) -> None:
    """Write the same daily files under several prefixes."""
    for day in range(days):
        body = daily_file(day)
        for copy in copies:
            client.put_object(Bucket=bucket, Key=f"{copy}/{day:04d}.parquet", Body=body)


def mean_price(buffers: Sequence[pa.Buffer]) -> float:
    """What a task does with its window: one number of all of it."""
    prices = [pq.read_table(pa.BufferReader(buffer), columns=["price"])["price"].to_numpy() for buffer in buffers]
    return float(np.concatenate(prices).mean())


@ray.remote(num_cpus=1)
def window_mean(paths: list[str]) -> float:
    """A task, through the cache."""
    return mean_price(raycache.connect().read_many(paths))


@ray.remote(num_cpus=1)
def window_mean_direct(s3: pyarrow.fs.FileSystem, paths: list[str]) -> float:
    """The same task, straight from S3."""
    return mean_price([s3.open_input_file(path).read_buffer() for path in paths])


def settled(cache: raycache.Cache) -> Any:
    """The counters, once every process has delivered its own: they arrive within a second or two of the reads."""
    found, same = cache.stats().total, 0
    while same < 3:
        time.sleep(0.3)
        newer = cache.stats().total
        same = same + 1 if (newer.hits, newer.bytes_local) == (found.hits, found.bytes_local) else 0
        found = newer
    return found


def run_cached(cache: raycache.Cache, directory: str, proxy: S3Proxy, *, near: bool, window: int = WINDOW) -> Result:
    """All windows over the files of a directory, through the cache."""
    files = cache.ls(directory)
    windows = [files[first : first + window] for first in range(len(files) - window + 1)]
    before = settled(cache)
    proxy.reset()
    started = time.perf_counter()
    wishes = cache.near_many(windows) if near else [{"scheduling_strategy": "DEFAULT"}] * len(windows)
    tasks = [window_mean.options(**wish).remote(paths) for paths, wish in zip(windows, wishes, strict=True)]
    total = sum(ray.get(tasks, timeout=300))
    seconds = time.perf_counter() - started
    moved = settled(cache).bytes_remote - before.bytes_remote
    return Result(seconds, proxy.counters().data_bytes, moved, cache.du(directory).bytes_total, total)


def run_direct(s3: pyarrow.fs.FileSystem, directory: str, proxy: S3Proxy, window: int = WINDOW) -> Result:
    """All windows over the files of a directory, straight from S3."""
    found = s3.get_file_info(pyarrow.fs.FileSelector(directory))
    files = sorted(info.path for info in found)
    windows = [files[first : first + window] for first in range(len(files) - window + 1)]
    proxy.reset()
    started = time.perf_counter()
    total = sum(ray.get([window_mean_direct.remote(s3, paths) for paths in windows], timeout=300))
    seconds = time.perf_counter() - started
    return Result(seconds, proxy.counters().data_bytes, 0, sum(info.size for info in found), total)


def main(arguments: Sequence[str] | None = None) -> dict[str, Result]:
    """Run it; returns the results by name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--window", type=int, default=WINDOW)
    options = parser.parse_args(arguments)
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        bucket = server.make_bucket("prices")
        write_days(server.client(), bucket, ("a", "b", "c"), options.tasks + options.window - 1)
        with connected_or_local(nodes=3):
            cache = raycache.start(memory="40%", disk="512MiB")
            cache.mount("/prices", f"s3://{bucket}", options=server.options(proxy.endpoint_url))
            s3 = server.pyarrow_filesystem(proxy.endpoint_url)
            run_direct(s3, f"{bucket}/a", proxy, options.tasks + options.window - 6)  # starts the worker processes
            results = {
                "no cache": run_direct(s3, f"{bucket}/a", proxy, options.window),
                "cache, Ray's scheduling": run_cached(cache, "/prices/b", proxy, near=False, window=options.window),
                "cache.near_many": run_cached(cache, "/prices/c", proxy, near=True, window=options.window),
            }
            raycache.stop()
    table = Table("", "seconds", "from S3, MB", "between nodes, MB", "sum of means", title="Rolling windows")
    for name, result in results.items():
        moved = f"{result.moved_bytes / 1e6:.1f}"
        row = (f"{result.seconds:.1f}", f"{result.s3_bytes / 1e6:.1f}", moved, f"{result.total:.3f}")
        table.add_row(name, *row)
    Console().print(table)
    files = options.tasks + options.window - 1
    print(f"{files} files, {results['no cache'].data_bytes / 1e6:.1f} MB.")
    return results


if __name__ == "__main__":
    main()
