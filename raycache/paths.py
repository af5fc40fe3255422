"""The spelling of paths: one pure module that the client, the master and the workers share.

Theory of operation. A path is either absolute in the namespace (`/lake/x`) or a UFS URI (`s3://bucket/x`). A URI is a
root (`s3://bucket`: scheme and authority) and a key. Keys are kept exactly as written: never percent-decoded, `//`
never collapsed, since stores take them literally. Only slashes at the end are dropped, all of them, so that a
directory has one name and normalising twice changes nothing; no file's key ends in a slash (see `ObjectInfo`: those
are directory markers). Hence joining is always "with one slash between", and `split_uri` and `join` undo each other.

Several spellings mean the same and become one here: `s3a://` and `s3n://` are `s3://`, `gcs://` is `gs://`, `abfss://`
is `abfs://`, `local:///x` and `file:/x` are `file:///x`, `raycache:///lake/x` and `fsspec+raycache:///lake/x` are `/lake/x`.
Inside pyarrow filesystems, whose paths may hold no scheme, `s3://bucket/key` is spelled `/@s3/bucket/key`. What is no
valid Unicode, since names on a disk may be any bytes, is spelled `/@raw/` and percent-encoded there, and wherever text must be
UTF-8 (`sayable`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from urllib.parse import quote, unquote

from fsspec.utils import glob_translate

from raycache.errors import InvalidRequestError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "local": "file"}
_OURS = frozenset({"raycache", "fsspec+raycache"})
#: Schemes whose URIs may have no authority: `file:///x`, `hdfs:///x` (the default name node).
_NO_AUTHORITY = frozenset({"file", "hdfs", "viewfs"})
_GLOB = re.compile(r"[*?\[]")
_GLOBS_REMEMBERED = 10_000
_FILESYSTEM_MARK = "/@"
#: Before what `sayable` has spelled.
RAW_MARK = "/@raw/"


def normalise(path: str) -> str:
    """Turn any accepted spelling of a path into the one that is used everywhere inside.

    Returns:
        An absolute namespace path, or a UFS URI; without slashes at the end ("/" alone stays).

    Raises:
        InvalidRequestError: empty, relative, with a ".." part, or a URI without its bucket.

    Cost: a few string scans; about 0.5 us for a namespace path.
    """
    if path.startswith("/"):
        if path.startswith(_FILESYSTEM_MARK):
            return _from_filesystem_path(path)
        _refuse_dot_dot(path)
        return path.rstrip("/") or "/"
    match = _SCHEME.match(path)
    if match is None:
        if path.lower().startswith("file:/"):
            return _uri("file", path[len("file:") :].lstrip("/"), path)
        raise InvalidRequestError(
            f"{path!r} is not a path; give an absolute one such as /lake/x, or a URI such as s3://bucket/key"
        )
    scheme, rest = match[1].lower(), path[match.end() :]
    if scheme in _OURS:
        return normalise(rest if rest.startswith("/") else "/" + rest)
    scheme = _ALIASES.get(scheme, scheme)
    if scheme == "file":
        if rest and not rest.startswith("/"):
            raise InvalidRequestError(f"{path!r} names a host; local files are written file:///{rest}")
        rest = rest[1:]
    return _uri(scheme, rest, path)


def store_of(uri: str) -> str:
    """What a URI's bytes depend on: the root of its store; of local files, the directory below which disks are mounted."""
    root, _ = split_uri(uri)
    return root if root != "file://" else "/".join(uri.split("/", 5)[:5])


def split_uri(uri: str) -> tuple[str, str]:
    """Split a normalised URI into its root and its key.

    Returns:
        (root URI without a trailing slash, key): ("s3://bucket", "a/b"), ("file://", "data/x"), ("s3://bucket", "").

    Raises:
        InvalidRequestError: not a URI.
    """
    start = uri.find("://")
    if start <= 0:
        raise InvalidRequestError(f"{uri!r} is not a URI such as s3://bucket/key")
    slash = uri.find("/", start + 3)
    return (uri, "") if slash < 0 else (uri[:slash], uri[slash + 1 :])


def join(base: str, name: str) -> str:
    """The path of `name` below a normalised path or URI; an empty name is the base itself."""
    if not name:
        return base
    return f"/{name}" if base == "/" else f"{base}/{name}"


def below(path: str) -> str:
    """What all paths below a normalised one begin with: `/` of `/`, `/lake/` of `/lake`, `file:///` of `file://`."""
    return path if path == "/" else f"{path}/"


def moved(path: str, base: str, other: str) -> str:
    """A normalised path at or below a base, as it is below another base."""
    return join(other, path[len(below(base)) :])


def self_and_above(path: str) -> Iterator[str]:
    """A normalised path or URI, then what is above it, up to "/" or the root of the URI."""
    floor = 0 if path.startswith("/") else path.find("://") + 3  # a key may hold "://", too
    yield path
    end = path.rfind("/", floor)
    while end > 0:
        yield path[:end]
        end = path.rfind("/", floor, end)
    if end == 0 and path != "/":
        yield "/"


def has_path(key: str) -> bool:
    """Whether a path can say a key of a store, or a name below a directory: one with a ".." part it cannot."""
    return ".." not in key or ".." not in key.split("/")


def implied_directories(names: Iterable[str]) -> list[str]:
    """The directories that relative names lie in, each once: `a` and `a/b` of `a/b/c`."""
    found: dict[str, None] = {}
    for name in names:
        above = name[: max(0, name.rfind("/"))]
        while above and above not in found:
            found[above] = None
            above = above[: max(0, above.rfind("/"))]
    return list(found)


def dataset_of(path: str, deep_mounts: AbstractSet[str] = frozenset()) -> str:
    """The dataset that a file is counted with: the first two directories of its normalised path.

    `/lake/train/a/b.parquet` -> `/lake/train`, `/lake/b.parquet` -> `/lake`, `s3://bucket/train/b` -> `s3://bucket/train`.

    Args:
        path: of the file.
        deep_mounts: paths and URIs of mounts that are deeper than that; a file below one belongs to the deepest.
    """
    if deep_mounts:
        end = path.rfind("/")
        while end > 0:
            if path[:end] in deep_mounts:
                return path[:end]
            end = path.rfind("/", 0, end)
    scheme, mark, rest = ("", "", "") if path.startswith("/") else path.partition("://")
    parts = (rest if mark else path[1:]).split("/", 2)
    return f"{scheme}{mark}{'/'.join(parts[:-1])}" if mark else f"/{'/'.join(parts[:-1])}"


def is_glob(path: str) -> bool:
    """Whether a path has wildcards: `*`, `?` or `[`. A file may be called so, too: look it up first."""
    return _GLOB.search(path) is not None


def glob_bases(pattern: str) -> list[str]:
    """The directories that a glob may start from, the best first: `[/lake/run[1], /lake]` of `/lake/run[1]/*.parquet`.

    The last one lies above the first wildcard. Those before it look like globs themselves, but may be names of directories.
    """
    parts = pattern.split("/")
    wild = [position for position, part in enumerate(parts) if is_glob(part)]
    if not wild:
        return [pattern]
    return ["/".join(parts[:end]) or "/" for end in range(len(parts) - 1, wild[0] - 1, -1)]


@functools.lru_cache(_GLOBS_REMEMBERED)
def glob_prefix(glob: str) -> str:
    """What everything begins with that a glob names."""
    found = _GLOB.search(glob)
    return glob if found is None else glob[: found.start()]


def glob_regex(glob: str) -> re.Pattern[str]:
    """What a glob names: all that it matches, and all that lies below a directory that it matches.

    `*` and `?` stay within a part of a path, `**` does not.
    """
    return re.compile(f"{glob_translate(glob)}|{glob_translate(f'{glob}/**')}")


def filesystem_path(path: str) -> str:
    """The spelling of a normalised path inside pyarrow filesystems; `normalise` turns it back."""
    if path.startswith("/"):
        return sayable(path)
    root_uri, key = split_uri(path)
    scheme, _, authority = root_uri.partition("://")
    if scheme != "file":
        return sayable(join(f"{_FILESYSTEM_MARK}{scheme}/{authority}", key))
    return sayable(join(f"{_FILESYSTEM_MARK}{scheme}", key))


def sayable(path: str) -> str:
    """A path or URI as valid Unicode: itself, or a spelling that `exact` and `normalise` turn back."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return (RAW_MARK + quote(path, errors="surrogatepass")).replace("//", "/%2F")
    return path


def exact(path: str) -> str:
    """The path or URI that `sayable` has spelled."""
    return unquote(path[len(RAW_MARK) :], errors="surrogatepass") if path.startswith(RAW_MARK) else path


def _from_filesystem_path(path: str) -> str:
    if path.startswith(RAW_MARK):
        return normalise(exact(path))
    scheme, _, rest = path[len(_FILESYSTEM_MARK) :].partition("/")
    scheme = scheme.lower()
    return _uri(_ALIASES.get(scheme, scheme), rest, path)


def _uri(scheme: str, rest: str, path: str) -> str:
    """Put a URI together from what follows `scheme://` (for files: from what follows `file:///`)."""
    if not scheme or (scheme not in _NO_AUTHORITY and rest.partition("/")[0] == ""):
        raise InvalidRequestError(f"{path!r} names no bucket; write it as {scheme or 's3'}://bucket/key")
    _refuse_dot_dot(rest)
    rest = rest.rstrip("/")
    if scheme == "file":
        return f"file:///{rest}" if rest else "file://"
    return f"{scheme}://{rest}"


def _refuse_dot_dot(path: str) -> None:
    # A ".." would leave its mount, or mean another file than the key it spells.
    if not has_path(path):
        raise InvalidRequestError(f"{path!r} has a '..' part; write the path without it")
