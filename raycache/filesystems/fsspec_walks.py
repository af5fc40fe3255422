"""`walk` of the fsspec filesystem, which leaves out no key of an object store.

fsspec's own goes from directory to directory by their paths. In a key `a//b` there is a directory without a name, which no path
can say, since `a/` is `a`. So what lies below it is taken from a listing of all that is below `a`: its name is "", and `top` then
ends in a slash, so that top, "/" and a name are a path as ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fsspec.spec import AbstractFileSystem

from raycache import paths
from raycache.errors import InvalidRequestError, NoCacheError

_Infos = list[dict[str, Any]]


def walked(
    fs: AbstractFileSystem,
    top: str,
    maxdepth: int | None = None,
    topdown: bool = True,
    on_error: str | Callable[[OSError], object] = "omit",
    detail: bool = False,
    levels: Mapping[str, _Infos] | None = None,
    **options: Any,
) -> Iterator[tuple[str, Any, Any]]:
    """(top, directories, files) of a directory and of all below it.

    Args:
        fs: the filesystem.
        top: the directory, as `fs` calls what it lists.
        maxdepth, topdown, on_error, detail, options: as `AbstractFileSystem.walk` takes them.
        levels: what is in directories that cannot be listed.
    """
    if maxdepth is not None and maxdepth < 1:
        raise InvalidRequestError(f"maxdepth {maxdepth} is too small; give 1 or more")
    try:
        infos: _Infos = fs.ls(top, detail=True, nameless=True, **options) if levels is None else levels[top]
    except OSError as error:
        if on_error == "raise" or isinstance(error, NoCacheError):
            raise
        if callable(on_error):
            on_error(error)
        return
    below = paths.below(top)
    found: dict[str, dict[str, Any]] = {"directory": {}, "file": {}}
    for info in infos:
        found[info["type"]][info["name"][len(below) :]] = info
    directories, files = found.values() if detail else map(list, found.values())
    if topdown:
        yield top, directories, files
    if maxdepth is None or maxdepth > 1:
        deeper = None if maxdepth is None else maxdepth - 1
        for name in directories:
            inside = _below_nameless(fs, top) if levels is None and not name else levels
            yield from walked(fs, below + name, deeper, topdown, on_error, detail, inside, **options)
    if not topdown:
        yield top, directories, files


def _below_nameless(fs: AbstractFileSystem, top: str) -> dict[str, _Infos]:
    """What is in each directory from the one on that has no name in `top`."""
    start = f"{paths.below(top)}/"
    levels: dict[str, _Infos] = defaultdict(list)
    for name, info in fs.find(top, withdirs=True, detail=True).items():
        if name.startswith(start):
            levels[name.rpartition("/")[0]].append(info)
    return levels
