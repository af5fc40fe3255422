"""Fast exact listings over boto3.

botocore signs, sends and checks the request as always, but its generic response parser costs 50 us a key, five times
what the work needs. So a hook takes the body away from it (`hooks`), and `_parse` reads it: 10 us a key with
everything. How the keys are spelled is `spelling`'s business.

A listing is complete or an error. Stores have been seen that say "truncated" and give no token, that give the token again
which they were asked with, and that give the same keys for another token: all of that is UnavailableError, since what
is behind is not known. A page without a key and with a token is asked on, so that nobody takes it for an empty directory.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime
from typing import Any, NamedTuple

from raycache.errors import UnavailableError
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.http.etags import quoted, seconds_ns
from raycache.ufs.s3.clients import is_aws
from raycache.ufs.s3.connection import S3Connection
from raycache.ufs.s3.hooks import BODY_FIELD
from raycache.ufs.s3.spelling import KeySpelling

#: So many pages in a row without a key are too many.
_EMPTY_PAGES_MAX = 10_000
#: Between a store's own token and the last key before it, in the tokens given out here. No XML holds it.
_LAST_KEY_MARK = "\0"


class _Answer(NamedTuple):
    """One ListObjectsV2 answer, keys as they are spelled."""

    #: (key, size in bytes, etag, mtime in ns or None)
    rows: list[tuple[str, int, str, int | None]]
    prefixes: list[str]
    says_encoded: bool
    truncated: bool
    token: str | None


class Listing:
    """Lists one bucket, a page at a time. Thread-safe.

    Args:
        connection: to the bucket.
    """

    def __init__(self, connection: S3Connection) -> None:
        self._connection = connection
        self._spelling = KeySpelling(self._holds, trusted=is_aws(connection.endpoint_url))

    def page(self, prefix: str, *, delimiter: bool, start_after: str, token: str | None, limit: int) -> ListPage:
        """See `UnderStorage.list`."""
        arguments: dict[str, Any] = {"Prefix": prefix, "MaxKeys": limit}
        if delimiter:
            arguments["Delimiter"] = "/"
        last_key = ""
        if token is not None:
            arguments["ContinuationToken"], _, last_key = token.partition(_LAST_KEY_MARK)
        elif start_after:
            arguments["StartAfter"] = start_after
        for _ in range(_EMPTY_PAGES_MAX):
            answer = self._ask(arguments)
            page = self._read(answer, prefix, last_key)
            if page.objects or page.prefixes or not answer.truncated:
                return page
            arguments.pop("StartAfter", None)
            arguments["ContinuationToken"] = answer.token
        raise self._connection.broken(f"gives {_EMPTY_PAGES_MAX} pages in a row without a key", "list", prefix)

    def _ask(self, arguments: dict[str, Any]) -> _Answer:
        connection, prefix = self._connection, arguments["Prefix"]

        def ask_once() -> _Answer:
            boto: Any = connection.boto
            body = boto.list_objects_v2(Bucket=connection.bucket, EncodingType="url", **arguments).get(BODY_FIELD)
            if body is None:
                raise UnavailableError(f"{connection.endpoint_url} answered with no listing; check endpoint_url")
            answer = _parse(body)
            if answer.truncated and not answer.token:
                what = "says that there is more, and does not say how to ask for it"
                raise connection.broken(what, "list", prefix)
            if answer.truncated and answer.token == arguments.get("ContinuationToken"):
                raise connection.broken("gives the same continuation token again", "list", prefix)
            return answer

        return connection.run("list", prefix, ask_once)

    def _read(self, answer: _Answer, prefix: str, last_key: str) -> ListPage:
        """Make a page of it, given the last key of the page before."""
        raw_keys = [*(row[0] for row in answer.rows), *answer.prefixes]
        rule = self._spelling.rule(prefix, raw_keys, says_encoded=answer.says_encoded)
        objects = []
        for raw, size_bytes, etag, mtime_ns in answer.rows:
            key = rule(raw)
            if etag == '""' and key.endswith("/"):
                continue  # SeaweedFS: a directory that has become empty; no such object exists
            objects.append(ObjectInfo(key, size_bytes, etag, mtime_ns))
        if objects and objects[-1].key == last_key:
            what = "gives the same keys again for another continuation token"
            raise self._connection.broken(what, "list", prefix)
        token = (
            f"{answer.token}{_LAST_KEY_MARK}{objects[-1].key if objects else last_key}" if answer.truncated else None
        )
        return ListPage(objects, [rule(raw) for raw in answer.prefixes], token)

    def _holds(self, raw: str, key: str) -> bool:
        answer = self._ask({"Prefix": key, "MaxKeys": 1})
        found = answer.rows[0][0] if answer.rows else ""
        return found == raw or (key.endswith("/") and found.startswith(raw))


def _parse(body: bytes) -> _Answer:
    """Read one ListObjectsV2 answer.

    Raises:
        ValueError: it is none, or cut short. (ElementTree's ParseError is a SyntaxError; it becomes one of these.)
    """
    try:
        root = ET.fromstring(body)  # noqa: S314  # expat has limits against entity bombs since 2.4.1
        namespace = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
        rows: list[tuple[str, int, str, int | None]] = []
        prefixes: list[str] = []
        for element in root:
            if element.tag == f"{namespace}Contents":
                values = {child.tag: child.text for child in element}
                rows.append((
                    values[f"{namespace}Key"] or "",
                    int(values[f"{namespace}Size"] or 0),
                    quoted(values.get(f"{namespace}ETag")),
                    _mtime_ns(values.get(f"{namespace}LastModified")),
                ))  # fmt: skip
            elif element.tag == f"{namespace}CommonPrefixes":
                prefixes.append(element.findtext(f"{namespace}Prefix") or "")
    except (ET.ParseError, KeyError) as error:
        raise ValueError(f"not a listing: {error}") from error
    token = root.findtext(f"{namespace}NextContinuationToken")
    truncated = root.findtext(f"{namespace}IsTruncated")
    more = bool(token) if truncated is None else truncated.strip().lower() == "true"
    return _Answer(rows, prefixes, root.findtext(f"{namespace}EncodingType") == "url", more, token)


def _mtime_ns(text: str | None) -> int | None:
    """None when there is none, or none that can be read: the object is there all the same."""
    try:
        return seconds_ns(datetime.fromisoformat(text or ""))
    except ValueError:
        return None
