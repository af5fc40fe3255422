"""Reading little of large files: what is fetched, and what it costs later, on three raylets and a real S3 server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

COLUMNS = [f"c{i:02d}" for i in range(16)]
CHOSEN = ["c03", "c11"]


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    """Blocks and pages of the sizes users have."""
    ray.data.DataContext.get_current().use_datasource_v2 = False
    yield raycache.start(memory="200MiB", disk="400MiB")
    raycache.stop()


@pytest.fixture
def lake(cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy) -> Lake:
    """Two files of 16 columns and four row groups; mounted at its own name, as other processes may remember an old mount."""
    lake = Lake.make(s3_server, proxy)
    for number in range(2):
        lake.put(f"table/{number}.parquet", table_bytes(number))
    cache.mount(f"/{lake.name}", lake.uri, lake.options, metadata_ttl_s=600)
    proxy.reset()
    return lake


def table_bytes(seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    table = pa.table({name: draw.random(200_000) for name in COLUMNS})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=50_000, compression="none", use_dictionary=False)
    return sink.getvalue()


def wanted_bytes(columns: list[str]) -> int:
    """Of the chunks of these columns, as the footers say, and of the footers, which pyarrow reads by 64 KiB."""
    total = 0
    for number in range(2):
        metadata = pq.read_metadata(io.BytesIO(table_bytes(number)))
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                total += chunk.total_compressed_size * (chunk.path_in_schema in columns)
        total += 64 << 10
    return total


def by_ray_data(cache: Cache, path: str) -> pa.Table:
    dataset = ray.data.read_parquet(path, filesystem=cache.filesystem(), columns=CHOSEN)
    return pa.concat_tables(ray.get(dataset.to_arrow_refs()))


def by_located_reader(cache: Cache, path: str) -> pa.Table:
    del cache
    return pa.concat_tables(ray.get(raycache.read_parquet(path, columns=CHOSEN).to_arrow_refs()))


def by_pyarrow(cache: Cache, path: str) -> pa.Table:
    return pq.read_table(path, filesystem=cache.filesystem(), columns=CHOSEN)


def by_pyarrow_unbuffered(cache: Cache, path: str) -> pa.Table:
    return pq.read_table(path, filesystem=cache.filesystem(), columns=CHOSEN, pre_buffer=False)


def by_dataset(cache: Cache, path: str) -> pa.Table:
    return ds.dataset(path, filesystem=cache.filesystem()).to_table(columns=CHOSEN)


def by_pandas(cache: Cache, path: str) -> pa.Table:
    del cache
    frames = [pd.read_parquet(f"raycache://{path}/{number}.parquet", columns=CHOSEN) for number in range(2)]
    return pa.Table.from_pandas(pd.concat(frames), preserve_index=False)


def by_fsspec(cache: Cache, path: str) -> pa.Table:
    del cache
    tables = []
    for number in range(2):
        with fsspec.open(f"raycache://{path}/{number}.parquet") as file:
            tables.append(pq.ParquetFile(file).read(columns=CHOSEN))
    return pa.concat_tables(tables)


@pytest.mark.parametrize(
    "read", [by_ray_data, by_located_reader, by_pyarrow, by_pyarrow_unbuffered, by_dataset, by_pandas, by_fsspec]
)
def test_two_columns_of_sixteen_cost_two_columns(
    cache: Cache, lake: Lake, proxy: S3Proxy, read: Callable[[Cache, str], pa.Table]
) -> None:
    """Cold, hardly more than the chosen columns and the footers leave the lake; the second time, nothing."""
    expected = pa.concat_tables(pq.read_table(io.BytesIO(table_bytes(i)), columns=CHOSEN) for i in range(2))
    wanted = wanted_bytes(CHOSEN)
    assert expected.sort_by("c03").equals(read(cache, f"/{lake.name}/table").select(CHOSEN).sort_by("c03"))
    cold = proxy.counters()
    assert wanted * 0.9 <= cold.data_bytes <= wanted * 1.1
    proxy.reset()
    read(cache, f"/{lake.name}/table")
    assert 0 == proxy.counters().data_requests


def test_a_whole_read_after_a_part_fetches_no_byte_twice(cache: Cache, lake: Lake, proxy: S3Proxy) -> None:
    """Two columns first, then everything: what was there in pages is taken over, and the sum is the files' size."""
    path = f"/{lake.name}/table"
    by_pyarrow(cache, path)
    cache.load(path).wait(60)
    assert proxy.counters().data_bytes == sum(len(table_bytes(number)) for number in range(2))
    assert cache.check(path).complete
    expected = pa.concat_tables(pq.read_table(io.BytesIO(table_bytes(i))) for i in range(2))
    assert expected.sort_by("c00").equals(pq.read_table(path, filesystem=cache.filesystem()).sort_by("c00"))


@pytest.mark.parametrize("piece_bytes", [64 << 10, 1 << 20, (3 << 20) + 7])
def test_a_file_read_on_and_on_is_loaded_in_blocks(
    cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy, piece_bytes: int
) -> None:
    """However small the pieces, and however many blocks one answer maps: one request a block, each byte once."""
    lake = Lake.make(s3_server, proxy)
    data = content(7, (135 << 20) + 123)
    lake.put("long.bin", data)
    cache.mount(f"/{lake.name}", lake.uri, lake.options, metadata_ttl_s=600)
    proxy.reset()
    with cache.open(f"/{lake.name}/long.bin") as file:
        assert data == b"".join(iter(lambda: file.read(piece_bytes), b""))
    counted = proxy.counters()
    assert (len(data), 17) == (counted.data_bytes, counted.data_requests)
