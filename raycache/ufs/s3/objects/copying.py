"""Server-side copies inside a bucket, in parts when one request could not hold them.

A copy is bound to the source's version by a condition. A store that refuses the condition though the source is what it was
does not understand conditions; then the copy is made without one, and the source looked at again afterwards.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from raycache.errors import ConflictError, RaycacheError
from raycache.ufs.base import ObjectInfo
from raycache.ufs.checks import changed
from raycache.ufs.http.etags import quoted
from raycache.ufs.s3.connection import S3Connection
from raycache.ufs.s3.multipart import PARTS_MAX, MultipartUpload, S3Requests

_COPIED_PROPERTIES = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata",
)  # fmt: skip


def copy(requests: S3Requests, source: ObjectInfo, target_key: str) -> str:
    """Copy an object; returns the target's etag.

    Raises:
        ConflictError: the source is no longer what it was.
    """
    try:
        return _copy(requests, source, target_key, source.etag)
    except ConflictError:
        if requests.head(source.key) != source:
            raise
    etag = _copy(requests, source, target_key, "")
    if requests.head(source.key) != source:
        raise changed(requests.connection.uri(source.key))
    return etag


def _copy(requests: S3Requests, source: ObjectInfo, target_key: str, if_match: str) -> str:
    connection = requests.connection
    condition: Any = {"CopySourceIfMatch": if_match} if if_match else {}
    if source.size_bytes > requests.sizes.copy_single_bytes_max:
        return _copy_in_parts(requests, source, target_key, condition)
    answer: Any = connection.run(
        "copy",
        source.key,
        lambda: connection.boto.copy_object(
            Bucket=connection.bucket,
            Key=target_key,
            CopySource={"Bucket": connection.bucket, "Key": source.key},
            **condition,
        ),
    )
    return quoted(answer["CopyObjectResult"].get("ETag"))


def _copy_in_parts(requests: S3Requests, source: ObjectInfo, target_key: str, condition: Any) -> str:
    connection = requests.connection
    described: Any = connection.run(
        "read", source.key, lambda: connection.boto.head_object(Bucket=connection.bucket, Key=source.key)
    )
    upload = MultipartUpload(
        requests, target_key, {name: described[name] for name in _COPIED_PROPERTIES if described.get(name)}
    )
    size = max(requests.sizes.copy_part_size_bytes, -(-source.size_bytes // PARTS_MAX))
    try:
        for start in range(0, source.size_bytes, size):
            byte_range = f"bytes={start}-{min(start + size, source.size_bytes) - 1}"
            upload.send(functools.partial(_copy_part, connection, source.key, byte_range, condition))
        return upload.complete(source.size_bytes)
    except BaseException:
        with contextlib.suppress(RaycacheError):  # the lake's own rule for unfinished uploads cleans up then
            upload.abort()
        raise


def _copy_part(connection: S3Connection, key: str, byte_range: str, condition: Any, name: dict[str, Any]) -> str:
    answer: Any = connection.boto.upload_part_copy(
        **name, CopySource={"Bucket": connection.bucket, "Key": key}, CopySourceRange=byte_range, **condition
    )
    return str(answer["CopyPartResult"]["ETag"])
