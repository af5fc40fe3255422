"""The body of a request as its sender meant it: signed chunks taken apart, and every digest that was promised compared.

A body comes in one of three ways, as the signature says: with its digest, unsigned, or in chunks ("aws-chunked"), each of which
may be signed, with a trailer of checksums behind the last. Nothing of a body counts until its end was verified.

    chunk = size in hex [";chunk-signature=" 64 hex] CRLF bytes CRLF;  the last has no bytes, and trailer lines instead
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from aiohttp import StreamReader

from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.signatures import STREAMING, UNSIGNED_PAYLOAD, SentHeaders, Signed

#: A body that brings nothing for so long is given up.
_READ_TIMEOUT_S = 60.0
BODY_BYTES_MAX = 5 << 30
_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;chunk-signature=([0-9a-f]{64}))?")
_LINE_BYTES_MAX = 4_096
_TRAILER_LINES_MAX = 16
#: In one piece, and in front of its signature: what a client may make the server hold.
_CHUNK_BYTES_MAX = 16 << 20
_SIGNED_KINDS = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
_UNSIGNED_KIND = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


class Digest(Protocol):
    """Of `hashlib`."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    """As those of `hashlib`."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


#: The checksums that are compared; others that S3 knows are taken as they are.
_CHECKSUMS: dict[str, Any] = {
    "x-amz-checksum-crc32": _Crc32,
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}


class RequestBody:
    """One body, to be read once, to its end.

    Args:
        content: as it arrives.
        headers, signed: of the request.

    Raises:
        S3Error: its length is missing or too large, or its kind is not known.
    """

    def __init__(self, content: StreamReader, headers: SentHeaders, signed: Signed) -> None:
        self._content = content
        self._signed = signed
        self._digests: dict[str, tuple[Digest, bytes]] = {}
        self._trailing: dict[str, Digest] = {}
        kind = signed.payload_hash
        self._chunked = kind.startswith(STREAMING)
        length = headers.get("x-amz-decoded-content-length" if self._chunked else "content-length")
        if not length:
            raise S3Error("MissingContentLength")
        if not length.isascii() or not length.isdigit() or len(length) > 15:
            raise S3Error("InvalidArgument", "the length of the body is no number")
        self.size_bytes = int(length)
        if self.size_bytes > BODY_BYTES_MAX:
            raise S3Error("EntityTooLarge")
        if self._chunked:
            if kind not in (*_SIGNED_KINDS, _UNSIGNED_KIND):
                raise S3Error("NotImplemented", f"{kind} is not served")
            self._chunk_signatures = kind in _SIGNED_KINDS and bool(signed.access_key)
            for name in headers.get("x-amz-trailer").replace(" ", "").lower().split(","):
                if name in _CHECKSUMS:
                    self._trailing[name] = _CHECKSUMS[name]()
        elif kind and kind != UNSIGNED_PAYLOAD:
            if _HEX_DIGEST.fullmatch(kind) is None:
                raise S3Error("InvalidArgument", "x-amz-content-sha256 must be a digest or one of the known words")
            self._expect("x-amz-content-sha256", hashlib.sha256(), bytes.fromhex(kind))
        if "content-md5" in headers.names():
            self._expect_encoded("content-md5", headers.get("content-md5") or "?", hashlib.md5(usedforsecurity=False))
        for name, make in _CHECKSUMS.items():
            self._expect_encoded(name, headers.get(name), make())

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, as they come.

        Raises:
            S3Error: it is not what was signed and promised; what came before must be dropped.
        """
        taken = 0
        async for piece in self._chunks() if self._chunked else self._plain():
            taken += len(piece)
            if taken > self.size_bytes:
                raise S3Error("InvalidRequest", "the body is longer than it was said to be")
            for digest, _ in self._digests.values():
                digest.update(piece)
            for digest in self._trailing.values():
                digest.update(piece)
            yield piece
        if taken < self.size_bytes:
            raise S3Error("IncompleteBody")
        for name, (digest, expected) in self._digests.items():
            if digest.digest() != expected:
                raise S3Error("XAmzContentSHA256Mismatch" if name == "x-amz-content-sha256" else "BadDigest")

    async def whole(self, bytes_max: int) -> bytes:
        """All of a small body; MalformedXML where it is larger."""
        if self.size_bytes > bytes_max:
            raise S3Error("MalformedXML")
        return b"".join([piece async for piece in self.pieces()])

    def _expect(self, name: str, digest: Digest, value: bytes) -> None:
        self._digests[name] = (digest, value)

    def _expect_encoded(self, name: str, text: str, digest: Digest) -> None:
        if text:
            try:
                value = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise S3Error("InvalidDigest") from error
            if len(value) != len(digest.digest()):
                raise S3Error("InvalidDigest")
            self._expect(name, digest, value)

    async def _plain(self) -> AsyncIterator[bytes]:
        while True:
            async with _in_time():
                piece = await self._content.readany()
            if not piece:
                return
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        before = self._signed.signature
        while True:
            found = _CHUNK.fullmatch(await self._line())
            if found is None or (self._chunk_signatures and found[2] is None):
                raise S3Error("InvalidRequest", "the body is not in chunks as it was said to be")
            size = int(found[1], 16)
            if size > _CHUNK_BYTES_MAX:
                raise S3Error("InvalidRequest", f"a chunk has more than {_CHUNK_BYTES_MAX} bytes")
            async with _in_time():
                try:
                    piece = await self._content.readexactly(size) if size else b""
                except asyncio.IncompleteReadError as error:
                    raise S3Error("IncompleteBody") from error
            if self._chunk_signatures:
                before = self._compared("PAYLOAD", f"{before}\n{_EMPTY_SHA256}", piece, found[2].decode())
            if not size:
                await self._trailer(before)
                return
            if await self._line():
                raise S3Error("InvalidRequest", "a chunk is longer than it was said to be")
            yield piece

    async def _trailer(self, before: str) -> None:
        """The lines behind the last chunk: checksums, and the signature of all of them."""
        signed_text, signature = "", ""
        for _ in range(_TRAILER_LINES_MAX):
            line = (await self._line(may_end=True)).decode("latin-1")
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if not name:
                break
            if name == "x-amz-trailer-signature":
                signature = value
                continue
            signed_text += f"{name}:{value}\n"
            if name in self._trailing:
                digest = self._trailing.pop(name)
                if base64.b64encode(digest.digest()).decode() != value:
                    raise S3Error("BadDigest")
        if self._chunk_signatures and self._signed.payload_hash.endswith("TRAILER"):
            self._compared("TRAILER", before, signed_text.encode("latin-1"), signature)
        if self._trailing:
            raise S3Error("InvalidRequest", "a checksum that was announced is missing")

    def _compared(self, kind: str, before: str, data: bytes, signature: str) -> str:
        signed = self._signed
        digest = hashlib.sha256(data).hexdigest()
        text = f"AWS4-HMAC-SHA256-{kind}\n{signed.amz_date}\n{signed.scope}\n{before}\n{digest}"
        own = hmac.digest(signed.signing_key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(own, signature):
            raise S3Error("SignatureDoesNotMatch")
        return own

    async def _line(self, *, may_end: bool = False) -> bytes:
        async with _in_time():
            try:
                line = await self._content.readuntil(b"\n")
            except ValueError as error:
                raise S3Error("InvalidRequest", "a line of the body is too long") from error
        if len(line) > _LINE_BYTES_MAX or not (line.endswith(b"\r\n") or may_end):
            raise S3Error("IncompleteBody" if not line.endswith(b"\n") else "InvalidRequest")
        return line.rstrip(b"\r\n")


class _in_time:  # noqa: N801  # reads as a verb
    """A client that sends nothing for too long is told so."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(_READ_TIMEOUT_S)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError as late:
            raise S3Error("RequestTimeout") from late
