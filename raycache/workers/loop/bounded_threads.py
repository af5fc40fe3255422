"""Threads for work that may never end: who waits for it is let go, and when too many hang nobody begins to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class BoundedThreads:
    """A pool whose work has a deadline.

    Args:
        name: of the threads.
        threads: at most.
        deadline_s: after which work counts as hanging; its thread stays with it.
        hanging_max: of so many nothing more is begun.
    """

    def __init__(self, name: str, threads: int, deadline_s: float, hanging_max: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._deadline_s = deadline_s
        self._hanging_max = hanging_max
        self._hanging: dict[Future[Any], None] = {}

    @property
    def hang(self) -> bool:
        """Whether nothing is begun, because too much hangs."""
        return len(self._hanging) >= self._hanging_max

    async def run(
        self,
        work: Callable[[*_Arguments], _Result],
        *arguments: *_Arguments,
        too_late: Callable[[_Result], None] | None = None,
    ) -> _Result:
        """Do it in a thread. To be called on the event loop.

        Args:
            work: blocks.
            arguments: of it.
            too_late: called on the event loop with what it gave after nobody waited any more.

        Raises:
            TimeoutError: it did not end in time, or was not begun.
        """
        if self.hang:
            raise TimeoutError(f"{len(self._hanging)} pieces of work hang")
        future = self._pool.submit(work, *arguments)
        loop = asyncio.get_running_loop()
        waiting = asyncio.wrap_future(future)
        # Nobody may wait any more when it fails.
        waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if (await asyncio.wait([waiting], timeout=self._deadline_s))[0]:
            return future.result()
        if future.cancel():
            raise TimeoutError("no thread was free in time")
        self._hanging[future] = None

        def ended(_: object) -> None:
            loop.call_soon_threadsafe(self._ended, future, too_late)

        future.add_done_callback(ended)
        raise TimeoutError(f"no end within {self._deadline_s:g} s")

    def _ended(self, future: Future[_Result], too_late: Callable[[_Result], None] | None) -> None:
        self._hanging.pop(future, None)
        if too_late is not None and not future.cancelled() and future.exception() is None:
            too_late(future.result())
