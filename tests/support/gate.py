"""An actor that tasks wait for, until a test lets them go on."""

from __future__ import annotations

import asyncio
import sys

import ray

# Worker processes cannot import this module: what they run of it travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@ray.remote(num_cpus=0)
class Gate:
    """Lets the first few in, and the others once it is opened."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._opened = asyncio.Event()

    async def enter(self) -> None:
        self._first -= 1
        if self._first < 0:
            await self._opened.wait()

    async def open(self) -> None:
        self._opened.set()
