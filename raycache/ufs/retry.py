"""Bounded retries with full jitter, for requests that may be repeated.

Only UnavailableError is tried again: errors are mapped first (`errors.py`), so what is worth another attempt is decided
in one place. No attempt starts once the attempts or the total time are used up; an attempt that is under way is bounded
by its own time-outs. The libraries below have their own retries off, so attempts do not multiply.

Source of the wait: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015 (full jitter).
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from raycache.clock import Clock, SystemClock
from raycache.errors import InvalidRequestError, UnavailableError

T = TypeVar("T")
_SLOW_DOWN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
#: An attempt that fails after so long, without a status, met nobody who would have refused it.
_SILENT_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long."""

    #: The first one included, >= 1. If there may be another at all, those that nobody answered, nor refused at once, do not
    #: count: on a host that is cut off for a while, only the total time ends them.
    attempts_max: int = 5
    #: No attempt starts later than this after the first, > 0.
    total_s: float = 60.0
    #: The wait before attempt n + 1 is drawn from 0 .. min(backoff_max_s, backoff_first_s * 2 ** (n - 1)).
    backoff_first_s: float = 0.1
    backoff_max_s: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts_max < 1 or self.total_s <= 0 or self.backoff_first_s < 0 or self.backoff_max_s < 0:
            raise InvalidRequestError("retries need attempts_max >= 1, total_s > 0 and waits of 0 or more")


class Retrier:
    """Calls functions until they answer. Safe to share between threads.

    Args:
        policy: the bounds.
        clock: measures the total time.
        sleep: waits so many seconds between attempts.
        random_source: draws the waits.
    """

    def __init__(
        self,
        policy: RetryPolicy = RetryPolicy(),  # frozen
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random_source: random.Random | None = None,
    ) -> None:
        self._policy = policy
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._random = random_source or random.Random()  # noqa: S311  # spreads load, keeps no secret
        #: How often the store has said "slow down".
        self.slow_downs = 0

    def call(self, function: Callable[[], T]) -> T:
        """Run `function`, again after each UnavailableError while the policy allows it.

        Raises:
            UnavailableError: the last attempt's, when all are used up.
            Exception: any other at once.
        """
        policy, started_s = self._policy, self._clock.now_s()
        began_s, silences = started_s, 0

        def begin(_: RetryCallState) -> None:
            nonlocal began_s
            began_s = self._clock.now_s()

        def stop(state: RetryCallState) -> bool:
            nonlocal silences
            now_s = self._clock.now_s()
            error = state.outcome.exception() if state.outcome is not None else None
            if now_s - began_s >= _SILENT_S and "status" not in getattr(error, "fields", {}):
                silences += 1
            late = now_s - started_s + state.upcoming_sleep >= policy.total_s
            used_up = state.attempt_number >= policy.attempts_max + (silences if policy.attempts_max > 1 else 0)
            return late or used_up

        attempts = Retrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=stop,
            wait=self._wait_s,
            sleep=self._sleep,
            before=begin,
            after=self._note,
            reraise=True,
        )
        return attempts(function)

    def _note(self, state: RetryCallState) -> None:
        """Count complaints; threads may lose one to each other, which changes nothing."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, UnavailableError) and error.fields.get("status") in _SLOW_DOWN:
            self.slow_downs += 1

    def _wait_s(self, state: RetryCallState) -> float:
        policy = self._policy
        doublings = min(state.attempt_number - 1, 62)  # beyond, the cap rules and a float could overflow
        return self._random.uniform(0.0, min(policy.backoff_max_s, policy.backoff_first_s * 2.0**doublings))
