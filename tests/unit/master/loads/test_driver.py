"""The driver of load jobs, over a lake in memory and workers that load whatever they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from raycache.clock import ManualClock
from raycache.errors import NoSpaceError, NotFoundError
from raycache.master.loads.board import JobBoard, Record
from raycache.master.loads.driver import JobDriver
from raycache.master.loads.expansion import LoadListing
from raycache.messages import BlockReply, BlockState, LoadRequest, WantedFile, decode, encode, pack_files
from raycache.settings import Settings
from raycache.types import FileVersion, WorkerView
from tests.unit.master.loads.test_expansion import Bench


class Worker:
    """Stands for a worker's actor: answers every request with LOADED."""

    def __init__(self) -> None:
        self.asked = 0
        #: Set, it answers; and how often it has been asked whether it is loading meanwhile.
        self.answers = asyncio.Event()
        self.answers.set()
        self.looks = 0

    @property
    def read(self) -> Worker:
        return self

    @property
    def is_loading(self) -> _Looks:
        return _Looks(self)

    async def remote(self, blob: bytes) -> tuple[bytes, list[Any]]:
        request = decode(blob)
        await self.answers.wait()
        count = len(request.block_index)
        self.asked += count
        states = [int(BlockState.LOADED)] * count
        return encode(BlockReply("a", 1, 1, states, [-1] * count, [0] * count, [], {})), []


class _Looks:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def remote(self) -> bool:
        self._worker.looks += 1
        if self._worker.looks == 3:
            self._worker.answers.set()
        return True


class Master:
    """What of the master actor the driver needs."""

    def __init__(self, journal: list[Record], settings: Settings | None = None) -> None:
        self.bench = Bench()
        self.clock = ManualClock()
        self.journal = journal
        self.board = JobBoard(Settings(), self.bench.service.locations.holders)
        self.board.replay(journal, 0.0)
        self.workers = {"a": Worker(), "b": Worker()}
        self.tasks: list[asyncio.Task[None]] = []
        bench = self.bench
        listing = LoadListing(bench.service, lambda _: bench.lister, bench.ask, lambda _: bench.threads, self.clock)
        self.driver = JobDriver(
            settings or Settings(),
            self.bench.service,
            self.board,
            listing,
            self.clock,
            self.record,
            self.worker_of,
            self.spawn,
        )
        starts = self.bench.service.nodes_changed(["a", "b"], 0.0)
        self.epochs = {effect.worker: effect.epoch for effect in starts}

    def worker_of(self, worker: WorkerView) -> Worker:
        return self.workers[worker.worker]

    async def record(self, records: list[Record]) -> None:
        self.journal.extend(records)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def register(self, *names: str) -> None:
        """These workers are there."""
        for name in names:
            self.bench.service.membership.spoke(name, self.epochs[name], 1 << 40, self.clock.now_s())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # the driver tells nobody when it has moved
                await asyncio.sleep(0.01)

    def state(self, job_id: str) -> str:
        return str(self.board.progress(job_id, self.clock.now_s()).state)

    @property
    def asked(self) -> int:
        return sum(worker.asked for worker in self.workers.values())

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Drive until the scenario has ended."""

        async def all_of_it() -> None:
            driving = asyncio.get_running_loop().create_task(self.driver.drive_forever())
            try:
                await scenario
            finally:
                driving.cancel()

        try:
            asyncio.run(all_of_it())
        finally:
            self.bench.lister.close()
            self.bench.threads.shutdown()


def test_a_load_is_listed_sent_and_written_down() -> None:
    """From paths to an ended job: every file is asked for once, and the journal has the request and the end."""
    journal: list[Record] = []
    master = Master(journal)

    async def scenario() -> None:
        master.register("a", "b")
        with pytest.raises(NotFoundError):
            await master.driver.load("r" * 32, LoadRequest(["/lake/none"]))
        job_id = await master.driver.load("r" * 32, LoadRequest(["/lake"]))
        assert job_id == await master.driver.load("r" * 32, LoadRequest(["/lake"]))
        await master.until(lambda: [record["op"] for record in journal] == ["load", "load_ended"])
        assert (master.state(job_id), master.asked) == ("SUCCEEDED", 6)
        survey = await master.driver.survey(LoadRequest(["/lake"]))
        assert (survey.files, survey.bytes_cached) == (6, 0)

    master.run(scenario())


def test_a_slow_link_is_waited_for() -> None:
    """A worker that says that it is loading is waited for beyond the time-out, and asked once for what it loads."""
    journal: list[Record] = []
    master = Master(journal, Settings(worker_timeout_s=0.05))

    async def scenario() -> None:
        for worker in master.workers.values():
            worker.answers.clear()
        master.register("a", "b")
        job_id = await master.driver.load("r" * 32, LoadRequest(["/lake"]))
        await master.until(lambda: [record["op"] for record in journal] == ["load", "load_ended"])
        assert (master.state(job_id), master.asked) == ("SUCCEEDED", 6)
        assert min(worker.looks for worker in master.workers.values()) >= 3

    master.run(scenario())


def test_a_job_of_an_earlier_master_waits_until_the_workers_have_spoken() -> None:
    """While one is missing, its blocks would be sent to another: nothing goes before all are there and have reported."""
    journal: list[Record] = [{"op": "load", "job_id": "old", "request": LoadRequest(["/lake"])._asdict()}]
    master = Master(journal)

    async def scenario() -> None:
        master.register("a")
        (job,) = master.board.live()
        await master.until(lambda: job.progress(0.0).listed)
        master.clock.advance(5.0)
        assert master.driver.is_held(master.clock.now_s())
        master.register("b")
        assert master.driver.is_held(master.clock.now_s())
        assert master.asked == 0
        master.clock.advance(3.0)
        await master.until(lambda: master.state("old") == "SUCCEEDED")

    master.run(scenario())


def test_it_waits_for_a_lost_worker_only_so_long() -> None:
    """A worker that never comes holds nobody up for ever."""
    journal: list[Record] = [{"op": "load", "job_id": "old", "request": LoadRequest(["/lake"])._asdict()}]
    master = Master(journal)

    async def scenario() -> None:
        master.register("a")
        assert master.state("old") == "WAITING"
        master.clock.advance(60.0)
        await master.until(lambda: master.state("old") == "SUCCEEDED")
        assert master.state("old") == "SUCCEEDED"

    master.run(scenario())


def test_given_files_are_loaded_without_a_listing() -> None:
    """Also by the next master, which finds them in the journal; nothing of them has to be in the lake's listing."""
    wanted = [WantedFile(FileVersion(f"s3://elsewhere/{number}", 100, "e", 0)) for number in range(1_500)]
    request, journal = LoadRequest(["s3://elsewhere"], given=True), list[Record]()
    first = Master(journal)

    async def begin() -> None:
        assert "r" * 12 == await first.driver.load_files("r" * 32, request, pack_files(wanted))
        assert "r" * 12 == await first.driver.load_files("r" * 32, request, pack_files(wanted))
        assert ["load_files", "load"] == [record["op"] for record in journal]

    first.run(begin())
    second = Master(journal)

    async def go_on() -> None:
        second.register("a", "b")
        second.clock.advance(60.0)
        await second.until(lambda: second.state("r" * 12) == "SUCCEEDED")
        assert second.asked == 1_500

    second.run(go_on())


def test_who_waits_for_a_job_hears_of_its_end_at_once() -> None:
    """The end wakes the waiter long before its time is over; before the end it gets the progress so far."""
    master = Master([])

    async def scenario() -> None:
        job_id = await master.driver.load("r" * 32, LoadRequest(["/lake"]))
        assert "WAITING" == (await master.driver.ended(job_id, 0.01)).state

        async def workers_come() -> None:
            master.register("a", "b")

        async with asyncio.timeout(10):
            # Started in this order, so the waiter is there first.
            ended, _ = await asyncio.gather(master.driver.ended(job_id, 3600.0), workers_come())
            assert "SUCCEEDED" == ended.state
            assert "SUCCEEDED" == (await master.driver.ended(job_id, 3600.0)).state
        with pytest.raises(NotFoundError):
            await master.driver.ended("unknown", 3600.0)

    master.run(scenario())


def test_a_load_that_cannot_be_written_down_does_not_run() -> None:
    """Its caller was told that it failed, and a restart would not know of it; its end is written when that can be done."""
    journal: list[Record] = []
    master = Master(journal)
    full = True
    write = master.record

    async def record(records: list[Record]) -> None:
        if full and records:
            raise NoSpaceError("the journal cannot be written")
        await write(records)

    master.driver._record = record

    async def scenario() -> None:
        nonlocal full
        master.register("a", "b")
        with pytest.raises(NoSpaceError):
            await master.driver.load("r" * 32, LoadRequest(["/lake"]))
        job_id = "r" * 12
        assert (master.state(job_id), master.asked) == ("STOPPED", 0)
        full = False
        await master.until(lambda: [record["op"] for record in journal] == ["load_ended"])
        assert (master.state(job_id), master.asked) == ("STOPPED", 0)

    master.run(scenario())
