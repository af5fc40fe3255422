"""Libraries that read and write through fsspec or pyarrow filesystems find the cache there as any store.

Those that are not installed for all tests are the dependency group "clients": `make test-clients`.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.json as paj
import pyarrow.parquet as pq
import pytest

from raycache.cache import Cache
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.filesystems.pyarrow import filesystem
from tests.support.lake import content

FRAME = pd.DataFrame({"id": range(1000), "text": [f"row {number}" for number in range(1000)]})
DATA = content(6, 3 << 20)


def _archive(kind: str) -> bytes:
    """An archive of `d/a` and `d/b`."""
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("d/a", "d/b"):
                archive.writestr(name, DATA + name.encode())
    else:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in ("d/a", "d/b"):
                member = tarfile.TarInfo(name)
                member.size = len(DATA) + len(name)
                archive.addfile(member, io.BytesIO(DATA + name.encode()))
    return packed.getvalue()


def _chained_archive(kind: str) -> Callable[[RaycacheFileSystem, str, Path], None]:
    def work(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
        del tmp_path
        fs.pipe(f"{place}/x.{kind}", _archive(kind))
        with fsspec.open(f"{kind}://d/b::raycache://{place}/x.{kind}") as file:
            assert DATA + b"d/b" == file.read()
        inside, _ = fsspec.url_to_fs(f"{kind}://::raycache://{place}/x.{kind}")
        assert ["d/a", "d/b"] == sorted(inside.find(""))
        assert DATA[5:99] == inside.cat_file("d/a", 5, 99)

    return work


def _chained_cache(kind: str) -> Callable[[RaycacheFileSystem, str, Path], None]:
    def work(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
        fs.pipe({f"{place}/data": DATA, f"{place}/d/x": b"x"})
        options: dict[str, Any] = {kind: {"cache_storage": str(tmp_path / kind)}}
        for _ in range(2):
            with fsspec.open(f"{kind}::raycache://{place}/data", **options) as file:
                file.seek(1 << 20)
                assert DATA[1 << 20 :][:77] == file.read(77)
        local, path = fsspec.url_to_fs(f"{kind}::raycache://{place}", **options)
        assert {name.removeprefix(path) for name in local.find(path)} == {"/data", "/d/x"}
        assert b"x" == local.cat(f"{path}/d/x")

    return work


def _written_zip(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    with fs.open(f"{place}/w.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", DATA)
    with fs.open(f"{place}/w.zip") as file, zipfile.ZipFile(file) as archive:
        assert DATA == archive.read("a")


def _json_lines(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    rows = [{"id": number, "text": f"row {number}"} for number in range(1000)]
    fs.pipe(f"{place}/j/a.json", "\n".join(map(json.dumps, rows)).encode())
    arrow = filesystem()
    assert rows == paj.read_json(arrow.open_input_stream(f"{place}/j/a.json")).to_pylist()
    assert rows == paj.read_json(fs.open(f"{place}/j/a.json")).to_pylist()
    for given in (fs, arrow):
        assert rows == pds.dataset(f"{place}/j", format="json", filesystem=given).to_table().to_pylist()
    assert rows == pd.read_json(f"raycache://{place}/j/a.json", lines=True).to_dict("records")


def _duckdb(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    duckdb = pytest.importorskip("duckdb")
    for number in range(3):
        with fs.open(f"{place}/p/{number}.parquet", "wb") as file:
            FRAME.to_parquet(file)
    with duckdb.connect() as database:
        database.register_filesystem(fs)
        rows = database.execute(f"SELECT count(*), sum(id) FROM read_parquet('raycache://{place}/p/*.parquet')")
        assert (3 * len(FRAME), 3 * FRAME["id"].sum()) == rows.fetchone()
        database.execute(f"COPY (SELECT 7 AS seven) TO 'raycache://{place}/c.csv' (HEADER)")
        assert b"seven\n7\n" == fs.cat(f"{place}/c.csv")


def _polars(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"id": range(1000), "text": list(FRAME["text"])})
    with fs.open(f"{place}/p/a.parquet", "wb") as file:
        frame.write_parquet(file)
    with fs.open(f"{place}/p/a.parquet") as file:
        assert frame.equals(polars.read_parquet(file))
    for given in (fs, filesystem()):
        found = polars.scan_pyarrow_dataset(pds.dataset(f"{place}/p", filesystem=given))
        assert 499 == found.filter(polars.col("id") > 500).collect().height
    assert frame.equals(polars.read_parquet(f"raycache://{place}/p/a.parquet", use_pyarrow=True))
    with fs.open(f"{place}/a.csv", "wb") as file:
        frame.write_csv(file)
    assert frame.equals(polars.read_csv(fs.open(f"{place}/a.csv")))


def _zarr(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    zarr = pytest.importorskip("zarr")
    values = np.arange(10_000).reshape(100, 100)
    group = zarr.open_group(f"raycache://{place}/z", mode="w")
    group.create_array("a/b", data=values, chunks=(30, 30))
    found = zarr.open_group(f"raycache://{place}/z", mode="r")
    assert ["a"] == sorted(found)
    assert (values[7:95, 3:50] == found["a/b"][7:95, 3:50]).all()
    group["a/b"][0, :] = -1
    assert (zarr.open_array(f"raycache://{place}/z/a/b", mode="r")[:2, 0] == [-1, 100]).all()
    del group["a"]
    assert [] == sorted(zarr.open_group(f"raycache://{place}/z", mode="r"))
    assert not fs.exists(f"{place}/z/a")


def _h5py(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(1).random((500, 500))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("g/values", data=values, chunks=(50, 50), compression="gzip")
    fs.put_file(tmp_path / "x.h5", f"{place}/x.h5")
    with fs.open(f"{place}/x.h5") as opened, h5py.File(opened, "r") as file:
        assert (values[3:400, 77] == file["g/values"][3:400, 77]).all()


def _upath(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    upath = pytest.importorskip("upath")
    base = upath.UPath(f"raycache://{place}/u")
    (base / "d").mkdir(parents=True, exist_ok=True)
    (base / "d" / "a.txt").write_text("ä")
    (base / "b.bin").write_bytes(DATA)
    assert ["b.bin", "d"] == sorted(child.name for child in base.iterdir())
    assert ["a.txt"] == [child.name for child in base.glob("**/*.txt")]
    assert ["a.txt"] == [child.name for child in base.rglob("*.txt")]
    assert ("ä", DATA) == ((base / "d/a.txt").read_text(), (base / "b.bin").read_bytes())
    assert (len(DATA), True, False) == ((base / "b.bin").stat().st_size, base.is_dir(), (base / "no").exists())
    assert (".txt", "a", f"{place}/u/d") == (
        (base / "d/a.txt").suffix,
        (base / "d/a.txt").stem,
        (base / "d/a.txt").parent.path,
    )
    (base / "b.bin").rename(base / "c.bin")
    assert ["c.bin", "d"] == sorted(child.name for child in base.iterdir())
    with (base / "d" / "a.txt").open() as file:
        assert "ä" == file.read()
    (base / "c.bin").unlink()
    with pytest.raises(FileNotFoundError):
        (base / "c.bin").read_bytes()
    assert [f"{place}/u/d/a.txt"] == fs.find(f"{place}/u")


def _dask(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    pytest.importorskip("dask")
    dask_frames = pytest.importorskip("dask.dataframe")
    from dask.bytes import read_bytes

    frame = dask_frames.from_pandas(FRAME, npartitions=3)
    frame.to_parquet(f"raycache://{place}/p", write_index=False)
    assert 3 == len(fs.glob(f"{place}/p/*.parquet"))
    found = dask_frames.read_parquet(f"raycache://{place}/p", columns=["id"])
    assert FRAME["id"].sum() == found["id"].sum().compute(scheduler="threads")
    frame.to_csv(f"raycache://{place}/c/*.csv", index=False, compute_kwargs={"scheduler": "threads"})
    assert len(FRAME) == len(dask_frames.read_csv(f"raycache://{place}/c/*.csv").compute(scheduler="threads"))
    fs.pipe(f"{place}/data", DATA)
    _, blocks = read_bytes(f"raycache://{place}/data", blocksize=1 << 20, sample=False)
    assert DATA == b"".join(block.compute(scheduler="threads") for block in blocks[0])


def _pyarrow(fs: RaycacheFileSystem, place: str, tmp_path: Path) -> None:
    del tmp_path
    table = pa.Table.from_pandas(FRAME)
    for number, given in enumerate((fs, filesystem())):
        pq.write_to_dataset(table, f"{place}/{number}", filesystem=given)
        assert table.equals(pq.read_table(f"{place}/{number}", filesystem=given))
        pds.write_dataset(table, f"{place}/{number}/more", format="csv", filesystem=given)
        assert len(table) == pds.dataset(f"{place}/{number}/more", format="csv", filesystem=given).count_rows()


CLIENTS: dict[str, Callable[[RaycacheFileSystem, str, Path], None]] = {
    "zip chain": _chained_archive("zip"),
    "tar chain": _chained_archive("tar"),
    "blockcache chain": _chained_cache("blockcache"),
    "filecache chain": _chained_cache("filecache"),
    "simplecache chain": _chained_cache("simplecache"),
    "zipfile": _written_zip,
    "json lines": _json_lines,
    "pyarrow": _pyarrow,
    "dask": _dask,
    "duckdb": _duckdb,
    "h5py": _h5py,
    "polars": _polars,
    "upath": _upath,
    "zarr": _zarr,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_other_libraries(cache: Cache, fs: RaycacheFileSystem, place: str, tmp_path: Path, client: str) -> None:
    """What they write they read, in whole and in part, on S3 and on a disk."""
    assert cache
    CLIENTS[client](fs, f"{place}/{client.replace(' ', '-')}", tmp_path)
