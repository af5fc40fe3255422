"""From paths and globs to files: what a directory, a glob, and a name that looks like a glob mean. Over a lake in memory."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.admin.patterns import patterns_of
from raycache.client import expanding
from raycache.client.expanding import Glob, expand, looked_up, matches
from raycache.client.locator import Locator
from raycache.clock import ManualClock
from raycache.errors import NotFoundError, UnavailableError
from raycache.messages import ListRequest, MountInfo, MountTable, ResolveRequest, decode
from raycache.rules import Pattern
from tests.unit.master.test_service import _Master

KEYS = (
    "year=1/a",
    "year=1/m=1/b",
    "year=2/c",
    "year=2/_log",
    "run[1]/x.bin",
    "run[1]/_x",
    "run1/y.bin",
    "odd*",
    "top.bin",
)


class Process:
    """A locator that asks a master's service; its lake is `/m`."""

    def __init__(self) -> None:
        self.side = _Master()
        for key in KEYS:
            self.side.storage.put(f"p/{key}", b"x")
        self.listed: list[str] = []
        nowhere: Any = None
        self.locator = Locator(self, nowhere, lambda root_uri: {}, ManualClock(0.0), 10_000)
        self.locator.learn(None, MountTable(1, (MountInfo("/m", "memory://x/p", {}, 60.0, readonly=True),)))

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        del timeout_s
        if method == "resolve":
            asked: ResolveRequest = decode(arguments[0])
            return self.side.resolve(*asked.paths, fresh=asked.fresh)
        assert method == "list_directory"
        request: ListRequest = decode(arguments[0])
        self.listed.append(request.path)
        return self.side.list(request.path, recursive=request.recursive)

    def names(self, *paths: str) -> list[str]:
        return [path.removeprefix("/m/") for path, _ in expand(self.locator, paths)]


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("/m/year=*", ["year=1/a", "year=1/m=1/b", "year=2/_log", "year=2/c"]),
        ("/m/year=*/m=*", ["year=1/m=1/b"]),
        ("/m/year=*/*", ["year=1/a", "year=1/m=1/b", "year=2/_log", "year=2/c"]),
        ("/m/**/b", ["year=1/m=1/b"]),
        ("/m/*.bin", ["top.bin"]),
        ("/m/run[1]", ["run[1]/_x", "run[1]/x.bin"]),
        ("/m/run[1]/*.bin", ["run[1]/x.bin"]),
        ("/m/run[12]", ["run1/y.bin"]),
        ("/m/run[[]1]", ["run[1]/_x", "run[1]/x.bin"]),
        ("/m/odd*", ["odd*"]),
    ],
)
def test_a_glob_means_what_it_matches_and_what_lies_below(process: Process, path: str, files: list[str]) -> None:
    """Of a directory everything, as without a glob; what stands there under the very name comes first, also above the glob."""
    assert files == process.names(path)
    assert files == process.names(path, path, f"/m/{files[0]}")


def test_many_directories_are_listed_at_once(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing for each of a few; one of all that stands beside them where they are many."""
    expected = process.names("/m/year=*")
    assert ["/m", "/m/year=1", "/m/year=2"] == process.listed
    monkeypatch.setattr(expanding, "_LISTED_EACH_MAX", 1)
    process.listed.clear()
    assert expected == process.names("/m/year=*")
    assert ["/m", "/m"] == process.listed


@pytest.mark.parametrize("path", ["/m/*.typo", "/m/**/typo", "/m/year=*/typo", "/m/run[1]/typo", "/m/none/*"])
def test_a_glob_that_matches_nothing_is_an_error(process: Process, path: str) -> None:
    """As a path is at which nothing stands."""
    with pytest.raises(NotFoundError):
        process.names(path)


def test_what_a_glob_itself_matches_is_known(process: Process) -> None:
    """The rest of a path lies in a directory that was matched: readers look there for what is hidden."""
    found = matches(process.locator, Glob("/m", "year=*/*"))
    assert ["year=1/a", "year=1/m=1", "year=2/_log", "year=2/c"] == [match.matched for match in found]
    assert ["year=1", "year=1", "year=2", "year=2"] == [
        m.matched for m in matches(process.locator, Glob("/m", "year=*"))
    ]


def test_patterns_start_from_real_directories(process: Process) -> None:
    """Rules see the same: a directory that is called like a glob is its base, or the pattern itself."""
    found = patterns_of(process.locator, ["/m/run[1]", "/m/run[1]/*", "/m/run[12]/*", "/m/year=1"])
    below = "memory://x/p"
    expected = [Pattern(f"{below}/run[1]"), Pattern(f"{below}/run[1]", "*"), Pattern(below, "run[12]/*")]
    assert [*expected, Pattern(f"{below}/year=1")] == found


def test_a_glob_is_not_told_from_a_name_without_the_lake(process: Process) -> None:
    """What stands at a path that looks like a glob has to be known: an error of the lake is the answer."""
    process.side.error = UnavailableError("the lake is away")
    meta = looked_up(process.locator, ["/m/odd*"])[0][1]
    assert not isinstance(meta, Glob)
    assert isinstance(meta.error, UnavailableError)
    with pytest.raises(UnavailableError):
        patterns_of(process.locator, "/m/odd*")
