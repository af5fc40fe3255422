"""The turns of a loop are measured by kind, through whatever a coroutine waits for."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from raycache.workers.loop.turns import SLOW_TURN_S, Pulse, Turns, timed


class Actor:
    def __init__(self) -> None:
        self.turns = Turns()

    @timed
    async def slow(self, turns: int) -> int:
        for _ in range(turns):
            until_s = time.monotonic() + 1.2 * SLOW_TURN_S
            while time.monotonic() < until_s:
                pass
            await asyncio.sleep(0)
        return turns

    @timed
    async def waits(self) -> None:
        await asyncio.sleep(1.5 * SLOW_TURN_S)

    @timed
    async def fails(self) -> None:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            raise KeyError("after a wait") from None


def test_slow_turns_are_counted_by_kind_and_waiting_is_none() -> None:
    """Results and errors come through."""
    actor = Actor()

    async def work() -> None:
        assert 2 == await actor.slow(2)
        await actor.waits()
        with pytest.raises(KeyError):
            await actor.fails()

    asyncio.run(work())
    (slow,) = [found for found in actor.turns.kinds() if found.slow]
    assert (2, 2, "slow") == (slow.slow, actor.turns.slow, slow.kind)
    assert slow.longest_s >= SLOW_TURN_S


def test_a_cancelled_task_ends() -> None:
    """The cancellation reaches what it waits for."""
    turns = Turns()
    ended: list[str] = []

    async def wait(began: asyncio.Event) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("here")

    async def work() -> None:
        began = asyncio.Event()
        task = asyncio.ensure_future(turns.timed("wait", wait(began)))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert ["here"] == ended


def test_the_pulse_beats_while_the_loop_comes_round_and_stops_when_it_hangs() -> None:
    """Whatever one beat raises."""
    beats = threading.Semaphore(0)

    def beat() -> None:
        beats.release()
        raise OSError("planted")

    pulse = Pulse(beat, 0.001)
    assert all(beats.acquire(timeout=10) for _ in range(3))
    pulse.stop()
    silent = Pulse(beat, 0.001, hung_s=0.0)
    silent.stop()
