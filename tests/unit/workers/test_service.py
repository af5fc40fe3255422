"""The rules of a worker, one by one; effects are compared as values."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from raycache.errors import InvalidRequestError, UnavailableError
from raycache.messages import (
    BlockReport,
    BlockRequest,
    BlockState,
    FileColumns,
    FreeReply,
    GrantKind,
    Purpose,
    Selector,
)
from raycache.ranges import block_count, block_length
from raycache.rules import Pattern
from raycache.types import FileVersion, Tier
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import (
    Demote,
    DropDisk,
    DropMemory,
    Effect,
    Load,
    LoadOutcome,
    Promote,
    Reply,
    SegmentEntry,
    Verify,
)
from raycache.workers.service import WorkerService
from tests.support.disk_segments import on_disk

BLOCK = 8
PAGE = 2
HIT_MEMORY, HIT_DISK, LOADED, NO_SPACE = (
    BlockState.HIT_MEMORY,
    BlockState.HIT_DISK,
    BlockState.LOADED,
    BlockState.NO_SPACE,
)


def file(name: str, size_bytes: int, etag: str = "1") -> FileVersion:
    return FileVersion(f"s3://b/{name}", size_bytes, etag, 0)


class Worker:
    """A service, with short words for what tests do to it."""

    def __init__(self, memory: int = 64, disk: int = 0, inflight: int = 4, *, policy: str = "lru", **more: int) -> None:
        numbers, bytes_max = itertools.count(), more.get("inflight_bytes", 1000)
        limits = WorkerLimits(BLOCK, 32, memory, disk, 10.0, inflight, bytes_max, 1.0, 0.5, 2, PAGE, 64)
        self.service = WorkerService("here", 1, limits, policy, new_id=lambda: f"s{next(numbers)}")
        self.tickets = itertools.count()

    def ask(
        self, *files: FileVersion, now_s: float = 0.0, node: str = "here", blocks: list[int] | None = None, **more: Any
    ) -> list[Effect]:
        rows = [
            (number, index, 0, block_length(index, version.size_bytes, BLOCK))
            for number, version in enumerate(files)
            for index in (blocks or range(block_count(version.size_bytes, BLOCK)))
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        request = BlockRequest(node, 0, 0, FileColumns.of(files), *columns, BLOCK, **{"purpose": 0} | more)
        effects = self.service.ask(next(self.tickets), request, now_s)
        self.service.validate()
        return effects

    def loaded(self, load: Effect, now_s: float = 0.0, state: BlockState = LOADED) -> list[Effect]:
        assert isinstance(load, Load)
        effects = self.service.loaded(load.load_id, LoadOutcome((state,) * len(load.items), {}), now_s)
        self.service.validate()
        return effects

    def fill(self, *files: FileVersion, now_s: float = 0.0) -> None:
        """Make files resident, one after the other, without leases."""
        for version in files:
            effects = self.ask(version, now_s=now_s, purpose=Purpose.PREFETCH)
            while loads := [effect for effect in effects if isinstance(effect, Load)]:
                effects = [e for load in loads for e in self.loaded(load, now_s)]


def reply_in(effects: list[Effect]) -> Reply:
    (reply,) = [effect for effect in effects if isinstance(effect, Reply)]
    return reply


def loads_in(effects: list[Effect]) -> list[Load]:
    return [effect for effect in effects if isinstance(effect, Load)]


def layout(load: Load) -> list[tuple[str, int, int, int]]:
    """(file, block, offset in the segment, length) of every item."""
    return [(i.version.uri[7:], i.block_index, i.offset_in_segment, i.length) for i in load.items]


def test_a_missing_file_is_loaded_into_memory_as_one_segment_and_granted() -> None:
    """Cold, the reader waits for one load; the grant carries the table of the segment."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 20)))
    assert (load.tier, load.size_bytes, layout(load)) == (
        Tier.MEMORY,
        20,
        [("a", 0, 0, 8), ("a", 1, 8, 8), ("a", 2, 16, 4)],
    )
    reply = reply_in(worker.loaded(load))
    (grant,) = reply.grants
    assert (reply.states, reply.grant_index, reply.grant_offsets) == ([LOADED] * 3, [0, 0, 0], [0, 8, 16])
    assert (grant.kind, grant.length_bytes, grant.lease_s) == (GrantKind.PLASMA, 20, 10.0)
    assert (grant.entry_blocks, grant.entry_offsets, grant.entry_lengths) == ([0, 1, 2], [0, 8, 16], [8, 8, 4])


def test_small_files_are_packed_without_padding() -> None:
    """Many files smaller than a block share segments up to the segment size."""
    worker = Worker()
    loads = loads_in(worker.ask(*[file(name, 7) for name in "abcde"]))
    assert [layout(load) for load in loads] == [
        [("a", 0, 0, 7), ("b", 0, 7, 7), ("c", 0, 14, 7), ("d", 0, 21, 7)],
        [("e", 0, 0, 7)],
    ]


def test_only_consecutive_blocks_share_a_segment() -> None:
    """A hole in what is asked for, or a full segment, starts another one."""
    worker = Worker()
    loads = loads_in(worker.ask(file("a", 64), blocks=[0, 1, 3, 4, 5, 6, 7]))
    assert [[item.block_index for item in load.items] for load in loads] == [[0, 1], [3, 4, 5, 6], [7]]


def test_a_block_on_its_way_is_joined() -> None:
    """Two readers of one cold block cause one load, and both are answered by it."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 8)))
    assert worker.ask(file("a", 8), node="there") == []
    replies = [effect for effect in worker.loaded(load) if isinstance(effect, Reply)]
    assert [(reply.ticket, reply.states) for reply in replies] == [(0, [LOADED]), (1, [LOADED])]


def test_a_second_read_is_a_hit_without_a_load() -> None:
    """Warm, the reply comes at once."""
    worker = Worker()
    worker.fill(file("a", 20))
    (reply,) = worker.ask(file("a", 20))
    assert isinstance(reply, Reply)
    assert reply.states == [HIT_MEMORY] * 3


def test_a_remote_reader_gets_the_segment_for_half_of_it_and_bytes_for_less() -> None:
    """PLASMA when at least half of the segment is wanted, else INLINE with just the parts."""
    worker = Worker()
    worker.fill(file("a", 32))
    (whole,) = reply_in(worker.ask(file("a", 32), node="there", blocks=[1, 2])).grants
    (part,) = reply_in(worker.ask(file("a", 32), node="there", blocks=[3])).grants
    assert (whole.kind, whole.length_bytes) == (GrantKind.PLASMA, 32)
    assert (part.kind, part.length_bytes, part.parts, part.entry_blocks) == (GrantKind.INLINE, 8, [(24, 8)], [])


def test_a_load_request_hands_nothing_out() -> None:
    """PREFETCH gives states only."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 8), purpose=Purpose.PREFETCH))
    reply = reply_in(worker.loaded(load))
    assert (reply.states, reply.grants, reply.grant_index) == ([LOADED], [], [-1])


def test_running_loads_are_bounded_and_the_rest_waits_in_order() -> None:
    """More than `loads_inflight_max` segments queue; each that ends starts the next."""
    worker = Worker(memory=1000, inflight=2)
    first = loads_in(worker.ask(*[file(name, 8) for name in "abcd"]))
    assert [layout(load)[0][0] for load in first] == ["a", "b"]
    (third,) = loads_in(worker.loaded(first[1]))
    assert layout(third)[0][0] == "c"


def test_a_segment_larger_than_the_byte_bound_goes_alone() -> None:
    """`load_bytes_inflight_max` delays, never blocks for good."""
    worker = Worker(memory=1000, inflight_bytes=10)
    (first,) = loads_in(worker.ask(file("a", 32), file("b", 8)))
    assert layout(first)[0][0] == "a"
    (second,) = loads_in(worker.loaded(first))
    assert layout(second)[0][0] == "b"


def test_without_a_disk_the_coldest_unleased_segment_is_dropped() -> None:
    """LRU: of two segments the one not used since goes."""
    worker = Worker(memory=16)
    worker.fill(file("a", 8), file("b", 8))
    worker.ask(file("a", 8), purpose=Purpose.PREFETCH)
    effects = worker.ask(file("c", 8))
    assert [DropMemory("s1")] == effects[:1]
    assert loads_in(effects)[0].tier is Tier.MEMORY


def test_a_leased_segment_is_not_evicted_until_its_lease_ends() -> None:
    """Under lease the newcomer is refused at once; afterwards it finds room."""
    worker = Worker(memory=8)
    worker.fill(file("a", 8))
    worker.ask(file("a", 8))
    assert reply_in(worker.ask(file("b", 8), now_s=9.0)).states == [NO_SPACE]
    assert worker.ask(file("b", 8), now_s=10.5)[:1] == [DropMemory("s0")]
    assert worker.service.stats().refusals == 1


def test_touch_renews_a_lease() -> None:
    """A reader that goes on reading in place keeps the segment."""
    worker = Worker(memory=8)
    worker.fill(file("a", 8))
    worker.ask(file("a", 8))
    assert worker.service.renewable(["s0", "unknown"]) == ["s0"]
    worker.service.touch(["s0", "unknown"], 9.0)
    assert reply_in(worker.ask(file("b", 8), now_s=15.0)).states == [NO_SPACE]


def test_a_freed_segment_cannot_be_renewed() -> None:
    """Its readers are told so, and stop when the old lease ends: then its bytes are no longer charged.

    Found by the simulation: readers prolonged leases on their own while the worker took the memory for something else.
    """
    worker = Worker(memory=8)
    worker.fill(file("a", 8))
    worker.ask(file("a", 8))
    worker.service.free(Selector([Pattern(file("a", 8).uri)]), False, 1.0)
    assert worker.service.renewable(["s0"]) == []


def test_a_file_larger_than_the_cache_is_cached_in_part_without_evicting_itself() -> None:
    """What fits stays, the rest is refused; no block of the request evicts another."""
    worker = Worker(memory=24)
    effects = worker.ask(file("a", 64))
    (load,) = loads_in(effects)
    assert [item.block_index for item in load.items] == [0, 1, 2]
    reply = reply_in(worker.loaded(load))
    assert reply.states == [LOADED] * 3 + [NO_SPACE] * 5


def test_a_refused_block_evicts_nothing() -> None:
    """When even everything evictable is too little, nothing is evicted."""
    worker = Worker(memory=4)
    worker.fill(file("a", 3))
    assert reply_in(worker.ask(file("b", 8))).states == [NO_SPACE]
    assert reply_in(worker.ask(file("a", 3))).states == [HIT_MEMORY]


def test_a_smaller_block_still_fits_where_a_larger_does_not() -> None:
    """A batch is split instead of refused."""
    worker = Worker(memory=4)
    effects = worker.ask(file("a", 6), file("b", 3))
    (load,) = loads_in(effects)
    assert layout(load) == [("b", 0, 0, 3)]
    assert reply_in(worker.loaded(load)).states == [NO_SPACE, LOADED]


def test_with_a_full_memory_a_load_goes_to_disk_and_the_coldest_is_demoted() -> None:
    """The reader does not wait for the demotion; the demoted one stays readable."""
    worker = Worker(memory=8, disk=100)
    worker.fill(file("a", 8))
    effects = worker.ask(file("b", 8))
    assert [type(effect) for effect in effects] == [Demote, Load]
    assert loads_in(effects)[0].tier is Tier.DISK
    assert reply_in(worker.ask(file("a", 8), purpose=Purpose.PREFETCH)).states == [HIT_MEMORY]
    assert worker.service.demoted("s0", True, 1.0) == [DropMemory("s0")]
    reply = reply_in(worker.ask(file("a", 8), now_s=1.0))
    assert (reply.states, reply.grants[0].kind) == ([HIT_DISK], GrantKind.FILE)
    assert worker.service.stats().demotions == 1


def test_a_segment_leased_during_its_demotion_stays_in_memory() -> None:
    """Both copies exist then, and memory can give its one up without a wait later."""
    worker = Worker(memory=8, disk=100)
    worker.fill(file("a", 8))
    worker.ask(file("b", 8))
    worker.ask(file("a", 8))
    assert worker.service.demoted("s0", True, 1.0) == []
    effects = worker.ask(file("c", 8), now_s=20.0)
    assert effects[0] == DropMemory("s0")
    assert loads_in(effects)[0].tier is Tier.MEMORY


def test_a_failing_disk_is_left_alone_for_a_while_and_reads_go_on() -> None:
    """After a failed demotion memory segments are dropped when room is needed; after the cool-down disk is used again."""
    worker = Worker(memory=8, disk=100)
    worker.fill(file("a", 8))
    (_, load) = worker.ask(file("b", 8), purpose=Purpose.PREFETCH)
    worker.loaded(load)
    worker.service.demoted("s0", False, 1.0)
    worker.service.validate()
    effects = worker.ask(file("c", 8), now_s=2.0, purpose=Purpose.PREFETCH)
    assert effects[0] == DropMemory("s0")
    worker.loaded(effects[1], 2.0)
    assert worker.service.stats().disk_errors == 1
    later = worker.ask(file("d", 8), now_s=40.0)
    assert [type(effect) for effect in later] == [Demote, Load]


def test_a_full_disk_evicts_its_coldest_segment() -> None:
    """Disk has its own LRU order."""
    worker = Worker(memory=0, disk=16)
    worker.fill(file("a", 8), file("b", 8))
    worker.ask(file("a", 8), purpose=Purpose.PREFETCH)
    effects = worker.ask(file("c", 8))
    assert effects[0] == DropDisk("s1")
    assert worker.service.stats().evictions == 1


def test_a_disk_segment_hit_often_is_promoted_and_keeps_its_disk_copy() -> None:
    """Two hits and free memory make a promotion; afterwards it is a memory hit, and resident in both tiers."""
    worker = Worker(memory=0, disk=100)
    version = file("a", 8)
    worker.fill(version)
    worker.service.set_memory_bytes(8, 0.0)
    assert [type(effect) for effect in worker.ask(version)] == [Reply]
    effects = worker.service.touch(["s0"], 1.0)
    assert effects == [Promote("s0")]
    worker.service.promoted("s0", True, 2.0)
    assert reply_in(worker.ask(version)).states == [HIT_MEMORY]
    assert worker.service.resident([version.id()])[:2] == ([1], [1])
    assert worker.service.stats().promotions == 1


def test_a_promotion_evicts_nothing_hotter() -> None:
    """A memory segment gives way, though disk has a copy of it, only to one with more hits."""
    worker = Worker(memory=8, disk=100)
    worker.fill(file("a", 8), file("b", 8))
    worker.ask(file("a", 8))
    worker.service.demoted("s0", True, 1.0)
    for _ in range(3):
        worker.ask(file("a", 8), now_s=20.0, purpose=Purpose.PREFETCH)
    assert [worker.service.touch(["s1"], 21.0) for _ in range(3)] == [[], [], []]
    assert worker.service.touch(["s1"], 21.0) == [DropMemory("s0"), Promote("s1")]


def test_freeing_a_leased_segment_hides_it_now_and_drops_it_when_the_lease_ends() -> None:
    """Draining: no new grants, but the bytes stay charged."""
    worker = Worker(memory=8)
    worker.fill(file("a", 8))
    worker.ask(file("a", 8))
    reply, effects = worker.service.free(Selector([Pattern("s3://b/a")]), False, 1.0)
    assert (reply, effects) == (FreeReply(1, 8), [])
    assert worker.service.stats().memory_used_bytes == 8
    assert reply_in(worker.ask(file("a", 8), now_s=2.0)).states == [NO_SPACE]
    assert worker.service.tick(11.0) == [DropMemory("s0")]


def test_freeing_a_segment_that_is_being_demoted_waits_for_the_copy() -> None:
    """Neither copy is dropped under the thread that works on it; then both are."""
    worker = Worker(memory=8, disk=100)
    worker.fill(file("a", 8))
    worker.ask(file("b", 8))
    assert worker.service.free(Selector([Pattern("s3://b/a")]), True, 0.0) == (FreeReply(1, 8), [])
    assert worker.service.demoted("s0", True, 1.0) == [DropMemory("s0"), DropDisk("s0")]
    worker.service.validate()


def test_freeing_one_of_many_packed_files_keeps_the_others() -> None:
    """A packed segment loses entries singly, and goes with the last."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("x/a", 3), file("b", 3), purpose=Purpose.PREFETCH))
    worker.loaded(load)
    assert worker.service.free(Selector([Pattern("s3://b/x")]), False, 0.0) == (FreeReply(1, 3), [])
    assert reply_in(worker.ask(file("b", 3), purpose=Purpose.PREFETCH)).states == [HIT_MEMORY]
    assert worker.service.free(Selector([], [file("b", 3).id()]), False, 0.0)[1] == [DropMemory("s0")]


@pytest.mark.parametrize("state", [BlockState.CHANGED, BlockState.GONE])
def test_a_replaced_version_is_dropped_whole(state: BlockState) -> None:
    """One 412 or 404 discards every block of that version, also those this request had found."""
    worker = Worker()
    version = file("a", 16)
    (first,) = loads_in(worker.ask(version, blocks=[0], purpose=Purpose.PREFETCH))
    worker.loaded(first)
    (second,) = loads_in(worker.ask(version))
    effects = worker.loaded(second, state=state)
    assert reply_in(effects).states == [state, state]
    assert DropMemory("s0") in effects
    assert worker.service.resident([version.id()])[:2] == ([0], [0])


def test_a_load_that_fails_in_part_keeps_the_good_blocks() -> None:
    """The failed block is answered with its error, and loaded again when asked again."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 16), purpose=Purpose.PREFETCH))
    error = UnavailableError("down")
    outcome = LoadOutcome((LOADED, BlockState.FAILED), {1: error})
    reply = reply_in(worker.service.loaded(load.load_id, outcome, 0.0))
    assert (reply.states, reply.errors) == ([LOADED, BlockState.FAILED], {1: error})
    assert [entry.block_index for entry in load.entries(outcome)] == [0]
    again = worker.ask(file("a", 16))
    assert [item.block_index for item in loads_in(again)[0].items] == [1]


def test_a_late_word_about_a_load_is_ignored() -> None:
    """A duplicate `loaded` changes nothing."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 8)))
    worker.loaded(load)
    assert worker.loaded(load) == []


def test_an_adopted_segment_is_checked_before_its_first_use() -> None:
    """The reader waits for the check; a good segment is a disk hit, and is not checked again."""
    worker = Worker(disk=100)
    version = file("a", 8)
    worker.service.adopt([on_disk("old", 8, [SegmentEntry(version, 0, 0, 8)])], 0.0)
    assert worker.ask(version) == [Verify("old")]
    assert worker.ask(version) == []
    replies = worker.service.verified("old", True, 1.0)
    assert [reply.states for reply in replies if isinstance(reply, Reply)] == [[HIT_DISK], [HIT_DISK]]
    assert reply_in(worker.ask(version)).states == [HIT_DISK]


def test_a_corrupt_adopted_segment_is_dropped_and_loaded_again_for_the_same_request() -> None:
    """The reader sees a miss, never the bad bytes."""
    worker = Worker(disk=100)
    version = file("a", 8)
    worker.service.adopt([on_disk("old", 8, [SegmentEntry(version, 0, 0, 8)])], 0.0)
    worker.ask(version)
    drop, load = worker.service.verified("old", False, 1.0)
    assert drop == DropDisk("old")
    assert reply_in(worker.loaded(load)).states == [LOADED]
    assert worker.service.stats().corrupt_segments == 1


def test_adoption_keeps_the_newest_that_fit_and_drops_doubles() -> None:
    """Oldest first given; no room, a double, or another block size means the file is deleted."""
    worker = Worker(disk=28)
    a, b, c = file("a", 8), file("b", 8), file("c", 8)
    found = [
        on_disk("1", 8, [SegmentEntry(c, 0, 0, 8)]),
        on_disk("2", 8, [SegmentEntry(a, 0, 0, 8)]),
        on_disk("3", 4, [SegmentEntry(b, 0, 0, 4)]),
        on_disk("4", 8, [SegmentEntry(a, 0, 0, 8)]),
        on_disk("5", 8, [SegmentEntry(b, 0, 0, 8)]),
    ]
    effects = worker.service.adopt(found, 0.0)
    worker.service.validate()
    assert effects == [DropDisk("1"), DropDisk("3"), DropDisk("4")]
    assert worker.service.resident([a.id(), b.id(), c.id()])[:2] == ([0, 0, 0], [1, 1, 0])


def test_a_lower_memory_quota_is_kept_to_at_once_without_a_disk() -> None:
    """Pressure drops the coldest until the rest fits."""
    worker = Worker(memory=64)
    worker.fill(file("a", 8), file("b", 8), file("c", 8))
    assert worker.service.set_memory_bytes(16, 1.0) == [DropMemory("s0")]
    assert worker.service.memory_bytes == 16
    assert worker.service.set_memory_bytes(0, 1.0) == [DropMemory("s1"), DropMemory("s2")]


def test_a_lower_memory_quota_demotes_where_there_is_a_disk() -> None:
    """Nothing is lost; memory is given back as the demotions end."""
    worker = Worker(memory=64, disk=100)
    worker.fill(file("a", 8), file("b", 8))
    assert worker.service.set_memory_bytes(8, 1.0) == [Demote("s0"), Demote("s1")]
    worker.service.demoted("s0", True, 2.0)
    worker.service.demoted("s1", True, 2.0)
    assert worker.service.stats()[:4] == (0, 8, 16, 100)


def test_a_report_tells_what_changed_since_the_last() -> None:
    """Deltas carry whole masks per version, 0 for none; a full report carries everything."""
    worker = Worker()
    a, b = file("a", 16), file("b", 8)
    worker.fill(a, b)
    assert worker.service.report(False) == BlockReport(False, [a.id(), b.id()], [3, 1])
    assert worker.service.report(False) == BlockReport(False, [], [])
    worker.service.free(Selector([Pattern("s3://b/a")]), False, 0.0)
    assert worker.service.report(False) == BlockReport(False, [a.id()], [0])
    assert worker.service.report(True) == BlockReport(True, [b.id()], [1])


def test_a_part_outside_its_file_fails_alone() -> None:
    """A bad position carries InvalidRequestError; the others of the request are served."""
    worker = Worker()
    version = file("a", 12)
    request = BlockRequest(
        "here", 0, 0, FileColumns.of([version]), [0, 0, 0], [0, 2, 1], [0, 0, 0], [8, 1, 8], BLOCK, 0
    )
    (load,) = worker.service.ask(99, request, 0.0)
    reply = reply_in(worker.loaded(load))
    assert reply.states == [LOADED, BlockState.FAILED, BlockState.FAILED]
    assert [type(reply.errors[position]) for position in (1, 2)] == [InvalidRequestError, InvalidRequestError]


def test_an_empty_request_is_answered_at_once() -> None:
    """No blocks, no wait."""
    request = BlockRequest("here", 0, 0, FileColumns.of([]), [], [], [], [], BLOCK, 0)
    assert Worker().service.ask(5, request, 0.0) == [Reply(5, [], [], [], [], {})]
