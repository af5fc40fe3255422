"""A worker's way to the master: calls with a time-out, a sign of life from a thread, and what its absence means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ray

from raycache.messages import MASTER_NAME, RAY_NAMESPACE, decode
from raycache.types import WorkerId

_TIMEOUT_S = 15.0


class MasterLink:
    """Calls the master of one cache.

    Args:
        cache_id: of this worker's cache.
        node: of this worker.
        epoch: of this worker.
        stopped: called where the master of another cache bears the name: this worker's cache was stopped.
    """

    def __init__(self, cache_id: str, node: WorkerId, epoch: int, stopped: Callable[[], Awaitable[None]]) -> None:
        self._cache_id = cache_id
        self._node = node
        self._epoch = epoch
        self._stopped = stopped
        #: Its handle, once it was found to be of this cache.
        self._master: Any = None

    async def ask(self, method: str) -> Any:
        """What the master answers; None when it does not answer: reads go on with what is known here, or fail over."""
        try:
            good, answer = decode(await self.call(method))
        except Exception:
            # It restarts; the next heartbeat brings what was asked for.
            return None
        return answer if good else None

    async def call(self, method: str, *arguments: bytes) -> bytes:
        """A reply of the master. Raises whatever keeps it from answering."""

        async def call() -> bytes:
            answer: bytes = await getattr(await self._find(), method).remote(*arguments)
            return answer

        try:
            return await asyncio.wait_for(call(), _TIMEOUT_S)
        except Exception:
            self._master = None
            raise

    def say_alive(self) -> None:
        """Called from a thread, also while the event loop is busy. Does not wait."""
        if (master := self._master) is not None:
            master.alive.remote(self._node, self._epoch)

    async def is_gone(self) -> bool:
        """Whether there is no master any more, rather than one that is slow, or that Ray is starting again."""
        try:
            await asyncio.wait_for(asyncio.to_thread(_look_up), _TIMEOUT_S)
        except ValueError:
            return True
        except Exception:
            # The cluster is in trouble: nobody knows.
            return False
        return False

    async def _find(self) -> Any:
        if self._master is None:
            # Looking an actor up blocks, and may take long while the cluster is in trouble.
            found: Any = await asyncio.to_thread(_look_up)
            good, hello = decode(await found.hello.remote())
            if good and hello.cache_id != self._cache_id:
                await self._stopped()
            self._master = found
        return self._master


def _look_up() -> Any:
    return ray.get_actor(MASTER_NAME, namespace=RAY_NAMESPACE)
