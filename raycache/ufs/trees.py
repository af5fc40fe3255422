"""Trees of keys in a store: what stands at a key, all that is below it, and deleting it.

Every listing that is followed to its end goes through `pages`, so that one place sees whether it gets on: a page may be
empty and the listing still go on, but one that comes round to where it was is an error. A part of a listing never passes
for the whole.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from raycache.errors import DeniedError, NotFoundError, UnavailableError
from raycache.paths import implied_directories
from raycache.types import FileKind
from raycache.ufs.base import ListPage, ObjectInfo, UnderStorage
from raycache.ufs.errors import shown

#: Keys deleted at a time where a listing may go on meanwhile.
_DELETE_BATCH_KEYS = 1000
#: Empty pages one behind the other; a store that hides many deleted versions gives some.
_EMPTY_PAGES_MAX = 1000


class Standing(NamedTuple):
    """What stands at a key."""

    kind: FileKind
    #: Of the object there: a file, or the marker of a directory.
    info: ObjectInfo | None = None


def pages(
    storage: UnderStorage,
    prefix: str,
    *,
    delimiter: bool = False,
    start_after: str = "",
    limit: int = 1000,
    page: ListPage | None = None,
) -> Iterator[ListPage]:
    """A listing, page by page to its end; some pages may be empty.

    Args:
        storage: the store.
        prefix, delimiter, start_after, limit: see `UnderStorage.list`.
        page: the first page, when it is there already.

    Raises:
        UnavailableError: the listing goes round in a circle, or brings nothing for too long.
    """
    # Of the first, second, fourth, eighth, ... page: any circle meets one of them again.
    token_before = name_before = None
    empty_count = 0
    page = page or storage.list(prefix, delimiter=delimiter, start_after=start_after, limit=limit)
    for count in itertools.count(1):
        name = min((*page.prefixes[:1], *(info.key for info in page.objects[:1])), default=None)
        token = page.next_token
        empty_count = 0 if name is not None else empty_count + 1
        goes_round = (token is not None and token == token_before) or (name is not None and name == name_before)
        if goes_round or empty_count > _EMPTY_PAGES_MAX:
            uri = f"{storage.root_uri}/{prefix}"
            raise UnavailableError(
                f"the listing of {shown(uri)} does not get on, so it is not whole; try later", uri=uri
            )
        yield page
        if token is None:
            return
        if count & (count - 1) == 0:
            token_before, name_before = token, name
        page = storage.list(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)


def holds_anything(storage: UnderStorage, prefix: str) -> bool:
    """Whether a key begins with `prefix`, markers and empty directories included."""
    return any(page.objects or page.prefixes for page in pages(storage, prefix, limit=1))


def what_stands(storage: UnderStorage, key: str) -> Standing:
    """What the store itself has at a key, now: an object, else a directory with or without something in it.

    An empty object with keys below it only marks a directory, as some tools write them.

    Args:
        storage: the store.
        key: without a slash at its end; "" is the root, a directory as long as the store answers.
    """
    if not key:
        storage.list("", limit=1)  # raises when the store or the bucket is missing
        return Standing(FileKind.DIRECTORY)
    info = None
    with contextlib.suppress(NotFoundError):
        info = storage.head(key)
        if info.size_bytes or storage.has_directories:
            return Standing(FileKind.FILE, info)
    with contextlib.suppress(DeniedError):  # who may read files need not be allowed to list
        if holds_anything(storage, key + "/"):
            return Standing(FileKind.DIRECTORY, info)
    return Standing(FileKind.MISSING if info is None else FileKind.FILE, info)


def check_directory(storage: UnderStorage, key: str) -> None:
    """NotFoundError unless the store answers, and has this directory; where directories are key prefixes, any will do.

    Args:
        storage: the store.
        key: without a slash at its end; "" is the root.
    """
    directory = key + "/" if key else ""
    try:
        holds = holds_anything(storage, directory)
    except DeniedError as error:
        if error.fields.get("code") == "AccessDenied":  # who may read files need not be allowed to list
            return
        raise
    if not holds and directory and storage.has_directories:
        uri = f"{storage.root_uri}/{key}"
        raise NotFoundError(f"there is no directory {shown(uri)}; make it, or check the path", uri=uri)


#: Size, etag and mtime.
Described = tuple[int, str, int | None]


def tree(storage: UnderStorage, prefix: str) -> dict[str, Described]:
    """Everything below a prefix, by its name relative to it; names of empty directories and markers end in a slash."""
    return {
        info.key.removeprefix(prefix): info[1:]
        for page in pages(storage, prefix)
        for info in page.objects
        if info.key != prefix
    }


def delete_keys(storage: UnderStorage, directory: str, *, contents_only: bool) -> None:
    """Delete all keys below a directory of a store that has none, a page at a time.

    Then the keys that would mark its directories, deepest first: some stores (SeaweedFS) keep empty directories as common
    prefixes until they are deleted so; elsewhere there is mostly nothing by these names.
    """
    prefix = directory and directory.removesuffix("/") + "/"
    batch: list[str] = []
    directories: dict[str, None] = {} if contents_only or not prefix else {"": None}
    for page in pages(storage, prefix):
        keys = [info.key for info in page.objects]
        names = [key.removeprefix(prefix) for key in keys if key != prefix]
        directories.update(dict.fromkeys(name for name in names if name.endswith("/")))
        directories.update(dict.fromkeys(f"{name}/" for name in implied_directories(names)))
        batch.extend(key for key in keys if not key.endswith("/"))
        if len(batch) >= _DELETE_BATCH_KEYS:
            storage.delete(batch)
            batch = []
    deepest_first = sorted(directories, key=lambda name: name.count("/"), reverse=True)
    storage.delete(batch + [prefix + name for name in deepest_first])
    if "" in directories:
        with contextlib.suppress(NotFoundError):
            if storage.head(prefix[:-1]).size_bytes == 0:  # it only marked the directory
                storage.delete([prefix[:-1]])
