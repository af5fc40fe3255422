"""Retries: bounded in number and in time, with full jitter."""

from __future__ import annotations

import random

import pytest

from raycache.clock import ManualClock
from raycache.errors import DeniedError, InvalidRequestError, UnavailableError
from raycache.ufs.retry import Retrier, RetryPolicy


class Calls:
    """A function that fails so often, on a clock that its sleeps move."""

    def __init__(self, policy: RetryPolicy, *errors: Exception, takes_s: float = 0.0, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.waits_s: list[float] = []
        self.count = 0
        self._errors = list(errors)
        self._takes_s = takes_s
        self._retrier = Retrier(policy, clock=self.clock, sleep=self._sleep, random_source=random.Random(seed))

    def run(self) -> int:
        return self._retrier.call(self._function)

    def _function(self) -> int:
        self.count += 1
        self.clock.advance(self._takes_s)
        if self._errors:
            raise self._errors.pop(0)
        return self.count

    def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.clock.advance(seconds)


def failures(count: int) -> list[Exception]:
    return [UnavailableError(f"down {n}; try later") for n in range(count)]


def test_first_answer_is_taken() -> None:
    """What works at once is called once."""
    calls = Calls(RetryPolicy())
    assert (calls.run(), calls.waits_s) == (1, [])


def test_success_after_failures() -> None:
    """A function is called until it answers."""
    calls = Calls(RetryPolicy(attempts_max=4), *failures(3))
    assert (calls.run(), len(calls.waits_s)) == (4, 3)


def test_attempts_are_bounded() -> None:
    """After the last attempt its own error is raised, without another wait."""
    calls = Calls(RetryPolicy(attempts_max=3), *failures(9))
    with pytest.raises(UnavailableError, match="down 2"):
        calls.run()
    assert (calls.count, len(calls.waits_s)) == (3, 2)


def test_a_store_that_cannot_be_reached_is_tried_for_the_whole_time() -> None:
    """A cable that is cut for twenty seconds uses no attempts up: what fails by silence counts in time only."""
    calls = Calls(RetryPolicy(attempts_max=3, total_s=60), *failures(8), takes_s=3)
    assert calls.run() == 9


def test_slow_refusals_are_counted() -> None:
    """A store that answers is there: its errors use attempts up, however long they take to come; so does an only attempt."""
    refused = [UnavailableError("busy; try later", status=500) for _ in range(9)]
    for policy, errors, count in (
        (RetryPolicy(attempts_max=3, total_s=600), refused, 3),
        (RetryPolicy(attempts_max=1, total_s=600), failures(9), 1),
    ):
        calls = Calls(policy, *errors, takes_s=3)
        with pytest.raises(UnavailableError):
            calls.run()
        assert calls.count == count


def test_time_is_bounded() -> None:
    """No attempt starts after the total time, however many are left."""
    calls = Calls(RetryPolicy(attempts_max=1000, total_s=10), *failures(1000), takes_s=4)
    with pytest.raises(UnavailableError):
        calls.run()
    assert calls.count in (2, 3)
    assert calls.clock.now_s() <= 10 + 4


@pytest.mark.parametrize("error", [DeniedError("no; ask"), InvalidRequestError("bad; fix"), ValueError("ours")])
def test_other_errors_pass(error: Exception) -> None:
    """Only what may pass is tried again."""
    calls = Calls(RetryPolicy(), error)
    with pytest.raises(type(error)):
        calls.run()
    assert calls.count == 1


def test_full_jitter() -> None:
    """Waits are spread from 0 up to a bound that doubles and is capped."""
    policy = RetryPolicy(attempts_max=5, total_s=1e9, backoff_first_s=1, backoff_max_s=3)
    waits = []
    for seed in range(200):
        calls = Calls(policy, *failures(9), seed=seed)
        with pytest.raises(UnavailableError):
            calls.run()
        waits.append(calls.waits_s)
    for position, bound in enumerate((1, 2, 3, 3)):
        column = [row[position] for row in waits]
        assert 0 <= min(column) < 0.1 * bound
        assert 0.9 * bound < max(column) <= bound


@pytest.mark.parametrize("wrong", [{"attempts_max": 0}, {"total_s": 0}, {"backoff_first_s": -1}, {"backoff_max_s": -1}])
def test_policy_is_checked(wrong: dict[str, float]) -> None:
    """A policy that makes no sense is refused."""
    with pytest.raises(InvalidRequestError):
        RetryPolicy(**wrong)
