"""Which files a read means, decided before Ray Data is asked: paths, globs, and all arguments that leave files out.

What Ray's readers leave out they leave out for the files of one call. Where a read is cut into calls by node, a call may be
left with nothing, which is an error to Ray; so what does not depend on the call is decided here, for all files.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ray.data.datasource.partitioning import PathPartitionFilter, PathPartitionParser

from raycache import paths
from raycache.client.locator import Locator
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.raydata.file_listing import files_meant

logger = logging.getLogger("raycache")

#: (name, size in bytes).
Files = list[tuple[str, int]]


def base_of(path: str) -> str:
    """A path itself, or the directory above the first wildcard of a glob."""
    return paths.glob_bases(path)[-1]


def rebased(arguments: Mapping[str, Any], wanted: Sequence[str], locator: Locator, filesystem: Any) -> dict[str, Any]:
    """The arguments with the base directories of partitions in the spelling that names of files will have.

    Args:
        arguments: of a reader; a base directory may be given as a path or a URI, whichever the read itself was given.
        wanted: the paths of the read, normalised.
        locator: of the cache.
        filesystem: of the read.
    """

    def spelled(base: str) -> str:
        if not base.startswith("/") and "://" not in base:
            return base  # a name already
        base = paths.normalise(base)
        return str(filesystem.normalize_path(_seen_from(base, wanted, locator)))

    def partitioning_of(given: Any) -> Any:
        return dataclasses.replace(given, base_dir=spelled(given.base_dir), filesystem=filesystem)

    result = dict(arguments)
    if getattr(arguments.get("partitioning"), "base_dir", None):
        result["partitioning"] = partitioning_of(arguments["partitioning"])
    given = arguments.get("partition_filter")
    if isinstance(given, PathPartitionFilter) and given.parser.scheme.base_dir:
        result["partition_filter"] = copy.copy(given)
        result["partition_filter"]._parser = PathPartitionParser(partitioning_of(given.parser.scheme))  # noqa: SLF001
    return result


def passing(files: Files, partition_filter: Callable[[list[str]], list[str]] | None, extensions: Any) -> Files:
    """What Ray's readers leave of some files."""
    if extensions is not None:
        ends = tuple(f".{extension.lstrip('.').lower()}" for extension in extensions)
        files = [file for file in files if file[0].partition("?")[0].lower().endswith(ends)]
    if partition_filter is not None:
        kept = set(partition_filter([name for name, _ in files]))
        files = [file for file in files if file[0] in kept]
    return files


def parquet_files(
    wanted: Sequence[str], arguments: dict[str, Any], extensions: Any, locator: Locator, name_of: Callable[[str], str]
) -> tuple[Files, bool]:
    """The files of a read of parquet, by the rules of Ray's V2 reader; takes its arguments for that out of `arguments`.

    Returns:
        They, and whether they are all that the paths mean.

    Raises:
        InvalidRequestError: no file is left.
        NotFoundError: a path does not exist.
    """
    ignore_missing = bool(arguments.pop("ignore_missing_paths", False))
    skipped = [paths.normalise(path) for path in path_list(arguments.pop("skip_paths", None) or [])]
    below = tuple(f"{path}/" for path in skipped)
    left = [path for path in wanted if path not in skipped and not path.startswith(below)]
    files = list(files_meant(locator, left, name_of, ignore_missing=ignore_missing))
    if skipped:
        names = {name_of(path) for path in skipped}
        inside = tuple(f"{name}/" for name in names)
        files = [file for file in files if file[0] not in names and not file[0].startswith(inside)]
    for name, size in files:
        if not size:
            logger.warning("skipping zero-size file %r", name)
    found = passing([file for file in files if file[1]], arguments.pop("partition_filter", None), extensions)
    if not found and ignore_missing and not files:
        raise NotFoundError(f"none of {list(wanted)!r} exists; check the paths")
    if not found:
        raise InvalidRequestError(
            f"no files found under {list(wanted)!r}; check the paths, and any partition_filter, skip_paths or "
            "file_extensions that was given"
        )
    return found, not ignore_missing and len(left) == len(wanted) and len(found) == len(
        passing(files, None, extensions)
    )


def path_list(given: Any) -> list[str]:
    """One path or several, as text."""
    return [str(path) for path in ([given] if isinstance(given, (str, PurePath)) else given)]


def _seen_from(base: str, wanted: Sequence[str], locator: Locator) -> str:
    """A directory as a part of, or below, the first of some paths that it is above or below of in the lake."""
    for path in map(base_of, wanted):
        if path.startswith("/") == base.startswith("/"):
            continue
        try:
            base_uri, uri = locator.uri_of(base), locator.uri_of(path)
        except NotFoundError:
            continue
        if f"{uri}/".startswith(f"{base_uri}/") and path.endswith(rest := uri[len(base_uri) :]):
            return path[: len(path) - len(rest)] or "/"
        if base_uri.startswith(f"{uri}/"):
            return path.rstrip("/") + base_uri[len(uri) :]
    return base
