"""Targets, ranges and conditions are read as S3 reads them."""

from __future__ import annotations

import pytest

from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.s3_requests import ByteRange, byte_range, check_conditions, http_date, parse_target
from raycache.endpoint.protocol.signatures import SentHeaders


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("/", ("", "", {})),
        ("/b", ("b", "", {})),
        ("/b/", ("b", "", {})),
        ("/b/k", ("b", "k", {})),
        ("/b/a//b/", ("b", "a//b/", {})),
        ("/b/a%2Fb%20c%25", ("b", "a/b c%", {})),
        ("/b/%C3%A4", ("b", "ä", {})),
        (
            "/b?list-type=2&prefix=a%2Fb+c&delimiter=%2F",
            ("b", "", {"list-type": "2", "prefix": "a/b c", "delimiter": "/"}),
        ),
        ("/b?uploads", ("b", "", {"uploads": ""})),
        ("/b/..a/b..", ("b", "..a/b..", {})),
    ],
)
def test_targets_are_taken_apart(raw: str, found: tuple[str, str, dict[str, str]]) -> None:
    """Keys are decoded once, and nothing else is done to them."""
    target = parse_target(raw)
    assert found == (target.bucket, target.key, dict(target.query))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("/b/../x", "InvalidURI"),
        ("/b/%2e%2e/x", "InvalidURI"),
        ("/b/a/%2E%2E", "InvalidURI"),
        ("/b/a%00b", "InvalidURI"),
        ("/b/%ff%fe", "InvalidURI"),
        ("/%2e%2e/x", "InvalidURI"),
        ("/a%2Fb/x", "InvalidBucketName"),
        ("/.b/x", "InvalidBucketName"),
        ("http://elsewhere/b/x", "InvalidURI"),
        ("*", "InvalidURI"),
        ("/b/" + "k" * 1025, "KeyTooLongError"),
        ("/b?" + "a&" * 100, "InvalidURI"),
    ],
)
def test_targets_that_cannot_be_are_refused(raw: str, code: str) -> None:
    """A key never leads out of its bucket."""
    with pytest.raises(S3Error) as refused:
        parse_target(raw)
    assert code == refused.value.code


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=3-", (3, 7)),
        ("bytes=-4", (6, 4)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 5)),
        ("bytes=9-9", (9, 1)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("chars=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges(text: str, found: tuple[int, int] | None) -> None:
    """What is no single range is ignored, as S3 does."""
    assert (None if found is None else ByteRange(*found)) == byte_range(text, 10)


@pytest.mark.parametrize(
    ("text", "size"), [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=0-", 0), ("bytes=-0", 10), ("bytes=-5", 0)]
)
def test_ranges_without_a_byte_are_refused(text: str, size: int) -> None:
    """With the size, so that the client can do better."""
    with pytest.raises(S3Error) as refused:
        byte_range(text, size)
    assert ("InvalidRange", f"bytes */{size}") == (refused.value.code, refused.value.headers["Content-Range"])


EARLY, AT, LATE = http_date(999), http_date(1000), http_date(1001)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"If-Match": '"e"'}, None),
        ({"If-Match": "e"}, None),
        ({"If-Match": "*"}, None),
        ({"If-Match": '"x", "e"'}, None),
        ({"If-Match": '"x"'}, "PreconditionFailed"),
        ({"If-None-Match": '"e"'}, "NotModified"),
        ({"If-None-Match": "*"}, "NotModified"),
        ({"If-None-Match": '"x"'}, None),
        ({"If-Modified-Since": EARLY}, None),
        ({"If-Modified-Since": AT}, "NotModified"),
        ({"If-Unmodified-Since": AT}, None),
        ({"If-Unmodified-Since": EARLY}, "PreconditionFailed"),
        ({"If-Unmodified-Since": "no date"}, None),
        ({"If-Match": '"e"', "If-Unmodified-Since": EARLY}, None),
        ({"If-None-Match": '"x"', "If-Modified-Since": LATE}, None),
    ],
)
def test_conditions(headers: dict[str, str], code: str | None) -> None:
    """By etag where there is one to compare, else by time."""
    sent = SentHeaders([*headers.items()])
    if code is None:
        check_conditions(sent, '"e"', 1000)
        return
    with pytest.raises(S3Error) as refused:
        check_conditions(sent, '"e"', 1000)
    assert code == refused.value.code
