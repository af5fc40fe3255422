"""Signatures of botocore's own signer are right, and nothing else is."""

from __future__ import annotations

import datetime as dt
from urllib.parse import quote, urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.s3_requests import parse_target
from raycache.endpoint.protocol.signatures import SentHeaders, Signed, Verifier

HOST = "127.0.0.1:8269"
ACCESS, SECRET = "RAYCACHEKEY", "a secret/with+signs"
VERIFIER = Verifier({ACCESS: SECRET})


def signed(
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    *,
    presign_s: int | None = None,
    secret: str = SECRET,
) -> tuple[str, str, dict[str, str]]:
    """What botocore sends: (method, target, headers)."""
    credentials = botocore.credentials.Credentials(ACCESS, secret)
    request = botocore.awsrequest.AWSRequest(method, f"http://{HOST}{target}", {"Host": HOST, **(headers or {})})
    if presign_s is None:
        botocore.auth.S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    else:
        botocore.auth.S3SigV4QueryAuth(credentials, "s3", "eu-west-1", expires=presign_s).add_auth(request)
    split = urlsplit(request.url)
    return method, split.path + (f"?{split.query}" if split.query else ""), dict(request.headers.items())


def verified(method: str, target: str, headers: dict[str, str], *, later_s: float = 0.0) -> Signed:
    now_s = dt.datetime.now(dt.UTC).timestamp() + later_s
    found = parse_target(target)
    return VERIFIER.verify(method, found.path, found.query, SentHeaders([*headers.items()]), now_s)


def refused(method: str, target: str, headers: dict[str, str], *, later_s: float = 0.0) -> str:
    with pytest.raises(S3Error) as found:
        verified(method, target, headers, later_s=later_s)
    return found.value.code


KEYS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=20).filter(
    lambda key: ".." not in key and not key.startswith("/") and "//" not in key and "." not in key.split("/")
)


@given(KEYS, st.dictionaries(st.sampled_from(["prefix", "marker", "x-id"]), st.text(max_size=9), max_size=3))
@settings(max_examples=200, deadline=None)
def test_what_botocore_signs_is_right(key: str, query: dict[str, str]) -> None:
    """Any key and any query, in headers and presigned."""
    target = f"/bucket/{quote(key, safe='/-_.~')}"
    if query:
        target += "?" + "&".join(
            f"{name}={quote(value, safe='-_.~', errors='replace')}" for name, value in query.items()
        )
    assert ACCESS == verified(*signed("GET", target)).access_key
    assert ACCESS == verified(*signed("GET", target, presign_s=60)).access_key


def test_nothing_that_was_signed_can_be_changed() -> None:
    """Method, key, query, signed headers and the secret all go into the signature."""
    method, target, headers = signed("GET", "/bucket/key?prefix=a", {"x-amz-meta-a": "1"})
    assert "SignatureDoesNotMatch" == refused("PUT", target, headers)
    assert "SignatureDoesNotMatch" == refused(method, "/bucket/kez?prefix=a", headers)
    assert "SignatureDoesNotMatch" == refused(method, "/bucket/key?prefix=b", headers)
    assert "SignatureDoesNotMatch" == refused(method, target, {**headers, "x-amz-meta-a": "2"})
    assert "SignatureDoesNotMatch" == refused(method, target, {**headers, "Host": "elsewhere"})
    assert "AccessDenied" == refused(method, target, {**headers, "x-amz-copy-source": "/other/key"})
    assert "SignatureDoesNotMatch" == refused(*signed("GET", "/bucket/key", secret="another"))
    assert "InvalidAccessKeyId" == refused(
        method, target, {**headers, "Authorization": headers["Authorization"].replace(ACCESS, "NOBODY")}
    )


def test_a_request_is_good_for_a_quarter_of_an_hour() -> None:
    """Replayed later, or dated in the future, it is refused; a presigned one holds as long as it says."""
    request = signed("GET", "/bucket/key")
    assert ACCESS == verified(*request, later_s=14 * 60).access_key
    assert "RequestTimeTooSkewed" == refused(*request, later_s=16 * 60)
    assert "RequestTimeTooSkewed" == refused(*request, later_s=-16 * 60)
    link = signed("GET", "/bucket/key", presign_s=3600)
    assert ACCESS == verified(*link, later_s=3500).access_key
    assert "AccessDenied" == refused(*link, later_s=3700)
    assert "AccessDenied" == refused(*link, later_s=-16 * 60)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "AccessDenied"),
        ("Basic eDp5", "InvalidRequest"),
        ("AWS RAYCACHEKEY:abc", "InvalidRequest"),
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a/b", "AuthorizationHeaderMalformed"),
    ],
)
def test_what_is_no_signature_is_refused(authorization: str, code: str) -> None:
    """With the code that S3 has for it."""
    headers = {"Host": HOST, "x-amz-date": "20260101T000000Z"}
    assert code == refused(
        "GET", "/bucket/key", {**headers, "Authorization": authorization} if authorization else headers
    )


@pytest.mark.parametrize("change", ["Expires=0", "Expires=604801", "Expires=-1", "Expires=%C2%B2", "Algorithm=AWS4"])
def test_bad_parameters_of_a_link_are_refused(change: str) -> None:
    """Before anything is compared."""
    method, target, headers = signed("GET", "/bucket/key", presign_s=60)
    name = change.partition("=")[0]
    path, _, query = target.partition("?")
    pairs = [f"X-Amz-{change}" if pair.startswith(f"X-Amz-{name}=") else pair for pair in query.split("&")]
    assert "AuthorizationQueryParametersError" == refused(method, f"{path}?{'&'.join(pairs)}", headers)


def test_nobody_is_served_without_a_key_unless_it_is_allowed() -> None:
    """An anonymous endpoint still verifies what is signed."""
    found = parse_target("/bucket/key")
    anonymous = Verifier({ACCESS: SECRET}, anonymous=True)
    assert "" == anonymous.verify("GET", found.path, found.query, SentHeaders([("Host", HOST)]), 0.0).access_key
    method, target, headers = signed("GET", "/bucket/key", secret="another")
    found = parse_target(target)
    with pytest.raises(S3Error):
        anonymous.verify(
            method, found.path, found.query, SentHeaders([*headers.items()]), dt.datetime.now(dt.UTC).timestamp()
        )


def test_a_header_that_was_sent_twice_is_refused() -> None:
    """Nobody may choose which of the two was meant."""
    headers = SentHeaders([("x-amz-date", "1"), ("X-Amz-Date", "2")])
    with pytest.raises(S3Error):
        headers.get("x-amz-date")
    assert "1,2" == headers.joined("x-amz-date")
