"""S3 and everything that speaks its protocol.

Bytes go through obstore, listings and the rest through boto3; keys obstore cannot say exactly go through boto3
altogether (`clients`). Every request is made by the `connection`, bounded by its time-outs and repeated. What stores do
otherwise than AWS is dealt with where it occurs: in `listing` and `spelling`, `heads`, `gets`, `binding`, `deletes`
and `copying`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError, NotFoundError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import as_bytes_view, check_file_key, check_limit, check_range, is_plain_key
from raycache.ufs.http.body import Body
from raycache.ufs.http.etags import quoted
from raycache.ufs.identity import Way, key_way
from raycache.ufs.retry import Retrier
from raycache.ufs.s3.connection import S3Connection
from raycache.ufs.s3.listing import Listing
from raycache.ufs.s3.multipart import S3Requests, S3Sizes, S3Writer, with_mtime
from raycache.ufs.s3.objects.binding import BoundReader
from raycache.ufs.s3.objects.copying import copy
from raycache.ufs.s3.objects.deletes import Deleter
from raycache.ufs.s3.objects.gets import ODD_HEAD, RangeGetter
from raycache.ufs.s3.objects.heads import Describer
from raycache.ufs.s3.options import S3Options, canonical_names, options_from_environment
from raycache.ufs.trees import delete_keys

__all__ = ["S3Storage", "canonical_names", "options_from_environment"]

#: obstore sends larger objects no slower, but the whole of one must be on its way within the time-out.
_STORE_PUT_BYTES_MAX = 1 << 20


class S3Storage:
    """One bucket.

    Args:
        root_uri: `s3://bucket`.
        options: see `S3Options`.
        sizes: when objects go in parts.
        retrier: instead of the one that the options ask for.

    Raises:
        InvalidRequestError: an option is unknown or wrong.
        DeniedError: no credentials anywhere.
    """

    has_directories = False

    def __init__(
        self,
        root_uri: str,
        options: Mapping[str, Any] | None = None,
        *,
        sizes: S3Sizes | None = None,
        retrier: Retrier | None = None,
    ) -> None:
        scheme, _, bucket = root_uri.partition("://")
        if scheme != "s3" or not bucket or "/" in bucket:
            raise InvalidRequestError(f"{root_uri} names no bucket; give s3://bucket", uri=root_uri)
        self.root_uri = root_uri
        self._connection = S3Connection(bucket, S3Options.parse(options or {}), retrier)
        self._listing = Listing(self._connection)
        getter = RangeGetter(self._connection)
        self._describer = Describer(self._connection, getter, self._listing)
        self._reader = BoundReader(self._connection, getter, self._describer)
        self._deleter = Deleter(self._connection)
        self._requests = S3Requests(self._connection, self._put_small, self.head, sizes or S3Sizes())

    def __repr__(self) -> str:
        return f"S3Storage({self.root_uri!r}, endpoint_url={self._connection.endpoint_url!r})"

    @property
    def slow_downs(self) -> int:
        """How often the store has said "slow down" so far."""
        return self._connection.slow_downs

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`."""
        check_limit(limit)
        page = self._listing.page(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)
        self._describer.bucket_seen = True
        return page

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        if not key:
            raise NotFoundError(f"{self.root_uri} is a bucket, not a file; name a key", uri=self.root_uri)
        return self._describer.head(key)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`. Returns obstore's own buffer, not copied."""
        check_file_key(self.root_uri, key)
        check_range(self._connection.uri(key), offset, length)
        return self._reader.read(key, offset, length, version)

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`."""
        check_file_key(self.root_uri, key)
        view = as_bytes_view(data)
        if len(view) <= self._requests.sizes.part_size_bytes:
            return self._put_small(key, view)
        writer = self.open_writer(key)
        writer.write(view)
        return writer.close()

    def create(self, key: str, data: Buffer) -> ObjectInfo:
        """See `CreatingStorage`."""
        check_file_key(self.root_uri, key)
        connection = self._connection

        def put_once() -> str | None:
            body: Any = Body(as_bytes_view(data))
            answer = connection.boto.put_object(Bucket=connection.bucket, Key=key, Body=body, IfNoneMatch="*")
            return answer.get("ETag")

        etag = quoted(connection.run("write", key, put_once))
        return ObjectInfo(key, memoryview(data).nbytes, etag, None)

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        check_file_key(self.root_uri, key)
        return S3Writer(self._requests, key)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`. Bound to the source's version: ConflictError when it changes meanwhile."""
        check_file_key(self.root_uri, source_key)
        check_file_key(self.root_uri, target_key)
        source = self.head(source_key)
        if source_key == target_key:
            return source
        if source_key.endswith("/") and not source.size_bytes:  # a marker, which SeaweedFS describes and cannot copy
            return self._put_small(target_key, b"")
        etag = copy(self._requests, source, target_key)
        return with_mtime(self.head, ObjectInfo(target_key, source.size_bytes, etag, None))

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`."""
        for key in keys:
            check_file_key(self.root_uri, key)
        self._deleter.delete(keys)

    def make_directory(self, key: str) -> None:
        """Nothing to do: directories are only prefixes."""

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`: removes the marker object, if there is one."""
        marker = key.rstrip("/") + "/"
        page = self.list(marker, limit=2)
        if any(found.key != marker for found in page.objects):
            uri = self._connection.uri(marker)
            raise InvalidRequestError(f"directory {uri} is not empty; remove what is in it first", uri=uri)
        if page.objects:
            self.delete([marker])

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """See `UnderStorage.remove_tree`."""
        delete_keys(self, key, contents_only=contents_only)

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`."""
        return key_way(self.root_uri, key)

    def close(self) -> None:
        """See `UnderStorage.close`. A later call connects again."""
        self._connection.close()

    def _put_small(self, key: str, data: Buffer) -> ObjectInfo:
        import obstore
        from obstore.exceptions import GenericError

        connection = self._connection

        def put_once() -> str | None:
            small = memoryview(data).nbytes <= _STORE_PUT_BYTES_MAX
            if not small or not is_plain_key(key) or not connection.store_may_write:
                body: Any = Body(data)
                return connection.boto.put_object(Bucket=connection.bucket, Key=key, Body=body).get("ETag")
            try:
                written: Any = obstore.put(connection.store, key, data, use_multipart=False)
            except GenericError as error:
                if ODD_HEAD.search(str(error)):  # it is written; the answer has no etag
                    return None
                raise
            return str(written["e_tag"] or "")

        etag = quoted(connection.run("write", key, put_once))
        return with_mtime(self.head, ObjectInfo(key, memoryview(data).nbytes, etag, None))
