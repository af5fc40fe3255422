"""One bucket at one endpoint: its two clients, and the one way in which every request to it is made.

`run` calls with retries, and turns whatever the clients raise into errors of the cache. When credentials are refused as
expired that nobody gave as options, they are looked for again where they came from (files that some program rewrites, an
instance's role, a session of SSO), and the request is sent once more.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from raycache.errors import DeniedError, RaycacheError, UnavailableError
from raycache.ufs.retry import Retrier, RetryPolicy
from raycache.ufs.s3.clients import S3Clients, make_clients
from raycache.ufs.s3.errors import EXPIRED_CODES, S3Errors
from raycache.ufs.s3.options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

#: Credentials are not looked for more often than this.
_RENEWAL_PERIOD_S = 5.0


class S3Connection:
    """Thread-safe.

    Args:
        bucket: its name.
        options: of the mount.
        retrier: instead of the one that the options ask for.

    Raises:
        InvalidRequestError: an option is wrong.
        DeniedError: no credentials anywhere.
    """

    def __init__(self, bucket: str, options: S3Options, retrier: Retrier | None = None) -> None:
        self.bucket = bucket
        self._options = options
        self._clients = make_clients(bucket, options)
        self._renewing = threading.Lock()
        self._renewed_s = -math.inf
        self.errors = S3Errors(f"s3://{bucket}", self.endpoint_url, self._secrets)
        self._retrier = retrier or Retrier(
            RetryPolicy(attempts_max=options.retries_max + 1, total_s=2 * options.request_timeout_s)
        )

    def __repr__(self) -> str:
        return f"S3Connection({self.bucket!r}, {self.endpoint_url!r})"

    @property
    def boto(self) -> S3Client:
        """boto3's client."""
        return self._clients.boto

    @property
    def store(self) -> Any:
        """Obstore's."""
        return self._clients.store

    @property
    def endpoint_url(self) -> str:
        """Where both send their requests."""
        return self._clients.endpoint_url

    @property
    def store_may_write(self) -> bool:
        """Whether obstore writes what boto3 would write."""
        return self._clients.store_may_write

    @property
    def slow_downs(self) -> int:
        """How often the store has said "slow down" so far."""
        return self._retrier.slow_downs

    def uri(self, key: str) -> str:
        """The URI of a key."""
        return self.errors.uri(key)

    def run(self, action: str, key: str, function: Callable[[], T]) -> T:
        """Call with retries; all errors leave as ours.

        Args:
            action: the verb for messages: "read", "write", "list", ...
            key: what it is done to.
            function: one request or several that are repeated together.
        """

        def once() -> T:
            clients = self._clients
            try:
                return self._once(action, key, function)
            except DeniedError as refused:
                if refused.fields.get("code") not in EXPIRED_CODES or not self._renew(clients):
                    raise
                return self._once(action, key, function)

        return self._retrier.call(once)

    def broken(self, what: str, action: str, key: str) -> UnavailableError:
        """The error for an answer that no S3 may give; `what` the endpoint did."""
        return self.errors.broken(what, action, key)

    def close(self) -> None:
        """Let go of connections. A later call connects again."""
        self.boto.close()

    def _once(self, action: str, key: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except RaycacheError:
            raise
        except Exception as error:
            source = self._clients.credentials
            if source is not None and source.error is not None:  # obstore makes a text of it
                raise self.errors.map(source.error, action, key) from self.errors.cause(source.error)
            raise self.errors.map(error, action, key) from self.errors.cause(error)

    def _renew(self, refused: S3Clients) -> bool:
        """Look for credentials again; False when there are no others."""
        if self._options.access_key_id or self._options.anonymous:
            return False
        with self._renewing:
            if self._clients is not refused:  # another thread has done it
                return True
            now_s = time.monotonic()
            if now_s < self._renewed_s + _RENEWAL_PERIOD_S:
                return False
            self._renewed_s = now_s
            try:
                found = make_clients(self.bucket, self._options)
                fresh = found.credentials
                if fresh is None or (fresh() and fresh.secrets == self._handed_out()):
                    return False
            except Exception:  # whatever stands in the way of others, that these are refused is the answer
                return False
            self._clients = found
            return True

    def _handed_out(self) -> tuple[str, ...]:
        credentials = self._clients.credentials
        return credentials.secrets if credentials is not None else ()

    def _secrets(self) -> tuple[str, ...]:
        password = urlsplit(self._clients.proxy_url).password
        return (*self._options.secrets, *self._handed_out(), *((password,) if password else ()))
