"""What stands at a key.

HEAD says so in one request. When it is refused there is no body that says why, so the first byte is asked for instead:
either that works (some stores and proxies have no HEAD), or the error says more ("the token has expired"). Who may list
but not read gets the description out of a listing.

A missing bucket and a missing key are both 404, and a HEAD has no body to tell them apart, so the first 404 of a
storage that has seen nothing of its bucket yet asks for the bucket itself.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from raycache.errors import DeniedError, InvalidRequestError, NotFoundError, RaycacheError
from raycache.ufs.base import ObjectInfo
from raycache.ufs.checks import is_plain_key
from raycache.ufs.http.etags import quoted, seconds_ns
from raycache.ufs.s3.connection import S3Connection
from raycache.ufs.s3.listing import Listing
from raycache.ufs.s3.objects.answers import info_of_boto
from raycache.ufs.s3.objects.gets import ODD_HEAD, RangeGetter

#: What a HEAD may be refused with while something else is allowed, or says why not.
_SAYS_NOTHING = frozenset({
    HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED,
})  # fmt: skip
#: What a GET is refused with by stores where it is the action that is denied, not the person.
_ACTION_DENIED = frozenset({"", "AccessDenied", "MethodNotAllowed", "NotImplemented"})


class Describer:
    """Thread-safe.

    Args:
        connection: to the bucket.
        getter: reads the first byte.
        listing: lists one key.
    """

    def __init__(self, connection: S3Connection, getter: RangeGetter, listing: Listing) -> None:
        self._connection = connection
        self._getter = getter
        self._listing = listing
        #: Whether this bucket has answered.
        self.bucket_seen = False

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        try:
            info = self._connection.run("read", key, lambda: self._head_once(key))
        except NotFoundError:
            self._check_bucket()
            raise
        except RaycacheError as refused:
            if refused.fields.get("status") not in _SAYS_NOTHING:
                raise
            info = self._by_get(key, refused)
        self.bucket_seen = True
        return info

    def listed(self, key: str) -> ObjectInfo | None:
        """What a listing says of a key; None when it is not in it."""
        page = self._listing.page(key, delimiter=False, start_after="", token=None, limit=1)
        found = page.objects[0] if page.objects else None
        return found if found is not None and found.key == key else None

    def _head_once(self, key: str) -> ObjectInfo:
        import obstore
        from obstore.exceptions import GenericError

        if is_plain_key(key):
            try:
                meta = obstore.head(self._connection.store, key)
                return ObjectInfo(key, meta["size"], quoted(meta["e_tag"]), seconds_ns(meta["last_modified"]))
            except GenericError as error:
                if not ODD_HEAD.search(str(error)):
                    raise
        described: Any = self._connection.boto.head_object(Bucket=self._connection.bucket, Key=key)
        try:
            return info_of_boto(key, described)
        except KeyError:
            raise self._connection.errors.of_answer(HTTPStatus.NOT_IMPLEMENTED, "", "read", key) from None

    def _by_get(self, key: str, refused: RaycacheError) -> ObjectInfo:
        try:
            got = self._getter.get(key, 0, 1)
        except (DeniedError, InvalidRequestError) as told:
            empty = told.fields.get("status") == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            if not empty and told.fields.get("code") not in _ACTION_DENIED:
                raise
            return self._by_listing(key, ObjectInfo(key, 0, "", 0) if empty else None, refused)
        return ObjectInfo(key, got.size_bytes, got.etag, got.mtime_ns)

    def _by_listing(self, key: str, known: ObjectInfo | None, refused: RaycacheError) -> ObjectInfo:
        try:
            found = self.listed(key) or known
        except DeniedError:
            found = known
            if found is None:
                raise refused from None
        if found is None:
            raise self._connection.errors.of_answer(HTTPStatus.NOT_FOUND, "", "read", key)
        return found

    def _check_bucket(self) -> None:
        """After a 404: NotFoundError that names the bucket when that is what is missing."""
        if self.bucket_seen:
            return
        connection = self._connection
        try:
            connection.run("list", "", lambda: connection.boto.head_bucket(Bucket=connection.bucket))
        except NotFoundError as error:
            raise connection.errors.of_answer(HTTPStatus.NOT_FOUND, "NoSuchBucket", "list", "") from error
        except RaycacheError:
            return  # may be denied what the key is allowed
        self.bucket_seen = True
