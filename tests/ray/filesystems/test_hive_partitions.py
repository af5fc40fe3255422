"""Hive partitions with odd values by pandas and pyarrow: through URLs and `filesystem=`, as on a disk without the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from raycache.cache import Cache
from tests.support.lake import Lake

VALUES: dict[str, list[str]] = {
    "encoded": ["a%20b", "x%2Fy", "a%3Db", "c%2Bd", "50%25"],
    "plain": ["a b", "a=b", "a+b", "a:b", "a#b", "q?x", "ü", "[x]", "a*b"],
    "null": ["__HIVE_DEFAULT_PARTITION__", "x"],
    "null and numbers": ["__HIVE_DEFAULT_PARTITION__", "1"],
    "numbers": ["1", "2"],
}


@pytest.fixture(params=VALUES)
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with a file for each value."""
    for number, value in enumerate(VALUES[request.param]):
        (tmp_path / "t" / f"key={value}").mkdir(parents=True)
        pq.write_table(pa.table({"id": [number]}), tmp_path / "t" / f"key={value}" / "a.parquet")
    return tmp_path


def outcome(read: Callable[[], Any]) -> Any:
    """The rows, or the error."""
    try:
        found = read()
        frame = found.to_pandas() if isinstance(found, pa.Table) else found
    except (ValueError, NotImplementedError) as error:
        return type(error)
    return sorted(map(str, frame.astype(object).to_dict("records")))


def readers(path: str, filesystem: Any) -> list[Callable[[], Any]]:
    return [
        lambda: pd.read_parquet(path, filesystem=filesystem),
        lambda: pd.read_parquet(path, filesystem=filesystem, filters=[("key", "==", "x")]),
        lambda: pq.read_table(path, filesystem=filesystem),
        lambda: pds.dataset(path, filesystem=filesystem, partitioning="hive").to_table(),
    ]


def test_partitions_read_as_from_a_disk(cache: Cache, lake: Lake, s3: str, local: Path) -> None:
    """Values and errors, of a disk and of S3, in all ways of naming them."""
    below = f"{s3.rpartition('/')[2]}/{local.name}"
    for file in local.rglob("*.parquet"):
        lake.put(f"{below}/{file.relative_to(local)}", file.read_bytes())
    cache.mount("/local", f"file://{local}")
    fs, arrow = fsspec.filesystem("raycache"), cache.filesystem()
    expected = [outcome(read) for read in readers(str(local / "t"), None)]
    try:
        for path in ("/local/t", f"file://{local}/t", f"/s3/{below}/t", f"{lake.uri}/{below}/t"):
            for filesystem in (fs, arrow):
                assert expected == [outcome(read) for read in readers(path, filesystem)], (path, filesystem)
        for url in ("raycache:///local/t", f"raycache:///s3/{below}/t", f"raycache::{lake.uri}/{below}/t"):
            assert expected[:2] == [outcome(read) for read in readers(url, None)[:2]], url
    finally:
        cache.unmount("/local")


@pytest.mark.parametrize("how", ["url", "fsspec", "pyarrow"])
def test_partitions_are_written_as_to_a_disk(cache: Cache, place: str, tmp_path: Path, how: str) -> None:
    """The same directories, and the same rows again."""
    frame = pd.DataFrame({"id": range(6), "key": ["a b", "x/y", "50%", "a=b", "ü", "x"]})
    frame.to_parquet(tmp_path / "plain", partition_cols=["key"])
    directory = f"{place}/{how}"
    target = f"raycache://{directory}" if how == "url" else directory
    filesystem = {"url": None, "fsspec": fsspec.filesystem("raycache"), "pyarrow": cache.filesystem()}[how]
    frame.to_parquet(target, partition_cols=["key"], filesystem=filesystem)
    found = {path.split("/")[-2] for path in cache.ls(directory, recursive=True) if path.endswith(".parquet")}
    assert {path.parent.name for path in (tmp_path / "plain").rglob("*.parquet")} == found
    assert outcome(lambda: pd.read_parquet(tmp_path / "plain")) == outcome(
        lambda: pd.read_parquet(target, filesystem=filesystem)
    )
