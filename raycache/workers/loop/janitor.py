"""Deleting files, and noting what was freed in them: in order, by a thread of its own, so that no loop waits for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Janitor:
    """Does chores one after the other. What one raises is ignored: a file that stays is found by the next scan."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="raycache-janitor")
        self._lock = threading.Lock()
        self._chores: deque[Callable[[], None]] = deque()
        self._running = False

    def put(self, chore: Callable[[], None]) -> None:
        """Have something done after all that was put before."""
        with self._lock:
            self._chores.append(chore)
            if self._running:
                return
            self._running = True
        self._thread.submit(self._run)

    async def done(self, timeout_s: float) -> bool:
        """Wait until all that was put before is done; False when that takes too long."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.put(lambda: _end(loop, ended))
        try:
            await asyncio.wait_for(ended.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._chores:
                    self._running = False
                    return
                chore = self._chores.popleft()
            try:
                chore()
            except Exception:  # see the class
                continue


def _end(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    loop.call_soon_threadsafe(ended.set)
