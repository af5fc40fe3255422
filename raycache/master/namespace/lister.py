"""Asks the lake: looks keys up, and lists prefixes, many at once.

Theory of operation. `fetch` is called from some thread and runs its pieces in the lister's own bounded pool; pieces
never wait for pieces, so the pool cannot lock up. A store pages its listings one after the other, at most 1,000 keys
each, so a large prefix is cut into key ranges that are paged side by side:

1. One flat page. Most prefixes end there.
2. Else the child directories are listed, one level, and a second and third level while there are too few: these are
   where keys are, so they make good borders.
3. The borders are thinned out to a few ranges for each thread. Range i holds the keys behind border i up to and with
   border i+1; it starts with `start_after`, and ends at the first key beyond. The ranges partition all keys, whatever
   the borders are: a listing is complete even when directories come and go meanwhile.

Where only some keys of a directory are wanted, it is listed as long as that is cheaper than looking them up; the rest is
looked up. Where listing is not allowed, all of them are.

Stores with real directories (disks, HDFS) walk them as fast as they can be read anyway: they are paged in one go. So are those
that cannot begin a listing behind a key (Azure).
Pages become packed entries at once, since descriptions as objects would take five times the memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from raycache.errors import DeniedError, NotFoundError, RaycacheError, UnavailableError
from raycache.master.namespace.entries import pack
from raycache.master.namespace.lookups import HeadNeed, ListNeed, Need, NeedResult
from raycache.messages import MountInfo
from raycache.types import FileKind
from raycache.ufs import trees
from raycache.ufs.base import ListPage, UnderStorage

T = TypeVar("T")


class DisorderError(Exception):
    """A store lists keys in another order than S3 promises; SeaweedFS has "d/x" before "d-x"."""


class KeyRange(NamedTuple):
    """A part of a listing: a range of keys, and what is there."""

    #: The range begins behind this key; "": at the beginning.
    after: str
    #: It ends with this key; None: at the end.
    until: str | None
    #: Key -> entry, directory markers included.
    found: dict[str, bytes]


#: Ranges a thread gets of one listing: some are larger than others.
_RANGES_PER_THREAD = 4
_BORDER_LEVELS_MAX = 3
#: A page of a listing costs about as much as so many HEADs, in money and, since they go side by side, in time.
_KEYS_PER_PAGE = 16
#: Pages spent on the borders of one directory.
_BORDER_PAGES_MAX = 4


class Lister:
    """Executes needs.

    Args:
        storage_of: opens the store of a mount; may raise RaycacheError.
        inflight_max: requests to the lake at a time.
    """

    def __init__(self, storage_of: Callable[[MountInfo], UnderStorage], inflight_max: int) -> None:
        self._storage_of = storage_of
        self._inflight_max = inflight_max
        self._pool = ThreadPoolExecutor(inflight_max, thread_name_prefix="raycache-list")

    def fetch(self, needs: Sequence[Need]) -> dict[Need, NeedResult]:
        """Answer needs, side by side. Blocks; never raises: an error is a need's result.

        Bounded by the storages' own timeouts.
        """
        simple: dict[Need, Future[NeedResult]] = {}
        for need in needs:
            if isinstance(need, HeadNeed):
                simple[need] = self._pool.submit(_guarded, self._head, need)
            elif not need.recursive:
                simple[need] = self._pool.submit(_guarded, self._list_level, need)
        results: dict[Need, NeedResult] = {
            need: _guarded(self._list_tree, need) for need in needs if isinstance(need, ListNeed) and need.recursive
        }
        results |= {need: future.result() for need, future in simple.items()}
        for need, result in results.items():
            if isinstance(need, ListNeed) and result.each is not None:
                results[need] = self._look_up_each(need, result)
        return results

    def pages(self, mount: MountInfo, prefix: str, take: Callable[[KeyRange], None], *, ordered: bool = False) -> None:
        """List everything below a prefix, several parts of it at a time, without ever holding all of it.

        Args:
            mount: how to open the store.
            prefix: "" or ends in "/"; or a key, and then only that object is looked for.
            take: called from the pool's threads with every part; together the parts are the whole.
            ordered: each key must be in the one part whose bounds it is within. Without it, a store that does not list in
                key order may bring a key twice, and in any part.

        Raises:
            NotFoundError, DeniedError, UnavailableError: it is not complete.
            DisorderError: the store does not list in key order, and `ordered` is wanted.
        """
        storage = self._storage_of(mount)
        if prefix and not prefix.endswith("/"):
            try:
                take(KeyRange("", None, {prefix: pack(storage.head(prefix))}))
            except NotFoundError:
                take(KeyRange("", None, {}))
            return
        page = self._pool.submit(storage.list, prefix).result()
        borders: list[str] = []
        if page.next_token is not None and _begins_anywhere(storage):
            borders = self._borders(storage, prefix)
        if not borders:
            self._pool.submit(_take_range, storage, prefix, "", None, page, take, ordered).result()
            return
        self._over_ranges(borders, lambda start, end: _take_range(storage, prefix, start, end, None, take, ordered))

    def level(self, mount: MountInfo, prefix: str, take: Callable[[dict[str, bytes]], None]) -> list[str]:
        """List one level, a page at a time, without ever holding all of it.

        Args:
            mount: how to open the store.
            prefix: "" or ends in "/".
            take: called with every page: key -> entry.

        Returns:
            The prefixes of the directories there.

        Raises:
            NotFoundError, DeniedError, UnavailableError: it is not complete.
        """
        directories: list[str] = []
        listed = trees.pages(self._storage_of(mount), prefix, delimiter=True)
        while (page := self._pool.submit(next, listed, None).result()) is not None:
            found: dict[str, bytes] = {}
            _collect(page, found)
            take(found)
            directories.extend(page.prefixes)
        return directories

    def whole(self, mount: MountInfo, prefix: str, take: Callable[[KeyRange], None]) -> None:
        """As `pages`, in one part: for a store that does not list in key order."""
        if prefix and not prefix.endswith("/"):
            self.pages(mount, prefix, take)
            return
        need = ListNeed(mount, mount.path, self._storage_of(mount).root_uri, prefix, True, 0, 0.0)
        take(KeyRange("", None, self._list_tree(need).found))

    def close(self) -> None:
        """Start nothing new; what is on the way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _head(self, need: HeadNeed) -> NeedResult:
        kind, info = trees.what_stands(self._storage_of(need.mount), need.key)
        return NeedResult(head=pack(info) if info is not None else None, is_directory=kind is FileKind.DIRECTORY)

    def _list_level(self, need: ListNeed) -> NeedResult:
        storage = self._storage_of(need.mount)
        pages_max = max(1, len(need.keys) // _KEYS_PER_PAGE)
        found: dict[str, bytes] = {}
        directories: list[str] = []
        try:
            for count, page in enumerate(trees.pages(storage, need.prefix, delimiter=True), 1):
                _collect(page, found)
                directories.extend(page.prefixes)
                if need.keys and count >= pages_max and page.next_token is not None:
                    return NeedResult(is_directory=True, found=found, directories=directories, each={})
        except DeniedError:
            if not need.keys:
                raise
            return NeedResult(each={})  # who may read files need not be allowed to list
        return self._listed(storage, need, found, directories)

    def _look_up_each(self, need: ListNeed, result: NeedResult) -> NeedResult:
        """What stands at the keys wanted, after a listing that was given up: in what was listed, or by a HEAD."""
        directories = set(result.directories)
        each: dict[str, NeedResult] = {}
        heads: dict[str, Future[NeedResult]] = {}
        for key in need.keys:
            if key in result.found or key + "/" in directories:
                each[key] = NeedResult(head=result.found.get(key), is_directory=key + "/" in directories)
            else:
                look = HeadNeed(need.mount, need.mount_path, need.root_uri, key, need.generation, need.asked_s)
                heads[key] = self._pool.submit(_guarded, self._head, look)
        each |= {key: future.result() for key, future in heads.items()}
        error = next((one.error for one in each.values() if one.error is not None), None)
        return NeedResult(error=error, each=each)

    def _list_tree(self, need: ListNeed) -> NeedResult:
        storage = self._storage_of(need.mount)
        page = self._pool.submit(storage.list, need.prefix).result()
        if page.next_token is None:
            found = _list_range(storage, need.prefix, "", None, page)
        elif borders := (self._borders(storage, need.prefix) if _begins_anywhere(storage) else []):
            found = self._list_ranges(storage, need.prefix, borders)
        else:
            found = self._pool.submit(_list_range, storage, need.prefix, "", None, page).result()
        return self._listed(storage, need, found, [])

    def _listed(
        self, storage: UnderStorage, need: ListNeed, found: dict[str, bytes], directories: list[str]
    ) -> NeedResult:
        if found or directories or not need.prefix:
            return NeedResult(is_directory=True, found=found, directories=directories)
        try:
            return NeedResult(head=pack(storage.head(need.prefix.removesuffix("/"))))
        except NotFoundError:
            return NeedResult()

    def _list_ranges(self, storage: UnderStorage, prefix: str, borders: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for part in self._over_ranges(borders, lambda start, end: _list_range(storage, prefix, start, end, None)):
            found.update(part)
        return found

    def _over_ranges(self, borders: list[str], work: Callable[[str, str | None], T]) -> list[T]:
        """Do something for each range of keys between borders, side by side."""
        starts = ["", *borders]
        ends: list[str | None] = [*borders, None]
        parts = [self._pool.submit(work, start, end) for start, end in zip(starts, ends, strict=True)]
        try:
            return [part.result() for part in parts]
        except BaseException:
            for part in parts:
                part.cancel()
            raise

    def _borders(self, storage: UnderStorage, prefix: str) -> list[str]:
        """Sorted keys that cut a prefix into ranges; few or none when it has no directories."""
        wanted = self._inflight_max * _RANGES_PER_THREAD
        found: list[str] = []
        level = [prefix]
        for _ in range(_BORDER_LEVELS_MAX):
            parts = [self._pool.submit(_directories, storage, directory) for directory in level]
            level = [directory for part in parts for directory in part.result()]
            found.extend(level)
            if not level or len(found) >= wanted:
                break
        # With the slash: SeaweedFS, asked for what is after "d", leaves everything in "d/" out.
        borders = sorted(set(found) - {"", prefix})
        step = -(-len(borders) // wanted) if borders else 1
        return borders[::step]


def _begins_anywhere(storage: UnderStorage) -> bool:
    """Whether a listing behind a key costs no more than what it brings."""
    return not storage.has_directories and getattr(storage, "lists_from_key", True)


def _guarded(work: Callable[[T], NeedResult], need: T) -> NeedResult:
    try:
        return work(need)
    except RaycacheError as error:
        return NeedResult(error=error)
    except Exception as error:  # a defect of a store's driver must not leave the askers waiting
        return NeedResult(error=UnavailableError(f"the lake could not be asked: {type(error).__name__}"))


def _directories(storage: UnderStorage, prefix: str) -> list[str]:
    """The first child directories of a prefix: some pages of them."""
    listed = itertools.islice(trees.pages(storage, prefix, delimiter=True), _BORDER_PAGES_MAX)
    return [directory for page in listed for directory in page.prefixes]


def _list_range(
    storage: UnderStorage, prefix: str, start_after: str, end: str | None, page: ListPage | None
) -> dict[str, bytes]:
    """All keys behind `start_after` (or from a first `page` on) up to and with `end`; None is the end of the prefix."""
    found: dict[str, bytes] = {}
    for listed in trees.pages(storage, prefix, start_after=start_after, page=page):
        _collect(listed, found, end)
        if end is not None and listed.objects and listed.objects[-1].key > end:
            break
    return found


def _take_range(
    storage: UnderStorage,
    prefix: str,
    after: str,
    end: str | None,
    page: ListPage | None,
    take: Callable[[KeyRange], None],
    ordered: bool,
) -> None:
    """Hand the keys after one, up to and with `end`, over page by page; `page` is the first, when it is there already."""
    for listed in trees.pages(storage, prefix, start_after=after, page=page):
        found: dict[str, bytes] = {}
        last = after
        for info in listed.objects:
            if ordered and info.key <= last:
                raise DisorderError(f"{info.key} follows {last}")
            last = info.key
        _collect(listed, found, end)
        beyond = end is not None and bool(listed.objects) and listed.objects[-1].key > end
        if listed.next_token is None or beyond:
            take(KeyRange(after, end, found))
            return
        if listed.objects:
            take(KeyRange(after, listed.objects[-1].key, found))
            after = listed.objects[-1].key


def _collect(page: ListPage, found: dict[str, bytes], end: str | None = None) -> None:
    for info in page.objects:
        if end is not None and info.key > end:
            return
        found[info.key] = pack(info)
