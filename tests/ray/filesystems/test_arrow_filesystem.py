"""The pyarrow filesystem on a real cluster, over a disk and over S3 behind a counting proxy."""

from __future__ import annotations

import gc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import ray

from raycache.cache import Cache
from raycache.errors import (
    IsADirectoryRequestError,
)
from raycache.filesystems.fsspec import RaycacheFileSystem
from tests.support.lake import Lake

MIB = 1 << 20


@pytest.fixture
def arrow(cache: Cache) -> pafs.FileSystem:
    return cache.filesystem()


def table(rows: int = 50_000) -> pa.Table:
    random = np.random.default_rng(4)
    return pa.table({"id": np.arange(rows), "x": random.random(rows), "k": random.integers(0, 3, rows)})


def test_arrow_file_info(arrow: pafs.FileSystem, fs: RaycacheFileSystem, place: str) -> None:
    """Files, directories and what is missing are told apart; a selector lists one level or all."""
    fs.pipe({f"{place}/a": b"123", f"{place}/d/b": b""})
    kinds = [info.type for info in arrow.get_file_info([f"{place}/a", f"{place}/d", f"{place}/none"])]
    assert [pafs.FileType.File, pafs.FileType.Directory, pafs.FileType.NotFound] == kinds
    info = arrow.get_file_info(f"{place}/a")
    assert (3, "a", True) == (info.size, info.base_name, info.mtime_ns is not None)
    assert [f"{place}/a", f"{place}/d"] == [i.path for i in arrow.get_file_info(pafs.FileSelector(place))]
    deep = arrow.get_file_info(pafs.FileSelector(place, recursive=True))
    assert [f"{place}/a", f"{place}/d", f"{place}/d/b"] == [i.path for i in deep]
    assert [] == arrow.get_file_info(pafs.FileSelector(f"{place}/none", allow_not_found=True))
    with pytest.raises(FileNotFoundError):
        arrow.get_file_info(pafs.FileSelector(f"{place}/none"))
    with pytest.raises(NotADirectoryError):
        arrow.get_file_info(pafs.FileSelector(f"{place}/a"))


def test_arrow_files_read_in_place(arrow: pafs.FileSystem, data: tuple[str, bytes]) -> None:
    """pyarrow reads by position and in order, and gets the cache's own memory."""
    path, whole = data
    with arrow.open_input_file(path) as file:
        assert len(whole) == file.size()
        assert whole == file.read()
        assert whole[MIB - 5 : MIB + 5] == file.read_at(10, MIB - 5)
        file.seek(7)
        one = file.read_buffer(100)
        file.seek(7)
        assert (whole[7:107], one.address) == (one.to_pybytes(), file.read_buffer(100).address)
        target = bytearray(11)
        assert (11, whole[107:118]) == (file.readinto(target), bytes(target))
    with arrow.open_input_stream(path) as stream:
        assert whole[:3] + whole[3:9] == stream.read(3) + stream.read(6)


def test_arrow_writes_appear_at_close(arrow: pafs.FileSystem, place: str) -> None:
    """An output stream's file is there, whole, after close; dropped unclosed it never is; appending is refused."""
    stream = arrow.open_output_stream(f"{place}/x")
    stream.write(b"abc")
    assert pafs.FileType.NotFound == arrow.get_file_info(f"{place}/x").type
    stream.close()
    assert b"abc" == arrow.open_input_file(f"{place}/x").read()
    stream = arrow.open_output_stream(f"{place}/y")
    stream.write(b"abc")
    del stream
    gc.collect()
    assert pafs.FileType.NotFound == arrow.get_file_info(f"{place}/y").type
    with pytest.raises(ValueError, match="appended"):
        arrow.open_append_stream(f"{place}/x")


def test_a_directory_that_was_made_is_there(arrow: pafs.FileSystem, place: str) -> None:
    """It can be listed and deleted with nothing in it, as Ray does with what is written without rows."""
    arrow.create_dir(f"{place}/made")
    assert arrow.get_file_info(pafs.FileSelector(f"{place}/made")) == []
    assert arrow.get_file_info(f"{place}/made").type == pafs.FileType.Directory
    arrow.delete_dir(f"{place}/made")
    assert arrow.get_file_info(f"{place}/made").type == pafs.FileType.NotFound


def test_arrow_changes_the_tree(arrow: pafs.FileSystem, place: str) -> None:
    """Directories and files are made, copied, moved and deleted."""
    arrow.create_dir(f"{place}/d/e")
    with arrow.open_output_stream(f"{place}/d/e/x") as stream:
        stream.write(b"1")
    arrow.copy_file(f"{place}/d/e/x", f"{place}/d/y")
    arrow.move(f"{place}/d", f"{place}/m")
    paths = [i.path for i in arrow.get_file_info(pafs.FileSelector(place, recursive=True)) if i.is_file]
    assert [f"{place}/m/e/x", f"{place}/m/y"] == paths
    arrow.move(f"{place}/m/y", f"{place}/z")
    arrow.delete_file(f"{place}/z")
    with pytest.raises(FileNotFoundError):
        arrow.delete_file(f"{place}/z")
    with pytest.raises(IsADirectoryRequestError):
        arrow.delete_file(f"{place}/m")
    arrow.delete_dir_contents(f"{place}/m")
    arrow.delete_dir_contents(f"{place}/none", missing_dir_ok=True)
    with pytest.raises(FileNotFoundError):
        arrow.delete_dir(f"{place}/none")
    assert [] == [
        i.path for i in arrow.get_file_info(pafs.FileSelector(place, recursive=True, allow_not_found=True)) if i.is_file
    ]
    with pytest.raises(ValueError, match="root"):
        arrow.delete_dir_contents("/", accept_root_dir=True)


def test_parquet_and_datasets(arrow: pafs.FileSystem, place: str) -> None:
    """pyarrow.parquet and pyarrow.dataset write and read through the filesystem, hive partitions included."""
    whole = table()
    pq.write_table(whole, f"{place}/one.parquet", filesystem=arrow)
    assert whole == pq.read_table(f"{place}/one.parquet", filesystem=arrow)
    pads.write_dataset(
        whole, f"{place}/set", format="parquet", partitioning=["k"], partitioning_flavor="hive", filesystem=arrow
    )
    back = pads.dataset(f"{place}/set", filesystem=arrow, partitioning="hive").to_table()
    assert sorted(whole["id"].to_pylist()) == sorted(back["id"].to_pylist())
    assert whole["k"].to_pylist().count(1) == back.filter(pads.field("k") == 1).num_rows


def test_pandas_reads_and_writes_urls(arrow: pafs.FileSystem, fs: RaycacheFileSystem, place: str) -> None:
    """pandas takes the protocol in paths, for parquet and for text."""
    frame = table(1000).to_pandas()
    frame.to_parquet(f"raycache://{place}/x.parquet")
    pd.testing.assert_frame_equal(frame, pd.read_parquet(f"raycache://{place}/x.parquet"))
    frame.to_csv(f"raycache://{place}/x.csv", index=False)
    assert len(frame) == len(pd.read_csv(f"raycache://{place}/x.csv"))


def test_ray_data_reads_paths_and_uris(arrow: pafs.FileSystem, lake: Lake, s3: str, cache: Cache) -> None:
    """`ray.data` reads namespace paths and s3:// URIs through the cache: the second epoch asks S3 for nothing."""
    whole = table()
    key = s3.removeprefix("/s3/")
    for part in range(3):
        pq.write_table(whole.slice(part * 10_000, 10_000), f"{s3}/set/{part}.parquet", filesystem=arrow)
    for path in (f"{s3}/set", f"{lake.uri}/{key}/set", f"raycache://{s3}/set"):
        rows = ray.data.read_parquet(path, filesystem=arrow).take_all()
        assert list(range(30_000)) == sorted(row["id"] for row in rows), path
        lake.proxy.reset()
    rows = ray.data.read_parquet(f"fsspec+raycache://{s3}/set").take_all()
    assert 30_000 == len(rows)
    assert 0 == lake.proxy.counters().data_requests


def test_ray_data_writes(arrow: pafs.FileSystem, place: str) -> None:
    """`write_parquet` through the cache leaves a dataset that reads back row for row."""
    dataset = ray.data.from_arrow([table().slice(0, 5000), table().slice(5000, 5000)])
    dataset.write_parquet(f"{place}/out", filesystem=arrow)
    rows = ray.data.read_parquet(f"{place}/out", filesystem=arrow).take_all()
    assert list(range(10_000)) == sorted(row["id"] for row in rows)
