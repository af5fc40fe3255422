"""Expanding what users name (files, directories, globs) into files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fsspec.utils import glob_translate

from raycache import paths as names
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.locator import Locator
from raycache.errors import InvalidRequestError
from raycache.messages import ListReply
from raycache.types import FileKind, FileVersion


def as_list(paths: str | Sequence[str]) -> list[str]:
    """One path or several, as a list.

    Raises:
        InvalidRequestError: not a path.
    """
    items = [paths] if isinstance(paths, str) or not isinstance(paths, Iterable) else list(paths)
    for item in items:
        if not isinstance(item, str):
            if hasattr(item, "__fspath__"):
                continue
            raise InvalidRequestError(f"{item!r} is not a path; give a str such as /lake/x or s3://bucket/key")
    return [item if isinstance(item, str) else str(item.__fspath__()) for item in items]


def listed_files(path: str, reply: ListReply) -> list[tuple[str, FileVersion]]:
    """(path, version) of the files in a listing of `path`, in its order."""
    base_path = path.rstrip("/")
    return [(f"{base_path}/{row.name}", reply.version(row)) for row in reply.rows() if row.kind == FileKind.FILE]


def expand(locator: Locator, paths: str | Sequence[str], *, fresh: bool = False) -> list[tuple[str, FileVersion]]:
    """The files that `paths` mean: a directory is everything below it, a glob what it matches.

    Returns:
        (path, version), each file once, in the order of `paths`, sorted inside a directory or a glob.

    Raises:
        NotFoundError: a path does not exist, or the directory a glob starts from does not.
    """
    wanted = as_list(paths)
    plain = [path for path in wanted if not names.is_glob(path)]
    metas = dict(zip(plain, locator.resolve(plain, fresh=fresh), strict=True)) if plain else {}
    files: dict[str, FileVersion] = {}
    for path in wanted:
        meta = metas.get(path)
        if meta is None and (metas := metas | _literal(locator, path)) and path in metas:
            meta = metas[path]
        if meta is None:
            files.update(_matches(locator, path, fresh=fresh))
        elif meta.kind is FileKind.DIRECTORY:
            files.update(listed_files(meta.path, locator.listing(meta.path, recursive=True, fresh=fresh)))
        else:
            files[require_file(meta, path).path] = meta.file
    return list(files.items())


def _literal(locator: Locator, path: str) -> dict[str, FileMeta]:
    """A name that looks like a glob may be the very name of a file."""
    meta = locator.resolve([path])[0]
    return {path: meta} if meta.kind is not FileKind.MISSING else {}


def _matches(locator: Locator, pattern: str, *, fresh: bool) -> list[tuple[str, FileVersion]]:
    pattern = names.normalise(pattern)
    base = names.glob_base(pattern)
    recursive = "/" in pattern[len(base) :].lstrip("/") or "**" in pattern
    matcher = re.compile(glob_translate(pattern))
    found = listed_files(base, locator.listing(base, recursive=recursive, fresh=fresh))
    return [(path, version) for path, version in found if matcher.match(path)]
