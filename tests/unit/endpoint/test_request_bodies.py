"""Bodies arrive as they were signed, whole, or not at all."""

from __future__ import annotations

import asyncio
import base64
import calendar
import hashlib
import zlib
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from raycache.endpoint.protocol.request_bodies import RequestBody
from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.s3_requests import parse_target
from raycache.endpoint.protocol.signatures import UNSIGNED_PAYLOAD, SentHeaders, Signed, Verifier

#: "Example: PUT object" in "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLE = {
    "Host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request,"
    "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
    "x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "Content-Encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "Content-Length": "66824",
}
CHUNKS = [
    (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
]


def read(data: bytes, headers: dict[str, str], signed: Signed, step: int = 7_919) -> bytes:
    """What a body gives, arriving in pieces."""

    async def work() -> bytes:
        loop = asyncio.get_running_loop()
        reader = StreamReader(BaseProtocol(loop), 1 << 20, loop=loop)
        body = RequestBody(reader, SentHeaders([*headers.items()]), signed)
        for start in range(0, len(data), step):
            reader.feed_data(data[start : start + step])
        reader.feed_eof()
        return b"".join([piece async for piece in body.pieces()])

    return asyncio.run(work())


def refused(data: bytes, headers: dict[str, str], signed: Signed) -> str:
    with pytest.raises(S3Error) as found:
        read(data, headers, signed)
    return found.value.code


def example() -> tuple[bytes, Signed]:
    """The example's body, and what its headers say."""
    target = parse_target("/examplebucket/chunkObject.txt")
    now_s = calendar.timegm((2013, 5, 24, 0, 0, 0))
    verifier = Verifier({KEY: SECRET})
    signed = verifier.verify("PUT", target.path, target.query, SentHeaders([*EXAMPLE.items()]), now_s)
    chunks = [
        f"{size:x};chunk-signature={signature}\r\n".encode() + b"a" * size + b"\r\n" for size, signature in CHUNKS
    ]
    return b"".join(chunks), signed


@pytest.mark.parametrize("step", [1 << 20, 7_919, 101])
def test_signed_chunks_of_the_reference(step: int) -> None:
    """The API reference's own example, arriving in any pieces."""
    data, signed = example()
    assert len(data) == int(EXAMPLE["Content-Length"])
    assert b"a" * 66560 == read(data, EXAMPLE, signed, step)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data.replace(b"a" * 1024 + b"\r\n", b"a" * 1023 + b"b\r\n"), "SignatureDoesNotMatch"),
        (lambda data: data[:-200], "IncompleteBody"),
        (lambda data: data.replace(b";chunk-signature=ad80", b";chunk-signature=ad81"), "SignatureDoesNotMatch"),
        (lambda data: data.replace(b";chunk-signature=", b";x="), "InvalidRequest"),
        (lambda data: b"ffffffff" + data[5:], "InvalidRequest"),
        (lambda data: b"no chunk" * 1000, "IncompleteBody"),
    ],
)
def test_chunks_that_are_not_what_was_signed_are_refused(change: Any, code: str) -> None:
    """A changed byte, a lost end, a chunk without its signature, one that is too large."""
    data, signed = example()
    assert code == refused(change(data), EXAMPLE, signed)


def test_unsigned_chunks_with_a_trailer() -> None:
    """The checksum behind the last chunk is compared, and may not be missing."""
    body = b"x" * 5000
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    headers = {"x-amz-decoded-content-length": "5000", "x-amz-trailer": "x-amz-checksum-crc32"}
    signed = Signed(KEY, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    chunks = b"1388\r\n" + body + b"\r\n0\r\n"
    assert body == read(chunks + f"x-amz-checksum-crc32:{checksum}\r\n\r\n".encode(), headers, signed)
    assert "BadDigest" == refused(chunks + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", headers, signed)
    assert "InvalidRequest" == refused(chunks + b"\r\n", headers, signed)


def test_digests_are_compared() -> None:
    """Of the signature, of the header for it, and checksums."""
    body = b"some content"
    length = {"Content-Length": str(len(body))}
    assert body == read(body, length, Signed(KEY, hashlib.sha256(body).hexdigest()))
    assert "XAmzContentSHA256Mismatch" == refused(body, length, Signed(KEY, hashlib.sha256(b"other").hexdigest()))
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    assert body == read(body, {**length, "Content-MD5": md5}, Signed(KEY, UNSIGNED_PAYLOAD))
    assert "BadDigest" == refused(body[::-1], {**length, "Content-MD5": md5}, Signed(KEY, UNSIGNED_PAYLOAD))
    assert "InvalidDigest" == refused(body, {**length, "Content-MD5": ""}, Signed(KEY, UNSIGNED_PAYLOAD))
    assert "InvalidDigest" == refused(body, {**length, "Content-MD5": "AAAA"}, Signed(KEY, UNSIGNED_PAYLOAD))
    sha1 = {"x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(body).digest()).decode()}
    assert body == read(body, {**length, **sha1}, Signed(KEY, UNSIGNED_PAYLOAD))
    assert "BadDigest" == refused(body[::-1], {**length, **sha1}, Signed(KEY, UNSIGNED_PAYLOAD))


@pytest.mark.parametrize(
    ("headers", "kind", "code"),
    [
        ({}, UNSIGNED_PAYLOAD, "MissingContentLength"),
        ({"Content-Length": "-1"}, UNSIGNED_PAYLOAD, "InvalidArgument"),
        ({"Content-Length": str(6 << 30)}, UNSIGNED_PAYLOAD, "EntityTooLarge"),
        ({"Content-Length": "4"}, "no digest", "InvalidArgument"),
        ({"x-amz-decoded-content-length": "4"}, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"),
        ({"Content-Length": "5"}, UNSIGNED_PAYLOAD, "IncompleteBody"),
        ({"Content-Length": "3"}, UNSIGNED_PAYLOAD, "InvalidRequest"),
    ],
)
def test_bodies_without_a_true_length_are_refused(headers: dict[str, str], kind: str, code: str) -> None:
    """Before anything was taken, or at the end."""
    assert code == refused(b"four", headers, Signed(KEY, kind))
