"""Listing trees as flat keys: order, and how much a page reads."""

from __future__ import annotations

from raycache.ufs.base import ObjectInfo
from raycache.ufs.walk import Children, Pager, WalkEntry, walk


class TreeOfKeys:
    """A tree given by its keys ("dir/" for an empty directory), which counts what is read of it."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)
        self.directories_read: list[str] = []
        self.described: list[str] = []

    def children(self, directory: str) -> Children | None:
        self.directories_read.append(directory)
        below = [key[len(directory) :] for key in self.keys if key.startswith(directory)]
        if directory and not below:
            return None
        names = {name[: name.find("/") + 1] or name for name in below if name}
        return Children([WalkEntry(name) for name in names])

    def describe(self, key: str, entry: WalkEntry) -> ObjectInfo | None:
        assert key.endswith(entry.name)
        self.described.append(key)
        return ObjectInfo(key, 1, "", 1)


def found(tree: TreeOfKeys, prefix: str = "", start_after: str = "", *, delimiter: bool = False) -> list[str]:
    return [f if isinstance(f, str) else f.key for f in walk(tree, prefix, start_after, delimiter=delimiter)]


def test_flat_order() -> None:
    """Keys come in the order of their whole text, as if there were no directories."""
    keys = ["a", "a!", "a-b", "a/b", "a/b/c", "a/e/", "a0", "b/c/d/e", "b0", "\u00fc/x"]
    tree = TreeOfKeys(*keys)
    assert found(tree) == sorted(keys)
    for start_after in ["", "a", "a/", "a/a", "a/b", "a/b/c", "a/b/d", "a/e/", "a/z", "b", "b/c/d", "zz"]:
        assert found(tree, "", start_after) == [key for key in sorted(keys) if key > start_after]


def test_only_the_prefix_is_read() -> None:
    """A listing reads the prefix's directory and what is below it, nothing beside."""
    tree = TreeOfKeys("a/1", "b/x/1", "b/y/2", "c/3")
    assert found(tree, "b/x") == ["b/x/1"]
    assert tree.directories_read == ["b/", "b/x/"]


def test_a_delimiter_reads_one_directory() -> None:
    """With a delimiter nothing below the directory is read."""
    tree = TreeOfKeys("a/1", "b/x/1", "c")
    assert found(tree, delimiter=True) == ["a/", "b/", "c"]
    assert tree.directories_read == [""]


def test_start_inside_a_directory() -> None:
    """With a delimiter a directory counts if something in it comes after the start."""
    tree = TreeOfKeys("a/1", "a/5", "b")
    assert found(tree, "", "a/3", delimiter=True) == ["a/", "b"]
    assert found(tree, "", "a/5", delimiter=True) == ["b"]


def test_an_empty_directory_is_an_object() -> None:
    """An empty directory is listed as an object, also when it is the prefix itself."""
    tree = TreeOfKeys("d/e/", "d/x")
    assert found(tree) == ["d/e/", "d/x"]
    assert found(tree, "d/e/") == ["d/e/"]
    assert found(tree, "d/e/", "d/e/") == []
    assert found(tree, "d/", delimiter=True) == ["d/e/", "d/x"]


def test_pages_go_on_where_they_stopped() -> None:
    """Page after page, each directory is read once and each file described once."""
    tree = TreeOfKeys(*(f"{d}/{n:03d}" for d in "abc" for n in range(100)))
    pager = Pager(tree)
    keys, token = [], None
    while True:
        page = pager.page("", delimiter=False, start_after="", token=token, limit=7)
        keys += [info.key for info in page.objects]
        token = page.next_token
        if token is None:
            break
    assert keys == sorted(tree.keys)
    assert tree.directories_read == ["", "a/", "b/", "c/"]
    assert tree.described == keys


def test_a_foreign_token_skips_what_comes_before() -> None:
    """A token of another process goes on without reading directories that lie before it."""
    tree = TreeOfKeys(*(f"{d}/{n}" for d in "abc" for n in range(4)))
    token = Pager(tree).page("", delimiter=False, start_after="", token=None, limit=6).next_token
    tree.directories_read.clear()
    page = Pager(tree).page("", delimiter=False, start_after="", token=token, limit=100)
    assert [info.key for info in page.objects] == ["b/2", "b/3", "c/0", "c/1", "c/2", "c/3"]
    assert tree.directories_read == ["", "b/", "c/"]


def test_a_token_works_twice() -> None:
    """The same token gives the same page again."""
    tree = TreeOfKeys(*(f"d/{n}" for n in range(9)))
    pager = Pager(tree)
    token = pager.page("", delimiter=False, start_after="", token=None, limit=3).next_token
    pages = [pager.page("", delimiter=False, start_after="", token=token, limit=2) for _ in range(2)]
    assert [[info.key for info in page.objects] for page in pages] == [["d/3", "d/4"]] * 2


def test_a_foreign_token_does_not_repeat_a_prefix() -> None:
    """A directory that ended a page is not given out again by another process, though keys in it come later."""
    tree = TreeOfKeys("a/1", "a/2", "b/1")
    token = Pager(tree).page("", delimiter=True, start_after="", token=None, limit=1).next_token
    assert Pager(tree).page("", delimiter=True, start_after="", token=token, limit=9).prefixes == ["b/"]


def test_open_walks_are_bounded() -> None:
    """Listings that nobody goes on with do not pile up."""
    tree = TreeOfKeys("a", "b")
    pager = Pager(tree)
    for _ in range(1000):
        pager.page("", delimiter=False, start_after="", token=None, limit=1)
    assert len(pager._walks) == 16
