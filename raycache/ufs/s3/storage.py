"""S3 and everything that speaks its protocol.

Bytes go through obstore, listings and the rest through boto3; keys obstore cannot say exactly go through boto3
altogether (`s3_clients.py`). Every request is bounded by its time-outs and repeated by `retry.py`. A read that is bound
to a version sends If-Match, and compares etag and size of the answer too, since some stores ignore If-Match.

A missing bucket and a missing key are both 404, and a HEAD has no body to tell them apart, so the first 404 of a
storage that has seen nothing of its bucket yet asks for the bucket itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError, UnavailableError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import (
    as_bytes_view,
    changed,
    check_file_key,
    check_limit,
    check_range,
    check_version,
    past_end,
)
from raycache.ufs.errors import S3Errors
from raycache.ufs.retry import Retrier, RetryPolicy
from raycache.ufs.s3.clients import is_aws, is_plain_key, make_clients
from raycache.ufs.s3.listing import Listing, seconds_ns
from raycache.ufs.s3.multipart import S3Requests, S3Sizes, S3Writer, copy_in_parts, with_mtime
from raycache.ufs.s3.options import S3Options, canonical_names, options_from_environment

__all__ = ["S3Storage", "canonical_names", "options_from_environment"]

T = TypeVar("T")

_DELETE_BATCH_MAX = 1000
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff]")
_COPIED_PROPERTIES = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata",
)  # fmt: skip


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
        parsed = S3Options.parse(options or {})
        self.root_uri = root_uri
        self._bucket = bucket
        self._boto, self._store, self._endpoint_url = make_clients(bucket, parsed)
        self._errors = S3Errors(root_uri, self._endpoint_url, parsed.secrets)
        policy = RetryPolicy(attempts_max=parsed.retries_max + 1, total_s=2 * parsed.request_timeout_s)
        self._retrier = retrier or Retrier(policy)
        self._bucket_seen = False
        self._listing = Listing(self._boto, bucket, self._endpoint_url, self._run, trusted=is_aws(self._endpoint_url))
        self._requests = S3Requests(self._boto, bucket, self._run, self._put_small, self.head, sizes or S3Sizes())

    def __repr__(self) -> str:
        return f"S3Storage({self.root_uri!r}, endpoint_url={self._endpoint_url!r})"

    @property
    def slow_downs(self) -> int:
        """How often the store has said "slow down" so far."""
        return self._retrier.slow_downs

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
        self._bucket_seen = True
        return page

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        if not key:
            raise NotFoundError(f"{self.root_uri} is a bucket, not a file; name a key", uri=self.root_uri)
        try:
            info = self._run("read", key, lambda: self._head_once(key))
        except NotFoundError:
            self._check_bucket()
            raise
        self._bucket_seen = True
        return info

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`. Returns obstore's own buffer, not copied."""
        uri = self._errors.uri(key)
        check_file_key(self.root_uri, key)
        check_range(uri, offset, length)
        get_once = self._get_plain if is_plain_key(key) else self._get_odd

        def read_once() -> Buffer:
            etag, size_bytes, body, body_length = get_once(key, offset, length, version.etag if version else "")
            check_version(uri, size_bytes, etag, 0, version)
            if offset + length > size_bytes:
                raise past_end(uri, offset, length, size_bytes)
            if body_length != length:
                raise UnavailableError(f"{self._endpoint_url} sent {body_length} of {length} bytes; try later", uri=uri)
            return body

        try:
            return self._run("read", key, read_once)
        except InvalidRequestError as error:
            if version is not None and error.fields.get("status") == 416:  # shorter than the version says
                raise changed(uri) from error
            raise

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`."""
        check_file_key(self.root_uri, key)
        view = as_bytes_view(data)
        if len(view) <= self._requests.sizes.part_size_bytes:
            return self._put_small(key, view)
        writer = self.open_writer(key)
        writer.write(view)
        return writer.close()

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        check_file_key(self.root_uri, key)
        return S3Writer(self._requests, key)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`. Bound to the source's version: ConflictError when it changes meanwhile."""
        check_file_key(self.root_uri, source_key)
        check_file_key(self.root_uri, target_key)
        described: Any = self._run(
            "read", source_key, lambda: self._boto.head_object(Bucket=self._bucket, Key=source_key)
        )
        source = _info_of_boto(source_key, described)
        if source_key == target_key:
            return source
        if source.size_bytes > self._requests.sizes.copy_single_bytes_max:
            kept = {name: described[name] for name in _COPIED_PROPERTIES if described.get(name)}
            etag = copy_in_parts(self._requests, source, target_key, kept)
        else:
            answer: Any = self._run(
                "copy",
                source_key,
                lambda: self._boto.copy_object(
                    Bucket=self._bucket,
                    Key=target_key,
                    CopySource={"Bucket": self._bucket, "Key": source_key},
                    CopySourceIfMatch=source.etag,
                ),
            )
            # Some stores leave out the quotes here.
            etag = f'"{answer["CopyObjectResult"]["ETag"].strip(chr(34))}"'
        return with_mtime(self.head, ObjectInfo(target_key, source.size_bytes, etag, 0))

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`."""
        for key in keys:
            check_file_key(self.root_uri, key)
        batched = [key for key in keys if not _NOT_XML.search(key)]
        for start in range(0, len(batched), _DELETE_BATCH_MAX):
            batch = batched[start : start + _DELETE_BATCH_MAX]
            self._run("delete", batch[0], functools.partial(self._delete_batch, batch))
        for key in keys:
            if _NOT_XML.search(key):  # a batch is XML, which cannot say it
                self._run("delete", key, functools.partial(self._boto.delete_object, Bucket=self._bucket, Key=key))

    def make_directory(self, key: str) -> None:
        """Nothing to do: directories are only prefixes."""

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`: removes the marker object, if there is one."""
        marker = key.rstrip("/") + "/"
        page = self.list(marker, limit=2)
        if any(found.key != marker for found in page.objects):
            uri = self._errors.uri(marker)
            raise InvalidRequestError(f"directory {uri} is not empty; remove what is in it first", uri=uri)
        if page.objects:
            self.delete([marker])

    def close(self) -> None:
        """See `UnderStorage.close`. A later call connects again."""
        self._boto.close()

    def _run(self, action: str, key: str, function: Callable[[], T]) -> T:
        """Call with retries; all errors leave as ours."""

        def once() -> T:
            try:
                return function()
            except RaycacheError:
                raise
            except Exception as error:
                raise self._errors.map(error, action, key) from self._errors.cause(error)

        return self._retrier.call(once)

    def _head_once(self, key: str) -> ObjectInfo:
        if not is_plain_key(key):
            return _info_of_boto(key, self._boto.head_object(Bucket=self._bucket, Key=key))
        import obstore

        meta = obstore.head(self._store, key)
        return ObjectInfo(key, meta["size"], meta["e_tag"] or "", seconds_ns(meta["last_modified"]))

    def _get_plain(self, key: str, offset: int, length: int, etag: str) -> tuple[str, int, Buffer, int]:
        import obstore

        options: Any = {"range": (offset, offset + length)}
        if etag:
            options["if_match"] = etag
        result = obstore.get(self._store, key, options=options)
        meta = result.meta
        body = result.bytes()
        return meta["e_tag"] or "", meta["size"], body, len(body)

    def _get_odd(self, key: str, offset: int, length: int, etag: str) -> tuple[str, int, Buffer, int]:
        condition: Any = {"IfMatch": etag} if etag else {}
        answer = self._boto.get_object(
            Bucket=self._bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}", **condition
        )
        body = answer["Body"].read()
        size_bytes = int(answer["ContentRange"].rpartition("/")[2])
        return answer["ETag"], size_bytes, body, len(body)

    def _put_small(self, key: str, data: Buffer) -> ObjectInfo:
        def put_once() -> str:
            if not is_plain_key(key):
                return str(self._boto.put_object(Bucket=self._bucket, Key=key, Body=bytes(data))["ETag"])
            import obstore

            return obstore.put(self._store, key, data, use_multipart=False)["e_tag"] or ""

        etag = self._run("write", key, put_once)
        return with_mtime(self.head, ObjectInfo(key, memoryview(data).nbytes, etag, 0))

    def _delete_batch(self, keys: Sequence[str]) -> None:
        answer: Any = self._boto.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for failure in answer.get("Errors", ()):
            code = failure.get("Code", "")
            if code != "NoSuchKey":
                status = 403 if code == "AccessDenied" else 400
                raise self._errors.of_answer(status, code, "delete", failure.get("Key", ""))

    def _check_bucket(self) -> None:
        """After a 404: NotFoundError that names the bucket when that is what is missing."""
        if self._bucket_seen:
            return
        try:
            self._run("list", "", lambda: self._boto.head_bucket(Bucket=self._bucket))
        except NotFoundError as error:
            raise self._errors.of_answer(404, "NoSuchBucket", "list", "") from error
        except RaycacheError:
            return  # may be denied what the key is allowed
        self._bucket_seen = True


def _info_of_boto(key: str, described: Any) -> ObjectInfo:
    return ObjectInfo(key, described["ContentLength"], described["ETag"], seconds_ns(described["LastModified"]))
