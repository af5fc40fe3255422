"""Work that may never end: nobody waits for it longer than its deadline, and too much of it is not begun."""

from __future__ import annotations

import asyncio
import threading

import pytest

from raycache.workers.loop.bounded_threads import BoundedThreads


def test_work_that_hangs_is_left_alone_and_what_it_gives_late_is_seen() -> None:
    """Then nothing more is begun; when it has woken up, work is done again."""

    async def work() -> None:
        threads = BoundedThreads("test", 2, 0.05, 1)
        gate, late = threading.Event(), asyncio.Event()
        with pytest.raises(TimeoutError):
            await threads.run(gate.wait, too_late=lambda woke: late.set() if woke else None)
        assert threads.hang
        with pytest.raises(TimeoutError):
            await threads.run(pytest.fail)
        gate.set()
        await asyncio.wait_for(late.wait(), 10)
        assert not threads.hang
        assert 7 == await threads.run(lambda: 7)

    asyncio.run(work())


def test_what_fails_fails_for_who_waits() -> None:
    """With its own error, and without counting as hanging."""

    async def work() -> None:
        threads = BoundedThreads("test", 1, 10.0, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        assert not threads.hang

    asyncio.run(work())
