"""The one way in which every request to a cloud's bucket is made: with retries, and errors as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from typing_extensions import Buffer

from raycache.errors import RaycacheError
from raycache.ufs.clouds.errors import CloudErrors, refusal
from raycache.ufs.http.http_client import HttpAnswer, HttpClient, HttpReach
from raycache.ufs.retry import Retrier, RetryPolicy

T = TypeVar("T")


class CloudConnection:
    """Thread-safe.

    Args:
        root_uri: of the bucket.
        reach: how its endpoint is reached.
        retries_max: attempts after the first.
        secrets: gives what is never shown.
        advice: what to check when access is denied.
        code_header: the header that holds the error code; "": it stands in the body.
        retrier: instead of one by `retries_max`.
    """

    def __init__(
        self,
        root_uri: str,
        reach: HttpReach,
        *,
        retries_max: int,
        secrets: Callable[[], Iterable[str]],
        advice: str,
        code_header: str = "",
        retrier: Retrier | None = None,
    ) -> None:
        self.http = HttpClient(reach)
        self.errors = CloudErrors(root_uri, reach.endpoint_url, secrets, advice=advice)
        self._codes = {code_header: ""} if code_header else {}
        self._retrier = retrier or Retrier(
            RetryPolicy(attempts_max=retries_max + 1, total_s=2 * reach.request_timeout_s)
        )

    def __repr__(self) -> str:
        return f"CloudConnection({self.errors!r})"

    @property
    def slow_downs(self) -> int:
        """How often the store has said "slow down" so far."""
        return self._retrier.slow_downs

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
            except Exception as error:  # `map` raises again what comes from none of the clients
                raise self.errors.map(error, action, key) from self.errors.cause(error)

        return self._retrier.call(once)

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: Buffer | None = None,
        *,
        allowed: Iterable[int] = (),
    ) -> HttpAnswer:
        """Send one request, without retries.

        Args:
            method, url, headers, data: see `HttpClient.send`.
            allowed: statuses that are answers, too, beside those of success.

        Raises:
            Refusal: any other status.
        """
        answer = self.http.send(method, url, headers, data)
        if not 200 <= answer.status < 300 and answer.status not in allowed:
            raise refusal(answer, self._codes)
        return answer
