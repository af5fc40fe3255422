"""The worker's background work: whatever raises in it, nobody waits for ever, and what repeats goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from raycache.clock import ManualClock
from raycache.messages import BlockRequest, BlockState, FileColumns, Purpose
from raycache.types import FileVersion
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import Load, LoadOutcome, Reply
from raycache.workers.service import WorkerService
from raycache.workers.stores.assembly import Bytes
from raycache.workers.stores.loader import Loader
from raycache.workers.threads import ThreadPorts
from raycache.workers.turns import Turns

LIMITS = WorkerLimits(8, 32, 64, 0, 10.0, 4, 1000, 1.0, 0.5, 2, 2, 64)
COLD = BlockRequest(
    "here", 0, 0, FileColumns.of([FileVersion("s3://b/a", 8, "1", 0)]), [0], [0], [0], [8], 8, int(Purpose.READ)
)


class BrokenLoader(Loader):
    """Breaks its promise never to raise."""

    def __init__(self) -> None:
        super().__init__(lambda _: (_ for _ in ()).throw(ValueError), lambda _: None, 8, 1)

    def load(self, load: Load) -> tuple[list[Bytes], LoadOutcome]:
        raise OverflowError(f"planted in load {load.load_id}")


class BrokenLanding(WorkerService):
    """Breaks off once, when a load has ended and nobody has heard of it."""

    breaks = True

    def loaded(self, load_id: int, outcome: LoadOutcome, now_s: float) -> Any:
        if self.breaks:
            self.breaks = False
            self._flights.finish(load_id)
            raise IndexError("planted")
        return super().loaded(load_id, outcome, now_s)


class BrokenAnswer(WorkerService):
    """Breaks off once, when everything is decided and nothing is said."""

    breaks = True

    def _answer(self, ticket: Any) -> None:
        if self.breaks:
            self.breaks = False
            raise IndexError("planted")
        super()._answer(ticket)


class Silent:
    """Takes the figures."""

    def loaded(self, seconds: float) -> None:
        raise ArithmeticError(f"planted, after {seconds} s")


def ports(service: WorkerService) -> ThreadPorts:
    nothing: Any = None
    exporter: Any = Silent()
    return ThreadPorts(service, nothing, BrokenLoader(), 2, ManualClock(), exporter, Turns())


def answers(service: WorkerService) -> list[Reply]:
    """To three readers of a cold block: two at once, and one later."""

    async def read() -> list[Reply]:
        worker = ports(service)
        first = await asyncio.wait_for(asyncio.gather(worker.ask(COLD), worker.ask(COLD)), 10)
        return [*first, await asyncio.wait_for(worker.ask(COLD), 10)]

    return asyncio.run(read())


def test_a_load_that_raises_fails_its_readers() -> None:
    """They read past the cache; who comes later has the block loaded again, and is not left with the old flight."""
    replies = answers(WorkerService("here", 1, LIMITS))
    assert [[BlockState.FAILED]] * 3 == [reply.states for reply in replies]
    assert ["OverflowError" in str(reply.errors[0]) for reply in replies] == [True] * 3


@pytest.mark.parametrize("broken", [BrokenLanding, BrokenAnswer])
def test_an_event_that_breaks_off_fails_who_waited_for_it(broken: type[WorkerService]) -> None:
    """A defect of the worker costs those that it concerns an answer, not their time."""
    service = broken("here", 1, LIMITS)
    replies = answers(service)
    assert [[BlockState.FAILED]] * 3 == [reply.states for reply in replies]
    assert "defect" in str(replies[0].errors[0])
    assert not service._flights.blocks()


@pytest.mark.parametrize("column", ["block_index", "offsets", "lengths"])
def test_numbers_of_foreign_types_are_refused(column: str) -> None:
    """They overflow, and compare in their own ways; one of them must not get as far as the tables."""
    foreign: Any = {column: [np.int64(0)]}
    (reply,) = WorkerService("here", 1, LIMITS).ask(0, COLD._replace(**foreign), 0.0)
    assert isinstance(reply, Reply)
    assert "plain integers" in str(reply.errors[0])


def test_what_is_done_again_and_again_goes_on_after_a_failure() -> None:
    """A loop of a worker never ends by an exception."""

    async def run() -> int:
        worker, enough, count = ports(WorkerService("here", 1, LIMITS)), asyncio.Event(), 0

        async def step() -> None:
            nonlocal count
            count += 1
            if count == 3:
                enough.set()
            raise KeyError("planted")

        worker.spawn(worker.forever(step, 0.0))
        await asyncio.wait_for(enough.wait(), 10)
        return count

    assert asyncio.run(run()) >= 3
