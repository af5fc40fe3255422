"""Errors of obstore and urllib3, and refusals of GCS and Azure, become errors of `raycache.errors`.

What the server answered counts: its status and its error code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from raycache.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.ufs.errors import shown
from raycache.ufs.http.http_client import HttpAnswer
from raycache.ufs.http.store_errors import StoreErrors

_STATUS = re.compile(r"status code: (\d{3})|with status (\d{3})|status: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>|\"reason\": ?\"([A-Za-z0-9 ]+)\"")
#: obstore's words for a range that begins there.
_BEHIND_THE_END = "Wanted range starting at"
#: Codes that say "later", whatever their status.
_RETRY_CODES = frozenset({"ServerBusy", "OperationTimedOut", "InternalError", "backendError", "rateLimitExceeded"})
_DENIED_CODES = frozenset({"PublicAccessNotPermitted", "AccountIsDisabled", "InvalidAuthenticationInfo"})
#: 412 for another reason than another version.
_LEASED_CODES = frozenset({"LeaseIdMissing", "LeaseIdMismatchWithBlobOperation"})
_NO_BUCKET_CODES = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "NoSuchBucket"})


class Refusal(Exception):
    """An answer that is an error. Only ever on its way to `CloudErrors.map`, which makes the message."""

    def __init__(self, status: int, code: str, text: str = "") -> None:
        super().__init__(f"{status} {code} {text}".strip())
        self.status = status
        self.code = code


def refusal(answer: HttpAnswer, codes: Mapping[str, str] | None = None) -> Refusal:
    """The refusal that an answer is.

    Args:
        answer: with a status that is none of success.
        codes: headers that may hold the error code, by name.
    """
    text = answer.body[:2000].decode(errors="replace")
    named = next((answer.headers[name] for name in codes or () if name in answer.headers), "")
    found = _CODE.search(text)
    return Refusal(answer.status, named or (found and (found[1] or found[2])) or "", text)


class CloudErrors(StoreErrors):
    """Maps errors, knowing the bucket, the endpoint and which words are secret.

    Args:
        root_uri, endpoint_url, secrets: see `StoreErrors`.
        advice: what to check when access is denied.
    """

    def __init__(self, root_uri: str, endpoint_url: str, secrets: Callable[[], Iterable[str]], *, advice: str) -> None:
        super().__init__(root_uri, endpoint_url, secrets)
        self._advice = advice

    def map(self, error: Exception, action: str, key: str) -> RaycacheError:
        """Turn an error of a client into one of ours.

        Raises:
            Exception: the same error, when it comes from none of them: that is a fault of this program.
        """
        from obstore.exceptions import BaseError
        from urllib3.exceptions import HTTPError

        if isinstance(error, Refusal):
            return self.of_answer(error.status, error.code, action, key)
        if isinstance(error, UnicodeError):
            return self._no_text(action, key)
        if isinstance(error, (BaseError, HTTPError, OSError, ValueError)):
            text = str(error)
            status, code = _STATUS.search(text), _CODE.search(text)
            if status:
                said = (code[1] or code[2]) if code else ""
                return self.of_answer(int(next(filter(None, status.groups()))), said, action, key)
            if isinstance(error, FileNotFoundError):
                return self.of_answer(HTTPStatus.NOT_FOUND, "", action, key)
            if _BEHIND_THE_END in text:
                return self.of_answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", action, key)
            if "recondition" in type(error).__name__:
                return self.of_answer(HTTPStatus.PRECONDITION_FAILED, "", action, key)
            return self._unreachable(text, action, key)
        raise error

    def of_answer(self, status: int, code: str, action: str, key: str) -> RaycacheError:
        """Map what the server answered: an HTTP status and the store's error code ("" when it gave none)."""
        uri = self.uri(key)
        name = shown(uri)
        said = f"{status} {code}".strip()
        facts: dict[str, Any] = {"uri": uri, "status": status, "code": code}
        if code in _RETRY_CODES or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
            return self._busy(said, action, name, facts)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or code in _DENIED_CODES:
            return DeniedError(f"may not {action} {name} ({said}); check {self._advice}", **facts)
        if code in _NO_BUCKET_CODES:
            return self.no_bucket()
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundError(f"{name} does not exist in the lake; check the path", **facts)
        if code in _LEASED_CODES:
            return InvalidRequestError(f"cannot {action} {name} ({said}): somebody holds a lease on it", **facts)
        if status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_MODIFIED):
            return ConflictError(f"{name} is no longer the version asked for ({said}); read it again", **facts)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return InvalidRequestError(f"the range asked for is outside {name}; ask within its size", **facts)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            return self._busy(said, action, name, facts)
        return InvalidRequestError(
            f"{self._endpoint_url} refused to {action} {name} ({said}); check the call and the mount's options", **facts
        )

    def no_bucket(self) -> NotFoundError:
        """The error for a bucket or container that is not there."""
        return NotFoundError(
            f"bucket {self._root_uri} does not exist at {self._endpoint_url}; check its name and the endpoint",
            uri=self._root_uri,
            status=int(HTTPStatus.NOT_FOUND),
            code="NoSuchBucket",
        )

    def broken(self, what: str, action: str, key: str) -> UnavailableError:
        """The error for an answer that no such store may give; `what` the endpoint did."""
        uri = self.uri(key)
        return UnavailableError(f"{self._endpoint_url} {what} ({action} {shown(uri)}); try later", uri=uri)
