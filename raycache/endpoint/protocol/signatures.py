"""Whose request is this? Signature V4, as the S3 API reference defines it ("Authenticating Requests").

Theory of operation. A client signs a canonical form of its request with a key that is derived from its secret, the day, the
region and the service. The same form is made here from what arrived, signed with the secret that belongs to the access key it
names, and the two signatures are compared. So whatever is signed cannot be changed on the way, and a request can be repeated
for 15 minutes at most. Any region is accepted, as long as it is the one that was signed.

A key may be signed in two spellings (as it was sent, or decoded and encoded again); S3 takes the second, and so do we.

Botocore's signer is not used: it makes a request of its own, at ten times the cost. Tests compare the two.
"""

from __future__ import annotations

import calendar
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from raycache.endpoint.protocol.s3_errors import S3Error

SKEW_MAX_S = 15 * 60
_EXPIRES_MAX_S = 7 * 24 * 3600
_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^,\s]+?)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request\s*,"
    r"\s*SignedHeaders=([a-z0-9;._-]+)\s*,\s*Signature=([0-9a-f]{64})"
)
_CREDENTIAL = re.compile(r"(.+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")
_AMZ_DATE = re.compile(r"\d{8}T\d{6}Z")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]*")
_SPACES = re.compile(r" {2,}")
_QUERY_SIGNED = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-"


class SentHeaders:
    """Headers as they arrived: all values of a name, lower case, in order."""

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """The only value of a header.

        Raises:
            S3Error: it was sent more than once, and could mean either.
        """
        values = self._values.get(name)
        if values is None:
            return default
        if len(values) > 1:
            raise S3Error("InvalidRequest", f"the header {name} was sent {len(values)} times")
        return values[0]

    def joined(self, name: str) -> str | None:
        """All values of a header in one, as it is signed; None when it was not sent."""
        values = self._values.get(name)
        return None if values is None else ",".join(_SPACES.sub(" ", value.strip()) for value in values)

    def names(self) -> list[str]:
        """In order of arrival."""
        return list(self._values)


class Signed(NamedTuple):
    """A request whose signature is right."""

    access_key: str
    #: "x-amz-content-sha256" as it was signed: a digest, UNSIGNED-PAYLOAD, or a kind of streaming.
    payload_hash: str
    #: What chunks of the body go on from.
    signature: str = ""
    scope: str = ""
    amz_date: str = ""
    signing_key: bytes = b""


class Verifier:
    """Verifies requests.

    Args:
        secrets: secret by access key.
        anonymous: serve requests without a signature, too.
    """

    def __init__(self, secrets: Mapping[str, str], *, anonymous: bool = False) -> None:
        self._secrets = secrets
        self._anonymous = anonymous

    def verify(
        self, method: str, path: str, query: Sequence[tuple[str, str]], headers: SentHeaders, now_s: float
    ) -> Signed:
        """Find out who signed a request.

        Args:
            method: such as "GET".
            path: as it was sent, without the query.
            query: decoded names and values, shape (Q,).
            headers: as they were sent.
            now_s: seconds since the epoch.

        Returns:
            The signer; the access key is empty where nobody signed and that is allowed.

        Raises:
            S3Error: with the code that S3 has for what is wrong.
        """
        authorization = headers.get("authorization")
        if authorization:
            if any(name == "X-Amz-Signature" for name, _ in query):
                raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
            return self._verify_header(authorization, method, path, query, headers, now_s)
        if any(name in _QUERY_SIGNED for name, _ in query):
            return self._verify_query(method, path, query, headers, now_s)
        if self._anonymous:
            return Signed("", headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD))
        raise S3Error("AccessDenied")

    def _verify_header(
        self,
        authorization: str,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: SentHeaders,
        now_s: float,
    ) -> Signed:
        found = _AUTHORIZATION.fullmatch(authorization.strip())
        if found is None:
            if not authorization.startswith(_ALGORITHM):
                raise S3Error("InvalidRequest", f"Please use {_ALGORITHM}.")
            raise S3Error("AuthorizationHeaderMalformed")
        access_key, day, region, service, names, signature = found.groups()
        amz_date = headers.get("x-amz-date") or _from_http_date(headers.get("date"))
        if not amz_date:
            raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        if abs(_seconds(amz_date, "AuthorizationHeaderMalformed") - now_s) > SKEW_MAX_S:
            raise S3Error("RequestTimeTooSkewed")
        if service != "s3" or not amz_date.startswith(day):
            raise S3Error("AuthorizationHeaderMalformed")
        payload_hash = headers.get("x-amz-content-sha256")
        if not payload_hash:
            raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        signed = _signed_names(names, headers)
        canonical = _canonical(method, path, query, headers, signed, payload_hash)
        return self._compared(access_key, day, region, service, amz_date, canonical, signature, payload_hash)

    def _verify_query(
        self, method: str, path: str, query: Sequence[tuple[str, str]], headers: SentHeaders, now_s: float
    ) -> Signed:
        given = dict(query)
        if len(given) != len(query) or any(name not in given for name in (*_QUERY_SIGNED, "X-Amz-Expires")):
            raise S3Error(
                "AuthorizationQueryParametersError", "A query parameter of the signature is missing or twice."
            )
        credential = _CREDENTIAL.fullmatch(given["X-Amz-Credential"])
        if given["X-Amz-Algorithm"] != _ALGORITHM or credential is None:
            raise S3Error("AuthorizationQueryParametersError")
        access_key, day, region, service = credential.groups()
        expires = given["X-Amz-Expires"]
        if not expires.isascii() or not expires.isdigit() or not 0 < int(expires[:9]) <= _EXPIRES_MAX_S:
            raise S3Error("AuthorizationQueryParametersError", "X-Amz-Expires must be a number from 1 to 604800.")
        amz_date = given["X-Amz-Date"]
        signed_s = _seconds(amz_date, "AuthorizationQueryParametersError")
        if now_s > signed_s + int(expires):
            raise S3Error("AccessDenied", "Request has expired")
        if signed_s > now_s + SKEW_MAX_S:
            raise S3Error("AccessDenied", "Request is not valid yet")
        if service != "s3" or not amz_date.startswith(day):
            raise S3Error("AuthorizationQueryParametersError")
        payload_hash = headers.get("x-amz-content-sha256") or given.get("X-Amz-Content-Sha256") or UNSIGNED_PAYLOAD
        signed = _signed_names(given["X-Amz-SignedHeaders"], headers)
        without = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        canonical = _canonical(method, path, without, headers, signed, payload_hash)
        signature = given["X-Amz-Signature"]
        return self._compared(access_key, day, region, service, amz_date, canonical, signature, payload_hash)

    def _compared(
        self,
        access_key: str,
        day: str,
        region: str,
        service: str,
        amz_date: str,
        canonical: str,
        signature: str,
        payload_hash: str,
    ) -> Signed:
        secret = self._secrets.get(access_key)
        if secret is None:
            raise S3Error("InvalidAccessKeyId")
        scope = f"{day}/{region}/{service}/aws4_request"
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        key = signing_key(secret, day, region, service)
        own = hmac.digest(key, f"{_ALGORITHM}\n{amz_date}\n{scope}\n{digest}".encode(), "sha256").hex()
        if not hmac.compare_digest(own, signature.encode("utf-8", "replace").decode("latin-1")):
            raise S3Error("SignatureDoesNotMatch")
        return Signed(access_key, payload_hash, signature, scope, amz_date, key)


@functools.lru_cache(64)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key of one day."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _signed_names(text: str, headers: SentHeaders) -> list[str]:
    """The headers that a signature covers: the host, and all of Amazon's own that were sent."""
    names = text.split(";")
    if names != sorted(names) or "host" not in names:
        raise S3Error("AccessDenied", "The headers that are signed must be sorted, and the host among them")
    if any(name.startswith("x-amz-") and name not in names for name in headers.names()):
        raise S3Error("AccessDenied", "There were headers present in the request which were not signed")
    return names


def _canonical(
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: SentHeaders,
    signed: Sequence[str],
    payload_hash: str,
) -> str:
    if _PLAIN_PATH.fullmatch(path) is None:
        path = quote_from_bytes(unquote_to_bytes(path.encode("utf-8", "surrogateescape")), safe="/-_.~")
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in query)
    lines = [method, path, "&".join(f"{name}={value}" for name, value in pairs)]
    for name in signed:
        value = headers.joined(name)
        lines.append(f"{name}:{'' if value is None else value}")
    return "\n".join([*lines, "", ";".join(signed), payload_hash])


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


@functools.lru_cache(256)  # requests of one second have the same
def _seconds(amz_date: str, malformed: str) -> float:
    if _AMZ_DATE.fullmatch(amz_date) is None:
        raise S3Error(malformed)
    try:
        return calendar.timegm(time.strptime(amz_date, "%Y%m%dT%H%M%SZ"))
    except ValueError as error:
        raise S3Error(malformed) from error


def _from_http_date(text: str) -> str:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).strftime("%Y%m%dT%H%M%SZ") if text else ""
    except ValueError:
        return ""
