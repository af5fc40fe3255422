"""A small lake for the Ray tests: an S3 server, a counting proxy before it, and data written past the cache."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

_numbers = itertools.count()


@functools.cache
def _bucket(server: SeaweedServer) -> str:
    """All lakes are in one bucket: for each, every process of a cache makes clients, 0.1 to 0.2 s of CPU and 12 MB."""
    return server.make_bucket("lakes")


@dataclasses.dataclass
class Lake:
    """A directory of its own in a bucket behind a proxy."""

    server: SeaweedServer
    proxy: S3Proxy
    bucket: str
    #: No other lake has it.
    name: str

    @classmethod
    def make(cls, server: SeaweedServer, proxy: S3Proxy) -> Lake:
        return cls(server, proxy, _bucket(server), f"lake-{next(_numbers)}")

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.name}"

    @property
    def options(self) -> dict[str, str]:
        """Mount options that go through the proxy."""
        return {**self.server.options(), "endpoint_url": self.proxy.endpoint_url}

    def put(self, key: str, data: bytes) -> None:
        self.server.client().put_object(Bucket=self.bucket, Key=f"{self.name}/{key}", Body=data)

    def delete(self, key: str) -> None:
        self.server.client().delete_object(Bucket=self.bucket, Key=f"{self.name}/{key}")

    def put_parquet(self, prefix: str, files: int, rows: int = 20_000) -> tuple[int, int]:
        """Write parquet files; returns (rows, sum of the column `value`) over all."""
        total = 0
        for number in range(files):
            random = np.random.default_rng(number)
            values = random.integers(0, 1 << 30, rows)
            total += int(values.sum())
            columns = {"id": np.arange(rows) + number * rows, "value": values, "x": random.random(rows)}
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table(columns), sink, compression="none")
            self.put(f"{prefix}/part-{number:03}.parquet", sink.getvalue().to_pybytes())
        return files * rows, total


def content(seed: int, size: int) -> bytes:
    """Seeded bytes."""
    return np.random.default_rng(seed).bytes(size)
