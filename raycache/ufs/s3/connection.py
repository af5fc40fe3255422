"""One bucket at one endpoint: its two clients, and the one way in which every request to it is made.

`run` calls with retries, and turns whatever the clients raise into errors of the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from raycache.errors import RaycacheError, UnavailableError
from raycache.ufs.errors import S3Errors, shown
from raycache.ufs.retry import Retrier, RetryPolicy
from raycache.ufs.s3.clients import make_clients
from raycache.ufs.s3.options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")


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
        self._clients = make_clients(bucket, options)
        self.errors = S3Errors(f"s3://{bucket}", self.endpoint_url, options.secrets)
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
            try:
                return function()
            except RaycacheError:
                raise
            except Exception as error:
                raise self.errors.map(error, action, key) from self.errors.cause(error)

        return self._retrier.call(once)

    def broken(self, what: str, action: str, key: str) -> UnavailableError:
        """The error for an answer that no S3 may give.

        Args:
            what: the endpoint did.
            action: as for `run`.
            key: what was asked about.
        """
        uri = self.uri(key)
        return UnavailableError(
            f"{self.endpoint_url} {what} ({action} {shown(uri)}); try later, or have that server put right", uri=uri
        )

    def close(self) -> None:
        """Let go of connections. A later call connects again."""
        self.boto.close()
