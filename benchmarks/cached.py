"""Workload: datasets cached after their transforms, beside the same pipelines run again, and beside `materialize`.

Images that are decoded and resized, and zstd parquet with three transforms, on three nodes: what the first epoch costs, what the
next one saves, a dataset larger than the object stores, a second job, four trials at once, and a hundredth of the files replaced.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from PIL import Image

import raycache
from benchmarks import epochs
from benchmarks.measure import Finding, Shown
from raycache.testing.cluster import LocalCluster

NODES = 3
_CPUS = 2
_STORE_BYTES = 1 << 30
#: So small that what is kept of the parquet is three times of it.
_SMALL_STORE_BYTES = 96 << 20
_IMAGES = {False: 400, True: 10_000}
_SIDE, _SIZE = 512, (128, 128)
_PARQUET_FILES, _PARQUET_ROWS = {False: 36, True: 120}, 60_000
#: Of the parquet that is larger than the object stores.
_LARGE_FILES = 110
_ROUNDS = 2
#: At once. Ray Data divides the CPUs of each node by the number of executions, and rounds down: where there are fewer CPUs than
#: trials, none of them may start a task.
_TRIALS = 4


class _Epoch(NamedTuple):
    seconds: float
    rows: int
    #: An order-free sum of what the rows hold.
    total: float


def measure(*, full: bool) -> list[Finding]:
    """Run everything; some minutes, with 10,000 images about fifteen on two idle cores."""
    found = Shown()
    with tempfile.TemporaryDirectory() as place:
        lake = Path(place)
        _write_images(lake / "images", _IMAGES[full])
        _write_parquet(lake / "parquet", _PARQUET_FILES[full])
        _write_parquet(lake / "large", _LARGE_FILES)
        with _cluster(_STORE_BYTES, lake, memory="45%") as (cluster, cache):
            found += _epochs(cache, f"{_IMAGES[full]:,} JPEGs", images(lake))
            found += _epochs(cache, "zstd parquet, three transforms", parquet(lake))
            found += _second_job(cache, cluster, lake)
            found += _replaced(cache, lake, _IMAGES[full])
        with _cluster(_STORE_BYTES, lake, memory="45%", cpus=_TRIALS) as (cluster, cache):
            found += _trials(cache, cluster, lake)
        with _cluster(_SMALL_STORE_BYTES, lake, memory="45%") as (_, cache):
            found += _large(cache, parquet(lake, "large"))
    return found


@contextlib.contextmanager
def _cluster(
    store_bytes: int, lake: Path, memory: str, cpus: int = _CPUS
) -> Iterator[tuple[LocalCluster, raycache.Cache]]:
    with LocalCluster(NODES, cpus, store_bytes) as cluster:
        quiet()
        ray.data.range(60, override_num_blocks=12).map_batches(lambda batch: batch).materialize()
        with raycache.session(memory=memory, disk=f"{lake / 'disk'}:4GiB") as cache:
            cache.mount("/lake", f"file://{lake}", metadata_ttl_s=0)
            yield cluster, cache


def quiet() -> None:
    """Ray Data without progress bars, and with its own reader of parquet."""
    epochs.quiet()
    ray.data.DataContext.get_current().use_datasource_v2 = True


# --- the lake, and the pipelines ------------------------------------------------------------------------------------------


def _write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    gradient = np.linspace(0, 190, _SIDE)[:, None, None]

    def write(index: int) -> None:
        (folder / f"{index:06}.jpg").write_bytes(_jpeg(gradient, index))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(count)))


def _jpeg(gradient: Any, index: int) -> bytes:
    noise = np.random.default_rng(index).integers(0, 64, (_SIDE, _SIDE, 3))
    target = io.BytesIO()
    Image.fromarray((gradient + noise).astype(np.uint8)).save(target, "JPEG", quality=80)
    return target.getvalue()


def _write_parquet(folder: Path, count: int) -> None:
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(count):
        columns = {f"c{i}": draw.normal(size=_PARQUET_ROWS) for i in range(6)}
        columns["text"] = draw.integers(0, 1 << 30, _PARQUET_ROWS).astype(str)
        pq.write_table(pa.table(columns), folder / f"{number:04}.parquet", compression="zstd")


def images(lake: Path) -> Callable[[], Any]:
    """Decoded and resized."""
    return lambda: raycache.read_images(f"file://{lake}/images", size=_SIZE, mode="RGB")


def parquet(lake: Path, folder: str = "parquet") -> Callable[[], Any]:
    """Three transforms: text to numbers, a norm, a filter."""
    return lambda: (
        raycache.read_parquet(f"file://{lake}/{folder}")
        .map_batches(_parse, batch_format="pyarrow")
        .map_batches(_normalise)
        .filter(expr="c0 > -1.0")
    )


def _parse(batch: pa.Table) -> pa.Table:
    numbers = [sum(map(int, text)) for text in batch["text"].to_pylist()]
    return batch.drop_columns(["text"]).append_column("digits", pa.array(numbers))


def _normalise(batch: dict[str, Any]) -> dict[str, Any]:
    for _ in range(6):
        batch = {name: np.tanh(np.sort(values)) if name == "c5" else values for name, values in batch.items()}
    return batch


def _epoch(dataset: Any) -> _Epoch:
    """Consume it as a trainer does, in batches of Arrow."""
    started = time.perf_counter()
    rows, total = 0, 0.0
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        rows += batch.num_rows
        total += float(batch.nbytes)
    return _Epoch(time.perf_counter() - started, rows, total)


# --- what is measured -----------------------------------------------------------------------------------------------------


def _counts(cache: raycache.Cache) -> tuple[int, int]:
    kept = cache.cached_datasets()
    return sum(row.made for row in kept), sum(row.hits for row in kept)


def _drop_all(cache: raycache.Cache) -> None:
    for row in cache.cached_datasets():
        cache.drop_cached(row.name)


def _epochs(cache: raycache.Cache, name: str, make: Callable[[], Any]) -> list[Finding]:
    _epoch(make())  # the lake is in the cache from now on, and processes have started
    plain, first, second, materialized = [], [], [], []
    for _ in range(_ROUNDS):
        plain.append(_epoch(make()))
        _drop_all(cache)
        first.append(_epoch(raycache.cached(make())))
        second.append(_epoch(raycache.cached(make())))
        whole = make().materialize()
        materialized.append(_epoch(whole))
        del whole
    rows = {epoch.rows for epoch in (*plain, *first, *second, *materialized)}
    again, made, kept, stored = (
        statistics.median(e.seconds for e in es) for es in (plain, first, second, materialized)
    )
    return [
        Finding(f"{name}: rows the same each time", str(len(rows) == 1), "True", len(rows) == 1),
        Finding(f"{name}: the pipeline, an epoch", f"{again:.2f} s"),
        Finding(f"{name}: first epoch / the pipeline, time", f"{made / again:.2f}x", "<= 1.15x", made / again <= 1.15),
        Finding(f"{name}: second epoch, speed / the pipeline", f"{again / kept:.1f}x", ">= 5x", again / kept >= 5),
        Finding(
            f"{name}: second epoch, speed / materialized", f"{stored / kept:.2f}x", ">= 0.8x", stored / kept >= 0.8
        ),
        Finding(f"{name}: second epoch; a materialized one", f"{kept:.2f} s; {stored:.2f} s"),
    ]


def _large(cache: raycache.Cache, make: Callable[[], Any]) -> list[Finding]:
    _epoch(make())
    again = _epoch(make())
    first = _epoch(raycache.cached(make()))
    second = _epoch(raycache.cached(make()))
    kept = sum(row.bytes_kept for row in cache.cached_datasets())
    times, ratio = kept / _SMALL_STORE_BYTES, again.seconds / second.seconds
    same = len({again.rows, first.rows, second.rows}) == 1
    return [
        Finding("larger than the object stores: kept / one store", f"{times:.1f}x", ">= 3x", times >= 3),
        Finding("larger: rows the same each time", str(same), "True", same),
        Finding("larger: second epoch, speed / the pipeline", f"{ratio:.1f}x", ">= 2x", ratio >= 2),
    ]


_JOB = """
import sys, time, ray, pathlib
from benchmarks.cached import images, quiet, parquet
import raycache
ray.init(address=sys.argv[1], log_to_driver=False)
quiet()
lake = pathlib.Path(sys.argv[2])
dataset = raycache.cached({"images": images, "parquet": parquet}[sys.argv[3]](lake)())
started = time.perf_counter()
rows, first = 0, 0.0
for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
    first = first or time.perf_counter() - started
    rows += batch.num_rows
print(first, time.perf_counter() - started, rows)
"""


def _jobs(cluster: LocalCluster, lake: Path, what: str, count: int) -> list[tuple[float, float, int]]:
    """Per job, the seconds to the first batch, and to the last; and rows."""
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, **cluster.environment(), "PYTHONPATH": root}
    command = [sys.executable, "-c", _JOB, ray.get_runtime_context().gcs_address, str(lake), what]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
    said = [process.communicate()[0].strip().splitlines()[-1].split() for process in running]
    return [(float(first), float(whole), int(rows)) for first, whole, rows in said]


def _second_job(cache: raycache.Cache, cluster: LocalCluster, lake: Path) -> list[Finding]:
    expected = _epoch(raycache.cached(images(lake)())).rows
    before, made = cache.stats().total, _counts(cache)[0]
    ((first_s, _, rows),) = _jobs(cluster, lake, "images", 1)
    after = cache.stats().total
    local, remote = after.bytes_local - before.bytes_local, after.bytes_remote - before.bytes_remote
    share, again = local / max(1, local + remote), _counts(cache)[0] - made
    return [
        Finding("a second job: first batch", f"{first_s:.2f} s", "<= 1 s", first_s <= 1),
        Finding("a second job: results made", str(again), "0", again == 0 and rows == expected),
        Finding("a second job: bytes local", f"{share:.1%}", ">= 95%", share >= 0.95),
    ]


def _trials(cache: raycache.Cache, cluster: LocalCluster, lake: Path) -> list[Finding]:
    """One trial alone, then four at once, each time with nothing kept."""
    _drop_all(cache)
    before = _counts(cache)[0]
    ((_, single_s, expected),) = _jobs(cluster, lake, "parquet", 1)
    groups = _counts(cache)[0] - before
    _drop_all(cache)
    before = _counts(cache)[0]
    four = _jobs(cluster, lake, "parquet", _TRIALS)
    made = _counts(cache)[0] - before
    ratio = max(whole for _, whole, _ in four) / single_s
    right = all(rows == expected for *_, rows in four)
    return [
        Finding("four trials at once: results made / groups", f"{made} / {groups}", "the same", made == groups),
        Finding("four trials at once: rows right", str(right), "True", right),
        Finding("four trials at once: time / one trial", f"{ratio:.2f}x", "<= 1.3x", ratio <= 1.3),
    ]


def _replaced(cache: raycache.Cache, lake: Path, count: int) -> list[Finding]:
    """A hundredth of the files, neighbours, as a new day of data would be."""
    _epoch(raycache.cached(images(lake)()))
    groups = next(row.groups for row in cache.cached_datasets() if "Image" in row.name)
    some = sorted((lake / "images").iterdir())[: count // 100]
    for path in some:
        shutil.copy(path, path.with_suffix(".new"))
        path.with_suffix(".new").rename(path)
    before = _counts(cache)
    _epoch(raycache.cached(images(lake)()))
    made, read = (now - then for now, then in zip(_counts(cache), before, strict=True))
    bound = len(some) // max(1, count // groups) + 2
    return [
        Finding(
            f"{len(some)} of {count:,} files replaced: groups made, of {groups}",
            str(made),
            f"<= {bound}",
            made <= bound,
        ),
        Finding("the others: read", str(read), str(groups - made), read == groups - made),
    ]
