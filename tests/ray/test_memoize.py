"""Memoized functions on a real cluster: run once, anywhere, until what they depend on changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

import raycache
from raycache.errors import InvalidRequestError
from raycache.testing.cluster import LocalCluster


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[raycache.Cache]:
    """A small one, whose metadata are always looked up."""
    with raycache.session(memory="40MiB", disk="off", metadata_ttl_s=0) as started:
        yield started


class Runs:
    """Counts what is run anywhere on this machine."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "runs"
        self._log.write_text("")

    def note(self) -> None:
        with self._log.open("a") as log:
            log.write("x")

    def __reduce__(self) -> Any:
        return Runs._at, (str(self._log),)

    @classmethod
    def _at(cls, log: str) -> Runs:
        made = cls.__new__(cls)
        made._log = Path(log)
        return made

    @property
    def count(self) -> int:
        return len(self._log.read_text())


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def counting(runs: Runs, make: Callable[[int], Any]) -> Any:
    """A memoized function that counts its runs."""

    @raycache.memoize
    def made(number: int) -> Any:
        runs.note()
        return make(number)

    return made


VALUES: dict[str, Callable[[int], Any]] = {
    "a table": lambda n: pa.table({"a": [n, None], "b": ["x", "y"]}),
    "an array": lambda n: np.arange(n, n + 6, dtype=np.float32).reshape(2, 3),
    "a number as an array": lambda n: np.full((), n),
    "no elements": lambda n: np.zeros((0, n), np.int8),
    "texts": lambda n: np.array([["a", "bb"]] * n),
    "dates": lambda n: np.array(["2024-01-01"] * n, dtype="datetime64[D]"),
    "objects": lambda n: np.array([{"a": n}, None], dtype=object),
    "records": lambda n: np.array([(1, 2.0)] * n, dtype=[("a", "i4"), ("b", "f8")]),
    "bytes": lambda n: b"\0" * n,
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_values_come_back(cache: raycache.Cache, runs: Runs, make: Callable[[int], Any]) -> None:
    """What was run once is given again, with its type, and another argument is another value."""
    function = counting(runs, make)
    first, second, other = function(3), function(3), function(4)
    assert runs.count == 2
    for found, expected in ((first, make(3)), (second, make(3)), (other, make(4))):
        assert type(found) is type(expected)
        if isinstance(expected, np.ndarray):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected


def test_a_file_that_changes_is_looked_at_again(cache: raycache.Cache, runs: Runs, tmp_path: Path) -> None:
    """However its path is written: as a URI, in a list, as a path; and a directory counts by all its files."""
    file = tmp_path / "data" / "a.txt"
    file.parent.mkdir()

    @raycache.memoize
    def sizes(where: Any) -> bytes:
        runs.note()
        return str(where).encode()

    spelled = [f"file://{file}", [f"file://{file}"], {"x": f"file://{file}"}, file, str(file), f"file://{file.parent}"]
    for content in ("one", "three"):
        file.write_text(content)
        for _ in range(2):
            for where in spelled:
                sizes(where)
    assert runs.count == 2 * len(spelled)


def test_tasks_at_the_same_time_run_it_once(cache: raycache.Cache, runs: Runs) -> None:
    """In the whole cluster, below `ray.remote`."""

    @ray.remote(num_cpus=0)
    @raycache.memoize
    def slow(number: int) -> pa.Table:
        runs.note()
        return pa.table({"n": [number] * 1000})

    found = ray.get([slow.remote(7) for _ in range(6)], timeout=60)
    assert runs.count == 1
    assert all(table["n"].to_pylist() == [7] * 1000 for table in found)


def test_a_function_that_fails_is_run_again(cache: raycache.Cache, runs: Runs) -> None:
    """Its error is the caller's, and nobody waits for it."""

    @raycache.memoize
    def fails(number: int) -> bytes:
        runs.note()
        raise KeyError(number)

    for _ in range(2):
        with pytest.raises(KeyError):
            fails(1)
    assert runs.count == 2


def test_other_results_are_refused(cache: raycache.Cache) -> None:
    """One line that says what can be kept; so are arguments that nobody can tell by what they are."""

    @raycache.memoize
    def wrong(argument: Any) -> Any:
        return {"a": 1}

    with pytest.raises(InvalidRequestError, match="returns a dict; memoize keeps"):
        wrong(1)
    with pytest.raises(InvalidRequestError, match="argument argument of wrong"):
        wrong(x for x in [1])


def test_what_was_memoized_is_listed_and_dropped(cache: raycache.Cache, runs: Runs) -> None:
    """Under its key, or its own name."""

    @raycache.memoize(key="tokens")
    def made(number: int) -> bytes:
        runs.note()
        return b"x" * number

    made(5)
    (row,) = [row for row in cache.cached_datasets() if row.name.startswith("tokens-")]
    assert (row.groups, row.made) == (1, 1)
    assert cache.drop_cached(row.path) == 1
    made(5)
    assert runs.count == 2
