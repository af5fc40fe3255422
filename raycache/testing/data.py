"""Seeded data sets of realistic make: typed parquet, and many small files.

Every file depends on (seed, its number) only, so data are the same whatever the order and the number of threads that
write them. Numbers are random in all but the exponent's bits: compression gains little, and the size is as asked for.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raycache.errors import InvalidRequestError

_FEATURES = 16
_ROW_GROUP_ROWS = 1 << 17
_CALIBRATION_ROWS = 20_000
#: 2026-01-01 in microseconds since the epoch.
_EPOCH_US = 1_767_225_600_000_000
_KINDS = pa.array([f"kind-{i:02d}" for i in range(40)])
_COUNTRIES = pa.array([f"{a}{b}" for a in "ABCDEFGH" for b in "KLMNOPQR"])


class WrittenDataset(NamedTuple):
    """What a writer wrote."""

    #: Shape (F,), in the file system's spelling, sorted.
    paths: list[str]
    #: Of all files.
    total_bytes: int
    #: 0 for files that have no rows.
    rows: int


def make_table(rows: int, seed: int = 0, file_index: int = 0) -> pa.Table:
    """Make one file's rows.

    Columns: `event_time` timestamp[us] in steps of milliseconds, `event_id` int64 unique over the files, `user_id` int64
    skewed to small ids, `kind` and `country` dictionary<int8, string>, `amount` float64, `label` bool,
    `feature_00`.. float32.
    """
    random = np.random.Generator(np.random.SFC64([seed, file_index]))
    time_us = _EPOCH_US + file_index * 3_600_000_000 + np.cumsum(random.integers(1, 20_000, rows, dtype=np.int64))
    columns: dict[str, Any] = {
        "event_time": pa.array(time_us, pa.timestamp("us")),
        "event_id": np.arange(rows, dtype=np.int64) + (file_index << 40),
        "user_id": (random.random(rows) ** 3 * 10_000_000).astype(np.int64),
        "kind": pa.DictionaryArray.from_arrays(random.integers(0, len(_KINDS), rows, dtype=np.int8), _KINDS),
        "country": pa.DictionaryArray.from_arrays(random.integers(0, len(_COUNTRIES), rows, dtype=np.int8), _COUNTRIES),
        "amount": random.exponential(50.0, rows),
        "label": random.random(rows, dtype=np.float32) < 0.1,
    }
    features = random.random((_FEATURES, rows), dtype=np.float32)
    columns |= {f"feature_{i:02d}": features[i] for i in range(_FEATURES)}
    return pa.table(columns)


def write_parquet_dataset(
    filesystem: pa.fs.FileSystem,
    directory: str,
    files: int = 32,
    total_bytes: int = 1_000_000_000,
    seed: int = 0,
    compression: str = "snappy",
    threads: int = 2,
) -> WrittenDataset:
    """Write `directory`/part-00000.parquet and so on, together about `total_bytes` (within 2 %).

    Args:
        filesystem: any pyarrow file system.
        directory: in its spelling; made if it has directories.
        files: >= 1, all of the same number of rows.
        total_bytes: on the store, encoded and compressed; at least 20 kB a file for the size to come out.
        seed: another seed gives other data.
        compression: of pyarrow's parquet writer.
        threads: files written at once.

    Raises:
        InvalidRequestError: no files, or sizes below 1.
    """
    if files < 1 or total_bytes < 1:
        raise InvalidRequestError(f"cannot write {total_bytes} bytes in {files} files; give 1 or more of both")
    small, large = (
        len(_encode(make_table(rows, seed), compression)) for rows in (_CALIBRATION_ROWS, 2 * _CALIBRATION_ROWS)
    )
    row_bytes = (large - small) / _CALIBRATION_ROWS
    file_overhead_bytes = small - row_bytes * _CALIBRATION_ROWS
    rows = max(1, round((total_bytes / files - file_overhead_bytes) / row_bytes))
    return _write(
        filesystem,
        [f"{directory}/part-{i:05d}.parquet" for i in range(files)],
        lambda index: _encode(make_table(rows, seed, index), compression),
        threads,
        rows * files,
    )


def write_small_files(
    filesystem: pa.fs.FileSystem,
    directory: str,
    files: int = 1000,
    size_bytes: tuple[int, int] = (1_000, 100_000),
    seed: int = 0,
    files_per_directory: int = 1000,
    threads: int = 8,
) -> WrittenDataset:
    """Write files of random bytes, `directory`/0000/000000.bin and so on, sizes uniform in `size_bytes` (inclusive)."""
    smallest, largest = size_bytes
    if files < 1 or not 0 <= smallest <= largest:
        raise InvalidRequestError(f"cannot write {files} files of {size_bytes} bytes; give 1 or more, smallest first")

    def content(index: int) -> bytes:
        random = np.random.Generator(np.random.SFC64([seed, index]))
        return random.bytes(int(random.integers(smallest, largest, endpoint=True)))

    paths = [f"{directory}/{i // files_per_directory:04d}/{i:06d}.bin" for i in range(files)]
    return _write(filesystem, paths, content, threads, 0)


def _encode(table: pa.Table, compression: str) -> pa.Buffer:
    sink = io.BytesIO()
    pq.write_table(
        table, sink, row_group_size=_ROW_GROUP_ROWS, compression=compression, use_dictionary=["kind", "country"]
    )
    return pa.py_buffer(sink.getbuffer())


def _write(
    filesystem: pa.fs.FileSystem,
    paths: list[str],
    content: Callable[[int], Any],
    threads: int,
    rows: int,
) -> WrittenDataset:
    for parent in sorted({path.rpartition("/")[0] for path in paths}):
        filesystem.create_dir(parent, recursive=True)

    def write(index: int) -> int:
        data = content(index)
        with filesystem.open_output_stream(paths[index]) as stream:
            stream.write(data)
        return len(data)

    with ThreadPoolExecutor(threads) as pool:
        sizes = list(pool.map(write, range(len(paths))))
    return WrittenDataset(paths, sum(sizes), rows)
