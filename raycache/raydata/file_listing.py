"""What Ray Data asks of paths before it plans a read - which files, of what sizes - answered by the cache at once.

Ray Data looks paths up one after the other, lists directories one after the other, and goes by a common parent, or by tasks,
when there are many. The cache knows all of it in one look-up and one listing per directory, several of them on their way.
What is left out and how files are ordered is as in Ray's `_expand_directory`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray.data.datasource import file_meta_provider

from raycache import paths as names
from raycache.client.file_meta import require_file
from raycache.client.locator import Locator
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
        return files_of(handler.fs.client.locator, paths, ignore_missing=ignore_missing_paths)

    file_meta_provider._expand_paths = expand_paths  # noqa: SLF001


def files_of(locator: Locator, paths: Sequence[str], *, ignore_missing: bool = False) -> Iterator[tuple[str, int]]:
    """(path, size in bytes) of files, and of those below directories, in the spelling of `paths`.

    Args:
        locator: of the cache.
        paths: files and directories, in any spelling the filesystem takes.
        ignore_missing: leave out what does not exist.

    Raises:
        NotFoundError: a path does not exist.
        RaycacheError: what a look-up or a listing failed with.
    """
    metas = locator.resolve(paths)
    directories = [meta.path for meta in metas if meta.kind is FileKind.DIRECTORY]

    def listed(path: str) -> ListReply:
        return locator.listing(path, recursive=True)

    with ThreadPoolExecutor(_LISTINGS_AT_ONCE, thread_name_prefix="raycache-listing") as threads:
        listings = threads.map(listed, directories)
        for path, meta in zip(paths, metas, strict=True):
            if meta.kind is FileKind.DIRECTORY:
                yield from _below(names.exact(path).rstrip("/"), next(listings))
            elif not (ignore_missing and meta.kind is FileKind.MISSING and meta.error is None):
                yield path, require_file(meta, path).file.size_bytes


def _below(base: str, listing: ListReply) -> list[tuple[str, int]]:
    return sorted(
        (names.sayable(f"{base}/{row.name}"), row.size_bytes)
        for row in listing.rows()
        if row.kind == FileKind.FILE and not row.name.startswith(_HIDDEN)
    )
