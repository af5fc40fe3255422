"""The spelling of paths. Pure text: no file system is asked.

A path is absolute in the namespace (`/lake/x`) or a UFS URI (`s3://bucket/key`). Keys are taken as they are written:
never percent-decoded, and `//` inside a key is kept, since object stores tell such keys apart. Only one trailing slash
is dropped. Inside pyarrow filesystems, where Ray Data strips schemes, a URI is spelled `/@s3/bucket/key`.
"""

from __future__ import annotations

import re

from raycache.errors import InvalidRequestError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: Other spellings of one scheme.
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "local": "file", "hdfs+webhdfs": "hdfs"}
#: Schemes of this cache's own namespace.
_OWN = frozenset({"raycache", "fsspec+raycache"})
_GLOB = re.compile(r"[*?\[]")
PATH_LENGTH_MAX = 8192


def normalise(path: str) -> str:
    """The one spelling of a path.

    Args:
        path: `/lake/x`, `s3://bucket/key`, `raycache:///lake/x`, `/@s3/bucket/key`.

    Returns:
        Absolute in the namespace, or a URI; without a trailing slash ("/" and `s3://bucket` excepted).

    Raises:
        InvalidRequestError: relative, with "." or ".." as a part, holding NUL, or too long.
    """
    if not isinstance(path, str):
        raise InvalidRequestError(f"{path!r} is not a path; give a str such as /lake/x or s3://bucket/key")
    if len(path) > PATH_LENGTH_MAX:
        raise InvalidRequestError(f"a path of {len(path)} characters is too long; at most {PATH_LENGTH_MAX}")
    if "\0" in path:
        raise InvalidRequestError(f"{path!r} holds a NUL character; no store can have such a name")
    match = _SCHEME.match(path)
    if match:
        scheme, rest = match[1].lower(), path[match.end() :]
        if scheme in _OWN:
            return normalise("/" + rest.lstrip("/"))
        return _uri(_ALIASES.get(scheme, scheme), rest, path)
    if path.startswith("/@"):
        scheme, _, rest = path[2:].partition("/")
        if scheme:
            return _uri(_ALIASES.get(scheme, scheme), "/" + rest if scheme in ("file", "local") else rest, path)
    if not path.startswith("/"):
        raise InvalidRequestError(f"{path!r} is not absolute; give /lake/x, or a URI such as s3://bucket/key")
    _refuse_dots(path)
    return path if path == "/" else path.removesuffix("/")


def _uri(scheme: str, rest: str, path: str) -> str:
    if scheme == "file":
        rest = "/" + rest.lstrip("/")
        _refuse_dots(rest)
        return "file://" + (rest if rest == "/" else rest.removesuffix("/"))
    authority, slash, key = rest.partition("/")
    if not authority:
        raise InvalidRequestError(f"{path!r} names no bucket; give {scheme}://bucket/key")
    if "@" in authority and ":" in authority.rpartition("@")[0]:
        raise InvalidRequestError(f"a {scheme}:// URI must not hold a password; give keys as mount options")
    key = key.removesuffix("/")
    return f"{scheme}://{authority}/{key}" if slash and key else f"{scheme}://{authority}"


def _refuse_dots(path: str) -> None:
    parts = path.split("/")
    if "." in parts or ".." in parts:
        raise InvalidRequestError(f"{path!r} has '.' or '..' as a part; give the path without them")


def is_uri(path: str) -> bool:
    """Whether a normalised path is a UFS URI."""
    return not path.startswith("/")


def split_uri(uri: str) -> tuple[str, str]:
    """Take a normalised URI apart: (`s3://bucket`, key); for `file://` the key is the path without its first slash."""
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return "file://", rest.removeprefix("/")
    authority, _, key = rest.partition("/")
    return f"{scheme}://{authority}", key


def join(base: str, name: str) -> str:
    """The path of `name` below `base`."""
    return f"{base.removesuffix('/')}/{name}"


def is_glob(path: str) -> bool:
    """Whether a path has wildcards."""
    return _GLOB.search(path) is not None


def to_filesystem(path: str) -> str:
    """The spelling inside pyarrow filesystems: `/@s3/bucket/key` for a URI."""
    path = normalise(path)
    if path.startswith("/"):
        return path
    scheme, _, rest = path.partition("://")
    return f"/@{scheme}/{rest.removeprefix('/')}"


def from_filesystem(path: str) -> str:
    """The normalised path of a pyarrow spelling."""
    return normalise(path)
