"""Walking trees of keys, on stores that behave and on stores that do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from raycache.errors import UnavailableError
from raycache.types import FileKind
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.memory import MemoryStorage
from raycache.ufs.trees import check_directory, delete_keys, holds_anything, pages, tree, what_stands


def page(token: str | None, *keys: str) -> ListPage:
    return ListPage([ObjectInfo(key, 1, '"e"', 1) for key in keys], [], token)


class OddStorage(MemoryStorage):
    """A store whose listing is what a function of the number of the page says."""

    def __init__(self, page_of: Callable[[int], ListPage]) -> None:
        super().__init__()
        self._page_of = page_of
        self.asked = 0

    def list(self, prefix: str, **arguments: object) -> ListPage:
        self.asked += 1
        return self._page_of(self.asked - 1)


ENDLESS: dict[str, Callable[[int], ListPage]] = {
    "the same page with the same token": lambda number: page("t", "d/a"),
    "the same page with fresh tokens": lambda number: page(f"t{number}", "d/a", "d/b"),
    "new keys with one token": lambda number: page("t", f"d/{number}"),
    "a circle of tokens": lambda number: page(f"t{number % 7}", f"d/{number}"),
    "a circle of pages": lambda number: page(f"t{number}", f"d/{number % 7}"),
    "a circle after a good beginning": lambda number: page(f"t{min(number, 40) + number % 2}", f"d/{number}"),
    "empty pages with one token": lambda number: page("t"),
    "empty pages with fresh tokens": lambda number: page(f"t{number}"),
}


@pytest.mark.parametrize("work", [
    lambda storage: list(pages(storage, "d/")),
    lambda storage: tree(storage, "d/"),
    lambda storage: delete_keys(storage, "d", contents_only=False),
])  # fmt: skip
@pytest.mark.parametrize("page_of", ENDLESS.values(), ids=ENDLESS)
def test_a_listing_that_does_not_get_on_is_an_error(
    page_of: Callable[[int], ListPage], work: Callable[[MemoryStorage], object]
) -> None:
    """A listing that comes round to where it was, or brings nothing, ends in an error: never in a shorter directory."""
    storage = OddStorage(page_of)
    with pytest.raises(UnavailableError, match="does not get on"):
        work(storage)
    assert storage.asked < 1100


def test_a_listing_may_have_empty_pages() -> None:
    """Pages without keys are asked past, wherever they stand; what is behind them counts."""
    contents = [(), (), ("d/a",), *[()] * 900, ("d/b",), ()]
    storage = OddStorage(lambda n: page(f"t{n}" if n + 1 < len(contents) else None, *contents[n]))
    assert ["d/a", "d/b"] == [info.key for found in pages(storage, "d/") for info in found.objects]
    storage.asked = 0
    assert FileKind.DIRECTORY == what_stands(storage, "d").kind
    storage.asked = 0
    assert holds_anything(storage, "d/")


def test_a_first_page_is_not_asked_for_twice() -> None:
    """A listing goes on behind a page that is there already."""
    storage = MemoryStorage()
    for key in "abcd":
        storage.put(key, b"")
    first = storage.list("", limit=2)
    storage.delete(["a"])
    found = pages(storage, "", limit=2, page=first)
    assert [["a", "b"], ["c", "d"]] == [[info.key for info in one.objects] for one in found]


def test_what_stands_at_a_key() -> None:
    """A file, a directory or nothing; a key that is both is a file, or without bytes a directory; the root is one, too."""
    storage = MemoryStorage()
    for key in ("d/x", "both/x", "marked/", "empty", "marks/x", "marks"):
        storage.put(key, b"")
    storage.put("both", b"1")
    kinds = {key: what_stands(storage, key).kind for key in ("", "d", "d/x", "both", "marked", "d/", "empty", "marks")}
    assert kinds == {
        "": FileKind.DIRECTORY,
        "d": FileKind.DIRECTORY,
        "d/x": FileKind.FILE,
        "both": FileKind.FILE,
        "marked": FileKind.DIRECTORY,
        "d/": FileKind.MISSING,
        "empty": FileKind.FILE,
        "marks": FileKind.DIRECTORY,
    }
    assert storage.head("both") == what_stands(storage, "both").info
    check_directory(storage, "nowhere")


def test_the_object_that_marks_a_directory_goes_with_it() -> None:
    """An empty object that a directory is known by is deleted with the directory; one with bytes is a file, and stays."""
    storage = MemoryStorage()
    for key in ("marks", "marks/x", "both/x"):
        storage.put(key, b"")
    storage.put("both", b"1")
    delete_keys(storage, "marks", contents_only=True)
    assert ["both", "both/x", "marks"] == [info.key for info in storage.list("").objects]
    delete_keys(storage, "marks", contents_only=False)
    delete_keys(storage, "both", contents_only=False)
    assert ["both"] == [info.key for info in storage.list("").objects]


def test_a_tree_is_deleted_in_batches() -> None:
    """Everything below a prefix goes, over more pages than one, and nothing beside it."""
    storage = MemoryStorage()
    for name in itertools.chain(
        ("d", "d-", "d0", "e/x"),
        (f"d/{n:04d}" for n in range(2100)),
        ("d/s/t/", "d/s/u", "d//", "d//x", "d/../y", "d/a//"),
    ):
        storage.put(name, b"")
    delete_keys(storage, "d", contents_only=True)
    assert ["d", "d-", "d0", "e/x"] == [info.key for info in storage.list("").objects]
