"""What is refused room, by which policy, and how that is said."""

from __future__ import annotations

from raycache.messages import BlockState, MissReason, Purpose
from raycache.workers.effects import DropDisk, DropMemory, Load
from tests.unit.workers.test_service import NO_SPACE, Worker, file, reply_in


def test_sticky_refuses_what_is_new_and_says_so() -> None:
    """What is cached stays, on disk and in memory; the refused block is counted as such. A load job is not refused."""
    worker = Worker(memory=8, disk=8, policy="sticky")
    worker.fill(file("a", 8), file("b", 8))
    (reply,) = worker.ask(file("c", 8))
    assert (reply.states, reply.reasons) == ([NO_SPACE], {0: MissReason.ADMISSION})
    assert [reply_in(worker.ask(file(name, 8))).states[0].served for name in "ab"] == [True, True]
    effects = worker.ask(file("c", 8), now_s=100.0, purpose=Purpose.LOAD, job_age_s=1.0)
    assert [type(effect) for effect in effects][:1] == [DropDisk]


def test_sticky_gives_way_to_what_is_new_when_what_is_cached_is_past_use() -> None:
    """A segment that nobody has used for sixteen loads goes."""
    worker = Worker(memory=8, policy="sticky")
    worker.fill(file("a", 8))
    states = [reply_in(worker.ask(file(f"n{i}", 8), now_s=20.0)).states[0] for i in range(16)]
    assert states == [NO_SPACE] * 16
    assert isinstance(worker.ask(file("z", 8), now_s=20.0)[0], DropMemory)


def test_what_an_epoch_has_still_to_read_does_not_make_room_for_its_prefetches() -> None:
    """Only what was read since the epoch began goes, though something colder is there; a read takes the coldest."""
    worker = Worker(memory=16)
    worker.fill(file("a", 8), file("b", 8))
    ahead = {"purpose": Purpose.PREFETCH, "epoch_age_s": 5.0}
    (reply,) = worker.ask(file("c", 8), now_s=105.0, **ahead)
    assert reply.states == [NO_SPACE]
    worker.ask(file("b", 8), now_s=102.0, purpose=Purpose.PREFETCH)
    effects = worker.ask(file("c", 8), now_s=106.0, **ahead)
    assert [type(effect) for effect in effects] == [DropMemory, Load]
    assert reply_in(worker.ask(file("a", 8), now_s=107.0)).states == [BlockState.HIT_MEMORY]


def test_only_prefetches_have_an_epoch() -> None:
    """A reader that wants bytes now takes what room there is."""
    (reply,) = Worker().ask(file("a", 8), epoch_age_s=1.0)
    assert reply.states == [BlockState.FAILED]
