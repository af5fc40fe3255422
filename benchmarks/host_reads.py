"""What the driver of the benchmark on hosts does there: functions for an `Interpreter`."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import ray
import ray.data
from pyarrow.fs import S3FileSystem

import raycache
from raycache.testing.hosts.interpreter_loop import tell

_filesystem: S3FileSystem | None = None


def start(address: str, uri: str, options: dict[str, str], settings: dict[str, Any]) -> None:
    """Join the cluster, start the cache, mount the lake at /lake, and remember how to read it directly."""
    global _filesystem  # noqa: PLW0603  # of the process
    ray.init(address=address, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    raycache.start(**settings).mount("/lake", uri, options, metadata_ttl_s=3600)
    _filesystem = S3FileSystem(
        access_key=options["access_key_id"],
        secret_key=options["secret_access_key"],
        endpoint_override=options["endpoint_url"],
        region=options["region"],
    )


def epoch(way: str, bucket: str, directory: str) -> dict[str, Any]:
    """Read all parquet files of a directory, and sum a column where they are read.

    Args:
        way: "direct-v1", "direct-v2" (Ray's two readers, from the store), "unplaced" or "placed" (through the cache).
        bucket: of the lake.
        directory: in it.

    Returns:
        `seconds`, `rows`, `total`; and the first batch is told of.
    """
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = way != "direct-v1"
    if way == "unplaced":
        os.environ["RAYCACHE_PLACEMENT"] = "plain"
    else:
        os.environ.pop("RAYCACHE_PLACEMENT", None)
    started_s = time.perf_counter()
    if way == "placed":
        dataset = raycache.read_parquet(f"/lake/{directory}")
    elif way == "unplaced":
        dataset = ray.data.read_parquet(f"/lake/{directory}", filesystem=raycache.connect().filesystem())
    else:
        dataset = ray.data.read_parquet(f"{bucket}/{directory}", filesystem=_filesystem)
    rows = total = 0
    for batch in dataset.map_batches(_sums, batch_size=None).iter_batches(batch_size=None):
        if not rows:
            tell("first batch")
        rows += int(batch["rows"].sum())
        total += int(batch["total"].sum())
    return {"seconds": time.perf_counter() - started_s, "rows": rows, "total": total}


def _sums(batch: dict[str, Any]) -> dict[str, Any]:
    """All columns are read, since nobody says that some will do; no rows travel."""
    return {"rows": np.array([len(batch["value"])]), "total": np.array([batch["value"].sum()])}


def free() -> None:
    """Drop what is cached of the lake."""
    raycache.connect().free("/lake", force=True)


def counts() -> dict[str, int]:
    """What has left the lake for the cache and its readers, and what went past it, since the cache started."""
    total = raycache.connect().stats().total
    return {"lake_bytes": total.ufs_bytes, "bypasses": total.bypasses, "silences": total.peer_silences}
