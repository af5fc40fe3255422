"""Which files and which columns a read of parquet means: as Ray's default reader has it, on every node, in every mode."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
from ray.data.datasource.partitioning import PathPartitionFilter
from ray.data.expressions import col

import raycache
from raycache.cache import Cache
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.raydata import readers
from raycache.testing.cluster import LocalCluster

#: Directory -> file -> columns.
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    # A column that later files have, one that only the first has, and types that grow.
    "evolved": {
        "2022.parquet": {"id": pa.array([1, 2], pa.int32()), "old": ["a", "b"], "nothing": pa.nulls(2)},
        "2023.parquet": {"id": pa.array([3], pa.int32()), "nothing": pa.nulls(1)},
        "2024.parquet": {"id": pa.array([4, 5], pa.int64()), "label": ["p", "q"], "nothing": ["x", "y"]},
    },
    # Partitions, of which one is a column of files, too.
    "partitioned": {
        "year=1/kind=a/0.parquet": {"id": [1], "year": pa.array([1], pa.int32())},
        "year=2/kind=b/0.parquet": {"id": [2], "label": ["x"]},
    },
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("columns")
    for name, files in TABLES.items():
        for key, columns in files.items():
            (directory / name / key).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns), directory / name / key)
    for number in range(20):
        (directory / "days" / f"day={number}").mkdir(parents=True)
        (directory / "days" / f"day={number}" / "x.csv").write_text(f"v\n{number}\n")
    (directory / "failed").mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"id": [1, 2, 3]}), directory / "failed" / f"{name}.parquet")
    (directory / "failed" / "0.parquet").touch()
    (directory / "hive").mkdir()
    pq.write_table(pa.table({"id": [1]}), directory / "hive" / "000000_0")
    hidden = directory / "run[1]"
    hidden.mkdir()
    for name in ("a.csv", "_b.csv", ".c.csv"):
        (hidden / name).write_text("v\n1\n")
    return directory


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, lake: Path) -> Iterator[Cache]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = raycache.start(memory="60MiB", disk="off")
    started.mount("/lake", f"file://{lake}", metadata_ttl_s=600)
    yield started
    raycache.stop()


@pytest.fixture(params=["hook", "labels", "plain"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAYCACHE_PLACEMENT", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def few_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's default reader starts 32 actors for each listing, else."""
    monkeypatch.setenv("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")


def rows(dataset: ray.data.Dataset) -> list[str]:
    """All rows with their keys in order, in a form that compares."""
    return sorted(repr({key: value for key, value in row.items() if key != "path"}) for row in dataset.take_all())


ARGUMENTS: dict[str, dict[str, Any]] = {
    "all": {},
    "later": {"columns": ["label"]},
    "order": {"columns": ["label", "year", "old", "id", "none"], "include_paths": True},
    "hash": {"columns": ["id"], "include_row_hash": True},
    "nothing": {"columns": []},
    "schema": {"schema": pa.schema([("label", pa.string()), ("id", pa.int64())])},
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_have_the_columns_of_the_namesakes(cache: Cache, lake: Path, mode: str, name: str) -> None:
    """Null where a file lacks a column, whichever file or node comes first; asked for or not, in the order asked for."""
    # Compared with copies on a disk, which the cache knows nothing of, by Ray's default reader.
    for arguments in ARGUMENTS.values():
        hashed = "include_row_hash" in arguments
        stock = ray.data.read_parquet(f"{lake}/{name}", **arguments)
        cached = readers.read_parquet(f"file://{lake}/{name}" if hashed else f"/lake/{name}", **arguments)
        assert rows(stock) == rows(cached), arguments
        assert dict(zip(stock.schema().names, stock.schema().types, strict=True)) == dict(
            zip(cached.schema().names, cached.schema().types, strict=True)
        ), arguments


def test_what_is_asked_of_a_dataset_later_knows_all_columns(cache: Cache, lake: Path, mode: str) -> None:
    """Filters and selections are pushed down into the read, of columns that only some files have, too."""

    def asked(dataset: ray.data.Dataset) -> list[list[str]]:
        return [
            rows(dataset.filter(expr=col("label") == "p")),
            rows(dataset.select_columns(["label"])),
            rows(dataset.filter(expr=col("id") > 2).select_columns(["id", "old"])),
        ]

    assert asked(ray.data.read_parquet(f"{lake}/evolved")) == asked(readers.read_parquet("/lake/evolved"))
    kind = [
        rows(read.filter(expr=col("kind") == "b"))
        for read in (ray.data.read_parquet(f"{lake}/partitioned"), readers.read_parquet("/lake/partitioned"))
    ]
    assert kind[0] == kind[1]
    assert len(kind[0]) == 1
    assert readers.read_parquet("/lake/partitioned").count() == 2


def test_tensors_of_several_shapes_are_left_to_each_file(cache: Cache, lake: Path) -> None:
    """Their schemas cannot be one; Ray reads each by its own, and so does this."""
    from ray.data.extensions import ArrowTensorArray

    (lake / "tensors").mkdir()
    for size in (2, 3):
        tensor = ArrowTensorArray.from_numpy(np.ones((1, size, size)))
        pq.write_table(pa.table({"tensor": tensor}), lake / "tensors" / f"{size}.parquet")
    shapes = [row["tensor"].shape for row in readers.read_parquet("/lake/tensors").take_all()]
    assert sorted(shapes) == [(2, 2), (3, 3)]


def test_a_column_asked_for_twice_is_refused(cache: Cache) -> None:
    """As by Ray's default reader."""
    with pytest.raises(InvalidRequestError, match="twice"):
        readers.read_parquet("/lake/evolved", columns=["id", "id"])


def test_empty_files_are_left_out_and_no_files_are_an_error(cache: Cache, lake: Path, mode: str) -> None:
    """What failed writers left behind; and files of other names, which would be no rows without a word."""

    def outcome(call: Callable[[], ray.data.Dataset]) -> Any:
        try:
            return call().count()
        except ValueError:
            return ValueError

    for directory, arguments in (("failed", {}), ("hive", {}), ("run[1]", {})):
        expected = outcome(lambda path=f"{lake}/{directory}", given=arguments: ray.data.read_parquet(path, **given))
        found = outcome(lambda path=f"/lake/{directory}", given=arguments: readers.read_parquet(path, **given))
        assert (directory, expected) == (directory, found)
    assert readers.read_parquet(["/lake/failed/0.parquet", "/lake/failed/a.parquet"]).count() == 3
    assert readers.read_parquet("/lake/failed/*").count() == 6
    with pytest.raises(ValueError, match="no files found"):
        readers.read_parquet("/lake/failed/0.parquet")
    with pytest.raises(ValueError, match="no files found"):
        none = PathPartitionFilter.of(lambda parts: False)
        readers.read_parquet("/lake/partitioned", partition_filter=none)


def test_filters_and_missing_paths_hold_for_all_nodes_together(cache: Cache, mode: str) -> None:
    """A filter that leaves a node without files, and paths that do not exist, where they may; in every mode."""
    only = PathPartitionFilter.of(lambda parts: parts["day"] == "7")
    assert [7] == [row["v"] for row in readers.read_csv("/lake/days", partition_filter=only).take_all()]
    paths = ["/lake/days/day=3", "/lake/nowhere", "/lake/days/day=4/x.csv"]
    found = readers.read_csv(paths, ignore_missing_paths=True)
    assert [3, 4] == sorted(row["v"] for row in found.take_all())
    with pytest.raises(NotFoundError):
        readers.read_csv(paths)
    with pytest.raises(ValueError, match="No input files found"):
        readers.read_csv("/lake/days", partition_filter=PathPartitionFilter.of(lambda parts: False))
    parquet = readers.read_parquet(
        ["/lake/evolved", "/lake/nowhere"], ignore_missing_paths=True, skip_paths="/lake/evolved/2023.parquet"
    )
    assert [1, 2, 4, 5] == sorted(row["id"] for row in parquet.take_all())
    assert readers.read_parquet(["/lake/evolved", "/lake/gone"], skip_paths=["/lake/gone"]).count() == 5


def test_names_that_look_like_globs_are_names(cache: Cache, mode: str) -> None:
    """A directory `run[1]` is read without its hidden files, as any; so is what a glob matches."""
    for path in ("/lake/run[1]", "/lake/run[1]/*.csv", "/lake/run*", "/lake/run[[]1]/a.csv"):
        assert readers.read_csv(path).count() == 1, path
    assert readers.read_csv("/lake/run[1]/_*.csv").count() == 1
    assert readers.read_csv("/lake/days/day=1*").count() == 11
    with pytest.raises(NotFoundError):
        readers.read_csv("/lake/run[1]/*.typo")
