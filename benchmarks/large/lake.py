"""The stage: a real S3 server behind a counting proxy, three nodes, and a cache of a given size."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import raycache
from raycache.testing.cluster import LocalCluster
from raycache.testing.data import WrittenDataset, write_parquet_dataset, write_small_files
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

NODES = 3
#: Small beside an epoch, as a lease of 30 s is beside one of an hour: what a reader has mapped makes no room.
LEASE_S = 0.3
_SETTINGS = {"block_size_bytes": 1 << 20, "segment_size_bytes": 8 << 20, "extent_size_bytes": 8 << 20}


class Epoch(NamedTuple):
    """What one epoch took."""

    seconds: float
    #: Of all bytes of the dataset, those that came from the lake: 1 - that is what was hit.
    lake_share: float


class Stage:
    """An S3 server with datasets, and a cluster; caches come and go."""

    def __init__(self, server: SeaweedServer, proxy: S3Proxy) -> None:
        self._server = server
        self._proxy = proxy
        self.bucket = server.make_bucket("large")

    def parquet(self, name: str, files: int, total_bytes: int) -> WrittenDataset:
        """Write a dataset."""
        s3 = self._server.pyarrow_filesystem()
        return write_parquet_dataset(s3, f"{self.bucket}/{name}", files, total_bytes, compression="none")

    def blobs(self, name: str, files: int, size_bytes: int) -> WrittenDataset:
        """Write files of one size."""
        s3 = self._server.pyarrow_filesystem()
        return write_small_files(s3, f"{self.bucket}/{name}", files, (size_bytes, size_bytes))

    @contextlib.contextmanager
    def cache(self, total_bytes: float, *, slow: bool = False, **settings: object) -> Iterator[raycache.Cache]:
        """A cache with so much memory on all nodes together, and no disk; the lake at /lake.

        Args:
            total_bytes: of memory.
            slow: the lake takes 30 ms a request, and gives 60 MB/s a connection and 200 MB/s in all.
            settings: of `raycache.start`.
        """
        if slow:
            self._proxy.shape(latency_s=0.03, connection_bytes_per_s=60e6, total_bytes_per_s=200e6)
        cache = raycache.start(
            memory=int(total_bytes / NODES), disk="off", lease_s=LEASE_S, **{**_SETTINGS, **settings}
        )
        try:
            options = self._server.options(self._proxy.endpoint_url)
            cache.mount("/lake", f"s3://{self.bucket}", options, metadata_ttl_s=3600)
            yield cache
        finally:
            raycache.stop()
            self._proxy.shape()

    def epoch(self, total_bytes: int, read: Callable[[], None]) -> Epoch:
        """Time something that reads a dataset once, and count what it took from the lake."""
        before = self._proxy.counters().data_bytes
        started = time.perf_counter()
        read()
        took_s = time.perf_counter() - started
        return Epoch(took_s, (self._proxy.counters().data_bytes - before) / total_bytes)


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """All of it."""
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy, LocalCluster(nodes=NODES):
        yield Stage(server, proxy)


def hit_share(epochs: list[Epoch]) -> float:
    """Of the bytes of these epochs, those that did not come from the lake."""
    return 1 - sum(epoch.lake_share for epoch in epochs) / len(epochs)
