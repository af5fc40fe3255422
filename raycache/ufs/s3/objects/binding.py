"""Reads that are bound to a version of an object.

A read sends `If-Match`, and compares etag and size of the answer, too, since some stores ignore the condition. Others spell
one etag in several ways: a listing has other ones than a GET, or none at all; `If-Match` is understood without quotes only,
or never for a weak etag. There every read would be a conflict, for ever. So a conflict is looked into before it is believed:

1. A HEAD with another size or time of modification: the object has changed.
2. The read is repeated without a condition. Does its answer have the etag that was asked for, then this store does not
   understand conditions; none are sent from here on, and answers are compared alone.
3. It has another one. Then that etag is only another spelling if the HEAD or the listing that the version came from still
   has the one asked for, after the read. It is remembered, and from here on the one etag that GET must give.
4. Otherwise it has changed.

An object that is replaced by one of the same size within the same second is thus noticed as before.

Cost: nothing without a conflict; two to four requests with one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from http import HTTPStatus

from typing_extensions import Buffer

from raycache.errors import ConflictError, DeniedError, InvalidRequestError
from raycache.types import FileVersion
from raycache.ufs.checks import changed, past_end
from raycache.ufs.s3.connection import S3Connection
from raycache.ufs.s3.objects.gets import Got, RangeGetter
from raycache.ufs.s3.objects.heads import Describer

#: Files whose etags are remembered in GET's spelling.
_SPELLINGS_MAX = 1 << 16


class BoundReader:
    """Thread-safe.

    Args:
        connection: to the bucket.
        getter: sends the requests.
        describer: says what HEAD and a listing have.
    """

    def __init__(self, connection: S3Connection, getter: RangeGetter, describer: Describer) -> None:
        self._connection = connection
        self._getter = getter
        self._describer = describer
        self._understands_conditions = True
        #: (key, etag elsewhere) -> etag in GET.
        self._spellings: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, key: str, offset: int, length: int, version: FileVersion | None) -> Buffer:
        """See `UnderStorage.read`."""
        uri = self._connection.uri(key)
        try:
            got = self._getter.get(key, offset, length) if version is None else self._get(key, offset, length, version)
        except InvalidRequestError as error:
            outside = error.fields.get("status") == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            if version is not None and outside:  # shorter than the version says
                raise changed(uri) from error
            raise
        if offset + length > got.size_bytes:
            raise past_end(uri, offset, length, got.size_bytes)
        return got.body

    def _get(self, key: str, offset: int, length: int, version: FileVersion) -> Got:
        etag = self._spellings.get((key, version.etag), version.etag)
        try:
            got = self._getter.get(key, offset, length, etag if self._understands_conditions else "")
        except ConflictError:
            stands = self._describer.head(key)
            if stands.etag != etag and not _is_like(version, stands.size_bytes, stands.mtime_ns):
                raise
            got = self._getter.get(key, offset, length)
            if got.etag == etag:
                self._understands_conditions = False
        if got.size_bytes == version.size_bytes and got.etag == etag != "":
            return got
        if not _is_like(version, got.size_bytes, got.mtime_ns) or (
            got.etag and etag and not self._is_other_spelling(key, version, got.etag)
        ):
            raise changed(version.uri)
        return got

    def _is_other_spelling(self, key: str, version: FileVersion, etag_of_get: str) -> bool:
        """Whether a listing or a HEAD still has the version's etag; then GET's is remembered. To be asked after the GET."""
        for look in (self._describer.listed, self._describer.head):
            try:
                stands = look(key)
            except DeniedError:
                continue
            if stands is None:
                continue
            if stands.etag == version.etag and _is_like(version, stands.size_bytes, stands.mtime_ns):
                with self._lock:
                    self._spellings[key, version.etag] = etag_of_get
                    if len(self._spellings) > _SPELLINGS_MAX:
                        self._spellings.popitem(last=False)
                return True
        return False


def _is_like(version: FileVersion, size_bytes: int, mtime_ns: int | None) -> bool:
    """Whether an object may be this version by its size and time, as far as both are known."""
    known = mtime_ns is not None and version.mtime_ns is not None
    return size_bytes == version.size_bytes and (not known or mtime_ns == version.mtime_ns)
