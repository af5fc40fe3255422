"""Ray Data over the same bytes: parquet and many small files, warm; and cold from a lake that is far away.

All go through the same reader path (V1), stock V2 beside for parquet; `read_binary_files` has one path only. Bytes are
hashed in the tasks; little reaches the driver. The time to the first batch is part of an epoch, and shown apart as well.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs
import ray

import raycache
from benchmarks.epochs import FreshCopies, quiet
from benchmarks.measure import Bar, Done, Finding, Target, interleave
from benchmarks.reading.data import digest
from benchmarks.reading.report import Results, Section, say
from benchmarks.reading.stage import Stage
from raycache.cache import Cache
from raycache.testing.data import write_parquet_dataset, write_small_files
from raycache.testing.proxy.proxy import S3Proxy

LATENCY_S = 0.03
CONNECTION_BYTES_S = 60e6
PARQUET_FILES = 16
WARM, COLD = "tables", "cold"


class Amount(NamedTuple):
    """How much is read."""

    parquet_bytes: int
    #: Of the stage's small files, in thousands: one directory each.
    small_directories: int
    #: Each has its request, in turn, where nobody has the files at hand.
    cold_small_files: int
    rounds: int


class Lake(NamedTuple):
    """What was written, apart from the stage's files."""

    #: The local copy of the parquet files.
    parquet_directory: str
    #: In the bucket of what is read cold.
    parquet_keys: list[str]
    small_keys: list[str]


class Epochs:
    """Runs epochs, and remembers when the first batch of each was there."""

    def __init__(self) -> None:
        self.first_s: dict[str, list[float]] = {}
        self._digests: dict[str, int] = {}

    def run(self, name: str, data: str, make: Callable[[], ray.data.Dataset], amount: float) -> Done:
        """Read a dataset once.

        Raises:
            RuntimeError: its bytes differ from what another target read of the same data.
        """
        started = time.perf_counter()
        batches = make().map_batches(_hashed, batch_format="pyarrow", batch_size=None).iter_batches(batch_size=None)
        total = 0
        first_s = None
        for batch in batches:
            first_s = first_s or time.perf_counter() - started
            for value in batch["digest"]:
                total += int(value)
        seconds = time.perf_counter() - started
        total %= 2**64
        self.first_s.setdefault(name, []).append(first_s or seconds)
        if self._digests.setdefault(data, total) != total:
            raise RuntimeError(f"{name} read other bytes of {data} than the target before it")
        return Done(amount, seconds)

    def finding(self, what: str, targets: list[Target], rounds: int) -> Finding:
        """The median times to the first batch of these targets."""
        medians = (f"{t.name} {statistics.median(self.first_s[t.name][-rounds:]):.2f} s" for t in targets)
        return Finding(f"{what}: time to first batch", "; ".join(medians))


def _hashed(table: pa.Table) -> pa.Table:
    """One row for a block. The sums over all blocks are the same, whatever blocks the values came in."""
    total = 0
    if "bytes" in table.column_names:
        for value in table["bytes"]:
            total += digest(value.as_buffer())
    else:
        # The values of each column, not its buffers: those may hold more than this block.
        for column in table.itercolumns():
            for chunk in column.chunks:
                values = chunk.dictionary_encode().indices if pa.types.is_dictionary(chunk.type) else chunk
                width = values.type.bit_width // 8
                buffer = values.buffers()[1]
                if width:
                    digest(buffer.slice(values.offset * width, len(values) * width))
                else:
                    digest(buffer)
        total = table.num_rows
    return pa.table({"digest": pa.array([total % 2**64], pa.uint64())})


def write(found: Stage, amount: Amount) -> Lake:
    """Write parquet files to the local disk, and those and small files into S3."""
    s3, local = found.server.pyarrow_filesystem(), pa.fs.LocalFileSystem()
    directory = f"{found.scratch}/parquet"
    write_parquet_dataset(local, directory, PARQUET_FILES, amount.parquet_bytes, compression="none")
    for bucket, prefix in ((WARM, "data"), (COLD, "parquet")):
        found.server.make_bucket(bucket)
        pa.fs.copy_files(directory, f"{bucket}/{prefix}", local, s3)
    small = write_small_files(s3, f"{COLD}/small", amount.cold_small_files, (100_000, 100_000))
    names = [info.base_name for info in local.get_file_info(pa.fs.FileSelector(directory))]
    return Lake(directory, [f"parquet/{name}" for name in names], [path.partition("/")[2] for path in small.paths])


def measure(found: Stage, lake: Lake, cache: Cache, amount: Amount, results: Results) -> None:
    """Run everything on a cache that has the stage's files at /lake."""
    quiet()
    epochs = Epochs()
    cache.mount("/tables", f"s3://{WARM}", found.server.options(), metadata_ttl_s=3600)
    cache.load("/tables").wait(120)
    # The first Ray Data run of a process pays for starting up: not measured.
    ray.data.range(100, override_num_blocks=4).map_batches(lambda batch: batch).materialize()
    for section in (_parquet(found, lake, epochs, cache, amount), _small(found, epochs, cache, amount)):
        _run(section, epochs, amount.rounds, results)
    with _far_lake(found, lake, cache, amount) as cold:
        for section in cold(epochs):
            _run(section, epochs, amount.rounds, results)


def _run(section: Section, epochs: Epochs, rounds: int, results: Results) -> None:
    say(section.title)
    if section.key != "cold":
        interleave(section.targets, 1)
        for target in section.targets:
            target.runs.clear()
    interleave(section.targets, rounds)
    results.sections.append(section)
    results.found.append(epochs.finding(section.title, section.targets, rounds))
    for target in section.targets:
        say(f"  {target.name}: {target.rate:,.0f} {section.unit}/s")


def _parquet(found: Stage, lake: Lake, epochs: Epochs, cache: Cache, amount: Amount) -> Section:
    local, s3 = lake.parquet_directory, found.server.pyarrow_filesystem()
    size = amount.parquet_bytes / 1e6
    blocks = {"override_num_blocks": PARQUET_FILES}
    context = ray.data.DataContext.get_current()
    through = cache.filesystem()

    def stock(path: str, filesystem: Any, *, v2: bool = False) -> ray.data.Dataset:
        context.use_datasource_v2 = v2
        try:
            return ray.data.read_parquet(path, filesystem=filesystem, **blocks)
        finally:
            context.use_datasource_v2 = False

    kept = stock(local, pa.fs.LocalFileSystem()).materialize()
    ways: dict[str, Callable[[], ray.data.Dataset]] = {
        "raycache": lambda: raycache.read_parquet("/tables/data", cache=cache, **blocks),
        "raycache, filesystem=": lambda: stock("/tables/data", through),
        "local files, V1": lambda: stock(local, pa.fs.LocalFileSystem()),
        "local files, V2": lambda: stock(local, pa.fs.LocalFileSystem(), v2=True),
        "S3, V1": lambda: stock(f"{WARM}/data", s3),
        "Ray materialize": lambda: kept,
    }
    return Section(
        "parquet", f"Ray Data: {size:,.0f} MB of parquet, uncompressed, all columns, warm", "MB",
        _targets(epochs, "parquet", ways, size), (Bar("raycache", "local files, V1", most=1.05),),
        base="local files, V1",
    )  # fmt: skip


def _small(found: Stage, epochs: Epochs, cache: Cache, amount: Amount) -> Section:
    names = [f"small/{number:03}" for number in range(amount.small_directories)]
    count = 1000 * amount.small_directories
    local = [f"{found.data.directory}/{name}" for name in names]
    lake = [f"/lake/{name}" for name in names]
    through = cache.filesystem()
    kept = ray.data.read_binary_files(local).materialize()
    ways: dict[str, Callable[[], ray.data.Dataset]] = {
        "raycache": lambda: raycache.read_binary_files(lake, cache=cache),
        "raycache, filesystem=": lambda: ray.data.read_binary_files(lake, filesystem=through),
        "local files": lambda: ray.data.read_binary_files(local),
        "Ray materialize": lambda: kept,
    }
    return Section(
        "binary-files", f"Ray Data: {count:,} binary files of 100 KB, warm", "files",
        _targets(epochs, "small", ways, count), (Bar("raycache", "local files", most=1.05),),
    )  # fmt: skip


def _targets(epochs: Epochs, data: str, ways: dict[str, Callable[[], ray.data.Dataset]], amount: float) -> list[Target]:
    return [
        Target(name, lambda name=name, make=make: epochs.run(name, data, make, amount))  # type: ignore[misc]
        for name, make in ways.items()
    ]


@contextlib.contextmanager
def _far_lake(found: Stage, lake: Lake, cache: Cache, amount: Amount) -> Iterator[Callable[[Epochs], list[Section]]]:
    """S3 as from another region; every cold run reads a copy that nobody has read before."""
    size, small = amount.parquet_bytes / 1e6, len(lake.small_keys)
    with S3Proxy(found.server.endpoint_url) as proxy:
        far = found.server.pyarrow_filesystem(proxy.endpoint_url)
        cache.mount("/cold", f"s3://{COLD}", found.server.options(proxy.endpoint_url), metadata_ttl_s=3600)
        proxy.shape(LATENCY_S, CONNECTION_BYTES_S)

        def sections(epochs: Epochs) -> list[Section]:
            blocks = {"override_num_blocks": PARQUET_FILES}
            return [
                _cold(
                    found, cache, epochs, f"{size:,.0f} MB of parquet", "MB", size, lake.parquet_keys,
                    lambda path: ray.data.read_parquet(path, filesystem=far, **blocks),
                    lambda path: raycache.read_parquet(path, cache=cache, **blocks),
                ),
                _cold(
                    found, cache, epochs, f"{small:,} binary files of 100 KB", "files", small, lake.small_keys,
                    lambda path: ray.data.read_binary_files(path, filesystem=far),
                    lambda path: raycache.read_binary_files(path, cache=cache),
                ),
            ]  # fmt: skip

        yield sections


def _cold(
    found: Stage,
    cache: Cache,
    epochs: Epochs,
    what: str,
    unit: str,
    amount: float,
    keys: list[str],
    direct: Callable[[str], ray.data.Dataset],
    cached: Callable[[str], ray.data.Dataset],
) -> Section:
    source = keys[0].partition("/")[0]
    copies = FreshCopies(found.server.client(), COLD, keys, f"{source}-copy")

    def renew() -> None:
        if copies.any:
            cache.free(f"/cold/{copies.directory}", force=True)
        copies.renew()

    def ours() -> Done:
        return epochs.run("raycache, cold", what, lambda: cached(f"/cold/{copies.directory}"), amount)

    targets = [
        Target("raycache, cold", ours, renew),
        Target(
            "S3 directly, V1", lambda: epochs.run("S3 directly, V1", what, lambda: direct(f"{COLD}/{source}"), amount)
        ),
    ]
    return Section(
        "cold", f"Ray Data: {what}, cold, S3 with 30 ms and 60 MB/s a connection", unit, targets,
        (Bar("raycache, cold", "S3 directly, V1", most=0.8),), base="S3 directly, V1",
    )  # fmt: skip
