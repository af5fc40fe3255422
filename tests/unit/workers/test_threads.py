"""The worker's background work: whatever raises in it, nobody waits for ever, and what repeats goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from raycache.clock import ManualClock
from raycache.errors import UnavailableError
from raycache.messages import BlockRequest, BlockState, FileColumns, Purpose
from raycache.types import FileVersion
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import Load, LoadOutcome, Reply
from raycache.workers.loop.turns import Turns
from raycache.workers.service import WorkerService
from raycache.workers.stores.assembly import Bytes
from raycache.workers.stores.loader import Loader
from raycache.workers.threads import ThreadPorts

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


class HangingLoader(Loader):
    """Waits for a store that does not answer, until it is let go."""

    def __init__(self) -> None:
        super().__init__(lambda _: (_ for _ in ()).throw(ValueError), lambda _: None, 8, 1)
        self.gate = threading.Event()

    def load(self, load: Load) -> tuple[list[Bytes], LoadOutcome]:
        if load.store == "s3://b":
            self.gate.wait()
        return [], LoadOutcome.failed(load.items, UnavailableError("it answered"))

    def stalled_s(self, load_id: int) -> float:
        return 99.0


class Waking(ThreadPorts):
    """Says when nothing hangs any more."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.awake = asyncio.Event()

    def _woke_up(self, store: str) -> None:
        super()._woke_up(store)
        if not self.hanging:
            self.awake.set()


class BrokenStores:
    """Cannot even say that it failed."""

    def store(self, load: Load, pieces: list[Bytes], outcome: LoadOutcome) -> bool:
        raise RecursionError("planted")


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


def test_a_load_that_never_ends_fails_and_those_of_other_stores_go_on() -> None:
    """When several hang, more of the same store are not begun; once they have woken up, they are."""
    loader = HangingLoader()

    async def read() -> list[str]:
        nothing: Any = None
        exporter: Any = Silent()
        service = WorkerService("here", 1, LIMITS)
        worker = Waking(service, nothing, loader, 2, ManualClock(), exporter, Turns(), stall_s=0.08)

        async def ask(uri: str) -> str:
            request = COLD._replace(files=FileColumns.of([FileVersion(uri, 8, "1", 0)]))
            return str((await asyncio.wait_for(worker.ask(request), 30)).errors[0])

        said = [await ask(f"s3://b/{number}") for number in range(5)]
        said.append(await ask("s3://other/a"))
        loader.gate.set()
        await asyncio.wait_for(worker.awake.wait(), 30)
        return [*said, await ask("s3://b/9")]

    said = asyncio.run(read())
    assert [True] * 4 == ["did not answer within" in text for text in said[:4]]
    assert [True, True, True] == ["does not answer" in said[4], said[5] == "it answered", said[6] == "it answered"]


def test_a_store_that_raises_fails_the_load() -> None:
    """The flight has landed, the room is free again, and the next reader has it loaded anew."""

    class Good(BrokenLoader):
        def load(self, load: Load) -> tuple[list[Bytes], LoadOutcome]:
            return [np.zeros(8, dtype=np.uint8)], LoadOutcome((BlockState.LOADED,), {})

    async def read() -> list[Reply]:
        stores: Any = BrokenStores()
        exporter: Any = Silent()
        service = WorkerService("here", 1, LIMITS)
        worker = ThreadPorts(service, stores, Good(), 2, ManualClock(), exporter, Turns())
        replies = [await asyncio.wait_for(worker.ask(COLD), 10) for _ in range(2)]
        service.validate()
        assert not service._flights.blocks()
        return replies

    assert [[BlockState.NO_SPACE]] * 2 == [reply.states for reply in asyncio.run(read())]


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
