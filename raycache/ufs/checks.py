"""Checks of arguments and answers that all storages share."""

from __future__ import annotations

import re

from typing_extensions import Buffer

from raycache.errors import ConflictError, InvalidRequestError
from raycache.types import FileVersion
from raycache.ufs.base import ObjectInfo
from raycache.ufs.errors import shown

LIST_LIMIT_MAX = 1000

_CHANGED_BY_OBSTORE = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)(?:\.{0,2})(?:/|$)")


def check_range(uri: str, offset: int, length: int) -> None:
    """InvalidRequestError unless offset >= 0 and length >= 1."""
    if offset < 0 or length < 1:
        raise InvalidRequestError(
            f"cannot read {length} bytes at {offset} of {shown(uri)}; give an offset of 0 or more and a length of 1 or more",
            uri=uri,
        )


def check_limit(limit: int) -> None:
    """InvalidRequestError unless 1 <= limit <= 1000."""
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise InvalidRequestError(f"limit {limit} is out of range; give 1 to {LIST_LIMIT_MAX}")


def check_file_key(root_uri: str, key: str) -> None:
    """InvalidRequestError for the empty key, which names the root."""
    if not key:
        raise InvalidRequestError(f"{root_uri} is not a file; name one below it", uri=root_uri)


def is_path_key(key: str) -> bool:
    """Whether a store with directories can name this key: no empty parts, no "." or "..", no NUL."""
    return "\0" not in key and all(part not in ("", ".", "..") for part in key.split("/"))


def is_plain_key(key: str) -> bool:
    """Whether obstore can name this key exactly."""
    return _CHANGED_BY_OBSTORE.search(key) is None


def check_version(uri: str, found: ObjectInfo, version: FileVersion | None) -> None:
    """ConflictError unless what the store holds is this version.

    With an etag on both sides etag and size decide; else size and mtime, where both are known.
    """
    if version is None:
        return
    if found.etag and version.etag:
        same = found.etag == version.etag
    else:
        same = found.mtime_ns is None or version.mtime_ns is None or found.mtime_ns == version.mtime_ns
    if found.size_bytes != version.size_bytes or not same:
        raise changed(uri)


def changed(uri: str) -> ConflictError:
    """The error for an object that is another version than asked for."""
    return ConflictError(f"{shown(uri)} is no longer the version asked for; read it again", uri=uri)


def past_end(uri: str, offset: int, length: int, size_bytes: int) -> InvalidRequestError:
    """The error for a range that ends behind the object."""
    return InvalidRequestError(
        f"cannot read {length} bytes at {offset} of {shown(uri)}: it has {size_bytes}; ask within its size", uri=uri
    )


def as_bytes_view(data: Buffer) -> memoryview:
    """A flat view of bytes over any contiguous buffer; InvalidRequestError when it is not one."""
    view = memoryview(data)
    if not view.c_contiguous:
        raise InvalidRequestError("the data to write are not contiguous in memory; copy them first")
    return view.cast("B") if view.nbytes else memoryview(b"")
