"""A restart takes its disk over while it serves: what is not there yet is a miss, and nothing is counted or kept twice."""

from __future__ import annotations

from raycache.messages import Selector
from raycache.rules import Pattern
from raycache.workers.effects import DropDisk, Load, SegmentEntry
from raycache.workers.walks.adoption import FoundFile
from tests.support.disk_segments import on_disk
from tests.unit.workers.test_service import HIT_DISK, LOADED, Worker, file, loads_in, reply_in

A, B, C = file("a", 8), file("b", 8), file("c", 8)


def segment_of(version: object, name: str) -> object:
    return on_disk(name, 8, [SegmentEntry(version, 0, 0, 8)], age_s=5.0)  # type: ignore[arg-type]  # a FileVersion


def found(worker: Worker, *names: str) -> list[DropDisk]:
    _, effects = worker.service.found_on_disk([FoundFile(name, 10) for name in names], 1.0)
    worker.service.validate()
    return [effect for effect in effects if isinstance(effect, DropDisk)]


def take(worker: Worker, version: object, name: str) -> list[object]:
    effects: list[object] = list(worker.service.adopt_one(name, segment_of(version, name), 1.0))  # type: ignore[arg-type]
    worker.service.validate()
    return effects


def test_nothing_is_written_to_a_disk_that_was_not_looked_at() -> None:
    """Its room is not known: what memory cannot take has none. Afterwards the room that is coming back is taken."""
    worker = Worker(memory=0, disk=20)
    worker.service.begin_adoption()
    assert not loads_in(worker.ask(A))
    assert [] == found(worker, "old")
    assert 1 == worker.service.adopting
    (load,) = loads_in(worker.ask(A))
    assert not loads_in(worker.ask(B))
    worker.loaded(load)


def test_what_is_read_before_it_is_taken_over_is_loaded_and_stays_once() -> None:
    """A miss, then a hit: the copy on disk is deleted, whether the load has ended by then or not."""
    for ended in (False, True):
        worker = Worker(memory=16, disk=40)
        worker.service.begin_adoption()
        (load,) = loads_in(worker.ask(A))
        assert isinstance(load, Load)
        if ended:
            worker.loaded(load)
        found(worker, "old", "other")
        assert [DropDisk("old")] == take(worker, A, "old")
        assert [] == take(worker, B, "other")
        if not ended:
            assert [LOADED] == reply_in(worker.loaded(load)).states
        worker.ask(B)
        assert [HIT_DISK] == reply_in(worker.service.verified("other", True, 2.0)).states


def test_what_is_freed_before_it_is_taken_over_does_not_come_back() -> None:
    """By name, by version, and when so much is freed that it is not remembered one by one."""
    worker = Worker(memory=16, disk=40)
    worker.service.begin_adoption()
    worker.service.free(Selector([Pattern(A.uri)]), True, 1.0)
    found(worker, "a", "b", "c")
    worker.service.free(Selector([], [B.id()]), True, 1.0)
    assert [DropDisk("a")] == [e for e in take(worker, A, "a") if isinstance(e, DropDisk)]
    assert [DropDisk("b")] == [e for e in take(worker, B, "b") if isinstance(e, DropDisk)]
    for _ in range(1001):
        worker.service.free(Selector([Pattern("s3://b/other")]), True, 1.0)
    worker.service.validate()
    assert (0, 0) == (worker.service.adopting, worker.service.stats().blocks)
    assert [] == worker.service.adopt_one("c", segment_of(C, "c"), 2.0)  # type: ignore[arg-type]


def test_a_torn_file_gives_its_room_back() -> None:
    """And what nobody announced is not taken."""
    worker = Worker(memory=0, disk=20)
    worker.service.begin_adoption()
    found(worker, "torn")
    assert [] == worker.service.adopt_one("never found", None, 1.0)
    assert [DropDisk("torn")] == worker.service.adopt_one("torn", None, 1.0)
    worker.service.validate()
    assert 2 == len(loads_in(worker.ask(A) + worker.ask(B)))
