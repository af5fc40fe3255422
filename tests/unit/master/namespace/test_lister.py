"""The lister: listings are complete and exact however they are cut, and every failure is an answer."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.errors import DeniedError, NotFoundError, UnavailableError
from raycache.master.namespace import entries
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import HeadNeed, ListNeed, Need, NeedResult
from raycache.messages import MountInfo
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.local import LocalStorage
from raycache.ufs.memory import MemoryStorage

_MOUNT = MountInfo("/m", "memory://x", {}, 60.0, readonly=True)


def _head(key: str) -> HeadNeed:
    return HeadNeed(_MOUNT, "/m", "memory://x", key, 0, 0.0)


def _list(prefix: str, *, recursive: bool) -> ListNeed:
    return ListNeed(_MOUNT, "/m", "memory://x", prefix, recursive, 0, 0.0)


def _fetch(storage: Any, *needs: Need) -> list[NeedResult]:
    lister = Lister(lambda _: storage, 4)
    try:
        results = lister.fetch(needs)
        return [results[need] for need in needs]
    finally:
        lister.close()


class _Lake(MemoryStorage):
    """Counts its listings; keys are made up, without content."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__("memory://x")
        self.lists = 0
        for key in keys:
            self._objects[key] = (ObjectInfo(key, 1, "", 1), b"x")

    def list(self, prefix: str, **arguments: Any) -> ListPage:
        self.lists += 1
        return super().list(prefix, **arguments)


class _Broken(MemoryStorage):
    """Fails after some listings."""

    def __init__(self, error: Exception, after: int, keys: list[str]) -> None:
        super().__init__("memory://x")
        self.error, self.left = error, after
        for key in keys:
            self._objects[key] = (ObjectInfo(key, 1, "", 1), b"x")

    def list(self, prefix: str, **arguments: Any) -> ListPage:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().list(prefix, **arguments)

    def head(self, key: str) -> ObjectInfo:
        raise self.error


_SHAPES = {
    "flat": [f"p/{i:05d}" for i in range(3_500)],
    "two levels": [f"p/{i:03d}/{j:02d}" for i in range(150) for j in range(30)],
    "chain first": [f"p/only/one/{i:03d}/{j:02d}" for i in range(60) for j in range(40)],
    "skewed": [f"p/big/{i:05d}" for i in range(3_000)] + [f"p/s{i}/x" for i in range(100)],
    "many tiny": [f"p/{i:05d}/x" for i in range(2_500)],
    "odd": [f"p/{'/' * (i % 4)}{name}{i}" for i in range(1_500) for name in ("a", "%20 ", "é漢")]
    + ["p/", "p/dir/", "p/dir.", "p/dir-/x", "p/dir0", "p//"],
}


@pytest.mark.parametrize("keys", _SHAPES.values(), ids=_SHAPES)
def test_a_large_prefix_is_listed_whole(keys: list[str]) -> None:
    """Every key once, none of a neighbour, in not many more pages than there must be."""
    lake = _Lake([*keys, "o/x", "p", "p.", "p0", "q/x"])
    [result] = _fetch(lake, _list("p/", recursive=True))
    assert result.error is None
    assert sorted(keys) == sorted(result.found)
    assert lake.lists <= 2 * (len(keys) // 1000) + 80


def test_the_root_is_listed_whole() -> None:
    """The prefix "" is everything."""
    keys = [f"{i:03d}/{j:02d}" for i in range(100) for j in range(30)] + ["/x", "//y"]
    [result] = _fetch(_Lake(keys), _list("", recursive=True))
    assert sorted(keys) == sorted(result.found)


def test_a_small_prefix_costs_one_request() -> None:
    """What fits in a page is not cut."""
    lake = _Lake([f"p/{i}/x" for i in range(500)])
    _fetch(lake, _list("p/", recursive=True))
    assert 1 == lake.lists


def test_one_level_is_listed_over_pages() -> None:
    """Files and child directories, each once."""
    keys = [f"p/f{i:04d}" for i in range(1_500)] + [f"p/d{i:04d}/{j}" for i in range(1_200) for j in range(2)]
    [result] = _fetch(_Lake(keys), _list("p/", recursive=False))
    assert 1_500 == len(result.found)
    assert [f"p/d{i:04d}/" for i in range(1_200)] == sorted(result.directories)


def test_a_disk_is_listed_whole(tmp_path: Any) -> None:
    """Stores with directories are walked in one go, empty directories included."""
    for i in range(40):
        (tmp_path / f"d{i}").mkdir()
        for j in range(30):
            (tmp_path / f"d{i}" / f"{j}").touch()
    (tmp_path / "empty").mkdir()
    [whole, empty] = _fetch(LocalStorage(root=tmp_path), _list("", recursive=True), _list("empty/", recursive=True))
    assert 40 * 30 + 1 == len(whole.found)
    assert entries.DIRECTORY == whole.found["empty/"]
    assert empty.is_directory


def test_looking_up_tells_files_directories_and_nothing_apart() -> None:
    """Also an object beside its prefix, a marker, and the root."""
    lake = _Lake(["f", "d/x", "both", "both/x", "marker/"])
    found = _fetch(lake, *(_head(key) for key in ("f", "d", "both", "marker", "nothing", "")))
    assert [True, False, True, False, False, False] == [result.head is not None for result in found]
    assert [False, True, False, True, False, True] == [result.is_directory for result in found]


def test_listing_a_file_finds_the_file() -> None:
    """Nothing below a prefix: either its key is a file, or nothing is there."""
    lake = _Lake(["f"])
    for recursive in (True, False):
        file, nothing = _fetch(lake, _list("f/", recursive=recursive), _list("g/", recursive=recursive))
        assert file.head is not None
        assert NeedResult() == nothing


@pytest.mark.parametrize("after", [0, 1, 3, 15])
def test_a_listing_that_fails_anywhere_fails_whole(after: int) -> None:
    """A part of a listing is never taken for the whole."""
    keys = [f"p/{i:03d}/{j:02d}" for i in range(200) for j in range(40)]
    [result] = _fetch(_Broken(DeniedError("no"), after, keys), _list("p/", recursive=True))
    assert isinstance(result.error, DeniedError)
    assert {} == result.found


def test_one_failing_need_leaves_the_others_alone() -> None:
    """Errors are per need: a missing bucket, or a defect of a driver."""
    for error, kind in ((NotFoundError("no bucket"), NotFoundError), (ZeroDivisionError(), UnavailableError)):
        results = _fetch(
            _Broken(error, 1, ["d/x"]), _head("k"), _list("d/", recursive=False), _list("d/", recursive=True)
        )
        assert any(isinstance(result.error, kind) for result in results)
        assert any(result.error is None for result in results)


def test_a_store_that_cannot_be_opened_is_an_answer() -> None:
    """Wrong options fail the need, not the caller."""

    def refuse(_: MountInfo) -> MemoryStorage:
        raise DeniedError("wrong keys")

    lister = Lister(refuse, 2)
    [result] = lister.fetch([_head("k")]).values()
    lister.close()
    assert isinstance(result.error, DeniedError)
