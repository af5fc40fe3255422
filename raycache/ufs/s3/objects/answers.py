"""What boto3's answers say of an object."""

from __future__ import annotations

from typing import Any

from raycache.ufs.base import ObjectInfo
from raycache.ufs.http.etags import quoted, seconds_ns


def info_of_boto(key: str, described: Any) -> ObjectInfo:
    """What boto3's HEAD or GET of a whole object says; KeyError when it does not say how large it is."""
    modified = described.get("LastModified")
    return ObjectInfo(key, described["ContentLength"], quoted(described.get("ETag")), seconds_ns(modified))
