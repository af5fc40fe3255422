"""What stands at a path, as `info` and `ls` of the fsspec filesystem describe it."""

from __future__ import annotations

from typing import Any

from raycache.clock import moment_of
from raycache.messages import ListedRow
from raycache.types import FileKind


def file_info(name: str, size: int, mtime_ns: int | None, etag: str) -> dict[str, Any]:
    mtime = moment_of(mtime_ns)
    return {"name": name, "size": size, "type": "file", "mtime": mtime, "LastModified": mtime, "ETag": etag}


def directory_info(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory", "mtime": None, "LastModified": None, "ETag": ""}


def row_info(name: str, row: ListedRow) -> dict[str, Any]:
    if row.kind == FileKind.FILE:
        return file_info(name, row.size_bytes, row.mtime_ns, row.etag)
    return directory_info(name)
