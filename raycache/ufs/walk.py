"""Listing stores that have directories as if they were flat, like S3: in key order, a page at a time.

A directory's children are sorted with "/" appended to the names of directories; walking them depth first in that order
yields all keys in flat order ("a-b" before "a/b", since "-" < "/"). An empty directory is yielded as an object "dir/".

A page's token holds the last key and the number of the walk it came from. Open walks are kept, a few, so that the next
page goes on where the last one stopped; a walk that is no longer there (another process, too many listings at once) is
begun anew behind that key, which reads only the directories on the way to it. What appears or vanishes meanwhile may or
may not be seen, as on any live store.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from raycache.errors import InvalidRequestError
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.checks import check_limit

#: Files being written have such names, and are never listed.
TEMPORARY_PREFIX = ".raycache-tmp-"

_WALKS_MAX = 16


class WalkEntry(NamedTuple):
    """One child of a directory."""

    #: Directories end in "/".
    name: str
    #: What the tree wants back in `describe`.
    detail: Any = None


class Children(NamedTuple):
    """What is in a directory, in any order."""

    entries: Sequence[WalkEntry]
    #: The same for the same directory, however it was reached; None where no way can lead back up.
    identity: Hashable = None


class Tree(Protocol):
    """A store with directories. Directories are named by keys ending in "/", the root by ""."""

    def children(self, directory: str) -> Children | None:
        """Files and directories in it; None when it is missing, or a file."""
        ...

    def describe(self, key: str, entry: WalkEntry) -> ObjectInfo | None:
        """The file; None when it vanished."""
        ...


#: An object, or with a delimiter a prefix.
Found = ObjectInfo | str


class _Level:
    """A directory that a walk is in."""

    def __init__(self, base: str, children: Children) -> None:
        self.base = base
        self.rest = iter(sorted(children.entries, key=lambda entry: entry.name))
        self.identity = children.identity
        #: Whether something in it was described, or a directory in it entered.
        self.has_content = False


def walk(tree: Tree, prefix: str, start_after: str, *, delimiter: bool) -> Iterator[Found]:
    """Yield what starts with `prefix` and comes after `start_after`, in key order.

    Without a delimiter: objects, an empty directory as "dir/" of size 0. With one: the objects right below the prefix's
    directory, and the directories there as texts ending in "/". An empty directory asked for itself is an object too. One
    in which there are only links that lead back counts as empty.
    """
    base = prefix[: prefix.rfind("/") + 1]
    top = tree.children(base)
    levels = [_Level(base, top)] if top is not None else []
    while levels:
        level = levels[-1]
        entry = next(level.rest, None)
        if entry is None:
            levels.pop()
            if not level.has_content and level.base > start_after and level.base.startswith(prefix):
                yield ObjectInfo(level.base, 0, "", None)
            continue
        key = level.base + entry.name
        if not key.startswith(prefix):
            continue
        if not key.endswith("/"):
            info = tree.describe(key, entry) if key > start_after else None
            level.has_content |= info is not None or key <= start_after
            if info is not None:
                yield info
        elif delimiter:
            level.has_content = True
            # A directory that holds `start_after` counts if something in it comes later.
            if key > start_after or (
                start_after.startswith(key) and any(True for _ in walk(tree, key, start_after, delimiter=False))
            ):
                yield key
        elif key > start_after or start_after.startswith(key):
            below = tree.children(key)
            if below is not None and not _leads_back(below, levels):
                level.has_content = True
                levels.append(_Level(key, below))


def _leads_back(children: Children, levels: Sequence[_Level]) -> bool:
    """Whether a link has led to a directory the walk is already in."""
    return children.identity is not None and any(level.identity == children.identity for level in levels)


def _key_of(found: Found) -> str:
    return found if isinstance(found, str) else found.key


class Pager:
    """Cuts walks of one tree into pages. Thread-safe."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        #: By number. At most `_WALKS_MAX`, the oldest goes first.
        self._walks: OrderedDict[str, Iterator[Found]] = OrderedDict()
        self._numbers = itertools.count()
        self._salt = secrets.token_hex(4)

    def page(self, prefix: str, *, delimiter: bool, start_after: str, token: str | None, limit: int) -> ListPage:
        """One page, see `UnderStorage.list`."""
        check_limit(limit)
        number, last = "", start_after
        if token is not None:
            number, separator, last = token.partition("/")
            if not separator:
                raise InvalidRequestError("this listing token is not one of this storage; begin the listing anew")
        found = self._take(number) if token is not None else None
        if found is None:
            found = _continued(self._tree, prefix, last, delimiter=delimiter, resumed=token is not None)
        rows = list(itertools.islice(found, limit))
        objects = [row for row in rows if not isinstance(row, str)]
        prefixes = [row for row in rows if isinstance(row, str)]
        following = next(found, None) if len(rows) == limit else None
        next_token = None
        if following is not None:
            next_token = f"{self._keep(itertools.chain([following], found))}/{_key_of(rows[-1])}"
        return ListPage(objects, prefixes, next_token)

    def close(self) -> None:
        """Forget all walks; their tokens stay good."""
        with self._lock:
            self._walks.clear()

    def _take(self, number: str) -> Iterator[Found] | None:
        with self._lock:
            return self._walks.pop(number, None)  # one reader only; a token used twice begins anew

    def _keep(self, found: Iterator[Found]) -> str:
        with self._lock:
            number = f"{self._salt}-{next(self._numbers)}"
            self._walks[number] = found
            while len(self._walks) > _WALKS_MAX:
                self._walks.popitem(last=False)
            return number


def _continued(tree: Tree, prefix: str, last: str, *, delimiter: bool, resumed: bool) -> Iterator[Found]:
    """A walk behind `last`. When that was a prefix, it has been given out whole: what is in it must not return."""
    found = walk(tree, prefix, last, delimiter=delimiter)
    if not (resumed and delimiter and last.endswith("/")):
        return found
    return (row for row in found if not _key_of(row).startswith(last))
