"""Datasets cached after their transforms, on a real cluster."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data

import raycache
from raycache.errors import InvalidRequestError
from raycache.messages import RAY_NAMESPACE, encode
from raycache.messages.keeping import KeptDataset
from raycache.raydata.cached import at_once
from raycache.testing.cluster import LocalCluster
from tests.support.waiting import wait_until

FILES, ROWS = 12, 40
FACTOR = 3


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[raycache.Cache]:
    """A cache whose metadata are always looked up, so that a changed file is seen at once."""
    disk = tmp_path_factory.mktemp("disk")
    with raycache.session(memory="40MiB", disk=f"{disk}:200MiB", metadata_ttl_s=0) as started:
        yield started


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Files of parquet, each with rows of its own."""
    for number in range(FILES):
        write(tmp_path, number, number)
    return tmp_path


def write(lake: Path, number: int, first: int) -> None:
    start = first * ROWS
    table = pa.table({"id": np.arange(start, start + ROWS), "text": [f"row {i}" for i in range(start, start + ROWS)]})
    pq.write_table(table, lake / f"{number:02}.parquet")


def scale(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "scaled": batch["id"] * FACTOR}


def pipeline(lake: Path, transform: Callable[..., Any] = scale) -> Any:
    return raycache.read_parquet(f"file://{lake}").map_batches(transform)


def rows(dataset: Any) -> list[dict[str, Any]]:
    return sorted(dataset.take_all(), key=str)


def counts(cache: raycache.Cache) -> tuple[int, int]:
    """(results read, results made) so far, of all datasets."""
    found: list[KeptDataset] = cache.client.calls.master("results", "datasets", encode(()))
    return sum(row.hits for row in found), sum(row.made for row in found)


class Counted:
    """How many results were read and made inside the block."""

    def __init__(self, cache: raycache.Cache) -> None:
        self._cache = cache
        self.hits = self.made = 0

    def __enter__(self) -> Self:
        self._before = counts(self._cache)
        return self

    def __exit__(self, *_: object) -> None:
        after = counts(self._cache)
        self.hits, self.made = after[0] - self._before[0], after[1] - self._before[1]


@pytest.mark.parametrize("version", ["V2", "V1"])
def test_a_later_execution_reads_what_the_first_has_made(
    cache: raycache.Cache, lake: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are the pipeline's; nothing is made twice; another dataset object, or a pickled one, makes no difference."""
    monkeypatch.setattr(ray.data.DataContext.get_current(), "use_datasource_v2", version == "V2")
    expected = rows(pipeline(lake))
    with Counted(cache) as first:
        assert rows(raycache.cached(pipeline(lake))) == expected
    with Counted(cache) as second:
        assert rows(raycache.cached(pipeline(lake))) == expected
    assert (first.hits, second.made) == (0, 0)
    assert first.made == second.hits > 1


def test_what_lies_on_the_own_node_is_given_without_a_task(
    cache: raycache.Cache, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows of a new job wait for no process; where transforms are fused with the read, tasks do all of it."""
    given: list[bool] = []
    give = at_once.give

    def noted(operator: Any, read: Callable[[], list[Any] | None]) -> bool:
        given.append(give(operator, read))
        return given[-1]

    monkeypatch.setattr(at_once, "give", noted)
    expected = rows(pipeline(lake))
    rows(raycache.cached(pipeline(lake)))
    assert given == []
    with Counted(cache) as counted:
        assert rows(raycache.cached(pipeline(lake))) == expected
    assert given == [True]
    assert counted.made == 0
    assert rows(raycache.cached(pipeline(lake)).map(lambda row: row)) == expected
    assert given == [True]


def test_a_changed_file_costs_its_own_group(cache: raycache.Cache, lake: Path) -> None:
    """So does one that comes or goes; everything else is read."""
    groups = Counted(cache)
    with groups:
        rows(raycache.cached(pipeline(lake)))
    write(lake, 5, 100)
    with Counted(cache) as changed:
        assert rows(raycache.cached(pipeline(lake))) == rows(pipeline(lake))
    assert (changed.made, changed.hits) == (1, groups.made - 1)
    (lake / "07.parquet").unlink()
    write(lake, 30, 30)
    with Counted(cache) as moved:
        assert rows(raycache.cached(pipeline(lake))) == rows(pipeline(lake))
    assert moved.made <= 3


def test_a_changed_transform_makes_everything_again(cache: raycache.Cache, lake: Path) -> None:
    """Also one that differs in a global only, that is changed between making the dataset and executing it."""
    global FACTOR  # noqa: PLW0603

    def scaled(batch: dict[str, Any]) -> dict[str, Any]:
        return {"scaled": batch["id"] * FACTOR}

    with Counted(cache) as first:
        rows(raycache.cached(pipeline(lake, scaled)))
    waiting = raycache.cached(pipeline(lake, scaled))
    FACTOR = 7
    try:
        with Counted(cache) as second:
            assert sorted(row["scaled"] for row in rows(waiting)) == list(range(0, 7 * FILES * ROWS, 7))
    finally:
        FACTOR = 3
    assert (second.made, second.hits) == (first.made, 0)


def superseded(cache: raycache.Cache, key: str) -> int:
    """How many segments of all workers are the first to go, of those with results under a key."""

    def count(worker: Any) -> int:
        segments = worker._service._table.segments.values()
        return sum(
            s.superseded and all(f"/{key}-" in s.entries.file(b.version).uri for b in s.entries) for s in segments
        )

    actors = [ray.get_actor(w.actor_name, namespace=RAY_NAMESPACE) for w in cache.client.refresh_view().workers]
    return sum(ray.get([actor.__ray_call__.remote(count) for actor in actors], timeout=30))


def test_what_a_newer_result_stands_for_goes_first(cache: raycache.Cache, lake: Path) -> None:
    """The old version of a changed file; then, after a changed transform, all of the old results; not what is read again."""

    def kept(factor: int) -> Any:
        return raycache.cached(pipeline(lake, lambda batch: {"id": batch["id"] * factor}), key="newer")

    with Counted(cache) as first:
        rows(kept(2))
    write(lake, 5, 100)
    rows(kept(2))
    wait_until(lambda: superseded(cache, "newer") == 1)
    rows(kept(3))
    wait_until(lambda: superseded(cache, "newer") > first.made // 2)
    with Counted(cache) as again:
        rows(kept(2))
    assert again.made == 0
    # Where a segment was still mapped, the worker hears of it with the next renewal of the lease.
    wait_until(lambda: superseded(cache, "newer") == 1)


def test_what_is_something_else_in_the_tasks_is_not_kept(cache: raycache.Cache, lake: Path) -> None:
    """Ray sends functions of modules by name: tasks do not see what the driver has changed in a module."""
    global FACTOR  # noqa: PLW0603
    FACTOR = 11
    try:
        with Counted(cache) as counted:
            found = rows(raycache.cached(pipeline(lake)))
            assert found == rows(pipeline(lake))
    finally:
        FACTOR = 3
    assert (counted.made, counted.hits) == (0, 0)


def test_what_was_freed_is_made_again(cache: raycache.Cache, lake: Path) -> None:
    """A result that is gone is a miss."""
    expected = rows(raycache.cached(pipeline(lake), key="freed"))
    (directory,) = [path for path in cache.ls("/cached") if "/freed-" in path]
    checked = cache.check(directory)
    assert checked.complete
    cache.free(directory)
    with Counted(cache) as again:
        assert rows(raycache.cached(pipeline(lake), key="freed")) == expected
    assert (again.made, again.hits) == (checked.files, 0)


def test_executions_at_the_same_time_make_each_result_once(cache: raycache.Cache, lake: Path) -> None:
    """Three readers, all rows for each."""
    found: list[Any] = []
    key = "together"

    def read() -> None:
        found.append(rows(raycache.cached(pipeline(lake), key=key)))

    with Counted(cache) as counted:
        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(120)
    assert found == [rows(pipeline(lake))] * 3
    assert counted.hits == 2 * counted.made


JOB = """
import ray, raycache, sys
ray.init(address=sys.argv[1], log_to_driver=False)
def double(row):
    return {"doubled": row["id"] * 2}
ds = raycache.cached(raycache.read_parquet(f"file://{sys.argv[2]}/*.parquet").map(double))
print(sum(row["doubled"] for row in ds.take_all()))
"""


def test_another_job_reads_it(cache: raycache.Cache, cluster: LocalCluster, lake: Path) -> None:
    """A driver of its own, with the same code: nothing is made by the second."""
    counted, said = [], []
    for _ in range(2):
        with Counted(cache) as job:
            run = [sys.executable, "-c", JOB, ray.get_runtime_context().gcs_address, str(lake)]
            environment = {**os.environ, **cluster.environment()}
            done = subprocess.run(run, capture_output=True, text=True, env=environment, check=False, timeout=120)
            said.append(done.stdout.strip().splitlines()[-1:] or [done.stderr[-1000:]])
        counted.append(job)
    assert said == [[str(sum(range(FILES * ROWS)) * 2)]] * 2
    assert counted[0].made == counted[1].hits > 1
    assert (counted[0].hits, counted[1].made) == (0, 0)


def test_what_comes_behind_is_as_ever(cache: raycache.Cache, lake: Path) -> None:
    """Limit, sort, more transforms, batches, splits and counts."""
    dataset = raycache.cached(pipeline(lake))
    rows(dataset)
    assert dataset.count() == FILES * ROWS
    assert len(dataset.take(5)) == 5
    assert len(dataset.limit(7).take_all()) == 7
    assert [row["id"] for row in dataset.sort("id").take_all()] == list(range(FILES * ROWS))
    assert sorted(row["id"] for row in dataset.random_shuffle().take_all()) == list(range(FILES * ROWS))
    assert sorted(row["n"] for row in dataset.map(lambda r: {"n": -r["id"]}).take_all()) == list(
        range(1 - FILES * ROWS, 1)
    )
    assert sum(len(batch["id"]) for batch in dataset.iter_batches(batch_size=32)) == FILES * ROWS
    parts = [ray.remote(_ids).remote(part) for part in dataset.streaming_split(2)]
    assert sorted(itertools.chain(*ray.get(parts, timeout=120))) == list(range(FILES * ROWS))


def _ids(part: Any) -> list[int]:
    return [int(i) for batch in part.iter_batches() for i in batch["id"]]


def test_a_limit_before_it_is_taken_behind_it(cache: raycache.Cache, lake: Path) -> None:
    """A limit is no reason to keep half a group; where rows are dropped after it, it cannot be moved."""
    dataset = raycache.cached(raycache.read_parquet(f"file://{lake}").limit(5).map(lambda row: row))
    assert len(dataset.take_all()) == 5
    with pytest.raises(InvalidRequestError, match="put cached before it"):
        raycache.cached(raycache.read_parquet(f"file://{lake}").limit(5).filter(lambda row: row["id"] > 2))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sort": (lambda ds: ds.sort("id"), "Sort"),
    "random_shuffle": (lambda ds: ds.random_shuffle(), "RandomShuffle"),
    "repartition": (lambda ds: ds.repartition(3), "Repartition"),
    "groupby": (lambda ds: ds.groupby("id").count(), "Aggregate"),
    "union": (lambda ds: ds.union(ds), "Union"),
    "zip": (lambda ds: ds.zip(ds), "Zip"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_looks_at_all_rows_is_refused(
    cache: raycache.Cache, lake: Path, refused: tuple[Callable[[Any], Any], str]
) -> None:
    """One line that says what, and where to put `cached`."""
    change, name = refused
    with pytest.raises(InvalidRequestError, match=f"{name}.*put cached before it") as error:
        raycache.cached(change(pipeline(lake)))
    assert "\n" not in str(error.value)


def test_datasets_without_files_of_the_cache_are_refused(cache: raycache.Cache, lake: Path) -> None:
    """Nobody knows when they change."""
    for dataset in (ray.data.range(3), ray.data.from_items([1]), ray.data.read_parquet(str(lake))):
        with pytest.raises(InvalidRequestError, match=r"raycache\.read_"):
            raycache.cached(dataset).take_all()


def test_chance_is_refused_unless_it_is_to_be_frozen(cache: raycache.Cache, lake: Path) -> None:
    """With a key the first result stands."""

    def noise(batch: dict[str, Any]) -> dict[str, Any]:
        return {"noise": np.random.rand(len(batch["id"]))}  # noqa: NPY002

    with pytest.raises(InvalidRequestError, match="key="):
        raycache.cached(pipeline(lake, noise))
    with pytest.raises(InvalidRequestError, match="key="):
        raycache.cached(raycache.read_parquet(f"file://{lake}").random_sample(0.5))
    assert rows(raycache.cached(pipeline(lake, noise), key="noise")) == rows(
        raycache.cached(pipeline(lake, noise), key="noise")
    )
