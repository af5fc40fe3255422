"""Waiting for peers, and leaving them alone."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from raycache.errors import SilentPeerError
from raycache.hops.breaker import Breaker, Resting
from raycache.hops.patience import Hop, Limits, in_thread, outwait


def test_a_silent_peer_is_left_alone_until_its_rest_is_over_and_then_tried_by_one():
    """Nobody asks it meanwhile; afterwards the first caller does, and the others wait as long again."""
    breaker = Breaker(rest_s=10)
    assert breaker.admits("a", 0)
    breaker.silent("a", 100)
    assert [breaker.admits("a", now_s) for now_s in (100, 109.9)] == [False, False]
    assert breaker.admits("b", 100)
    assert breaker.resting(104) == [Resting("a", 6, 1)]
    assert [breaker.admits("a", now_s) for now_s in (110, 110, 119.9, 120)] == [True, False, False, True]


def test_each_silence_doubles_the_rest_up_to_a_bound():
    """A peer that is silent again and again is tried ever more seldom, but at least once a minute."""
    breaker = Breaker(rest_s=10)
    rests, now_s = [], 0.0
    for _ in range(5):
        breaker.silent("a", now_s)
        rests.append(breaker.resting(now_s)[0].left_s)
        now_s += rests[-1]
    assert rests == [10, 20, 40, 60, 60]
    assert breaker.resting(now_s)[0].silences == breaker.silences == 5


def test_an_answer_ends_a_rest_at_once():
    """A peer that is back is asked by all; its next silence is a first one."""
    breaker = Breaker(rest_s=10)
    breaker.silent("a", 0)
    breaker.silent("a", 10)
    breaker.answered("a")
    assert breaker.resting(11) == []
    assert all(breaker.admits("a", 11) for _ in range(3))
    breaker.silent("a", 12)
    assert breaker.resting(12) == [Resting("a", 10, 1)]


def test_peers_that_never_come_back_are_forgotten():
    """The breaker of a process that outlives many workers is bounded."""
    breaker = Breaker(rest_s=10)
    for number in range(10_000):
        breaker.silent(f"worker-{number}", 0)
    assert len(breaker.resting(0)) <= 4_096
    assert not breaker.admits("worker-9999", 1)


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


LIMITS = Limits(hop_s=0.02, total_s=0.05)


def test_a_peer_without_a_sign_is_given_up_and_heard_of_later():
    """Silent peers are given up together, those that answer are not; a sign that comes later is heard."""
    sign: Future[Any] = Future()
    heard: list[str] = []
    hops = [Hop("cut", Future(), lambda: sign), Hop("well", done(7), Future), Hop("dark", Future(), Future)]
    cut, well, dark = outwait(hops, LIMITS, heard.append)
    assert (type(cut), well, type(dark)) == (SilentPeerError, 7, SilentPeerError)
    assert heard == []
    sign.set_result(False)
    assert heard == ["cut"]


def test_a_peer_that_lives_is_waited_for_up_to_the_limit():
    """Signs keep a question open; without a load it ends with the limit, as a time-out and no silence."""
    signs = []

    def ask_sign() -> Future[Any]:
        signs.append(1)
        return done(False)

    (result,) = outwait([Hop("slow", Future(), ask_sign)], LIMITS)
    assert isinstance(result, TimeoutError)
    assert len(signs) > 1


def test_a_peer_that_is_loading_is_waited_for_beyond_the_limit():
    """Its answer comes after several limits, and is taken."""
    answer: Future[Any] = Future()
    signs = []

    def ask_sign() -> Future[Any]:
        signs.append(1)
        if len(signs) > 20:
            answer.set_result("here")
        return done(True)

    assert outwait([Hop("loading", answer, ask_sign)], LIMITS) == ["here"]
    assert len(signs) * 0.2 * LIMITS.hop_s > LIMITS.total_s


@pytest.mark.parametrize("error", [ValueError("gone"), SilentPeerError("by another")])
def test_what_a_question_or_a_sign_raises_is_a_value(error: Exception):
    """One that fails keeps no other from its answer."""
    failed = in_thread(lambda: (_ for _ in ()).throw(error))
    hops = [Hop("a", failed, Future), Hop("b", Future(), lambda: failed), Hop("c", done(1), Future)]
    assert outwait(hops, LIMITS) == [error, error, 1]
