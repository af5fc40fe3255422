"""Rows of a cached dataset are the pipeline's: over kinds of columns, readers, and operators one behind the other."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.data.expressions import col

import raycache
from raycache.testing.cluster import LocalCluster

ROWS = 30


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[raycache.Cache]:
    """A cache whose metadata are always looked up."""
    with raycache.session(memory="40MiB", disk=f"{tmp_path_factory.mktemp('disk')}:100MiB", metadata_ttl_s=0) as made:
        yield made


def cell(value: Any) -> Any:
    """A value of a row, comparable."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, [cell(each) for each in value.ravel().tolist()])
    if isinstance(value, dict):
        return {name: cell(each) for name, each in value.items()}
    return repr(value)


def rows(dataset: Any) -> list[str]:
    return sorted(str({name: cell(value) for name, value in row.items()}) for row in dataset.take_all())


def check(cache: raycache.Cache, make: Callable[[], Any]) -> None:
    """Rows and names are the same without, while making, and while reading; and the last really read."""
    expected, names = rows(make()), make().schema().names
    assert rows(raycache.cached(make())) == expected
    before = sum(row.made for row in cache.cached_datasets())
    again = raycache.cached(make())
    assert rows(again) == expected
    assert again.schema().names == names
    assert sum(row.made for row in cache.cached_datasets()) == before


COLUMNS: dict[str, pa.Array] = {
    "numbers": pa.array([None, *range(ROWS - 1)], pa.int16()),
    "floats": pa.array([float("nan"), None, *np.linspace(-1, 1, ROWS - 2)]),
    "texts": pa.array(["", None, "ä"] * (ROWS // 3)),
    "bytes": pa.array([b"\0", None, b"xyz"] * (ROWS // 3)),
    "truths": pa.array([True, None, False] * (ROWS // 3)),
    "decimals": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.50")] * (ROWS // 3)),
    "times": pa.array([0, None, -(10**15) - 7] * (ROWS // 3), pa.timestamp("us")),
    "zoned times": pa.array([0, None, 10**15] * (ROWS // 3), pa.timestamp("us", "Europe/Berlin")),
    "dates": pa.array([dt.date(2024, 1, 2), None, dt.date(1960, 1, 1)] * (ROWS // 3)),
    "durations": pa.array([0, None, 10**6] * (ROWS // 3), pa.duration("us")),
    "lists": pa.array([[1, 2], [], None] * (ROWS // 3)),
    "structs": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}] * (ROWS // 3)),
    "maps": pa.array([[("k", 1)], [], None] * (ROWS // 3), pa.map_(pa.string(), pa.int64())),
    "dictionaries": pa.array(["red", "green", None] * (ROWS // 3)).dictionary_encode(),
    "large texts": pa.array(["a", None, "b"] * (ROWS // 3), pa.large_string()),
}


def lake(folder: Path, columns: dict[str, pa.Array]) -> str:
    for number in range(4):
        table = pa.table({"id": np.arange(ROWS) + number * ROWS, **columns})
        pq.write_table(table, folder / f"{number}.parquet")
    return f"file://{folder}"


def test_columns_of_every_kind(cache: raycache.Cache, tmp_path: Path) -> None:
    """All kinds that parquet has, as they are and with nulls."""
    uri = lake(tmp_path, COLUMNS)
    check(cache, lambda: raycache.read_parquet(uri))


@pytest.mark.long
@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_each_kind_through_a_transform(cache: raycache.Cache, tmp_path: Path, kind: str) -> None:
    """Through batches of each format."""
    uri = lake(tmp_path, {"x": COLUMNS[kind]})
    for batch_format in ("pyarrow", "pandas", "numpy"):
        check(cache, lambda f=batch_format: raycache.read_parquet(uri).map_batches(lambda b: b, batch_format=f))  # type: ignore[misc]


class Adder:
    """A transform with state of its own."""

    def __init__(self, by: int, *, sign: int = 1) -> None:
        self.by = by * sign

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "added": batch["id"] + self.by}


def tensors(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "tensor": np.stack([np.full((2, 3), i, np.float32) for i in batch["id"]])}


def ragged(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "ragged": np.arange(row["id"] % 4 + 1)}


OPERATORS: dict[str, Callable[[Any], Any]] = {
    "map": lambda ds: ds.map(lambda row: {**row, "twice": row["id"] * 2}),
    "map_batches": lambda ds: ds.map_batches(lambda batch: {"id": batch["id"] + 1}),
    "pandas": lambda ds: ds.map_batches(lambda frame: frame.assign(p=frame["id"] / 2), batch_format="pandas"),
    "arguments": lambda ds: ds.map_batches(_plus, fn_args=[5], fn_kwargs={"name": "z"}),
    "a class": lambda ds: ds.map_batches(Adder, fn_constructor_args=[7], concurrency=1),
    "a class with names": lambda ds: ds.map_batches(Adder, fn_constructor_kwargs={"by": 7, "sign": -1}, concurrency=2),
    "two classes": lambda ds: ds.map_batches(Adder, fn_constructor_args=[1], concurrency=1).map_batches(
        Adder, fn_constructor_args=[2], concurrency=1
    ),
    "flat_map": lambda ds: ds.flat_map(lambda row: [{"id": row["id"], "k": k} for k in range(row["id"] % 3)]),
    "filter": lambda ds: ds.filter(lambda row: row["id"] % 3 == 0),
    "filter by an expression": lambda ds: ds.filter(expr=col("id") > 17),
    "filter of nothing": lambda ds: ds.filter(lambda row: False),
    "select_columns": lambda ds: ds.select_columns(["id"]),
    "drop_columns": lambda ds: ds.map(lambda row: {**row, "d": 1}).drop_columns(["d"]),
    "rename_columns": lambda ds: ds.rename_columns({"id": "number"}),
    "with_column": lambda ds: ds.with_column("sum", col("id") + 3),
    "add_column": lambda ds: ds.add_column("c", lambda frame: frame["id"] * 3),
    "tensors": lambda ds: ds.map_batches(tensors),
    "ragged tensors": lambda ds: ds.map(ragged),
    "objects": lambda ds: ds.map(lambda row: {"o": {1, 2, int(row["id"])}}),
    "generators": lambda ds: ds.map_batches(_twice),
}


def _plus(batch: dict[str, Any], by: int, name: str) -> dict[str, Any]:
    return {**batch, name: batch["id"] + by}


def _twice(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield batch
    yield {name: values[:1] for name, values in batch.items()}


SHORT = ("a class with names", "tensors", "ragged tensors", "pandas", "filter by an expression")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in OPERATORS]
)
def test_operators(cache: raycache.Cache, tmp_path: Path, name: str) -> None:
    """Each operator that may stand before `cached`."""
    uri = lake(tmp_path, {"text": COLUMNS["texts"]})
    check(cache, lambda: OPERATORS[name](raycache.read_parquet(uri)))


@pytest.mark.long
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(["map", "filter", "flat_map", "with_column", "tensors", "pandas"]), max_size=4))
def test_chains_of_operators(cache: raycache.Cache, tmp_path: Path, names: list[str]) -> None:
    """Any of them, one behind the other."""
    uri = lake(tmp_path, {})

    def make() -> Any:
        dataset = raycache.read_parquet(uri)
        for name in names:
            dataset = OPERATORS[name](dataset)
        return dataset

    check(cache, make)


def _write_files(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"a{number}\nb{number}\n")
        (folder / f"{number}.csv").write_text(f"a,b\n{number},x\n{number + 10},y\n")
        (folder / f"{number}.json").write_text(f'{{"a": {number}}}\n{{"a": {number + 10}}}\n')
        np.save(folder / f"{number}.npy", np.arange(number + 1))
        from PIL import Image

        Image.fromarray(np.full((4, 5, 3), number, np.uint8)).save(folder / f"{number}.png")


READERS: dict[str, Callable[[str], Any]] = {
    "text": lambda uri: raycache.read_text(f"{uri}/*.txt"),
    "csv": lambda uri: raycache.read_csv(f"{uri}/*.csv"),
    "json": lambda uri: raycache.read_json(f"{uri}/*.json"),
    "numpy": lambda uri: raycache.read_numpy(f"{uri}/*.npy"),
    "images": lambda uri: raycache.read_images(f"{uri}/*.png"),
    "binary_files": lambda uri: raycache.read_binary_files(f"{uri}/*.txt", include_paths=True),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("csv", "images") else pytest.mark.long) for name in READERS]
)
def test_readers(cache: raycache.Cache, tmp_path: Path, name: str) -> None:
    """Each reader, with a transform behind it."""
    _write_files(tmp_path)
    check(cache, lambda: READERS[name](f"file://{tmp_path}"))


def test_arguments_of_readers_count(cache: raycache.Cache, tmp_path: Path) -> None:
    """Two readers of the same files with other arguments share nothing."""
    _write_files(tmp_path)
    uri = f"file://{tmp_path}/*.png"
    for arguments in ({"size": (2, 2)}, {"size": (3, 3)}, {"size": (2, 2), "mode": "L"}, {"include_paths": True}):
        check_rows = rows(raycache.read_images(uri, **arguments))
        assert rows(raycache.cached(raycache.read_images(uri, **arguments))) == check_rows


def test_order_is_kept_where_it_is_asked_for(cache: raycache.Cache, tmp_path: Path) -> None:
    """With `preserve_order`, rows come in the order of files, both times."""
    uri = lake(tmp_path, {})
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    try:
        for _ in range(2):
            found = [row["id"] for row in raycache.cached(raycache.read_parquet(uri)).take_all()]
            assert found == list(range(4 * ROWS))
    finally:
        context.execution_options.preserve_order = False


def test_frames_of_pandas_are_frames_again(cache: raycache.Cache, tmp_path: Path) -> None:
    """Whoever takes batches as they come sees what the transform gave."""
    uri = lake(tmp_path, {})

    def make() -> Any:
        return raycache.read_parquet(uri).map_batches(lambda frame: frame, batch_format="pandas")

    for _ in range(2):
        frames = list(raycache.cached(make()).iter_batches(batch_format="pandas", batch_size=None))
        assert sum(map(len, frames)) == 4 * ROWS
        assert all(isinstance(frame, pd.DataFrame) for frame in frames)
