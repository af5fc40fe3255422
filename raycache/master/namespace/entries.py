"""What the namespace remembers of one object, packed into some fifty bytes.

A listing of millions of keys must fit the master's memory, so an entry is one `bytes`: size and mtime as 8 bytes each,
then the etag. The usual etag of S3, 32 hexadecimal digits in quotes and maybe `-<parts>`, is kept as 16 bytes and the
rest. Equal objects have equal entries, so that change is seen by comparing them. A directory is the empty entry.
"""

from __future__ import annotations

import re
import struct

from raycache.types import NO_MTIME_NS, FileVersion
from raycache.ufs.base import ObjectInfo

DIRECTORY = b""

_HEADER = struct.Struct("<QqB")
_PLAIN, _MD5 = 0, 1
_ZERO_BYTES = bytes(8)
_MD5_ETAG = re.compile(r'"([0-9a-f]{32})(-[0-9]+)?"')


def pack(info: ObjectInfo) -> bytes:
    """The entry of an object; a key that ends in "/" marks a directory."""
    if info.key.endswith("/"):
        return DIRECTORY
    mtime_ns = NO_MTIME_NS if info.mtime_ns is None else info.mtime_ns
    match = _MD5_ETAG.fullmatch(info.etag)
    if match is None:
        return _HEADER.pack(info.size_bytes, mtime_ns, _PLAIN) + info.etag.encode("utf-8", "surrogatepass")
    parts = match[2] or ""
    return _HEADER.pack(info.size_bytes, mtime_ns, _MD5) + bytes.fromhex(match[1]) + parts.encode()


def unpack(entry: bytes) -> tuple[int, str, int | None]:
    """(size in bytes, etag, mtime in nanoseconds or None) of a file's entry."""
    size_bytes, mtime_ns, form = _HEADER.unpack_from(entry)
    if mtime_ns == NO_MTIME_NS:
        mtime_ns = None
    tag = entry[_HEADER.size :]
    if form == _MD5:
        return size_bytes, f'"{tag[:16].hex()}{tag[16:].decode()}"', mtime_ns
    return size_bytes, tag.decode("utf-8", "surrogatepass"), mtime_ns


def is_empty(entry: bytes) -> bool:
    """Whether a file's entry is that of an object without bytes."""
    return entry[:8] == _ZERO_BYTES


def pack_version(key: str, file: FileVersion) -> bytes:
    """The entry of a file version."""
    return pack(ObjectInfo(key, file.size_bytes, file.etag, file.mtime_ns))


def same_version(one: bytes, other: bytes) -> bool:
    """Whether two files' entries stand for one version: the mtime counts only without an etag, as in `FileVersion`."""
    if one[:8] != other[:8] or one[_HEADER.size - 1 :] != other[_HEADER.size - 1 :]:
        return False
    return one[8:16] == other[8:16] or len(one) > _HEADER.size


def version(root_uri: str, key: str, entry: bytes) -> FileVersion:
    """The file version an entry stands for."""
    return FileVersion(f"{root_uri}/{key}", *unpack(entry))
