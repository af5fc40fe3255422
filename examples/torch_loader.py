"""A map dataset over many small files, read by several worker processes, in the manner of PyTorch.

    python examples/torch_loader.py [--files 20000] [--kilobytes 100] [--workers 4] [--epochs 3]

`FileDataset` is a PyTorch map dataset: `len`, one item by number, and a whole batch by `__getitems__`, which PyTorch's
loader calls when a dataset has it. There a batch is one `cache.read_many`: one round trip a worker, and none at all for
files in segments that this process has mapped. `PlannedSampler` shuffles by a seed, so the order is known beforehand, and tells
the cache, which matters where the files do not all fit. With PyTorch installed, its own `DataLoader` reads; without it, a small
loader of the same protocol. Everything runs on this machine: an S3 server, a proxy that counts what S3 is asked for, a
Ray node, the cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import LocalCluster
from raycache.testing.data import write_small_files
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer


class FileDataset:
    """The files of a directory of the cache. It pickles: every process that reads it connects by itself.

    Args:
        paths: of the files, in the order of their numbers.
        address: of the Ray cluster, for processes that have not joined it.
    """

    def __init__(self, paths: Sequence[str], address: str) -> None:
        self._paths = list(paths)
        self._address = address

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[np.ndarray]:
        """A batch: uint8 arrays over the cache's own memory, which nothing may be written into."""
        cache = raycache.connect(self._address)
        buffers = cache.read_many([self._paths[index] for index in indices])
        return [np.frombuffer(buffer, dtype=np.uint8) for buffer in buffers]


class PlannedSampler:
    """Shuffles by a seed, and tells the cache the order of each epoch one epoch ahead.

    Args:
        cache: that reads.
        paths: of the files, in the order of their numbers.
        seed: of the order.
    """

    def __init__(self, cache: raycache.Cache, paths: Sequence[str], seed: int = 0) -> None:
        self._cache = cache
        self._paths = list(paths)
        self._random = np.random.default_rng(seed)
        self._next = self._planned()

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[int]:
        order, self._next = self._next, self._planned()
        return iter(order)

    def _planned(self) -> list[int]:
        order: list[int] = self._random.permutation(len(self._paths)).tolist()
        self._cache.plan_reads([self._paths[number] for number in order])
        return order


class Summary(NamedTuple):
    """Stands for a decoded batch: what travels from a worker process to the training."""

    files: int
    bytes: int
    total: int


def collate(items: list[np.ndarray]) -> Summary:
    """Stands for decoding: looks at every byte."""
    return Summary(len(items), sum(item.size for item in items), sum(int(item.sum(dtype=np.int64)) for item in items))


class SmallLoader:
    """What this example needs of `torch.utils.data.DataLoader`, with its arguments; worker processes live on."""

    def __init__(
        self, dataset: FileDataset, batch_size: int, sampler: PlannedSampler, num_workers: int, collate_fn: Any
    ) -> None:
        self._batch_size = batch_size
        self._sampler = sampler
        # Not forked: a fork of a process that is connected to Ray shares its sockets.
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(num_workers, _begin, (dataset, collate_fn))

    def __iter__(self) -> Iterator[Any]:
        order = list(self._sampler)
        batches = [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]
        return self._pool.imap(_batch, batches)

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


_own: tuple[FileDataset, Any]


def _begin(dataset: FileDataset, collate_fn: Any) -> None:
    global _own  # noqa: PLW0603  # one dataset a process
    _own = (dataset, collate_fn)


def _batch(indices: list[int]) -> Any:
    dataset, collate_fn = _own
    return collate_fn(dataset.__getitems__(indices))


def make_loader(dataset: FileDataset, sampler: PlannedSampler, batch_size: int, workers: int) -> tuple[str, Any]:
    """PyTorch's loader where it is installed, else the small one: (its name, the loader)."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        return "the small loader", SmallLoader(dataset, batch_size, sampler, workers, collate)
    loader = DataLoader(
        dataset, batch_size, sampler=sampler, num_workers=workers, collate_fn=collate,
        multiprocessing_context="spawn", persistent_workers=True,
    )  # fmt: skip
    return "PyTorch's DataLoader", loader


def main(arguments: Sequence[str] | None = None) -> list[tuple[int, int, int]]:
    """Run it; returns for each epoch the files, the sum of all their bytes, and the reads sent to S3."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args(arguments)
    size = 1000 * options.kilobytes
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        bucket = server.make_bucket("samples")
        written = write_small_files(server.pyarrow_filesystem(), bucket, options.files, (size, size))
        with _node(int(1.5 * written.total_bytes)) as address:
            cache = raycache.start(memory=int(1.2 * written.total_bytes), disk="off")
            try:
                cache.mount(
                    "/samples", f"s3://{bucket}", options=server.options(proxy.endpoint_url), metadata_ttl_s=3600
                )
                cache.load("/samples").wait()
                paths = cache.ls("/samples", recursive=True)
                paths = [path for path in paths if path.endswith(".bin")]
                sampler = PlannedSampler(cache, paths)
                return _epochs(FileDataset(paths, address), sampler, proxy, options.workers, options.epochs)
            finally:
                raycache.stop()
    raise AssertionError("unreachable")


def _epochs(
    dataset: FileDataset, sampler: PlannedSampler, proxy: S3Proxy, workers: int, epochs: int
) -> list[tuple[int, int, int]]:
    name, loader = make_loader(dataset, sampler, batch_size=256, workers=workers)
    table = Table("epoch", "seconds", "files", "files/s", "GB/s", "S3 reads", title=f"{name}, {workers} processes")
    results: list[tuple[int, int, int]] = []
    for epoch in range(1, epochs + 1):
        proxy.reset()
        started = time.perf_counter()
        batches = list(loader)
        seconds, asked = time.perf_counter() - started, proxy.counters().data_requests
        files, size = sum(batch.files for batch in batches), sum(batch.bytes for batch in batches)
        results.append((files, sum(batch.total for batch in batches), asked))
        speeds = (f"{files / seconds:,.0f}", f"{size / seconds / 1e9:.2f}")
        table.add_row(str(epoch), f"{seconds:.2f}", f"{files:,}", *speeds, str(asked))
    if isinstance(loader, SmallLoader):
        loader.close()
    Console().print(table)
    return results


class _node:  # noqa: N801  # reads as the context manager it is
    """The Ray cluster this process is connected to, or else one node of its own; gives its address."""

    def __init__(self, store_bytes: int) -> None:
        self._cluster = None if ray.is_initialized() else LocalCluster(1, 2, max(store_bytes, 128 << 20))

    def __enter__(self) -> str:
        if self._cluster is not None:
            self._cluster.start()
        return str(ray.get_runtime_context().gcs_address)

    def __exit__(self, *_: object) -> None:
        if self._cluster is not None:
            self._cluster.stop()


if __name__ == "__main__":
    main()
