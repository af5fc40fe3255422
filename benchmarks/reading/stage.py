"""What has to run around the measuring: an S3 server with the data, a Ray cluster of one node, the cache."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from obstore.store import S3Store

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.reading.data import Data, write
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer

BUCKET = "reading"


class Stage(NamedTuple):
    """What the targets read from."""

    server: SeaweedServer
    data: Data
    #: For what targets keep on disk; on the same disk as the local copy.
    scratch: Path


def s3_config(server: SeaweedServer, endpoint_url: str | None = None) -> dict[str, str]:
    """How obstore reaches the server, or a proxy before it."""
    return {
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "aws_endpoint": endpoint_url or server.endpoint_url,
        "aws_region": "us-east-1",
    }


def s3_store(server: SeaweedServer) -> S3Store:
    """The bucket, by obstore."""
    return S3Store(BUCKET, config=s3_config(server), client_options={"allow_http": True})


@contextlib.contextmanager
def stage(large_count: int, small_count: int) -> Iterator[Stage]:
    """Start S3, and write the local copy."""
    with tempfile.TemporaryDirectory(prefix="raycache-bench-") as directory, SeaweedServer() as server:
        server.make_bucket(BUCKET)
        yield Stage(server, write(Path(directory) / "data", large_count, small_count), Path(directory))


def cluster(found: Stage, more_bytes: int) -> contextlib.AbstractContextManager[LocalCluster]:
    """A Ray cluster of one node with room for the data and for more."""
    return touched_cluster(1, (2 << 30) + int(1.2 * found.data.total_bytes) + more_bytes, cpus_per_node=2)


@contextlib.contextmanager
def memory_tier(found: Stage) -> Iterator[Cache]:
    """A cache with everything in memory."""
    # The rest is for what Ray Data has on its way.
    with _loaded(found, memory="65%", disk="off") as cache:
        yield cache


@contextlib.contextmanager
def disk_tier(found: Stage) -> Iterator[Cache]:
    """A cache with everything on the disk that the local copy is on."""
    with _loaded(found, memory="1MiB", disk=f"{found.scratch}/tier:{2 * found.data.total_bytes}") as cache:
        yield cache


@contextlib.contextmanager
def _loaded(found: Stage, memory: str, disk: str) -> Iterator[Cache]:
    cache = raycache.start(memory=memory, disk=disk)
    try:
        cache.mount("/lake", f"s3://{BUCKET}", found.server.options(), metadata_ttl_s=3600)
        progress = cache.load("/lake").wait(300)
        if progress.state != "SUCCEEDED":
            raise RuntimeError(f"the load of the data ended {progress.state}: {progress}")
        yield cache
    finally:
        raycache.stop()
