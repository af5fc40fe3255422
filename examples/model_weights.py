"""The weights of a model on every node at once, for one download: `cache.local`, beside as many plain downloads.

    python examples/model_weights.py [--megabytes 1024] [--files 4] [--nodes 3] [--lake-mb-per-s 50]

A model of several safetensors files lies in S3, behind a proxy that lets through so many bytes a second over all connections
together. On each node a task asks for local files of it and maps its tensors with numpy; then the same tasks download the model from
S3, each by itself. Everything runs on this machine, so its nodes share one disk and one network; what S3 sent is exact.
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import obstore
import ray
from obstore.store import S3Store
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import connected_or_local
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer


class Taken(NamedTuple):
    """What one way to bring the weights to all nodes took."""

    seconds: float
    s3_bytes: int
    #: Of all tensors, on each node.
    sums: list[float]


def safetensors(number: int, size: int) -> bytes:
    """A file of one tensor, in the format of safetensors: the length of a header, the header as JSON, the data."""
    data = np.random.default_rng(number).random(size // 4, dtype=np.float32)
    header = {f"layer.{number}": {"dtype": "F32", "shape": [len(data)], "data_offsets": [0, data.nbytes]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data.tobytes()


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, mapped: nothing is read before it is used."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {
        name: np.memmap(path, np.float32, "r", 8 + length + tensor["data_offsets"][0], tuple(tensor["shape"]))
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def total(folder: Path) -> float:
    """The sum of all weights."""
    found = (tensor for path in sorted(folder.rglob("*.safetensors")) for tensor in tensors(path).values())
    return sum(float(tensor.sum(dtype=np.float64)) for tensor in found)


@ray.remote(num_cpus=0)
def by_cache() -> float:
    """Local files of this node."""
    with raycache.connect().local("/models/big") as folder:
        return total(folder)


@ray.remote(num_cpus=0)
def by_download(bucket: str, options: dict[str, Any]) -> float:
    """What every node does without a cache."""
    store = S3Store(bucket, config=options, client_options={"allow_http": True})
    with tempfile.TemporaryDirectory() as name:
        for batch in obstore.list(store, "big"):
            for found in batch:
                with (Path(name) / Path(found["path"]).name).open("wb") as file:
                    for piece in obstore.get(store, found["path"]).stream(min_chunk_size=8 << 20):
                        file.write(piece)
        return total(Path(name))


def everywhere(task: Any, proxy: S3Proxy, nodes: Sequence[str], *arguments: Any) -> Taken:
    """Run a task on all these nodes at once."""
    proxy.reset()
    started_s = time.perf_counter()
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    sums = ray.get([task.options(scheduling_strategy=there).remote(*arguments) for there in strategies])
    return Taken(time.perf_counter() - started_s, proxy.counters().data_bytes, sums)


def main(arguments: Sequence[str] | None = None) -> dict[str, Taken]:
    """Run it; returns what each way took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--lake-mb-per-s", type=float, default=50.0)
    options = parser.parse_args(arguments)
    size = options.megabytes * 1_000_000 // options.files
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy, connected_or_local(options.nodes):
        bucket = server.make_bucket("models")
        for number in range(options.files):
            body = safetensors(number, size)
            server.client().put_object(Bucket=bucket, Key=f"big/model-{number:05}.safetensors", Body=body)
        keys = server.options(proxy.endpoint_url)
        plain = {
            "aws_endpoint_url": keys["endpoint_url"], "aws_access_key_id": keys["access_key_id"],
            "aws_secret_access_key": keys["secret_access_key"], "aws_region": keys["region"],
        }  # fmt: skip
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        cache = raycache.start(disk=f"{3 * options.megabytes}MB")
        try:
            cache.mount("/models", f"s3://{bucket}", keys, metadata_ttl_s=3600)
            proxy.shape(total_bytes_per_s=options.lake_mb_per_s * 1e6)
            found = {
                "one node, plain download": everywhere(by_download, proxy, nodes[:1], bucket, plain),
                f"{len(nodes)} nodes, cache.local": everywhere(by_cache, proxy, nodes),
                f"{len(nodes)} nodes, plain downloads": everywhere(by_download, proxy, nodes, bucket, plain),
            }
        finally:
            raycache.stop()
    table = Table("way", "seconds", "out of S3, MB", "x of the model", title=f"{options.megabytes} MB of weights")
    for name, taken in found.items():
        share = taken.s3_bytes / (options.files * len(safetensors(0, size)))
        table.add_row(name, f"{taken.seconds:.1f}", f"{taken.s3_bytes / 1e6:,.0f}", f"{share:.3f}")
    Console().print(table)
    return found


if __name__ == "__main__":
    main()
