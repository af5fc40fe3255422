"""Files that are written through a running cache, cut off half way by those who write them, or ended well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raycache.cache import Cache
from raycache.filesystems.fsspec import RaycacheFileSystem


class Stop(Exception):
    """What cuts a writer off."""


class Unprintable:
    """What ends a CSV file half way."""

    def __str__(self) -> str:
        raise Stop


def by_fsspec(_cache: Cache, path: str) -> None:
    with fsspec.open(f"raycache://{path}", "wb") as file:
        file.write(b"x" * 1000)
        raise Stop


def by_compressed_fsspec(_cache: Cache, path: str) -> None:
    with fsspec.open(f"raycache://{path}", "wt", compression="xz") as file:
        file.write("x" * 1000)
        raise Stop


def by_pandas(_cache: Cache, path: str) -> None:
    pd.DataFrame({"a": ["y" * 50] * 200_000 + [Unprintable()]}).to_csv(f"raycache://{path}")


def by_compressed_pandas(_cache: Cache, path: str) -> None:
    pd.DataFrame({"a": ["y" * 50] * 200_000 + [Unprintable()]}).to_csv(f"raycache://{path}", compression="gzip")


def by_arrow(cache: Cache, path: str) -> None:
    with cache.filesystem().open_output_stream(path) as file:
        file.write(b"x" * 1000)
        raise Stop


def by_compressed_arrow(cache: Cache, path: str) -> None:
    with cache.filesystem().open_output_stream(path, compression="gzip", buffer_size=64) as file:
        file.write(b"x" * 1000)
        raise Stop


def by_parquet_writer(cache: Cache, path: str) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with pq.ParquetWriter(path, table.schema, filesystem=cache.filesystem()) as writer:
        writer.write_table(table)
        raise Stop


@pytest.mark.parametrize(
    "call",
    [
        by_fsspec,
        by_compressed_fsspec,
        by_pandas,
        by_compressed_pandas,
        by_arrow,
        by_compressed_arrow,
        by_parquet_writer,
    ],
)
def test_what_an_exception_cuts_off_leaves_nothing(
    cache: Cache, fs: RaycacheFileSystem, place: str, call: Callable[[Cache, str], None]
) -> None:
    """Whoever closes the file on the way out."""
    with pytest.raises(Stop):
        call(cache, f"{place}/{call.__name__}")
    assert not fs.exists(f"{place}/{call.__name__}")


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz", "zip"])
def test_what_is_compressed_is_there(fs: RaycacheFileSystem, place: str, compression: str, tmp_path: Path) -> None:
    """As bytes and as text, by the filesystem and by `fsspec.open`."""
    path = f"{place}/compressed.{compression}"
    with fs.open(path, "wb", compression=compression) as file:
        file.write(b"hello" * 1000)
    with fs.open(path, "rb", compression=compression) as file:
        assert b"hello" * 1000 == file.read()
    for opened in (fs.open(path, "wt", compression=compression), fsspec.open(f"raycache://{path}", "wt", compression)):
        with opened as file:
            file.write("text" * 1000)
        with fsspec.open(f"raycache://{path}", "rt", compression=compression) as file:
            assert "text" * 1000 == file.read()


def test_pandas_writes_what_it_reads(fs: RaycacheFileSystem, place: str) -> None:
    """Compressed by name and by ending, and parquet."""
    frame = pd.DataFrame({"a": range(1000)})
    url = f"raycache://{place}/frame"
    frame.to_csv(f"{url}.csv.gz", index=False)
    frame.to_csv(f"{url}.csv", index=False, compression="zip")
    frame.to_parquet(f"{url}.parquet")
    assert frame.equals(pd.read_csv(f"{url}.csv.gz"))
    assert frame.equals(pd.read_csv(f"{url}.csv", compression="zip"))
    assert frame.equals(pd.read_parquet(f"{url}.parquet"))
