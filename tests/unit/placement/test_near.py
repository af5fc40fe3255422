"""Where single tasks should run: the decision, against a table of who holds what; no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest

from raycache.errors import NotFoundError, UnavailableError
from raycache.placement import near


class File(NamedTuple):
    path: str
    size_bytes: int


class Table:
    """A cache as a table: path -> (size, bytes per node, where it will be loaded)."""

    def __init__(self, files: Mapping[str, tuple[int, dict[str, int], str]], *, silent: bool = False) -> None:
        self.files = files
        self.silent = silent
        self.directed: dict[str, str] = {}

    def expand(self, paths: str | Sequence[str]) -> list[File]:
        if self.silent:
            raise UnavailableError("the master does not answer")
        found: list[File] = []
        for path in [paths] if isinstance(paths, str) else paths:
            below = [name for name in self.files if name == path or name.startswith(path + "/")]
            if not below:
                raise NotFoundError(f"{path} does not exist")
            found += [File(name, self.files[name][0]) for name in below]
        return found

    def place(self, paths: Sequence[str]) -> list[tuple[str, ...]]:
        return [(self.files[path][2],) for path in paths]

    def locate_bytes(self, paths: Sequence[str]) -> list[dict[str, int]]:
        return [self.files[path][1] for path in paths]

    def direct(self, nodes: Mapping[str, str]) -> None:
        self.directed.update(nodes)

    nodes = ("a", "b", "c")


CACHE = Table(
    {
        "/x/1": (10, {"a": 10}, "c"),
        "/x/2": (10, {"b": 10}, "c"),
        "/x/3": (30, {}, "c"),
        "/y/1": (10, {"a": 10, "b": 10}, "c"),
    }
)


def idle() -> dict[str, float]:
    return {}


def test_task_goes_where_most_of_its_bytes_are() -> None:
    """Held bytes decide, file by file or for a whole directory."""
    assert near.near_node(CACHE, "/x/2", idle) == "b"


def test_cold_file_counts_where_it_will_be_loaded() -> None:
    """A task on cold data runs where the data will be."""
    assert near.near_node(CACHE, "/x/3", idle) == "c"
    assert near.near_node(CACHE, "/x", idle) == "c"


def test_tie_goes_to_the_idler_node() -> None:
    """Of nodes that hold the same, the one with idle CPUs is chosen."""
    assert near.near_node(CACHE, "/y/1", lambda: {"a": 1.0, "b": 0.2}) == "b"


def test_load_is_not_asked_without_a_tie() -> None:
    """A clear winner costs no look at the cluster."""

    def refuse() -> dict[str, float]:
        raise AssertionError("asked")

    assert near.near_node(CACHE, ["/x/1"], refuse) == "a"


def test_silent_cache_gives_no_wish() -> None:
    """While the cache is away, tasks are scheduled as Ray likes."""
    silent = Table({}, silent=True)
    assert None is near.near_node(silent, "/x", idle)
    assert near.near_nodes(silent, ["/x", ["/y"]], idle) == [None, None]


def test_missing_path_is_an_error() -> None:
    """A path that does not exist is the caller's mistake, in both forms."""
    with pytest.raises(NotFoundError):
        near.near_node(CACHE, "/nowhere", idle)
    with pytest.raises(NotFoundError):
        near.near_nodes(CACHE, [["/x/1"], ["/nowhere"]], idle)


def test_many_tasks_take_files_and_directories() -> None:
    """Each entry may be one path, a list, or a directory; answers come in their order."""
    assert near.near_nodes(CACHE, ["/x", ["/x/2"], "/x/1"], idle) == ["a", "b", "b"]


def test_cold_files_are_directed_to_the_tasks_that_read_them() -> None:
    """Neighbouring windows share a node, and what they read is to be loaded there, once; held files stay where they are."""
    cold = Table({f"/d/{day}": (10, {}, "c") for day in range(10, 20)} | {"/d/20": (10, {"b": 10}, "b")})
    windows = [[f"/d/{day}" for day in range(first, first + 3)] for first in range(10, 19)]
    nodes = near.near_nodes(cold, windows, idle)
    assert nodes == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert cold.directed == {f"/d/{day}": nodes[max(0, min(day - 11, 8))] for day in range(10, 20)}


def test_no_tasks_no_answers() -> None:
    """Nothing asked, nothing answered; an empty list of paths has no node."""
    assert near.near_nodes(CACHE, [], idle) == []
    assert near.near_nodes(CACHE, [[]], idle) == [None]
