"""Which file goes where, by fsspec's own rules, without moving a byte.

fsspec's `copy`, `get` and `put` decide about globs, trailing slashes and targets that exist, and then go file by file.
The rules are kept, so that the cache behaves as any fsspec filesystem; the work is done by us, many files at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike

from raycache.errors import InvalidRequestError


class Transfers:
    """Stands in for a filesystem while fsspec decides; `pairs` is what it would have done: (source, target)."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs
        self.pairs: list[tuple[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def cp_file(self, path1: str, path2: str, **_options: Any) -> None:
        self.pairs.append((path1, path2))

    def get_file(self, rpath: str, lpath: Any, **_options: Any) -> None:
        self.pairs.append((rpath, lpath))

    def put_file(self, lpath: str, rpath: str, **_options: Any) -> None:
        self.pairs.append((lpath, rpath))


def planned(fs: AbstractFileSystem, operation: str, source: Any, target: Any, **options: Any) -> list[tuple[Any, Any]]:
    """What `AbstractFileSystem.copy`, `get` or `put` would do.

    Args:
        fs: the filesystem.
        operation: "copy", "get" or "put".
        source, target: paths, lists, globs, as fsspec takes them.
        options: recursive, maxdepth.

    Returns:
        (source, target) in fsspec's order; directories among them.

    Raises:
        FileNotFoundError: no source.
    """
    transfers = Transfers(fs)
    getattr(AbstractFileSystem, operation)(transfers, source, target, **options)
    return transfers.pairs


def refuse_meeting(pairs: Iterable[tuple[str, Any]]) -> None:
    """Refuse copies of several files to one local file: keys know empty parts and ".", and disks do not."""
    sources: dict[str, str] = {}
    for source, target in pairs:
        if not isfilelike(target):
            place = os.path.normpath(target)
            first = sources.setdefault(place, source)
            if first != source:
                raise InvalidRequestError(f"{first} and {source} would be one file, {place}; get them one by one")
