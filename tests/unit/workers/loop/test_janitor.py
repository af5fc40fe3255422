"""Chores are done in order, beside the loop."""

from __future__ import annotations

import asyncio
import threading

from raycache.workers.loop.janitor import Janitor


def test_chores_are_done_in_order_whatever_one_raises() -> None:
    """`done` waits for all that was put before; a chore that hangs keeps nobody waiting for ever."""

    async def work() -> list[int]:
        janitor, found, gate = Janitor(), [], threading.Event()
        janitor.put(gate.wait)
        janitor.put(lambda: 1 / 0)  # type: ignore[arg-type,return-value]  # raises
        for number in range(100):
            janitor.put(lambda number=number: found.append(number))
        assert not await janitor.done(0.01)
        gate.set()
        assert await janitor.done(10)
        return found

    assert list(range(100)) == asyncio.run(work())
