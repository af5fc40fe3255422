"""Errors of obstore and botocore, which speak of the same server, become errors of `raycache.errors`.

What the server answered counts: its status and S3's error code. A text of a library is looked at only for what the
libraries give no type to.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from raycache.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NoSpaceError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.ufs.errors import shown
from raycache.ufs.http.store_errors import StoreErrors

#: Codes of credentials that were good once.
EXPIRED_CODES = frozenset({
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "RequestExpired", "TokenRefreshRequired",
})  # fmt: skip

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>")
#: Codes that say "later", whatever their status: 400 RequestTimeout is a stalled upload, for instance.
_RETRY_CODES = frozenset({
    "InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "SlowDown",
    "Throttling", "ThrottlingException", "TooManyRequests", "XMinioServerNotInitialized",
})  # fmt: skip
_WRONG_REGION_CODES = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"})
_CONFLICT_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_FULL_CODES = frozenset({
    "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull",
})  # fmt: skip
_EXPIRED = "the credentials have expired; mount again with fresh ones, or let the environment give them"
_DENIED_ADVICE = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "check session_token",
    "InvalidAccessKeyId": "check access_key_id and secret_access_key",
    "SignatureDoesNotMatch": "check access_key_id and secret_access_key",
    "RequestTimeTooSkewed": "set this machine's clock",
    "InvalidObjectState": "it is archived; restore it first, or leave objects of that storage class out",
    "InvalidPayer": "this bucket's owner does not let readers pay; leave request_payer out",
    "AllAccessDisabled": "the bucket's owner has closed it",
    "AccountProblem": "something is wrong with the account of these credentials",
    "NotSignedUp": "the account of these credentials has no S3",
}
_DENIED = "check access_key_id, secret_access_key and the bucket's policy"
_KEY_STORE = "KMS."


class S3Errors(StoreErrors):
    """Maps errors, knowing the bucket, the endpoint and which words are secret."""

    def map(self, error: Exception, action: str, key: str) -> RaycacheError:
        """Turn an error of obstore or botocore into one of ours.

        Raises:
            Exception: the same error, when it comes from neither: that is a fault of this program.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.parsers import ResponseParserError
        from obstore.exceptions import BaseError

        if isinstance(error, ClientError):
            answer = error.response.get("ResponseMetadata", {})
            details: Any = error.response.get("Error", {})
            code = str(details.get("Code", ""))
            return self.of_answer(int(answer.get("HTTPStatusCode", 0)), "" if code.isdigit() else code, action, key)
        if isinstance(error, ResponseParserError):
            return self.broken("answers as no S3 does", action, key)
        if isinstance(error, BotoCoreError):
            return self._of_botocore(error, isinstance(error, HTTPClientError), action, key)
        if isinstance(error, UnicodeError):
            return self._no_text(action, key)
        if isinstance(error, (BaseError, OSError, ValueError)):
            text = str(error)
            status, code_match = _STATUS.search(text), _CODE.search(text)
            if status:
                return self.of_answer(int(status[1]), code_match[1] if code_match else "", action, key)
            if "Received redirect" in text:
                return self.of_answer(HTTPStatus.MOVED_PERMANENTLY, "", action, key)
            if isinstance(error, FileNotFoundError):
                return self.of_answer(HTTPStatus.NOT_FOUND, "", action, key)
            return self._unreachable(text, action, key)
        raise error

    def of_answer(self, status: int, code: str, action: str, key: str) -> RaycacheError:
        """Map what the server answered: an HTTP status and S3's error code ("" when the body had none)."""
        uri = self.uri(key)
        name = shown(uri)
        said = f"{status} {code}".strip()
        facts = {"uri": uri, "status": status, "code": code}
        if code == "NoSuchBucket":
            return NotFoundError(
                f"bucket {self._root_uri} does not exist at {self._endpoint_url}; check its name and endpoint_url",
                **facts,
            )
        if code in _WRONG_REGION_CODES or status in (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT):
            return InvalidRequestError(f"{self._root_uri} lives in another region ({said}); set option region", **facts)
        if code in _RETRY_CODES or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
            return self._busy(said, action, name, facts)
        if code in _FULL_CODES or status == HTTPStatus.INSUFFICIENT_STORAGE:
            return NoSpaceError(f"no space left to {action} {name} ({said}); make room there", **facts)
        if code.startswith(_KEY_STORE):
            return DeniedError(f"may not {action} {name} ({said}); its encryption key cannot be used", **facts)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or code in _DENIED_ADVICE:
            advice = _DENIED_ADVICE.get(code, _DENIED)
            return DeniedError(f"may not {action} {name} ({said}); {advice}", **facts)
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundError(f"{name} does not exist in the lake; check the path", **facts)
        if status == HTTPStatus.PRECONDITION_FAILED or code in _CONFLICT_CODES:
            return ConflictError(f"{name} is no longer the version asked for ({said}); read it again", **facts)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return InvalidRequestError(f"the range asked for is outside {name}; ask within its size", **facts)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            return self._busy(said, action, name, facts)
        why = "check the call" if code else "it does not say why: expired credentials, the wrong region, or no S3"
        return InvalidRequestError(f"{self._endpoint_url} refused to {action} {name} ({said}); {why}", **facts)

    def broken(self, what: str, action: str, key: str) -> UnavailableError:
        """The error for an answer that no S3 may give; `what` the endpoint did."""
        uri = self.uri(key)
        return UnavailableError(
            f"{self._endpoint_url} {what} ({action} {shown(uri)}); try later, or have that server put right", uri=uri
        )

    def _of_botocore(self, error: Exception, is_network: bool, action: str, key: str) -> RaycacheError:
        from botocore.exceptions import (
            ConnectTimeoutError,
            CredentialRetrievalError,
            LoginError,
            MetadataRetrievalError,
            NoAuthTokenError,
            NoCredentialsError,
            ParamValidationError,
            PartialCredentialsError,
            ReadTimeoutError,
            SSOError,
            TokenRetrievalError,
        )

        if is_network:
            timed_out = isinstance(error, (ConnectTimeoutError, ReadTimeoutError))
            return self._unreachable(str(error), action, key, timed_out=timed_out)
        uri = self.uri(key)
        name = shown(uri)
        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            return DeniedError(
                f"no credentials to {action} {name}; give access_key_id and secret_access_key, or anonymous=True",
                uri=uri,
            )
        if isinstance(error, (SSOError, TokenRetrievalError, NoAuthTokenError, LoginError)):
            return DeniedError(f"may not {action} {name}: the login has ended; log in again (aws sso login)", uri=uri)
        if isinstance(error, (CredentialRetrievalError, MetadataRetrievalError)):
            return UnavailableError(f"the credentials for {name} cannot be fetched now; try later", uri=uri)
        if isinstance(error, ParamValidationError):
            return InvalidRequestError(f"cannot {action} {name}: S3 has no such names; check the path", uri=uri)
        return self._unreachable(str(error), action, key, timed_out=False)
