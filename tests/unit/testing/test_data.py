"""The data sets that tests and the demo write, and the checksum that compares their rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from raycache.errors import InvalidRequestError
from raycache.testing.checksum import RowsChecksum, rows_checksum
from raycache.testing.data import make_table, write_parquet_dataset, write_small_files

TABLE = make_table(1000, seed=3)


def test_parquet_dataset_has_the_size_and_rows_it_says(tmp_path):
    """The bytes on disk are what the result says, within 2 % of what was asked, and all rows are there."""
    written = write_parquet_dataset(LocalFileSystem(), str(tmp_path), files=3, total_bytes=3_000_000)
    files = sorted(tmp_path.iterdir())
    assert [str(path) for path in files] == written.paths
    assert sum(path.stat().st_size for path in files) == written.total_bytes
    assert 3_000_000 == pytest.approx(written.total_bytes, rel=0.02)
    assert sum(pq.read_metadata(path).num_rows for path in files) == written.rows


def test_same_seed_same_bytes(tmp_path):
    """The same seed gives the same files whatever the threads, another seed gives others."""
    contents = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        written = write_parquet_dataset(LocalFileSystem(), str(tmp_path / name), 3, 100_000, seed, threads=threads)
        contents.append([open(path, "rb").read() for path in written.paths])  # noqa: PTH123, SIM115
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert 3 == len({bytes(content) for content in contents[0]})


def test_small_files_have_sizes_as_asked(tmp_path):
    """Sizes lie in the range given, directories fill up to the number given."""
    written = write_small_files(LocalFileSystem(), str(tmp_path), 25, size_bytes=(0, 9), files_per_directory=10)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [str(path) for path in files] == written.paths
    assert {"0000": 10, "0001": 10, "0002": 5} == {d.name: len(list(d.iterdir())) for d in tmp_path.iterdir()}
    assert all(path.stat().st_size <= 9 for path in files)


def test_impossible_sizes_are_refused(tmp_path):
    """No files, or sizes the wrong way round, are the caller's mistake."""
    with pytest.raises(InvalidRequestError):
        write_parquet_dataset(LocalFileSystem(), str(tmp_path), files=0)
    with pytest.raises(InvalidRequestError):
        write_small_files(LocalFileSystem(), str(tmp_path), size_bytes=(9, 1))


def test_checksum_ignores_order_of_rows_and_columns():
    """Shuffled rows, shuffled columns and other batches have the same checksum."""
    shuffled = TABLE.take(np.random.default_rng(0).permutation(TABLE.num_rows))
    assert rows_checksum(TABLE) == rows_checksum(shuffled)
    assert rows_checksum(TABLE) == rows_checksum(TABLE.select(TABLE.column_names[::-1]))
    parts = RowsChecksum()
    for start in range(0, 1000, 300):
        parts = parts.plus(rows_checksum(shuffled.slice(start, 300)))
    assert rows_checksum(TABLE) == parts
    chunked = pa.concat_tables([TABLE.slice(0, 7), TABLE.slice(7, 500), TABLE.slice(507)])
    assert rows_checksum(TABLE) == rows_checksum(chunked)


def test_checksum_ignores_the_encoding_of_strings():
    """A dictionary and plain strings with the same words have the same checksum."""
    index = TABLE.column_names.index("kind")
    assert rows_checksum(TABLE) == rows_checksum(TABLE.set_column(index, "kind", TABLE["kind"].cast(pa.string())))
    assert rows_checksum(TABLE) == rows_checksum(TABLE.set_column(index, "kind", TABLE["kind"].cast(pa.large_string())))


@pytest.mark.parametrize("name", TABLE.column_names)
def test_checksum_sees_two_values_swapped(name):
    """Exchanging one column's values between two rows that differ there changes the checksum."""
    values = TABLE[name].to_pylist()
    other = next(i for i, value in enumerate(values) if value != values[0])
    values[0], values[other] = values[other], values[0]
    column = pa.array(values, TABLE.schema.field(name).type)
    assert rows_checksum(TABLE) != rows_checksum(TABLE.set_column(TABLE.column_names.index(name), name, column))


def test_checksum_sees_lost_and_doubled_rows():
    """A row lost in one place and doubled in another changes the checksum at the same count of rows."""
    indices = list(range(1000))
    indices[10] = 11
    changed = rows_checksum(TABLE.take(indices))
    assert 1000 == changed.rows
    assert rows_checksum(TABLE) != changed


def test_checksum_tells_null_from_zero_and_empty():
    """A null is another value than 0 and than the empty string."""
    for full, missing in (([0, 1], [None, 1]), (["", "a"], [None, "a"]), ([False, True], [None, True])):
        kind = pa.array(full).type
        assert rows_checksum(pa.table({"x": full})) != rows_checksum(pa.table({"x": pa.array(missing, kind)}))


def test_checksum_refuses_nested_columns():
    """A type it does not know is an error, not a silent hole."""
    with pytest.raises(InvalidRequestError):
        rows_checksum(pa.table({"x": [[1], [2]]}))
