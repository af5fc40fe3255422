"""What counting, tagging and exporting cost warm reads of small files: the same epochs with and without, in turn.

Without means: the code that reads in place with the lines that note a read taken out, and workers that export nothing.
An epoch reads every file and copies it into a batch, as a data loader does; all is mapped from the memory tier, the
cheapest read there is, so the share is the largest there can be. CPU time of the reading process is compared, its
background threads included, pair by pair: a machine that is busy with something else moves it little.
"""

from __future__ import annotations

import contextlib
import inspect
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.measure import Finding
from raycache.cache import Cache
from raycache.client.reading.reader import Reader
from raycache.messages import RAY_NAMESPACE
from raycache.testing.seaweed import SeaweedServer

NODES, FILES, FILE_BYTES, BATCH_FILES = 2, 2_000, 64 << 10, 64
#: Of the CPU time of warm reads.
OVERHEAD_MAX = 0.02
_PAIRS, _EPOCHS = 100, 5


def measure() -> list[Finding]:
    """Run everything."""
    with SeaweedServer() as server, touched_cluster(NODES, 1 << 30):
        bucket = server.make_bucket("bench")
        client = server.client()
        for number in range(FILES):
            client.put_object(
                Bucket=bucket, Key=f"small/{number:05}", Body=number.to_bytes(4, "big") * (FILE_BYTES // 4)
            )
        cache = raycache.start(memory="60%", disk="off", lease_s=600.0)
        try:
            cache.mount("/lake", f"s3://{bucket}", server.options(), metadata_ttl_s=3600)
            cache.load("/lake/small").wait(120)
            return _findings(cache, [f"/lake/small/{number:05}" for number in range(FILES)])
        finally:
            raycache.stop()


def _findings(cache: Cache, paths: list[str]) -> list[Finding]:
    batch = np.empty(BATCH_FILES * FILE_BYTES, np.uint8)

    def one_by_one() -> None:
        for index, path in enumerate(paths):
            start = index % BATCH_FILES * FILE_BYTES
            batch[start : start + FILE_BYTES] = np.frombuffer(cache.read(path), np.uint8)

    def many() -> None:
        for first in range(0, len(paths), BATCH_FILES):
            for index, data in enumerate(cache.read_many(paths[first : first + BATCH_FILES])):
                batch[index * FILE_BYTES : (index + 1) * FILE_BYTES] = np.frombuffer(data, np.uint8)

    found = [Finding("files, bytes each", f"{FILES:,}, {FILE_BYTES >> 10} KiB")]
    for name, epoch in (("one by one", one_by_one), ("in batches of 64", many)):
        for _ in range(3):
            epoch()  # what another node holds is copied here
        before = cache.stats().total
        epoch()
        after = cache.stats().total
        if after.hits - before.hits != FILES or after.bytes_local - before.bytes_local != FILES * FILE_BYTES:
            raise RuntimeError("not everything is read in place, on this node")
        with_s, without_s = _pairs(epoch)
        overhead = statistics.median(a / b for a, b in zip(with_s, without_s, strict=True)) - 1
        # The same against itself: how much of the figure may be noise.
        noise = statistics.median(a / b for a, b in zip(with_s[::2], with_s[1::2], strict=True)) - 1
        each_us = statistics.median(without_s) / FILES / _EPOCHS * 1e6
        found.append(
            Finding(
                f"read {name}: counted / not counted ({each_us:.1f} us of CPU a file)",
                f"{overhead:+.2%} (with itself {noise:+.2%})", f"<= {OVERHEAD_MAX:.0%}", overhead <= OVERHEAD_MAX,
            )
        )  # fmt: skip
    export_s = max(ray.get([worker.__ray_call__.remote(_export_s) for worker in _workers(cache)], timeout=60))
    found.append(
        Finding("a worker's export, once a second", f"{export_s:.2%} of a core", f"<= {OVERHEAD_MAX:.0%}", export_s <= OVERHEAD_MAX)
    )  # fmt: skip
    return found


def _pairs(epoch: Callable[[], None]) -> tuple[list[float], list[float]]:
    """CPU seconds of runs with and without, one after the other, each first in every second pair."""
    with_s: list[float] = []
    without_s: list[float] = []
    for pair in range(_PAIRS):
        for counted in (True, False) if pair % 2 else (False, True):
            with contextlib.nullcontext() if counted else _uncounted():
                started = time.process_time()
                for _ in range(_EPOCHS):
                    epoch()
                (with_s if counted else without_s).append(time.process_time() - started)
    return with_s, without_s


@contextlib.contextmanager
def _uncounted() -> Iterator[None]:
    original = Reader.in_place
    Reader.in_place = _UNCOUNTED  # type: ignore[method-assign]
    try:
        yield
    finally:
        Reader.in_place = original  # type: ignore[method-assign]


def _without_notes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function without the lines that count."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    kept = [line for line in lines if "tally" not in line and line.strip() != "if first != last:"]
    if len(kept) != len(lines) - 6:
        raise RuntimeError(f"{function.__qualname__} does not count as this benchmark knows it")
    space: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + "\n".join(kept), function.__globals__, space)
    made: Callable[..., Any] = space[function.__name__]
    return made


_UNCOUNTED = _without_notes(Reader.in_place)


def _workers(cache: Cache) -> list[Any]:
    return [ray.get_actor(w.actor_name, namespace=RAY_NAMESPACE) for w in cache.client.refresh_view().workers]


def _export_s(worker: Any) -> float:
    """CPU seconds of one export in which every counter has grown, with all the series there may be; runs in the worker."""
    from raycache.messages import LATENCY_BOUNDS_S, Counts, Delivery, ReadCounters, ReadTag, WorkerStats
    from raycache.workers.figures.exporter import Exporter
    from raycache.workers.figures.readings import Readings
    from raycache.workers.figures.series import SERIES_MAX

    exporter, readings, runs, spent_s = Exporter("benchmark"), Readings(), 100, 0.0
    counters = ReadCounters(*[9] * len(ReadCounters._fields))
    latencies = [1] * (len(LATENCY_BOUNDS_S) + 1)
    tags = [ReadTag(str(number), "task", "/lake/small") for number in range(SERIES_MAX)]
    for number in range(1, runs + 1):
        readings.add(Delivery("reader", number, Counts([(tag, counters) for tag in tags], latencies)))
        stats = WorkerStats(*[number] * len(WorkerStats._fields))
        started = time.process_time()
        exporter.export(readings, stats, worker._mounts, 0.0)  # noqa: SLF001  # as the worker does
        spent_s += time.process_time() - started
    return spent_s / runs
