"""The journal of a running master: what fails is refused and healed, what hangs holds nobody, what is lost is left alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from raycache.errors import ConflictError, NoSpaceError, UnavailableError
from raycache.master.journal.records import Record
from raycache.master.journal.scribe import Scribe
from raycache.master.journal.ufs_journal import UfsJournal
from raycache.ufs.faulty import FaultyStorage, PlannedFault
from raycache.ufs.memory import MemoryStorage

A, B, C = ({"op": name} for name in "abc")


class Disk:
    """A place for a journal that can be full, or hang."""

    def __init__(self) -> None:
        self.storage = MemoryStorage("memory://journal")
        self.full = False
        #: The write is done, and its answer is lost.
        self.silent = False
        self.answers = threading.Event()
        self.answers.set()

    def plan(self, operation: str, key: str, number: int) -> PlannedFault | None:
        del key, number
        assert self.answers.wait(30)
        if self.full and operation == "put":
            return PlannedFault(NoSpaceError("the bucket is full"), after=self.silent)
        return None

    def open(self, owner: str = "c.1") -> UfsJournal:
        return UfsJournal(FaultyStorage(self.storage, self.plan), "j", owner)

    def records(self) -> list[Record]:
        return UfsJournal(self.storage, "j").replay()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_a_change_that_cannot_be_written_is_refused_and_the_next_one_heals() -> None:
    """The reason is known meanwhile; after it, the journal says what the master knows, and the change."""
    disk, state = Disk(), [A]

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: state)
        await scribe.write([A])
        disk.full = True
        with pytest.raises(NoSpaceError):
            await scribe.write([B])
        assert scribe.problem == "the bucket is full"
        with pytest.raises(NoSpaceError):
            await scribe.write([C])
        disk.full = False
        await scribe.write([C])
        assert scribe.problem == ""

    run(scenario())
    assert [A, C] == disk.records()


def test_a_refused_change_is_not_there_even_if_it_was_written() -> None:
    """Its answer got lost: the next write says everything anew, so a restart does not bring it back."""
    disk, state = Disk(), [A]

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: state)
        await scribe.write([A])
        disk.full = disk.silent = True
        with pytest.raises(NoSpaceError):
            await scribe.write([B])
        disk.full = False
        await scribe.tend()

    run(scenario())
    assert [A] == disk.records()


def test_a_write_that_hangs_is_refused_in_time_and_holds_only_its_thread() -> None:
    """Further changes are refused at once until it ends; then all is as before, without what was refused."""
    disk, state = Disk(), [A]

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: state, deadline_s=0.2)
        await scribe.write([A])
        disk.answers.clear()
        with pytest.raises(UnavailableError, match=r"within 0.2 s"):
            await scribe.write([B])
        with pytest.raises(UnavailableError, match="until it does"):
            await scribe.write([C])
        disk.answers.set()
        assert scribe._hung is not None
        await asyncio.wait({scribe._hung})
        await scribe.write([C])
        assert scribe.problem == ""

    run(scenario())
    assert [A, C] == disk.records()


def test_a_start_that_could_not_be_written_is_written_before_the_first_change() -> None:
    """The master began with a full disk: its state, start included, comes first."""
    disk = Disk()

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: [A, B], problem="the disk is full")
        await scribe.write([C])
        assert scribe.problem == ""

    run(scenario())
    assert [A, B, C] == disk.records()


def test_a_journal_that_grew_is_compacted_while_the_master_runs() -> None:
    """A restart then reads one object, not one for each change ever made."""
    disk, state = Disk(), [A]

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: state)
        for _ in range(250):
            await scribe.write([B])
        assert 250 == len(disk.storage.list("j/").objects)
        await scribe.tend()

    run(scenario())
    assert [A] == disk.records()
    assert 2 == len(disk.storage.list("j/").objects)  # the snapshot and the owner


def test_a_journal_of_another_cache_is_left_alone() -> None:
    """Taken over, it is neither written nor cleared by the one that lost it."""
    disk = Disk()

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: [A])
        await scribe.write([A])
        other = disk.open("d.9")
        other.replay()
        other.append(B)
        with pytest.raises(ConflictError, match="taken over"):
            await scribe.write([C])
        with pytest.raises(ConflictError, match="taken over"):
            await scribe.write([C])
        await scribe.tend()
        await scribe.clear()
        assert "taken over" in scribe.problem or scribe.problem

    run(scenario())
    assert [A, B] == disk.records()


def test_a_stopped_cache_leaves_nothing_and_writes_nothing_more() -> None:
    """Whatever is changed after it, the journal stays empty."""
    disk = Disk()

    async def scenario() -> None:
        scribe = Scribe(disk.open(), lambda: [A])
        await scribe.write([A])
        await scribe.keep(B)
        await scribe.clear()
        with pytest.raises(ConflictError, match="stopped"):
            await scribe.write([C])
        await scribe.tend()

    run(scenario())
    assert [] == disk.storage.list("").objects
