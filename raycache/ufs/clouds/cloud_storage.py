"""The under storage of GCS and Azure: bytes through obstore, bound to a version by the request itself.

A read is one GET of exactly the range, with the version in it: Azure's etag as `If-Match`, GCS's generation as
`generation`. A store that does not heed it is caught by the answer, which names the version it is of. Where a store answers
that an asked-for generation is missing, one more request tells whether the object is gone or was replaced.

Azure cannot begin a listing behind a key: pages before it are asked for, and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from typing_extensions import Buffer

from raycache.errors import ConflictError, InvalidRequestError, NotFoundError, RaycacheError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import as_bytes_view, changed, check_file_key, check_limit, check_range, is_plain_key, past_end
from raycache.ufs.clouds.bucket import CloudBucket, RangeRead
from raycache.ufs.clouds.connection import CloudConnection
from raycache.ufs.clouds.uploads import PART_SIZE_BYTES, CloudWriter
from raycache.ufs.http.etags import seconds_ns
from raycache.ufs.identity import Way, key_way
from raycache.ufs.trees import delete_keys

#: So many pages in a row without a key are too many.
_EMPTY_PAGES_MAX = 10_000
_DELETES_INFLIGHT_MAX = 16


class CloudStorage:
    """One bucket or container.

    Args:
        root_uri: its authority.
        bucket: speaks the store's protocol.
        connection: repeats requests, and maps errors.
        store: what all authorities of this store have in common, see `open.store_of`; "": it has one.
        lists_from_key: whether a listing can begin behind a key without reading what is before.
        part_size_bytes: larger objects go in parts of this size.
    """

    has_directories = False

    def __init__(
        self,
        root_uri: str,
        bucket: CloudBucket,
        connection: CloudConnection,
        *,
        store: str = "",
        lists_from_key: bool = True,
        part_size_bytes: int = PART_SIZE_BYTES,
    ) -> None:
        self.root_uri = root_uri
        self.lists_from_key = lists_from_key
        self._bucket = bucket
        self._connection = connection
        self._store = store or root_uri
        self._part_size_bytes = part_size_bytes
        #: Whether this bucket has answered.
        self._seen = False

    def __repr__(self) -> str:
        return f"CloudStorage({self.root_uri!r}, endpoint_url={self._connection.http.endpoint_url!r})"

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
        start_after = "" if token is not None else start_after
        for _ in range(_EMPTY_PAGES_MAX):
            page = self._page(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)
            objects = [info for info in page.objects if info.key > start_after]
            prefixes = [name for name in page.prefixes if name > start_after or start_after.startswith(name)]
            if objects or prefixes or page.next_token is None:
                return ListPage(objects, prefixes, page.next_token)
            token = page.next_token
        raise self._connection.errors.broken(f"gives {_EMPTY_PAGES_MAX} pages without a key", "list", prefix)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        if not key:
            raise NotFoundError(f"{self.root_uri} is a bucket, not a file; name a key", uri=self.root_uri)
        try:
            info = self._connection.run("read", key, lambda: self._bucket.head(key))
        except NotFoundError:
            self._check_bucket()
            raise
        self._seen = True
        return info

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`. Returns obstore's own buffer, not copied."""
        check_file_key(self.root_uri, key)
        uri = self._connection.errors.uri(key)
        check_range(uri, offset, length)
        etag = version.etag if version is not None else ""
        try:
            got = self._connection.run("read", key, lambda: self._get_once(key, offset, length, etag))
        except InvalidRequestError as error:
            if error.fields.get("status") != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            if version is not None:  # shorter than the version says
                raise changed(uri) from error
            raise
        except ConflictError:
            self.head(key)  # some say so of what is gone
            raise
        except NotFoundError as error:
            if etag and self._bucket.misses_replaced and self.head(key).etag != etag:
                raise changed(uri) from error
            self._check_bucket()
            raise
        self._seen = True
        if version is not None and not _is_version(got, version):
            raise changed(uri)
        if offset + length > got.size_bytes:
            raise past_end(uri, offset, length, got.size_bytes)
        return got.body

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`."""
        check_file_key(self.root_uri, key)
        view = as_bytes_view(data)
        if len(view) <= self._part_size_bytes:
            return self._connection.run("write", key, lambda: self._bucket.put(key, view))
        writer = self.open_writer(key)
        writer.write(view)
        return writer.close()

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        check_file_key(self.root_uri, key)
        return CloudWriter(self._bucket, self._connection, key, self._part_size_bytes)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`. Bound to the source's version: ConflictError when it changes meanwhile."""
        check_file_key(self.root_uri, source_key)
        check_file_key(self.root_uri, target_key)
        source = self.head(source_key)
        if source_key == target_key:
            return source
        return self._connection.run("copy", source_key, lambda: self._bucket.copy(source, target_key))

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`. One by one, several at a time."""
        for key in keys:
            check_file_key(self.root_uri, key)
        if len(keys) > 1:
            with ThreadPoolExecutor(_DELETES_INFLIGHT_MAX, thread_name_prefix="raycache-delete") as pool:
                list(pool.map(self._delete_one, keys))
        elif keys:
            self._delete_one(keys[0])

    def make_directory(self, key: str) -> None:
        """Nothing to do: directories are only prefixes."""

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`: removes the marker object, if there is one."""
        marker = key.rstrip("/") + "/"
        page = self.list(marker, limit=2)
        if any(found.key != marker for found in page.objects):
            uri = self._connection.errors.uri(marker)
            raise InvalidRequestError(f"directory {uri} is not empty; remove what is in it first", uri=uri)
        if page.objects:
            self.delete([marker])

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """See `UnderStorage.remove_tree`."""
        delete_keys(self, key, contents_only=contents_only)

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`."""
        return key_way(self._store, key)

    def close(self) -> None:
        """See `UnderStorage.close`. A later call connects again."""
        self._connection.http.close()

    def _page(self, prefix: str, *, delimiter: bool, start_after: str, token: str | None, limit: int) -> ListPage:
        def ask_once() -> ListPage:
            page = self._bucket.list(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)
            if page.next_token is not None and page.next_token == token:
                raise self._connection.errors.broken("gives the same page token again", "list", prefix)
            return page

        try:
            page = self._connection.run("list", prefix, ask_once)
        except NotFoundError as error:
            raise self._connection.errors.no_bucket() from error
        self._seen = True
        return page

    def _get_once(self, key: str, offset: int, length: int, etag: str) -> RangeRead:
        if not is_plain_key(key):
            got = self._bucket.get(key, offset, length, etag)
        else:
            import obstore

            options = {"range": (offset, offset + length), **self._bucket.get_options(etag)}
            result = obstore.get(self._bucket.store, key, options=options)
            meta = result.meta
            modified = seconds_ns(meta["last_modified"])
            got = RangeRead(self._bucket.etag_of(meta), meta["size"], modified, result.bytes())
        sent_bytes, expected_bytes = memoryview(got.body).nbytes, max(0, min(length, got.size_bytes - offset))
        if sent_bytes != expected_bytes:
            raise self._connection.errors.broken(f"sent {sent_bytes} of {expected_bytes} bytes", "read", key)
        return got

    def _delete_one(self, key: str) -> None:
        try:
            self._connection.run("delete", key, lambda: self._bucket.delete(key))
        except NotFoundError as error:
            if error.fields.get("code") == "NoSuchBucket":
                raise

    def _check_bucket(self) -> None:
        """After a 404: NotFoundError that names the bucket when that is what is missing."""
        if self._seen:
            return
        try:
            self._page("", delimiter=False, start_after="", token=None, limit=1)
        except NotFoundError:
            raise
        except RaycacheError:
            return  # who may read files need not be allowed to list


def _is_version(got: RangeRead, version: FileVersion) -> bool:
    if got.size_bytes != version.size_bytes:
        return False
    if got.etag and version.etag:
        return got.etag == version.etag
    return got.mtime_ns is None or version.mtime_ns is None or got.mtime_ns == version.mtime_ns
