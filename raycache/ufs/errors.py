"""The one place where errors of third parties become errors of `raycache.errors`.

Each third party has one function or class: OSError, pyarrow, and S3 (obstore and botocore, which speak of the same
server). A message is one line: what was tried, on which URI, what came of it, and what to do. It is made from the
status and the error code only; the server's own text is kept in `__cause__` with all secrets taken out, since S3
answers a wrong signature with the key id and the text that was signed.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from raycache.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    IsADirectoryRequestError,
    NoSpaceError,
    NotADirectoryRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)

_CAUSE_CHARS_MAX = 600
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_SECRET_PARTS = re.compile(
    r"(?is)<(AWSAccessKeyId|StringToSign|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes|SignatureProvided)>"
    r".*?(?:</\1>|\Z)"
    r"|(?:X-Amz-[A-Za-z-]*|Credential|Signature)=[^&\s,]*"
)

#: S3 error codes that say "later", whatever their status: 400 RequestTimeout is a stalled upload, for instance.
_RETRY_CODES = frozenset({
    "InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "SlowDown",
    "Throttling", "ThrottlingException", "TooManyRequests", "XMinioServerNotInitialized",
})  # fmt: skip
_WRONG_REGION_CODES = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"})
_DENIED_ADVICE = {
    "InvalidAccessKeyId": "check access_key_id and secret_access_key",
    "SignatureDoesNotMatch": "check access_key_id and secret_access_key",
    "InvalidToken": "check session_token",
    "ExpiredToken": "give a fresh session_token",
    "RequestTimeTooSkewed": "set this machine's clock",
}


class ThirdPartyError(Exception):
    """What another library said, secrets taken out. Only ever the `__cause__` of an error of ours."""


def shown(uri: str) -> str:
    """The URI for a message: one printable line whatever the key holds."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in uri)


def cause_of(error: BaseException, secrets: Iterable[str] = ()) -> ThirdPartyError:
    """The error as a cause that can be printed: type and text, cut short, without secrets."""
    text = str(error)
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _SECRET_PARTS.sub("***", text)
    return ThirdPartyError(f"{type(error).__name__}: {text[:_CAUSE_CHARS_MAX]}")


def map_os_error(error: OSError, action: str, uri: str) -> RaycacheError:
    """Map an OSError of a local disk, or of a library that uses them.

    Args:
        error: as it was raised.
        action: the verb for the message: "read", "write", "list", ...
        uri: what it was done to.
    """
    name = shown(uri)
    code = error.errno
    looks_up = action in ("read", "list", "delete")
    if code == errno.ENAMETOOLONG and not looks_up:
        return InvalidRequestError(f"{name} is too long a name for that disk; use another", uri=uri)
    if (
        code in (errno.ENOENT, errno.ENAMETOOLONG)
        or (code == errno.ENOTDIR and looks_up)
        or isinstance(error, FileNotFoundError)
    ):
        return NotFoundError(f"{name} does not exist in the lake; check the path", uri=uri)
    if code in (errno.EACCES, errno.EPERM, errno.EROFS) or isinstance(error, PermissionError):
        return DeniedError(f"may not {action} {name}; check the permissions of this user", uri=uri)
    if code == errno.EISDIR or isinstance(error, IsADirectoryError):
        return IsADirectoryRequestError(f"{name} is a directory; name a file to {action}", uri=uri)
    if code == errno.ENOTDIR or isinstance(error, NotADirectoryError):
        return NotADirectoryRequestError(f"a file stands where {name} needs a directory; use another path", uri=uri)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(f"no space left to {action} {name}; make room there", uri=uri)
    if code == errno.ENOTEMPTY:
        return InvalidRequestError(f"directory {name} is not empty; remove what is in it first", uri=uri)
    if code in (errno.EINVAL, errno.ELOOP):
        return InvalidRequestError(f"cannot {action} {name}: {error.strerror}; use another path", uri=uri)
    reason = f" ({errno.errorcode[code]})" if code is not None and code in errno.errorcode else ""
    return UnavailableError(f"cannot {action} {name}{reason}; check that storage", uri=uri)


def map_arrow_error(error: Exception, action: str, uri: str) -> RaycacheError:
    """Map an error of a pyarrow filesystem: OSErrors, and its own kinds for requests it cannot do."""
    if isinstance(error, OSError):
        return map_os_error(error, action, uri)
    if isinstance(error, NotImplementedError):  # pyarrow's ArrowNotImplementedError is one
        return InvalidRequestError(f"this filesystem cannot {action} {shown(uri)}; use another", uri=uri)
    return InvalidRequestError(f"the filesystem refused to {action} {shown(uri)}; check path and options", uri=uri)


class S3Errors:
    """Maps errors of obstore and botocore, knowing the bucket, the endpoint and which words are secret.

    Args:
        root_uri: `s3://bucket`.
        endpoint_url: for messages.
        secrets: never shown.
    """

    def __init__(self, root_uri: str, endpoint_url: str, secrets: Iterable[str] = ()) -> None:
        self._root_uri = root_uri
        self._endpoint_url = endpoint_url
        self._secrets = tuple(secret for secret in secrets if secret)

    def __repr__(self) -> str:
        return f"S3Errors({self._root_uri!r}, {self._endpoint_url!r})"

    def uri(self, key: str) -> str:
        """The URI of a key."""
        return f"{self._root_uri}/{key}" if key else self._root_uri

    def cause(self, error: BaseException) -> ThirdPartyError:
        """What to raise from."""
        return cause_of(error, self._secrets)

    def map(self, error: Exception, action: str, key: str) -> RaycacheError:
        """Turn an error of obstore or botocore into one of ours.

        Raises:
            Exception: the same error, when it comes from neither: that is a fault of this program.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from obstore.exceptions import BaseError

        if isinstance(error, ClientError):
            answer = error.response.get("ResponseMetadata", {})
            details: Any = error.response.get("Error", {})
            code = str(details.get("Code", ""))
            return self.of_answer(int(answer.get("HTTPStatusCode", 0)), "" if code.isdigit() else code, action, key)
        if isinstance(error, BotoCoreError):
            return self._of_botocore(error, isinstance(error, HTTPClientError), action, key)
        if isinstance(error, UnicodeError):
            uri = self.uri(key)
            return InvalidRequestError(
                f"cannot {action} {shown(uri)}: it is no Unicode text; use another path", uri=uri
            )
        if isinstance(error, (BaseError, OSError, ValueError)):
            text = str(error)
            status, code_match = _STATUS.search(text), _CODE.search(text)
            if status:
                return self.of_answer(int(status[1]), code_match[1] if code_match else "", action, key)
            if "Received redirect" in text:
                return self.of_answer(HTTPStatus.MOVED_PERMANENTLY, "", action, key)
            if isinstance(error, FileNotFoundError):
                return self.of_answer(HTTPStatus.NOT_FOUND, "", action, key)
            return self._unreachable("Timeout" in text or "TimedOut" in text or "timed out" in text, action, key)
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
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or code in _DENIED_ADVICE:
            advice = _DENIED_ADVICE.get(code, "check access_key_id, secret_access_key and the bucket's policy")
            return DeniedError(f"may not {action} {name} ({said}); {advice}", **facts)
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundError(f"{name} does not exist in the lake; check the path", **facts)
        if status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT):
            return ConflictError(f"{name} is no longer the version asked for ({said}); read it again", **facts)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return InvalidRequestError(f"the range asked for is outside {name}; ask within its size", **facts)
        if status == HTTPStatus.INSUFFICIENT_STORAGE:
            return NoSpaceError(f"no space left to {action} {name} ({said}); make room there", **facts)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            return self._busy(said, action, name, facts)
        return InvalidRequestError(f"{self._endpoint_url} refused to {action} {name} ({said}); check the call", **facts)

    def _busy(self, said: str, action: str, name: str, facts: dict[str, Any]) -> RaycacheError:
        return UnavailableError(f"{self._endpoint_url} could not {action} {name} now ({said}); try later", **facts)

    def _of_botocore(self, error: Exception, is_network: bool, action: str, key: str) -> RaycacheError:
        from botocore.exceptions import (
            ConnectTimeoutError,
            CredentialRetrievalError,
            NoCredentialsError,
            ParamValidationError,
            PartialCredentialsError,
            ReadTimeoutError,
        )

        if is_network:
            return self._unreachable(isinstance(error, (ConnectTimeoutError, ReadTimeoutError)), action, key)
        uri = self.uri(key)
        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            return DeniedError(
                f"no credentials to {action} {shown(uri)}; give access_key_id and secret_access_key, or anonymous=True",
                uri=uri,
            )
        if isinstance(error, CredentialRetrievalError):
            return UnavailableError(f"the credentials for {shown(uri)} cannot be fetched now; try later", uri=uri)
        if isinstance(error, ParamValidationError):
            return InvalidRequestError(f"cannot {action} {shown(uri)}: S3 has no such names; check the path", uri=uri)
        return self._unreachable(False, action, key)

    def _unreachable(self, timed_out: bool, action: str, key: str) -> RaycacheError:
        uri = self.uri(key)
        what = "gave no answer in time" if timed_out else "cannot be reached or broke off"
        return UnavailableError(
            f"{self._endpoint_url} {what} ({action} {shown(uri)}); check endpoint_url and the network", uri=uri
        )
