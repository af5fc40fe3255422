"""What Ray Data shows users of files is what it shows without the cache: paths, hashes, partitions, errors. Real S3."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
from ray.data.datasource.partitioning import Partitioning, PathPartitionFilter

import raycache
from raycache import paths as names
from raycache.cache import Cache
from raycache.errors import NotFoundError
from raycache.filesystems.pyarrow import cache_handler
from raycache.raydata import readers
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer

# Worker processes cannot import this module: what they run of it travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

BUCKET = "names"
YEARS = (2020, 2021)
BASES = (f"s3://{BUCKET}/t", f"s3a://{BUCKET}/t/", "/names/t", None)


@pytest.fixture(scope="module")
def lake(s3_server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory and a bucket with the same: `t/year=*/a.parquet`, `c/2020/a.csv`."""
    directory = tmp_path_factory.mktemp("names")
    bucket, client = s3_server.make_bucket(BUCKET), s3_server.client()
    for year in YEARS:
        table, sink, rows = pa.table({"id": [year, year + 0.5]}), io.BytesIO(), io.BytesIO()
        pq.write_table(table, sink)
        pa.csv.write_csv(table, rows)
        for key, body in ((f"t/year={year}/a.parquet", sink), (f"c/{year}/a.csv", rows)):
            client.put_object(Bucket=bucket, Key=key, Body=body.getvalue())
            (directory / key).parent.mkdir(parents=True, exist_ok=True)
            (directory / key).write_bytes(body.getvalue())
    # As on a node with its own way to the store: without the cache, Ray would find it.
    options = s3_server.options()
    variables = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    before = {name: os.environ.get(name) for name in variables}
    keys = ("endpoint_url", "access_key_id", "secret_access_key", "region")
    os.environ |= dict(zip(variables, (options[key] for key in keys), strict=True))
    yield directory
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer, lake: Path) -> Iterator[Cache]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = raycache.start(memory="60MiB", disk="off")
    started.mount("/names", f"s3://{BUCKET}", options=s3_server.options(), metadata_ttl_s=600)
    yield started
    raycache.stop()


@pytest.fixture
def first_generation() -> Iterator[None]:
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = False
    yield
    context.use_datasource_v2 = True


def shown(dataset: ray.data.Dataset) -> list[tuple[Any, ...]]:
    return sorted((row["id"], row["year"], row["path"], row["row_hash"]) for row in dataset.take_all())


#: How users hand the cache to Ray's readers.
FILESYSTEMS: dict[str, Callable[[], Any]] = {
    "pyarrow": lambda: raycache.connect().filesystem(),
    "fsspec": lambda: fsspec.filesystem("raycache"),
}


@pytest.mark.parametrize("options", [{}, {"target_protocol": "s3"}])
def test_ray_data_keeps_to_the_filesystem_it_was_given(options: dict[str, str]) -> None:
    """For URIs of every store: no client of another kind is made of them, and names are those of the store."""
    from ray.data.datasource.path_util import _resolve_paths_and_filesystem

    fs = fsspec.filesystem("raycache", **options)
    found, resolved = _resolve_paths_and_filesystem(["s3://bucket/t", "s3a://bucket/u/"], fs)
    handler = cache_handler(resolved)
    assert handler is not None
    assert found == ["bucket/t", "bucket/u"]
    assert [handler.path_of(name) for name in found] == ["s3://bucket/t", "s3://bucket/u"]
    for uri in ("gs://other/t", "hdfs://host/t", "abfss://container@account/t"):
        (name,), _ = _resolve_paths_and_filesystem(uri, resolved)
        assert names.normalise(handler.path_of(name)) == names.normalise(uri)


@pytest.mark.parametrize("kind", FILESYSTEMS)
@pytest.mark.parametrize("store", ["s3", "file"])
def test_paths_hashes_and_partitions_are_those_of_the_store(
    cache: Cache, lake: Path, s3_server: SeaweedServer, first_generation: None, kind: str, store: str
) -> None:
    """Of URIs, by Ray's own readers and the cache's; with either filesystem, and read through the cache."""
    uri = {"s3": f"s3://{BUCKET}/t", "file": f"file://{lake}/t"}[store]
    stock = s3_server.pyarrow_filesystem() if store == "s3" else None
    arguments: dict[str, Any] = {"include_paths": True, "include_row_hash": True}
    expected = ray.data.read_parquet(uri, filesystem=stock, **arguments)
    rows = shown(expected)
    assert [row[2].endswith(f"/t/year={row[1]}/a.parquet") for row in rows] == [True] * 4
    cache.free("/")
    through = ray.data.read_parquet(uri, filesystem=FILESYSTEMS[kind](), **arguments)
    assert rows == shown(through)
    assert cache.du(uri).bytes_cached
    assert sorted(expected.input_files()) == sorted(through.input_files())
    assert rows == shown(readers.read_parquet(uri, **arguments))


def test_the_default_reader_of_parquet_shows_the_same(
    cache: Cache, s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's V2, which lists in tasks; a footer actor for each of 32 would take long to start."""
    monkeypatch.setenv("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
    uri = f"s3://{BUCKET}/t"
    arguments: dict[str, Any] = {"include_paths": True, "include_row_hash": True}
    expected = shown(ray.data.read_parquet(uri, filesystem=s3_server.pyarrow_filesystem(), **arguments))
    assert expected == shown(ray.data.read_parquet(uri, filesystem=cache.filesystem(), **arguments))
    assert expected == shown(ray.data.read_parquet(uri, filesystem=fsspec.filesystem("raycache"), **arguments))


def test_a_chained_filesystem_reads_its_store_through_the_cache(cache: Cache, first_generation: None) -> None:
    """Made for one store, with names as that one has them; also for files of disks."""
    fs = fsspec.filesystem("raycache", target_protocol="s3")
    cache.free("/")
    rows = ray.data.read_csv(f"s3://{BUCKET}/c", filesystem=fs, include_paths=True).take_all()
    assert {row["path"] for row in rows} == {f"{BUCKET}/c/{year}/a.csv" for year in YEARS}
    assert cache.du("/names/c").bytes_cached


def test_reads_through_the_fsspec_filesystem_are_placed(cache: Cache, first_generation: None) -> None:
    """As those through the pyarrow one."""
    from raycache.raydata.hook import LocatedRead

    dataset = ray.data.read_csv(f"s3://{BUCKET}/c", filesystem=fsspec.filesystem("raycache"))
    assert isinstance(dataset._logical_plan.dag, LocatedRead)


def test_partitions_without_a_base_are_parts_of_stock_names(
    cache: Cache, s3_server: SeaweedServer, first_generation: None
) -> None:
    """By directories, the bucket is the first of them, as it is to Ray without the cache."""
    by_directory = Partitioning("dir", field_names=["bucket", "kind", "year"])

    def rows(through: Any) -> list[tuple[Any, ...]]:
        dataset = ray.data.read_csv(f"s3://{BUCKET}/c", filesystem=through, partitioning=by_directory)
        return sorted((row["id"], row["bucket"], row["kind"], row["year"]) for row in dataset.take_all())

    assert rows(s3_server.pyarrow_filesystem()) == rows(cache.filesystem())
    own = readers.read_csv(f"s3://{BUCKET}/c", partitioning=by_directory).take_all()
    assert {(row["bucket"], row["year"]) for row in own} == {(BUCKET, "2020"), (BUCKET, "2021")}


@pytest.mark.parametrize(
    ("path", "base"),
    [
        *((path, base) for path in (f"s3://{BUCKET}/t", "/names/t", "/names/t/year=*") for base in BASES),
        # As Ray spells it.
        (f"s3://{BUCKET}/t", f"{BUCKET}/t"),
    ],
)
def test_a_partition_filter_has_its_base_in_any_spelling(
    cache: Cache, s3_server: SeaweedServer, base: str | None, path: str
) -> None:
    """The base may be a path or a URI, whichever of the two the read was given."""
    only = PathPartitionFilter.of(
        lambda parts: parts.get("year") == "2020", base_dir=base, filesystem=s3_server.pyarrow_filesystem()
    )
    assert [2020.0, 2020.5] == sorted(row["id"] for row in readers.read_parquet(path, partition_filter=only).take_all())


def test_a_partition_filter_with_a_uri_as_base_works_for_other_formats(cache: Cache) -> None:
    """By directories, of a format whose reader takes the filter itself."""
    uri = f"s3://{BUCKET}/c"
    only = PathPartitionFilter.of(
        lambda parts: parts.get("year") == "2021", style="dir", base_dir=uri, field_names=["year"]
    )
    for path in (uri, "/names/c"):
        assert [2021.0, 2021.5] == sorted(row["id"] for row in readers.read_csv(path, partition_filter=only).take_all())


def test_errors_name_the_path_that_was_given(cache: Cache, first_generation: None) -> None:
    """As users spell it, not as the cache does inside."""
    uri = f"s3://{BUCKET}/t/typo"
    for call in (
        lambda: ray.data.read_csv(uri, filesystem=cache.filesystem()),
        lambda: readers.read_csv(uri),
        lambda: readers.read_parquet(uri),
    ):
        with pytest.raises(NotFoundError, match=uri):
            call()
    with pytest.raises(Exception, match=f"{BUCKET}/c/2020/a.csv") as found:
        ray.data.read_parquet(f"s3://{BUCKET}/c/2020/a.csv", filesystem=cache.filesystem(), file_extensions=None)
    assert "/@" not in str(found.value)


def test_what_is_shown_can_be_opened(cache: Cache, first_generation: None) -> None:
    """A row's path means the same to a filesystem that has read nothing, in a task."""

    def sizes(batch: dict[str, Any]) -> dict[str, Any]:
        filesystem = raycache.connect().filesystem()
        return {"size": [filesystem.get_file_info(str(path)).size for path in batch["path"]]}

    dataset = ray.data.read_binary_files(f"s3://{BUCKET}/c", filesystem=cache.filesystem(), include_paths=True)
    expected = sorted(len(row["bytes"]) for row in dataset.take_all())
    assert expected == sorted(row["size"] for row in dataset.map_batches(sizes).take_all())
