"""Workload: parquet epochs through Ray Data, the same reader path (V1) on every side.

Targets: local files in page cache (the limit), S3 directly, and raycache, cold and warm: `raycache.read_parquet`, and Ray
Data's own with `filesystem=`. Every cold round reads a fresh copy of the dataset: after a mere `free`, readers go on using
segments they hold leases on. The first epoch after a load is shown beside, once, and so is stock V2 `read_parquet` of
local files, which spends seconds starting footer actors.
All targets read every column and sum one up in the tasks, so that reading dominates and little reaches the driver.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs
import ray

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.measure import Bar, Done, Target, interleave, timed
from raycache.testing.data import WrittenDataset, write_parquet_dataset
from raycache.testing.seaweed import SeaweedServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES = 32
NODES = 3
_COPIES_INFLIGHT = 8

BARS = [
    Bar("raycache warm", "local files", most=1.05),
    Bar("raycache warm, filesystem=", "local files", most=1.15),
    Bar("raycache cold", "S3 directly", most=1.15),
    Bar("raycache cold, filesystem=", "S3 directly", most=1.15),
]


def epoch(path: str | list[str], filesystem: Any, rows: int) -> None:
    """Read a dataset once, all columns, and check the number of rows. Without a filesystem: placed, by raycache."""

    def consume(table: pa.Table) -> pa.Table:
        touched = sum(column.nbytes for column in table.itercolumns())
        return pa.table({"rows": [table.num_rows], "bytes": [touched]})

    # One task a file: Ray would split 32 files into more blocks, and then move every block between operators.
    if filesystem is None:
        dataset = raycache.read_parquet(path, override_num_blocks=FILES)
    else:
        dataset = ray.data.read_parquet(path, filesystem=filesystem, override_num_blocks=FILES)
    counts = dataset.map_batches(consume, batch_format="pyarrow", batch_size=None)
    # No aggregation of Ray's: its shuffle costs ten seconds here, whatever is read.
    found = sum(row["rows"] for row in counts.take_all())
    if found != rows:
        raise RuntimeError(f"{path}: {found} rows instead of {rows}")


class FreshCopies:
    """Copies of a dataset in a bucket, one at a time: what is under a new key was never read by anybody.

    Args:
        client, bucket: where.
        keys: of the dataset's files, in the bucket.
        name: begins the names of the copies' directories; another one for each dataset.
    """

    def __init__(self, client: S3Client, bucket: str, keys: list[str], name: str = "copy") -> None:
        self._name = name
        self._client = client
        self._bucket = bucket
        self._keys = keys
        self._count = 0

    @property
    def directory(self) -> str:
        """Of the newest copy, in the bucket."""
        return f"{self._name}-{self._count}"

    @property
    def any(self) -> bool:
        """Whether one was made yet."""
        return self._count > 0

    def renew(self) -> None:
        """Remove the copy and make another one, inside the store."""
        old = [{"Key": f"{self.directory}/{key.rpartition('/')[2]}"} for key in self._keys] if self._count else []
        if old:
            self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": old})
        self._count += 1
        with ThreadPoolExecutor(_COPIES_INFLIGHT) as pool:
            list(pool.map(self._copy, self._keys))

    def _copy(self, key: str) -> None:
        target = f"{self.directory}/{key.rpartition('/')[2]}"
        self._client.copy_object(Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": key})


def quiet() -> None:
    """Ray Data without progress bars, and with its V1 reader."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.use_datasource_v2 = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)


@contextlib.contextmanager
def targets(total_bytes: int) -> Iterator[tuple[list[Target], Target]]:
    """Start everything, write the data twice (local disk and S3); yields what to time, and what was timed already."""
    with tempfile.TemporaryDirectory(prefix="raycache-bench-") as directory, SeaweedServer() as server:
        bucket = server.make_bucket("bench")
        s3 = pa.fs.S3FileSystem(
            access_key=server.access_key,
            secret_key=server.secret_key,
            endpoint_override=server.endpoint_url,
            region="us-east-1",
        )
        local = pa.fs.LocalFileSystem()
        written: WrittenDataset = write_parquet_dataset(s3, f"{bucket}/data", FILES, total_bytes, compression="none")
        write_parquet_dataset(local, f"{directory}/data", FILES, total_bytes, compression="none")
        copies = FreshCopies(server.client(), bucket, [path.partition("/")[2] for path in written.paths])
        # Room for the copies of some rounds: freed segments stay for as long as readers hold leases.
        store = (1 << 30) + int(2.5 * total_bytes)
        with touched_cluster(NODES, store):
            quiet()
            cache = raycache.start(memory="60%", disk="4GiB", lease_s=5.0)
            try:
                cache.mount("/lake", f"s3://{bucket}", server.options(), metadata_ttl_s=3600)
                filesystem = cache.filesystem()

                def run(path: str, fs: Any) -> Done:
                    def work() -> float:
                        epoch(path, fs, written.rows)
                        return float(written.total_bytes)

                    return timed(work)

                # The first Ray Data run of a process pays for starting up: not measured.
                epoch(written.paths[:1], s3, written.rows // FILES)

                def cold() -> None:
                    if copies.any:
                        cache.free(f"/lake/{copies.directory}", force=True)
                    copies.renew()

                cache.load("/lake/data").wait(300)
                first = Target("raycache warm, filesystem=, first epoch", lambda: run("/lake/data", filesystem))
                interleave([first], 1)

                yield (
                    [
                        Target("local files", lambda: run(f"{directory}/data", local)),
                        Target("S3 directly", lambda: run(f"{bucket}/data", s3)),
                        Target("raycache cold", lambda: run(f"/lake/{copies.directory}", None), cold),
                        Target(
                            "raycache cold, filesystem=", lambda: run(f"/lake/{copies.directory}", filesystem), cold
                        ),
                        Target("raycache warm", lambda: run("/lake/data", None)),
                        Target("raycache warm, filesystem=", lambda: run("/lake/data", filesystem)),
                    ],
                    first,
                )
            finally:
                raycache.stop()


def measure(total_bytes: int, rounds: int) -> list[Target]:
    """Run the workload; stock V2 once, beside."""
    with targets(total_bytes) as (found, first):
        interleave(found, rounds)
        context = ray.data.DataContext.get_current()
        context.use_datasource_v2 = True
        stock = Target("local files, stock V2", found[0].run)
        interleave([stock], 1)
        context.use_datasource_v2 = False
        return [*found, first, stock]
