"""What a request asks: bucket, key and query out of its target; ranges and conditions out of its headers. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from email.utils import formatdate, parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote_plus, unquote_to_bytes

from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.signatures import SentHeaders, Signed

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
KEY_BYTES_MAX = 1024
_QUERY_PAIRS_MAX = 64


class S3Target(NamedTuple):
    """What a request is for."""

    #: As it was sent, without the query.
    path: str
    #: Empty: the service.
    bucket: str
    #: Decoded; empty: the bucket.
    key: str
    #: Decoded, in the order they were sent.
    query: list[tuple[str, str]]


class S3Call(NamedTuple):
    """One request that may be carried out."""

    method: str
    target: S3Target
    #: The same as `target.query`, by name.
    query: dict[str, str]
    headers: SentHeaders
    signed: Signed


class ByteRange(NamedTuple):
    """A part of an object."""

    start: int
    length: int


def parse_target(raw: str) -> S3Target:
    """Take the target of a request apart; path style only.

    Raises:
        S3Error: it cannot be one of S3's, or its key cannot be a path.
    """
    path, _, query_text = raw.partition("?")
    if not path.startswith("/"):
        raise S3Error("InvalidURI")
    bucket_text, _, key_text = path[1:].partition("/")
    query: list[tuple[str, str]] = []
    if query_text:
        pairs = query_text.split("&")
        if len(pairs) > _QUERY_PAIRS_MAX:
            raise S3Error("InvalidURI", "Too many query parameters")
        for pair in pairs:
            if pair:
                name, _, value = pair.partition("=")
                query.append((_query_text(name), _query_text(value)))
    bucket = _decoded(bucket_text)
    if bucket and _BUCKET.fullmatch(bucket) is None:
        raise S3Error("InvalidBucketName")
    key = _decoded(key_text)
    if len(key.encode()) > KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError")
    return S3Target(path, bucket, key, query)


def byte_range(text: str, size_bytes: int) -> ByteRange | None:
    """What a `Range` header asks of an object; None for all of it, also where S3 ignores the header.

    Raises:
        S3Error: InvalidRange, nothing of it lies in the object.
    """
    found = _RANGE.fullmatch(text.strip()) if text else None
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        length = min(int(found[2]), size_bytes)
        if not length:
            raise _unsatisfiable(size_bytes)
        return ByteRange(size_bytes - length, length)
    start = int(found[1])
    if found[2] and int(found[2]) < start:
        return None
    if start >= size_bytes:
        raise _unsatisfiable(size_bytes)
    end = min(int(found[2]), size_bytes - 1) if found[2] else size_bytes - 1
    return ByteRange(start, end + 1 - start)


def check_conditions(headers: SentHeaders, etag: str, mtime_s: int | None) -> None:
    """Compare an object with the conditions of a request that reads it.

    `If-Match` beats `If-Unmodified-Since`, and `If-None-Match` beats `If-Modified-Since`, as RFC 9110 has it.

    Raises:
        S3Error: PreconditionFailed, or NotModified.
    """
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    unmodified_since = None if match else http_seconds(headers.get("if-unmodified-since"))
    modified_since = None if none_match else http_seconds(headers.get("if-modified-since"))
    if match and not matches_etag(match, etag):
        raise S3Error("PreconditionFailed")
    if unmodified_since is not None and mtime_s is not None and mtime_s > unmodified_since:
        raise S3Error("PreconditionFailed")
    unchanged = modified_since is not None and mtime_s is not None and mtime_s <= modified_since
    if unchanged or (none_match and matches_etag(none_match, etag)):
        raise S3Error("NotModified", headers={"ETag": etag})


def matches_etag(text: str, etag: str) -> bool:
    """Whether an etag is among those of a condition."""
    own = etag.strip('"')
    return any(part == "*" or part.removeprefix("W/").strip('"') == own for part in map(str.strip, text.split(",")))


def http_seconds(text: str) -> int | None:
    """The seconds since the epoch of a date in a header; None when it is none."""
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(1_024)
def http_date(seconds: int) -> str:
    """A date as headers have it."""
    return formatdate(seconds, usegmt=True)


def whole_number(query: dict[str, str], name: str, default: int, bounds: Sequence[int]) -> int:
    """A number of the query.

    Raises:
        S3Error: InvalidArgument, it is none or out of bounds.
    """
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not bounds[0] <= int(text) <= bounds[1]:
        raise S3Error("InvalidArgument", f"{name} must be an integer between {bounds[0]} and {bounds[1]}")
    return int(text)


def _unsatisfiable(size_bytes: int) -> S3Error:
    return S3Error("InvalidRange", headers={"Content-Range": f"bytes */{size_bytes}"})


def _decoded(text: str) -> str:
    """A part of a path; keys are UTF-8, and without the parts and characters that would mean another file."""
    if "%" in text or not text.isascii():
        try:
            text = unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode()
        except UnicodeDecodeError as error:
            raise S3Error("InvalidURI") from error
    if "\0" in text or (".." in text and ".." in text.split("/")):
        raise S3Error("InvalidURI")
    return text


def _query_text(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape") if "%" in text or "+" in text else text
