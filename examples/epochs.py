"""Several epochs of training over one parquet data set: the first fills the cache, the others read nothing from S3.

    python examples/epochs.py [--files 24] [--megabytes 48] [--epochs 3]

Everything runs on this machine: an S3 server, a proxy that counts what S3 is asked for, three Ray nodes, the cache.
"Local" is the share of bytes that a read task found on its own node.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import connected_or_local
from raycache.testing.data import write_parquet_dataset
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer


class Model:
    """Stands for a model: logistic regression over the float columns, one step per batch."""

    def __init__(self) -> None:
        self.weights: np.ndarray | None = None
        self.rows = 0
        self.loss = 0.0

    def step(self, batch: dict[str, np.ndarray]) -> None:
        features = np.stack([v for v in batch.values() if v.dtype == np.float32], axis=1).astype(np.float64)
        target = (features[:, 0] > np.median(features[:, 0])).astype(np.float64)
        if self.weights is None:
            self.weights = np.zeros(features.shape[1])
        guess = 1 / (1 + np.exp(-features @ self.weights))
        self.loss = float(np.mean((guess - target) ** 2))
        self.weights -= 0.1 * features.T @ (guess - target) / len(target)
        self.rows += len(target)


def settled(cache: raycache.Cache) -> Any:
    """The counters, once every process has delivered its own: they arrive within a second or two of the reads."""
    found, same = cache.stats().total, 0
    while same < 3:
        time.sleep(0.3)
        newer = cache.stats().total
        same = same + 1 if (newer.hits, newer.bytes_local) == (found.hits, found.bytes_local) else 0
        found = newer
    return found


def main(arguments: Sequence[str] | None = None) -> list[int]:
    """Run it; returns how many reads each epoch sent to S3."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args(arguments)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    table = Table("epoch", "seconds", "rows", "loss", "S3 reads", "S3 MB", "hit rate", "local", title="Epochs, 3 nodes")
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        bucket = server.make_bucket("train")
        write_parquet_dataset(server.pyarrow_filesystem(), f"{bucket}/set", options.files, options.megabytes * 10**6)
        with connected_or_local(nodes=3):
            ray.data.DataContext.get_current().enable_progress_bars = False
            cache = raycache.start(memory="40%", disk="512MiB")
            cache.mount("/train", f"s3://{bucket}", options=server.options(proxy.endpoint_url))
            # Ray Data's own processes start at its first use, seconds that are not the cache's: not timed below.
            ray.data.range(30, override_num_blocks=6).map_batches(lambda batch: batch).materialize()
            model = Model()
            s3_reads: list[int] = []
            for epoch in range(1, options.epochs + 1):
                proxy.reset()
                before, rows, started = settled(cache), model.rows, time.perf_counter()
                dataset = raycache.read_parquet("/train/set", cache=cache)
                for batch in dataset.iter_batches(batch_size=4096):
                    model.step(batch)
                seconds = time.perf_counter() - started
                after, counters = settled(cache), proxy.counters()
                s3_reads.append(counters.data_requests)
                asked = after.hits + after.misses + after.bypasses - before.hits - before.misses - before.bypasses
                local, remote, bypass = (
                    getattr(after, name) - getattr(before, name)
                    for name in ("bytes_local", "bytes_remote", "bytes_bypass")
                )
                table.add_row(
                    str(epoch),
                    f"{seconds:.2f}",
                    f"{model.rows - rows:,}",
                    f"{model.loss:.3f}",
                    str(counters.data_requests),
                    f"{counters.data_bytes / 1e6:.1f}",
                    f"{(after.hits - before.hits) / max(1, asked):.0%}",
                    f"{local / max(1, local + remote + bypass):.0%}",
                )
            raycache.stop()
    Console().print(table)
    return s3_reads


if __name__ == "__main__":
    main()
