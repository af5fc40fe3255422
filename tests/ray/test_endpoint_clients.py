"""S3 clients of other projects read and write through the endpoint, as they do with S3.

Those that are not installed for all tests stand in `tests/support/clients.txt`: `make test-clients`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

import raycache
from raycache.cache import Cache
from raycache.client.neighbour.endpoints import Endpoint
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20
ROWS = 5_000
FILES = 3
SUM = sum(range(FILES * ROWS))
DATA = content(6, 11 * MIB)


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer, proxy: S3Proxy) -> Iterator[Cache]:
    assert cluster
    cache = raycache.start(memory="150MiB", disk="200MiB", endpoint=True)
    lake = Lake.make(s3_server, proxy)
    for number in range(FILES):
        rows = pa.table({"id": np.arange(ROWS) + number * ROWS, "text": [f"row {n}" for n in range(ROWS)]})
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        lake.put(f"table/{number}.parquet", sink.getvalue().to_pybytes())
    lake.put("data.bin", DATA)
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600, readonly=False)
    yield cache
    raycache.stop()


def _pyarrow(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del cache, tmp_path
    fs = pafs.S3FileSystem(
        access_key=endpoint.access_key, secret_key=endpoint.secret_key, region=endpoint.region,
        scheme="http", endpoint_override=endpoint.url.partition("//")[2],
    )  # fmt: skip
    assert SUM == pds.dataset("lake/table", filesystem=fs).to_table()["id"].to_numpy().sum()
    with fs.open_input_file("lake/data.bin") as file:
        file.seek(5 * MIB)
        assert DATA[5 * MIB :][:1000] == file.read(1000)
    with fs.open_output_stream("lake/pyarrow/out") as file:
        file.write(DATA)
    assert len(DATA) == fs.get_file_info("lake/pyarrow/out").size
    fs.copy_file("lake/pyarrow/out", "lake/pyarrow/copy")
    fs.delete_file("lake/pyarrow/out")
    assert ["lake/pyarrow/copy"] == [info.path for info in fs.get_file_info(pafs.FileSelector("lake/pyarrow"))]


def _polars(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del tmp_path
    polars = pytest.importorskip("polars")
    options = endpoint.storage_options()
    frame = polars.scan_parquet("s3://lake/table/*.parquet", storage_options=options)
    assert SUM == frame.select(polars.col("id").sum()).collect().item()
    assert 10 == frame.filter(polars.col("id") < 10).collect().height
    frame.sink_parquet("s3://lake/polars/out.parquet", storage_options=options)
    assert SUM == pq.read_table(cache.open("/lake/polars/out.parquet"))["id"].to_numpy().sum()


def _duckdb(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del tmp_path
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        database.execute(f"LOAD '{_httpfs()}'")
        database.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{endpoint.access_key}', SECRET '{endpoint.secret_key}', REGION 'us-east-1', "
            f"ENDPOINT '{endpoint.url.partition('//')[2]}', USE_SSL false, URL_STYLE 'path')"
        )
        rows = database.execute("SELECT count(*), sum(id) FROM read_parquet('s3://lake/table/*.parquet')").fetchone()
        assert (FILES * ROWS, SUM) == rows
        database.execute("COPY (SELECT 7 AS seven) TO 's3://lake/duckdb/c.csv' (HEADER)")
        assert b"seven\n7\n" == cache.read("/lake/duckdb/c.csv").to_pybytes()


def _httpfs() -> Path:
    """Duckdb's own extension, out of the wheel that has it: it would be downloaded otherwise."""
    packed = pytest.importorskip("duckdb_ext")
    return next(Path(packed.__path__[0]).rglob("httpfs.duckdb_extension"))


def _deltalake(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del cache, tmp_path
    deltalake = pytest.importorskip("deltalake")
    options = {**endpoint.storage_options(), "aws_conditional_put": "etag"}
    for number in range(3):
        rows = pa.table({"id": np.arange(100) + 100 * number})
        deltalake.write_deltalake("s3://lake/delta", rows, mode="append", storage_options=options)
    table = deltalake.DeltaTable("s3://lake/delta", storage_options=options)
    assert (2, sum(range(300))) == (table.version(), table.to_pyarrow_table()["id"].to_numpy().sum())
    table.delete("id < 100")
    assert 200 == deltalake.DeltaTable("s3://lake/delta", storage_options=options).to_pyarrow_table().num_rows


def _lance(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del cache, tmp_path
    lance = pytest.importorskip("lance")
    options = endpoint.storage_options()
    rows = pa.table(
        {"id": np.arange(1000), "vector": pa.FixedSizeListArray.from_arrays(np.random.default_rng(1).random(8000), 8)}
    )
    lance.write_dataset(rows, "s3://lake/lance", storage_options=options)
    dataset = lance.dataset("s3://lake/lance", storage_options=options)
    assert [5, 17, 999] == dataset.take([5, 17, 999])["id"].to_pylist()
    lance.write_dataset(rows, "s3://lake/lance", mode="append", storage_options=options)
    assert 2000 == lance.dataset("s3://lake/lance", storage_options=options).count_rows()


def _pyiceberg(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del cache
    pytest.importorskip("pyiceberg")
    catalogs = pytest.importorskip("pyiceberg.catalog.sql")
    catalog = catalogs.SqlCatalog(
        "test",
        uri=f"sqlite:///{tmp_path}/catalog.db", warehouse="s3://lake/iceberg",
        **{
            "s3.endpoint": endpoint.url, "s3.access-key-id": endpoint.access_key,
            "s3.secret-access-key": endpoint.secret_key, "s3.region": endpoint.region,
        },
    )  # fmt: skip
    catalog.create_namespace("n")
    rows = pa.table({"id": np.arange(1000)})
    table = catalog.create_table("n.t", schema=rows.schema)
    table.append(rows)
    table.append(rows)
    assert 2 * sum(range(1000)) == catalog.load_table("n.t").scan().to_arrow()["id"].to_numpy().sum()


def _daft(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del cache, tmp_path
    daft = pytest.importorskip("daft")
    config = daft.io.IOConfig(
        s3=daft.io.S3Config(
            endpoint_url=endpoint.url, key_id=endpoint.access_key, access_key=endpoint.secret_key,
            region_name=endpoint.region, use_ssl=False,
        )
    )  # fmt: skip
    frame = daft.read_parquet("s3://lake/table/*.parquet", io_config=config)
    assert SUM == frame.sum("id").to_pydict()["id"][0]
    frame.write_parquet("s3://lake/daft", io_config=config)
    assert SUM == daft.read_parquet("s3://lake/daft/*.parquet", io_config=config).sum("id").to_pydict()["id"][0]


def _zarr(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    del cache, tmp_path
    zarr = pytest.importorskip("zarr")
    from obstore.store import S3Store

    options: dict[str, Any] = endpoint.storage_options()
    store = zarr.storage.ObjectStore(
        S3Store("lake", prefix="zarr", config=options, client_options={"allow_http": True})
    )
    values = np.arange(10_000).reshape(100, 100)
    array = zarr.create_array(store, data=values, chunks=(30, 30))
    array[0, :] = -1
    found = zarr.open_array(store, mode="r")
    assert (values[7:95, 3:50] == found[7:95, 3:50]).all()
    assert (found[0, :] == -1).all()


def _s3fs(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    s3fs = pytest.importorskip("s3fs")
    fs = s3fs.S3FileSystem(
        key=endpoint.access_key, secret=endpoint.secret_key, client_kwargs={"endpoint_url": endpoint.url}
    )
    assert {f"lake/table/{number}.parquet" for number in range(FILES)} == set(fs.find("lake/table"))
    with fs.open("lake/data.bin") as file:
        file.seek(9 * MIB)
        assert DATA[9 * MIB :] == file.read()
    (tmp_path / "up").write_bytes(DATA)
    fs.put(str(tmp_path / "up"), "lake/s3fs/up")
    fs.copy("lake/s3fs/up", "lake/s3fs/copy")
    fs.rm("lake/s3fs/up")
    assert (["lake/s3fs/copy"], DATA) == (fs.ls("lake/s3fs", refresh=True), cache.read("/lake/s3fs/copy").to_pybytes())


def _program(endpoint: Endpoint, *arguments: str) -> str:
    done = subprocess.run(
        arguments,
        env={**os.environ, **endpoint.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def _awscli(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    program = shutil.which("aws")
    if program is None:
        pytest.skip("awscli is not installed")
    (tmp_path / "up").write_bytes(DATA)
    _program(endpoint, program, "s3", "cp", str(tmp_path / "up"), "s3://lake/aws/up")
    assert DATA == cache.read("/lake/aws/up").to_pybytes()
    _program(endpoint, program, "s3", "cp", "s3://lake/aws/up", str(tmp_path / "down"))
    assert DATA == (tmp_path / "down").read_bytes()
    assert FILES == _program(endpoint, program, "s3", "ls", "--recursive", "s3://lake/table/").count("parquet")
    _program(endpoint, program, "s3", "sync", "s3://lake/table", str(tmp_path / "table"))
    assert FILES == len(list((tmp_path / "table").iterdir()))
    _program(endpoint, program, "s3", "rm", "--recursive", "s3://lake/aws/")
    assert not cache.exists("/lake/aws/up")


def _rclone(endpoint: Endpoint, cache: Cache, tmp_path: Path) -> None:
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("rclone is not installed")
    remote = ":s3,provider=Other,env_auth=true,force_path_style=true,no_check_bucket=true:"
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "data").write_bytes(DATA)
    common = (program, "--config", str(tmp_path / "none"))
    _program(endpoint, *common, "copy", str(tmp_path / "up"), f"{remote}lake/rclone")
    assert DATA == cache.read("/lake/rclone/data").to_pybytes()
    _program(endpoint, *common, "copy", f"{remote}lake/table", str(tmp_path / "down"))
    assert FILES == len(list((tmp_path / "down").iterdir()))
    _program(endpoint, *common, "check", str(tmp_path / "up"), f"{remote}lake/rclone")
    _program(endpoint, *common, "delete", f"{remote}lake/rclone")
    assert not cache.exists("/lake/rclone/data")


CLIENTS: dict[str, Callable[[Endpoint, Cache, Path], None]] = {
    "awscli": _awscli,
    "daft": _daft,
    "deltalake": _deltalake,
    "duckdb": _duckdb,
    "lance": _lance,
    "polars": _polars,
    "pyarrow": _pyarrow,
    "pyiceberg": _pyiceberg,
    "rclone": _rclone,
    "s3fs": _s3fs,
    "zarr": _zarr,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_other_clients(cache: Cache, tmp_path: Path, client: str) -> None:
    """What stands in the lake they read, and what they write they read again, and so does the cache."""
    before = cache.stats().total
    CLIENTS[client](cache.endpoint(), cache, tmp_path)
    after = cache.stats().total
    assert after.hits + after.misses > before.hits + before.misses
    assert DATA == cache.read("/lake/data.bin").to_pybytes()
