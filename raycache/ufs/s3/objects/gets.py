"""GET of a range of an object, whatever the server makes of the range.

obstore reads, and boto3 the keys that obstore cannot say, and what obstore refuses to make sense of: a server that sends the
whole object instead of the range (the part is taken out of it, and a warning says what that costs), or spells a header in its
own way. An answer with another range than the one asked for is an error: those are other bytes.
"""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple

from typing_extensions import Buffer

from raycache.ufs.checks import is_plain_key
from raycache.ufs.http.etags import quoted, seconds_ns
from raycache.ufs.s3.connection import S3Connection

_log = logging.getLogger("raycache")

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
#: obstore's words for a head of an answer that it does not understand; nothing is wrong with the connection then.
ODD_HEAD = re.compile(r"source: (?:NotPartial|NoContentRange|ParseContentRange|UnexpectedRange|Header)\b")
_PIECE_BYTES = 1 << 20


class Got(NamedTuple):
    """An answer to a GET."""

    #: "" when the server gave none.
    etag: str
    #: Of the whole object.
    size_bytes: int
    #: Whole seconds; None when the server did not say.
    mtime_ns: int | None
    #: What it sent of the range; shorter where the object ends.
    body: Buffer


class RangeGetter:
    """Thread-safe.

    Args:
        connection: to the bucket.
    """

    def __init__(self, connection: S3Connection) -> None:
        self._connection = connection
        #: Whether this server sends whole objects when a part is asked for; obstore is not asked any more then.
        self._ignores_ranges = False

    def get(self, key: str, offset: int, length: int, if_match: str = "") -> Got:
        """Read a range.

        Args:
            key: the object.
            offset: >= 0.
            length: >= 1.
            if_match: an etag; "": any will do.

        Raises:
            ConflictError: the etag is another.
            InvalidRequestError: with status 416: the range is behind the object.
        """

        def get_once() -> Got:
            get = self._get_plain if is_plain_key(key) and not self._ignores_ranges else self._get_odd
            got = get(key, offset, length, if_match)
            sent_bytes, expected_bytes = memoryview(got.body).nbytes, max(0, min(length, got.size_bytes - offset))
            if sent_bytes != expected_bytes:
                raise self._connection.broken(f"sent {sent_bytes} of {expected_bytes} bytes", "read", key)
            return got

        return self._connection.run("read", key, get_once)

    def _get_plain(self, key: str, offset: int, length: int, if_match: str) -> Got:
        import obstore
        from obstore.exceptions import GenericError

        options: Any = {"range": (offset, offset + length)}
        if if_match:
            options["if_match"] = if_match
        try:
            result = obstore.get(self._connection.store, key, options=options)
        except GenericError as error:
            if ODD_HEAD.search(str(error)):
                return self._get_odd(key, offset, length, if_match)
            raise
        meta = result.meta
        return Got(quoted(meta["e_tag"]), meta["size"], seconds_ns(meta["last_modified"]), result.bytes())

    def _get_odd(self, key: str, offset: int, length: int, if_match: str) -> Got:
        condition: Any = {"IfMatch": if_match} if if_match else {}
        answer: Any = self._connection.boto.get_object(
            Bucket=self._connection.bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}", **condition
        )
        body = answer["Body"]
        if answer["ResponseMetadata"]["HTTPStatusCode"] == 200:
            self._warn()
            size_bytes, data = _part(body, answer.get("ContentLength"), offset, length)
        else:
            sent = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            if sent is None or int(sent[1]) != offset or int(sent[2]) >= offset + length:
                body.close()
                raise self._connection.broken("sent another range than it was asked for", "read", key)
            size_bytes, data = int(sent[3]), body.read()
        modified = answer.get("LastModified")
        return Got(quoted(answer.get("ETag")), size_bytes, seconds_ns(modified), data)

    def _warn(self) -> None:
        if not self._ignores_ranges:
            self._ignores_ranges = True
            _log.warning(
                "%s sends whole objects when a range is asked for: each read costs all the bytes before it",
                self._connection.endpoint_url,
            )


def _part(body: Any, size_bytes: int | None, offset: int, length: int) -> tuple[int, bytes]:
    """Take a range out of a whole body; (size of the whole, the range). What is behind it is read only to know the size."""
    kept = bytearray()
    position = 0
    while size_bytes is None or position < min(offset + length, size_bytes):
        piece = body.read(_PIECE_BYTES)
        if not piece:
            break
        kept += piece[max(0, offset - position) : max(0, offset + length - position)]
        position += len(piece)
    body.close()
    return position if size_bytes is None else size_bytes, bytes(kept)
