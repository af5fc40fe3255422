"""What S3 answers, as an error of the right class whose one line leads to the cause."""

from __future__ import annotations

import pytest

from raycache.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NoSpaceError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.ufs.s3.errors import S3Errors


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (400, "ExpiredToken", DeniedError, "expired"),
        (400, "TokenRefreshRequired", DeniedError, "expired"),
        (403, "RequestExpired", DeniedError, "expired"),
        (403, "InvalidObjectState", DeniedError, "archived; restore it"),
        (403, "AccessDenied", DeniedError, "policy"),
        (403, "", DeniedError, "policy"),
        (403, "RequestTimeTooSkewed", DeniedError, "clock"),
        (403, "AllAccessDisabled", DeniedError, "closed"),
        (400, "KMS.DisabledException", DeniedError, "encryption key"),
        (404, "NoSuchKey", NotFoundError, "check the path"),
        (404, "NoSuchBucket", NotFoundError, "bucket s3://b does not exist"),
        (400, "", InvalidRequestError, "expired credentials, the wrong region"),
        (400, "AuthorizationHeaderMalformed", InvalidRequestError, "another region"),
        (400, "InvalidArgument", InvalidRequestError, "InvalidArgument"),
        (409, "BucketNotEmpty", InvalidRequestError, "409 BucketNotEmpty"),
        (409, "OperationAborted", UnavailableError, "later"),
        (409, "ConditionalRequestConflict", ConflictError, "read it again"),
        (412, "", ConflictError, "read it again"),
        (507, "", NoSpaceError, "make room"),
        (400, "XMinioAdminBucketQuotaExceeded", NoSpaceError, "make room"),
        (503, "SlowDown", UnavailableError, "later"),
        (400, "RequestTimeout", UnavailableError, "later"),
    ],
)  # fmt: skip
def test_answers(status: int, code: str, kind: type[RaycacheError], words: str) -> None:
    """Class, words and facts; one line, with the URI."""
    error = S3Errors("s3://b", "http://h", lambda: ()).of_answer(status, code, "read", "a\nkey")
    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)
    assert code == "NoSuchBucket" or "s3://b" in str(error)
    assert (error.fields["status"], error.fields["code"]) == (status, code)


def test_logins() -> None:
    """A login that has ended is said as that; what the metadata service cannot give now may come later."""
    from botocore.exceptions import CredentialRetrievalError, MetadataRetrievalError, UnauthorizedSSOTokenError

    errors = S3Errors("s3://b", "http://h", lambda: ())
    assert "aws sso login" in str(errors.map(UnauthorizedSSOTokenError(), "read", "k"))
    assert type(errors.map(UnauthorizedSSOTokenError(), "read", "k")) is DeniedError
    for error in (CredentialRetrievalError(provider="p", error_msg="e"), MetadataRetrievalError(error_msg="e")):
        assert type(errors.map(error, "read", "k")) is UnavailableError
