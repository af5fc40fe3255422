"""240 tasks, each over a 90-day window of daily parquet files; neighbouring windows share 89 of their files.

    python examples/rolling_windows.py [--tasks 240] [--window 90]

The same tasks on the same warm cache, scheduled twice: by Ray's default, and with `cache.near_many`. Everything runs on
this machine: an S3 server, three Ray nodes, the cache. "Between nodes" is what readers took from workers of other nodes.
"""

from __future__ import annotations

import argparse
import io
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer


def daily_file(day: int, rows: int = 2000) -> bytes:
    """One day of prices."""
    draw = np.random.default_rng(day)
    prices = pa.table({"asset": np.arange(rows) % 50, "price": draw.normal(100 + day / 10, 5, rows).astype(np.float32)})
    target = io.BytesIO()
    pq.write_table(prices, target)
    return target.getvalue()


@ray.remote(num_cpus=1)
def window_mean(paths: list[str]) -> float:
    """What a task does with its window: read all of it, compute one number."""
    buffers = raycache.connect().read_many(paths)
    prices = [pq.read_table(pa.BufferReader(buffer), columns=["price"])["price"].to_numpy() for buffer in buffers]
    return float(np.concatenate(prices).mean())


def run(windows: list[list[str]], options: list[dict[str, Any]]) -> tuple[float, float]:
    """Run all tasks; returns (seconds, sum of results)."""
    started = time.perf_counter()
    tasks = [window_mean.options(**wish).remote(paths) for paths, wish in zip(windows, options, strict=True)]
    results = ray.get(tasks, timeout=300)
    return time.perf_counter() - started, sum(results)


def settled(cache: raycache.Cache) -> Any:
    """The counters, once every process has delivered its own: they arrive within a second or two of the reads."""
    found, same = cache.stats().total, 0
    while same < 4:
        time.sleep(0.5)
        newer = cache.stats().total
        same = same + 1 if (newer.hits, newer.bytes_local) == (found.hits, found.bytes_local) else 0
        found = newer
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=240)
    parser.add_argument("--window", type=int, default=90)
    options = parser.parse_args()
    days = options.tasks + options.window - 1
    table = Table(
        "scheduling", "seconds", "between nodes, MB", "local", "S3 MB", "sum of means", title="Rolling windows"
    )
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        bucket = server.make_bucket("prices")
        client = server.client()
        for day in range(days):
            client.put_object(Bucket=bucket, Key=f"daily/{day:04d}.parquet", Body=daily_file(day))
        with LocalCluster(nodes=3, cpus_per_node=1):
            cache = raycache.start(memory="40%", disk="512MiB")
            cache.mount("/prices", f"s3://{bucket}", options=server.options(proxy.endpoint_url))
            cache.load("/prices/daily").wait(timeout_s=60)
            loaded = proxy.counters().data_bytes
            files = cache.ls("/prices/daily")
            windows = [files[first : first + options.window] for first in range(options.tasks)]
            run(windows[:6], [{}] * 6)  # start the worker processes
            for name in ("Ray's default", "cache.near_many"):
                proxy.reset()
                before = settled(cache)
                started = time.perf_counter()
                wishes = [{"scheduling_strategy": "DEFAULT"}] * len(windows)
                if name == "cache.near_many":
                    wishes = cache.near_many(windows)
                planning_s = time.perf_counter() - started
                seconds, total = run(windows, wishes)
                after = settled(cache)
                remote, local = after.bytes_remote - before.bytes_remote, after.bytes_local - before.bytes_local
                table.add_row(
                    name,
                    f"{planning_s + seconds:.2f}",
                    f"{remote / 1e6:.1f}",
                    f"{local / max(1, local + remote):.0%}",
                    f"{proxy.counters().data_bytes / 1e6:.1f}",
                    f"{total:.3f}",
                )
            raycache.stop()
    Console().print(table)
    print(f"{days} files; loading them took {loaded / 1e6:.1f} MB from S3, once.")


if __name__ == "__main__":
    main()
