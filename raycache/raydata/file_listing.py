"""What Ray Data asks of paths before it plans a read - which files, of what sizes - answered by the cache at once.

Ray Data looks paths up one after the other, lists directories one after the other, and goes by a common parent, or by tasks,
when there are many. The cache knows all of it in one look-up and one listing per directory, several of them on their way.
What is left out and how files are ordered is as in Ray's `_expand_directory`.

Files are called as pyarrow calls them, see `filesystems.arrow_names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray.data.datasource import file_meta_provider

from raycache import paths as names
from raycache.client.expanding import Glob, Match, looked_up, matches
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.locator import Locator
from raycache.errors import NotFoundError
from raycache.filesystems.arrow_names import name_below
from raycache.filesystems.pyarrow import cache_handler
from raycache.messages import ListReply
from raycache.types import FileKind

_LISTINGS_AT_ONCE = 4
#: A file or directory of a directory that begins so is not read.
_HIDDEN = (".", "_")


def install() -> None:
    """Extend this process's Ray Data. Call it once."""
    stock = file_meta_provider._expand_paths  # noqa: SLF001

    def expand_paths(
        paths: list[str], filesystem: Any, partitioning: Any, ignore_missing_paths: bool = False
    ) -> Iterator[tuple[str, int]]:
        handler = cache_handler(filesystem)
        if handler is None:
            return stock(paths, filesystem, partitioning, ignore_missing_paths)  # type: ignore[no-any-return]
        if handler.chosen is not None:
            return iter(handler.chosen)
        return files_of(handler.fs.client.locator, paths, handler.path_of, ignore_missing=ignore_missing_paths)

    file_meta_provider._expand_paths = expand_paths  # noqa: SLF001


def files_of(
    locator: Locator, given: Sequence[str], path_of: Callable[[str], str] = str, *, ignore_missing: bool = False
) -> Iterator[tuple[str, int]]:
    """(name, size in bytes) of files, and of those below directories.

    Args:
        locator: of the cache.
        given: names of files and directories.
        path_of: the cache's path of a name.
        ignore_missing: leave out what does not exist.

    Raises:
        NotFoundError: a path does not exist.
        RaycacheError: what a look-up or a listing failed with.
    """
    metas = locator.resolve([path_of(name) for name in given])
    return _files(locator, list(zip(given, metas, strict=True)), ignore_missing=ignore_missing)


def files_meant(
    locator: Locator, paths: Sequence[str], name_of: Callable[[str], str], *, ignore_missing: bool = False
) -> Iterator[tuple[str, int]]:
    """(name, size in bytes) of the files that users' paths mean, globs too.

    A glob is read as if what it matches were named; names that begin with "." or "_" it matches only where it says so.
    """
    found = [
        (name_of(meta.base if isinstance(meta, Glob) else meta.path), meta) for _, meta in looked_up(locator, paths)
    ]
    return _files(locator, found, ignore_missing=ignore_missing)


def _files(
    locator: Locator, found: Sequence[tuple[str, FileMeta | Glob]], *, ignore_missing: bool
) -> Iterator[tuple[str, int]]:
    def listed(meta: FileMeta | Glob) -> ListReply | list[Match]:
        if isinstance(meta, FileMeta):
            return locator.listing(meta.path, recursive=True)
        try:
            return matches(locator, meta)
        except NotFoundError:
            if ignore_missing:
                return []
            raise

    to_list = [meta for _, meta in found if isinstance(meta, Glob) or meta.kind is FileKind.DIRECTORY]
    with ThreadPoolExecutor(_LISTINGS_AT_ONCE, thread_name_prefix="raycache-listing") as threads:
        listings = threads.map(listed, to_list)
        for name, meta in found:
            if isinstance(meta, Glob):
                yield from _matched(name, meta, next(listings))
            elif meta.kind is FileKind.DIRECTORY:
                yield from _below(name, meta.path, next(listings))
            elif not (ignore_missing and meta.kind is FileKind.MISSING and meta.error is None):
                yield name, require_file(meta, meta.path).file.size_bytes


def _below(base: str, path: str, listing: Any) -> list[tuple[str, int]]:
    return sorted(
        (name_below(base, path, row.name), row.size_bytes)
        for row in listing.rows()
        if row.kind == FileKind.FILE and not row.name.startswith(_HIDDEN)
    )


def _matched(base: str, glob: Glob, found: Iterable[Any]) -> Iterator[tuple[str, int]]:
    start = len(names.join(glob.base, "x")) - 1
    says_hidden = _has_hidden_part(glob.glob)
    for match in found:
        rest = match.path[start + len(match.matched) :]
        if (says_hidden or not _has_hidden_part(match.matched)) and not rest.removeprefix("/").startswith(_HIDDEN):
            yield name_below(base, glob.base, match.path[start:]), match.version.size_bytes


def _has_hidden_part(path: str) -> bool:
    return any(part.startswith(_HIDDEN) for part in path.split("/"))
