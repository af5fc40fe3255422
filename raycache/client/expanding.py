"""Expanding what users name (files, directories, globs) into files.

A path with wildcards is a glob unless something of that very name stands there, and so is each directory in it. What a glob
matches is meant as if it were named: of a directory, everything below it. One that matches nothing is an error, as a path is at
which nothing stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from raycache import paths as names
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.locator import Locator
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.messages import ListedRow, ListReply
from raycache.types import FileKind, FileVersion

#: Directories that a glob matches are listed one by one; being more, with all that stands beside them.
_LISTED_EACH_MAX = 16


class Glob(NamedTuple):
    """A path that is no name."""

    #: A directory, normalised.
    base: str
    #: See `paths.glob_regex`; of the rest.
    glob: str


class Match(NamedTuple):
    """A file that a glob names."""

    path: str
    version: FileVersion
    #: What of the path behind the base the glob itself matches: the rest is what lies in a directory.
    matched: str


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
    return [(names.join(path, row.name), reply.version(row)) for row in reply.rows() if row.kind == FileKind.FILE]


def expand(locator: Locator, paths: str | Sequence[str], *, fresh: bool = False) -> list[tuple[str, FileVersion]]:
    """The files that `paths` mean: a directory is everything below it, a glob what it matches and everything below that.

    Returns:
        (path, version), each file once, in the order of `paths`, sorted inside a directory or a glob.

    Raises:
        NotFoundError: a path does not exist, or a glob matches nothing.
    """
    files: dict[str, FileVersion] = {}
    for path, meta in looked_up(locator, as_list(paths), fresh=fresh):
        if isinstance(meta, Glob):
            files.update((match.path, match.version) for match in matches(locator, meta, fresh=fresh))
        elif meta.kind is FileKind.DIRECTORY:
            files.update(listed_files(meta.path, locator.listing(meta.path, recursive=True, fresh=fresh)))
        else:
            files[require_file(meta, path).path] = meta.file
    return list(files.items())


def looked_up(locator: Locator, paths: Sequence[str], *, fresh: bool = False) -> list[tuple[str, FileMeta | Glob]]:
    """What stands at each path, or the glob that it is; in the order of `paths`, in two look-ups at most."""
    metas = dict(zip(paths, locator.resolve(paths, fresh=fresh), strict=True))
    globs = [path for path, meta in metas.items() if _is_missing(meta) and names.is_glob(meta.path)]
    bases = {path: names.glob_bases(metas[path].path) for path in globs}
    doubtful = [base for path in globs for base in bases[path][:-1]]
    directories = {meta.path for meta in locator.resolve(doubtful) if meta.kind is FileKind.DIRECTORY}
    found: dict[str, FileMeta | Glob] = {**metas}
    for path in globs:
        base = next((base for base in bases[path] if base in directories), bases[path][-1])
        found[path] = Glob(base, metas[path].path[len(base) :].lstrip("/"))
    return [(path, found[path]) for path in paths]


def matches(locator: Locator, wanted: Glob, *, fresh: bool = False) -> list[Match]:
    """The files that a glob names, sorted; none where it matches directories without any.

    Raises:
        NotFoundError: it matches nothing, or its base is no directory.
    """
    base, glob = wanted
    regex = names.glob_regex(glob)

    def rows(below: str, *, recursive: bool) -> list[tuple[ListedRow, FileVersion]]:
        reply = locator.listing(names.join(base, below), recursive=recursive, fresh=fresh)
        named = ((row._replace(name=names.join(below, row.name) if below else row.name), row) for row in reply.rows())
        return [(row, reply.version(own)) for row, own in named if regex.match(row.name)]

    level = "/" not in glob and "**" not in glob
    found = rows("", recursive=not level)
    directories = [row.name for row, _ in found if row.kind == FileKind.DIRECTORY]
    if level and len(directories) > _LISTED_EACH_MAX:
        found = rows("", recursive=True)
    elif level:
        found += [row for directory in directories for row in rows(directory, recursive=True)]
    if not found and not directories:
        raise NotFoundError(f"nothing matches {names.join(base, glob)}; check the pattern", path=names.join(base, glob))
    files = [(row.name, version) for row, version in found if row.kind == FileKind.FILE]
    return [Match(names.join(base, name), version, _matched(glob, name)) for name, version in sorted(files)]


def _matched(glob: str, name: str) -> str:
    """The shortest beginning of a name that a glob names."""
    regex = names.glob_regex(glob)
    end = name.find("/")
    while end >= 0:
        if regex.match(name[:end]):
            return name[:end]
        end = name.find("/", end + 1)
    return name


def _is_missing(meta: FileMeta) -> bool:
    return meta.kind is FileKind.MISSING and (meta.error is None or isinstance(meta.error, NotFoundError))
