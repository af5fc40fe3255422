"""Segments that are mostly waste are rewritten: when nobody uses them, without losing or reviving a block."""

from __future__ import annotations

import pytest

from raycache.messages import Purpose, Selector
from raycache.types import BlockId, FileVersion, Tier
from raycache.workers.effects import (
    Compact,
    Demote,
    DropDisk,
    DropMemory,
    Effect,
    Forget,
    SegmentEntry,
    Verify,
)
from tests.support.disk_segments import on_disk
from tests.unit.workers.test_service import HIT_MEMORY, LOADED, NO_SPACE, Worker, file, loads_in, reply_in

A, B, C, D = (file(name, 7) for name in "abcd")
LONG = file("long", 20)


def block(version: FileVersion, index: int = 0) -> BlockId:
    return BlockId(version.id(), index)


def packed(worker: Worker, now_s: float = 0.0) -> None:
    """Four small files in one segment of 28 bytes."""
    (load,) = loads_in(worker.ask(A, B, C, D, now_s=now_s, purpose=Purpose.PREFETCH))
    assert load.size_bytes == 28
    worker.loaded(load, now_s)


def free(worker: Worker, *versions: FileVersion, now_s: float = 1.0) -> list[Effect]:
    _, effects = worker.service.free(Selector([], [version.id() for version in versions]), True, now_s)
    worker.service.validate()
    return effects


def tick(worker: Worker, now_s: float) -> list[Effect]:
    effects = worker.service.tick(now_s)
    worker.service.validate()
    return effects


def compact_in(effects: list[Effect]) -> Compact:
    (found,) = [effect for effect in effects if isinstance(effect, Compact)]
    return found


def compacted(worker: Worker, effect: Compact, now_s: float, *, ok: bool = True) -> list[Effect]:
    effects = worker.service.compacted(effect.segment, ok, now_s)
    worker.service.validate()
    return effects


def test_less_than_half_left_is_rewritten() -> None:
    """What is left keeps its order; then the old segment's bytes come back, and reads are hits as before."""
    worker = Worker()
    packed(worker)
    assert free(worker, A, B) == []
    assert tick(worker, 2.0) == [], "half is of use"
    free(worker, D, now_s=3.0)
    effect = compact_in(tick(worker, 4.0))
    assert (effect.segment, effect.target, effect.tier) == ("s0", "s1", Tier.MEMORY)
    assert (effect.parts, effect.entries) == ([(14, 7)], [SegmentEntry(C, 0, 0, 7)])
    assert worker.service.stats().memory_used_bytes == 28
    assert compacted(worker, effect, 5.0) == [DropMemory("s0")]
    assert worker.service.stats().memory_used_bytes == 7
    reply = reply_in(worker.ask(C, now_s=6.0))
    assert (reply.states, reply.grants[0].segment, reply.grant_offsets) == ([HIT_MEMORY], "s1", [0])
    assert compacted(worker, effect, 7.0) == [], "a late word"


def test_blocks_of_a_file_stay_together() -> None:
    """The parts are runs, and what lay side by side still does."""
    worker = Worker()
    (load,) = loads_in(worker.ask(A, B, C, D, purpose=Purpose.PREFETCH))
    worker.loaded(load)
    free(worker, A, C, D)
    assert [(7, 7)] == compact_in(tick(worker, 2.0)).parts
    (load,) = [found for found in loads_in(worker.ask(LONG, purpose=Purpose.PREFETCH)) if found.size_bytes == 20]
    worker.loaded(load)
    worker.service._tiers.discard_blocks([block(LONG, 0), block(LONG, 1)], None)
    effect = next(e for e in tick(worker, 3.0) if isinstance(e, Compact) and e.segment == load.segment)
    assert (effect.parts, effect.entries) == ([(16, 4)], [SegmentEntry(LONG, 2, 0, 4)])


def test_nothing_is_rewritten_while_it_is_leased() -> None:
    """A reader has it mapped: its bytes could not come back anyway."""
    worker = Worker()
    packed(worker)
    reply_in(worker.ask(C, now_s=1.0))
    free(worker, A, B, D, now_s=2.0)
    assert tick(worker, 3.0) == []
    assert compact_in(tick(worker, 12.0)).segment == "s0"


def test_a_lease_granted_meanwhile_keeps_the_old_bytes() -> None:
    """Reads go on with the old segment; when its copy has taken its place, it goes as the lease ends."""
    worker = Worker()
    packed(worker)
    free(worker, A, B, D)
    effect = compact_in(tick(worker, 2.0))
    assert reply_in(worker.ask(C, now_s=3.0)).grants[0].segment == "s0"
    assert compacted(worker, effect, 4.0) == []
    assert reply_in(worker.ask(C, now_s=5.0)).grants[0].segment == "s1"
    assert tick(worker, 13.5) == [DropMemory("s0")]


def test_what_is_freed_while_it_is_copied_is_left_out() -> None:
    """The copy has its bytes, not its entry; a copy without anything left is dropped at once."""
    worker = Worker()
    (load,) = loads_in(worker.ask(*(file(name, 4) for name in "abcdefg"), purpose=Purpose.PREFETCH))
    worker.loaded(load)
    e, f, g = (file(name, 4) for name in "efg")
    free(worker, *(file(name, 4) for name in "abcd"))
    effect = compact_in(tick(worker, 2.0))
    free(worker, f, now_s=3.0)
    assert compacted(worker, effect, 4.0) == [DropMemory("s0")]
    assert [HIT_MEMORY, NO_SPACE, HIT_MEMORY] == reply_in(
        worker.ask(e, f, g, now_s=5.0, purpose=Purpose.READ_HELD)
    ).states
    free(worker, e, now_s=20.0)
    again = compact_in(tick(worker, 21.0))
    free(worker, g, now_s=22.0)
    assert compacted(worker, again, 23.0) == [DropMemory(again.target), DropMemory(again.segment)]
    assert worker.service.stats().memory_used_bytes == 0


def test_a_request_that_waits_is_answered_from_the_old_one() -> None:
    """Else it would read past the cache; the segment is rewritten a little later."""
    worker = Worker()
    packed(worker)
    free(worker, A, B, D)
    effect = compact_in(tick(worker, 2.0))
    (load,) = loads_in(worker.ask(C, LONG, now_s=3.0))
    assert compacted(worker, effect, 4.0) == [DropMemory("s1")]
    reply = reply_in(worker.loaded(load, 5.0))
    assert [HIT_MEMORY, LOADED, LOADED, LOADED] == reply.states
    assert compact_in(tick(worker, 30.0)).segment == "s0"


def test_a_copy_that_fails_changes_nothing() -> None:
    """It is not tried for ever: only when more of the segment has been freed."""
    worker = Worker()
    packed(worker)
    free(worker, A, B, D)
    effect = compact_in(tick(worker, 2.0))
    assert compacted(worker, effect, 3.0, ok=False) == []
    assert tick(worker, 4.0) == []
    assert [HIT_MEMORY] == reply_in(worker.ask(C, now_s=5.0)).states


def test_without_room_for_the_copy_nothing_happens() -> None:
    """The segment itself is never evicted to make room for its own copy."""
    worker = Worker(memory=28)
    packed(worker)
    free(worker, A, B, D)
    assert tick(worker, 2.0) == []
    assert [HIT_MEMORY] == reply_in(worker.ask(C, now_s=3.0)).states


@pytest.mark.parametrize("tier", ["disk", "both"])
def test_on_disk_what_is_freed_is_noted(tier: str) -> None:
    """A restart must not bring it back: neither from the old file, nor from the new one."""
    worker = Worker(memory=64 if tier == "both" else 0, disk=100)
    packed(worker)
    if tier == "both":
        effects = worker.service.set_memory_bytes(20, 1.0)
        assert effects == [Demote("s0")]
        assert free(worker, A, now_s=2.0) == [], "the file is not there yet"
        effects = worker.service.demoted("s0", True, 3.0)
        assert effects == [DropMemory("s0"), Forget("s0", [block(A)])]
    else:
        assert free(worker, A) == [Forget("s0", [block(A)])]
    free(worker, B, now_s=4.0)
    assert free(worker, C, now_s=5.0) == [Forget("s0", [block(C)])]
    effect = compact_in(tick(worker, 6.0))
    assert (effect.tier, effect.parts, effect.entries) == (Tier.DISK, [(21, 7)], [SegmentEntry(D, 0, 0, 7)])
    worker.ask(D, now_s=7.0)
    assert compacted(worker, effect, 8.0) == [Forget("s0", [block(D)])], "leased: the old file stays for now"
    assert tick(worker, 30.0) == [DropDisk("s0")]


def test_what_a_restart_found_is_checked_before_it_is_copied() -> None:
    """A copy has a checksum of its own."""
    worker = Worker(memory=0, disk=100)
    entries = [SegmentEntry(version, 0, 7 * number, 7) for number, version in enumerate((A, B, C, D))]
    worker.service.adopt([on_disk("old", 28, entries)], 0.0)
    free(worker, A, B, D)
    assert tick(worker, 2.0) == [Verify("old")]
    worker.service.verified("old", True, 3.0)
    assert compact_in(tick(worker, 4.0)).segment == "old"


def test_room_for_one_copy_may_be_made_of_another_wasteful_segment() -> None:
    """The first rewrite evicts the second segment that was to be rewritten; that one is gone then, and nothing else."""
    worker = Worker(memory=0, disk=56, inflight=1)
    packed(worker)
    others = [file(name, 7) for name in "efgh"]
    (load,) = loads_in(worker.ask(*others, purpose=Purpose.PREFETCH))
    worker.loaded(load)
    worker.service.touch(["s0"], 0.5)
    free(worker, A, B, C, *others[1:])
    effects = tick(worker, 20.0)
    rewritten = compact_in(effects).segment
    (dropped,) = [effect.segment for effect in effects if isinstance(effect, DropDisk)]
    assert {rewritten, dropped} == {"s0", "s1"}
