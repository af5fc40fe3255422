"""Waiting for peers as long as they show signs of life.

A peer that is cut off closes no connection: what it was asked is neither answered nor refused, and what waits for the
connection itself to fail waits for minutes. So whoever has waited for a fifth of a hop's time asks for a sign of life besides,
which any peer that can be reached gives soon, however busy it is with the question. Where neither comes in the rest of the time,
the peer is silent. One that lives is waited for on, up to a limit; and beyond that while it says that the lake is still
bringing something: to give a slow link up would be to read everything once more over the same link.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

from raycache.errors import SilentPeerError

#: How many limits a peer that is loading may take.
_LIMITS_MAX = 20
#: Of a hop's time, what passes before a sign of life is asked for: most of it is for the sign, since a host that has more to do
#: than it can may need seconds for that.
_BEFORE_SIGN = 0.2


class Hop(NamedTuple):
    """One question to one peer."""

    peer: str
    answer: Future[Any]
    #: Asks for a sign of life: true: the peer is loading.
    ask_sign: Callable[[], Future[Any]]


class Limits(NamedTuple):
    """How long is waited."""

    #: For a peer that shows no sign of life.
    hop_s: float
    #: For one that does, and is not loading.
    total_s: float


def outwait(hops: Sequence[Hop], limits: Limits, on_sign: Callable[[str], None] = lambda _: None) -> list[Any]:
    """Wait for all hops, at once.

    Args:
        hops: shape (H,).
        limits: of each.
        on_sign: hears the name of a peer that was given up as silent, when it gives its sign after all. In any thread.

    Returns:
        Shape (H,): what each was answered, or the exception in its place: a `SilentPeerError` for a silent peer, a
        TimeoutError for one that lives and took too long.
    """
    started_s = time.monotonic()
    before_sign_s = _BEFORE_SIGN * min(limits.hop_s, limits.total_s)
    deadlines = [started_s + limits.total_s] * len(hops)
    last_s = started_s + _LIMITS_MAX * limits.total_s
    results: list[Any] = [None] * len(hops)
    waiting = list(range(len(hops)))
    while waiting:
        now_s = time.monotonic()
        nearest_s = min(deadlines[number] for number in waiting)
        wait([hops[number].answer for number in waiting], max(0.0, min(before_sign_s, nearest_s - now_s)))
        waiting = _collected(hops, waiting, results)
        if not waiting:
            break
        signs = {number: _asked(hops[number]) for number in waiting}
        _wait_for_either(hops, signs, time.monotonic() + (1 - _BEFORE_SIGN) * limits.hop_s)
        waiting = _collected(hops, waiting, results)
        now_s = time.monotonic()
        for number in list(waiting):
            sign = signs[number]
            if not sign.done():
                peer = hops[number].peer
                sign.add_done_callback(functools.partial(_heard, peer, on_sign))
                results[number] = SilentPeerError(f"{peer} shows no sign of life; another is asked", peer=peer)
            elif sign.exception() is not None:
                results[number] = sign.exception()
            elif now_s >= deadlines[number]:
                if not sign.result() or now_s >= last_s:
                    results[number] = TimeoutError(f"no answer within {now_s - started_s:.0f} s")
                else:
                    deadlines[number] = now_s + limits.total_s
                    continue
            else:
                continue
            waiting.remove(number)
    return results


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Have this done by a thread of its own, which keeps nobody from ending: it may wait for minutes in a library."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # the waiting thread's, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, name="raycache-hop", daemon=True).start()
    return future


def _heard(peer: str, on_sign: Callable[[str], None], sign: Future[Any]) -> None:
    if sign.exception() is None:
        on_sign(peer)


def _asked(hop: Hop) -> Future[Any]:
    try:
        return hop.ask_sign()
    except Exception as error:  # a peer that cannot even be asked is as good as one that has failed
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _collected(hops: Sequence[Hop], waiting: list[int], results: list[Any]) -> list[int]:
    """Take in the answers that are there; returns who is still waited for."""
    left = []
    for number in waiting:
        answer = hops[number].answer
        if answer.done():
            error = answer.exception()
            results[number] = answer.result() if error is None else error
        else:
            left.append(number)
    return left


def _wait_for_either(hops: Sequence[Hop], signs: dict[int, Future[Any]], until_s: float) -> None:
    """Until each has answered or given its sign, or the time is over."""
    open_ = dict(signs)
    while open_ and (left_s := until_s - time.monotonic()) > 0:
        wait([*open_.values(), *(hops[number].answer for number in open_)], left_s, return_when=FIRST_COMPLETED)
        open_ = {number: sign for number, sign in open_.items() if not (sign.done() or hops[number].answer.done())}
