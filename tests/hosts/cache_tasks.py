"""What a driver on a host does in tests of the cache: functions for an `Interpreter`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray
import ray.data

import raycache
from raycache.testing.hosts.interpreter_loop import tell


def join(address: str) -> int:
    """Join the cluster as a driver; returns how many nodes it has."""
    ray.init(address=address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return sum(node["Alive"] for node in ray.nodes())


def start_cache(uri: str, options: dict[str, str], settings: dict[str, Any]) -> None:
    """Start the cache, and mount a lake at /lake."""
    raycache.start(**settings).mount("/lake", uri, options, metadata_ttl_s=600)


def epoch(directory: str) -> dict[str, Any]:
    """Read all parquet files of a directory in the lake, and tell of the first batch.

    Returns:
        `rows` and `total`, as `lake.put_parquet` says them; `seconds`.
    """
    started_s = time.monotonic()
    rows = total = 0
    sums = raycache.read_parquet(f"/lake/{directory}").map_batches(_sums, batch_size=None, batch_format="numpy")
    for batch in sums.iter_batches(batch_size=None, batch_format="numpy"):
        if not rows:
            tell("first batch")
        rows += int(batch["rows"].sum())
        total += int(batch["total"].sum())
    return {"rows": rows, "total": total, "seconds": time.monotonic() - started_s}


def _sums(batch: dict[str, Any]) -> dict[str, Any]:
    """Done where the files are read, so that no rows travel."""
    return {"rows": np.array([len(batch["value"])]), "total": np.array([batch["value"].sum()])}


@ray.remote(num_cpus=0)
def _digests(names: list[str]) -> list[tuple[int, float]]:
    cache, found = raycache.connect(), []
    for name in names:
        started_s = time.monotonic()
        total = int(np.frombuffer(cache.read(f"/lake/{name}"), np.uint8).sum(dtype=np.uint64))
        found.append((total, time.monotonic() - started_s))
    return found


def read_everywhere(names: list[str], nodes: list[str]) -> list[list[tuple[int, float]]]:
    """Read whole files on the nodes with these addresses, all at once, one file after the other on each.

    Returns:
        Shape (len(nodes), len(names)): the sum of a file's bytes, and how long its read took, in seconds.
    """
    ids = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
    selected = [_digests.options(label_selector={"ray.io/node-id": ids[address]}) for address in nodes]
    running = [options.remote(names) for options in selected]
    tell("running")
    found: list[list[tuple[int, float]]] = ray.get(running, timeout=180)
    return found


def stats() -> dict[str, int]:
    """What was read since the cache started."""
    total = raycache.connect().stats().total
    return {name: getattr(total, name) for name in ("hits", "misses", "bypasses", "bytes_remote", "bytes_local")}


def forget() -> None:
    """Free what is cached of the lake."""
    raycache.connect().free("/lake")
