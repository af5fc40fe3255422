"""Deletes objects: many in one request where the store can, one by one where it cannot.

botocore signs a batch with a CRC32 of its body; stores that know S3 as it was until 2024 want its MD5, so that is what a
hook puts there (`hooks`). Some have no DeleteObjects at all: Google's interoperability, and others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from raycache.errors import InvalidRequestError, NotFoundError
from raycache.ufs.s3.connection import S3Connection

_BATCH_MAX = 1000
_INFLIGHT_MAX = 16
#: What a batch, which is XML, cannot say.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff]")
#: How stores say that they have no DeleteObjects, or not as it is asked for here.
_NO_BATCHES = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_NO_BATCH_CODES = frozenset({
    "BadDigest", "InvalidDigest", "InvalidRequest", "MalformedXML", "MethodNotAllowed", "MissingContentMD5",
    "NotImplemented", "UnsupportedOperation",
})  # fmt: skip


class Deleter:
    """Thread-safe.

    Args:
        connection: to the bucket.
    """

    def __init__(self, connection: S3Connection) -> None:
        self._connection = connection
        self._has_batches = True

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`."""
        batched = [key for key in keys if not _NOT_XML.search(key)]
        singles = [key for key in keys if _NOT_XML.search(key)]
        for start in range(0, len(batched), _BATCH_MAX):
            singles += self._delete_batch(batched[start : start + _BATCH_MAX])
        if len(singles) > 1:
            with ThreadPoolExecutor(_INFLIGHT_MAX, thread_name_prefix="raycache-delete") as pool:
                list(pool.map(self._delete_one, singles))
        elif singles:
            self._delete_one(singles[0])

    def _delete_batch(self, keys: Sequence[str]) -> Sequence[str]:
        """Returns what is left to do one by one."""
        if not self._has_batches:
            return keys
        try:
            self._connection.run("delete", keys[0], lambda: self._delete_batch_once(keys))
        except InvalidRequestError as error:
            if error.fields.get("status") not in _NO_BATCHES and error.fields.get("code") not in _NO_BATCH_CODES:
                raise
            self._has_batches = False
            return keys
        return ()

    def _delete_batch_once(self, keys: Sequence[str]) -> None:
        connection = self._connection
        answer: Any = connection.boto.delete_objects(
            Bucket=connection.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for failure in answer.get("Errors", ()):
            code = failure.get("Code", "")
            if code != "NoSuchKey":
                status = HTTPStatus.FORBIDDEN if code == "AccessDenied" else HTTPStatus.BAD_REQUEST
                raise connection.errors.of_answer(status, code, "delete", failure.get("Key", ""))

    def _delete_one(self, key: str) -> None:
        connection = self._connection
        try:
            connection.run("delete", key, lambda: connection.boto.delete_object(Bucket=connection.bucket, Key=key))
        except NotFoundError as error:  # not S3's way, but that of some
            if error.fields.get("code") == "NoSuchBucket":
                raise
