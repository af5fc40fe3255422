"""Loading in order, straight at the workers: bounded groups, failing workers passed over, reasons told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from raycache.admin import warming
from raycache.admin.warming import NO_ROOM, Wanted, Warmed, warm
from raycache.client.ports import WorkerCall
from raycache.client.topology import Topology
from raycache.errors import UnavailableError
from raycache.hashing import place
from raycache.messages import BlockReply, BlockRequest, BlockState, Claim, Purpose, decode, encode
from raycache.ranges import Grid
from raycache.types import FileVersion, MembershipView, WorkerView

BLOCK = 8
WORKERS = tuple(WorkerView(name, 1, 1, name) for name in ("a", "b", "c"))
CLUSTER = Topology(MembershipView(1, WORKERS), "", 7, Grid(BLOCK, BLOCK), 2 * BLOCK, 1)


class Workers:
    """Answers reads: everything is loaded, but for what a test wants otherwise."""

    def __init__(self, dead: str = "", states: dict[str, BlockState] | None = None) -> None:
        self.dead = dead
        self.states = states or {}
        self.asked: list[tuple[str, str, int]] = []
        self._lock = threading.Lock()

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        """See `Calls.workers`."""
        return [self._answer(call) for call in calls]

    def _answer(self, call: WorkerCall) -> Any:
        request: BlockRequest = decode(call.arguments[0])
        assert (call.method, request.terms.hands_out, request.mounts_version) == ("read", False, 7)
        if call.actor_name == self.dead:
            return UnavailableError("gone")
        names = [request.files.uris[index] for index in request.file_index]
        with self._lock:
            self.asked += [
                (call.actor_name, name, index) for name, index in zip(names, request.block_index, strict=True)
            ]
        states = [self.states.get(name, BlockState.LOADED) for name in names]
        errors = {n: UnavailableError("503") for n, state in enumerate(states) if state is BlockState.FAILED}
        count = len(states)
        reply = BlockReply(call.actor_name, 1, 1, [int(s) for s in states], [-1] * count, [0] * count, [], errors)
        return encode(reply), []


def file(name: str, size_bytes: int = 20) -> FileVersion:
    return FileVersion(f"s3://b/{name}", size_bytes, '"1"', 0)


def warmed(workers: Workers, wanted: Sequence[Wanted]) -> list[Warmed]:
    calls: Any = workers
    return list(warm(calls, lambda: CLUSTER, wanted))


def test_exactly_the_wanted_blocks_are_asked_for_in_order() -> None:
    """Whole files, parts of files and empty files; each result stands where its file stood."""
    workers = Workers()
    wanted = [Wanted(file("x")), Wanted(file("y"), 0b101), Wanted(file("empty", 0)), Wanted(file("z", 8))]
    assert warmed(workers, wanted) == [
        Warmed(file("x"), 20, ""),
        Warmed(file("y"), 12, ""),
        Warmed(file("empty", 0), 0, ""),
        Warmed(file("z", 8), 8, ""),
    ]
    asked = sorted((name[7:], index) for _, name, index in workers.asked)
    assert asked == [("x", 0), ("x", 1), ("x", 2), ("y", 0), ("y", 2), ("z", 0)]


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than a group is cut; its pieces come one after the other and add up."""
    monkeypatch.setattr(warming, "GROUP_BYTES_MAX", 40)
    monkeypatch.setattr(warming, "GROUP_BLOCKS_MAX", 4)
    sizes: list[int] = []

    class Counting(Workers):
        def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
            sizes.append(sum(sum(decode(call.arguments[0]).lengths) for call in calls))
            return super().workers(calls, timeout_s)

    done = warmed(Counting(), [Wanted(file("small", 8)), Wanted(file("large", 100)), Wanted(file("last", 8))])
    assert max(sizes) <= 40
    by_file: dict[str, int] = {}
    for one in done:
        by_file[one.file.uri[7:]] = by_file.get(one.file.uri[7:], 0) + one.bytes
    assert by_file == {"small": 8, "large": 100, "last": 8}
    names = [one.file.uri[7:] for one in done]
    assert names == sorted(names, key=["small", "large", "last"].index)


@pytest.mark.parametrize("refuses", [False, True])
def test_what_readers_have_claimed_is_asked_of_the_claimant(refuses: bool) -> None:
    """It loads it, or has it; one without free memory is passed over: the worker of the hash loads it then."""

    class Claimed(Workers):
        def _answer(self, call: WorkerCall) -> Any:
            request: BlockRequest = decode(call.arguments[0])
            count = len(request.block_index)
            nothing = ([-1] * count, [0] * count, [], {})
            if request.claim(0) == Claim.FOLLOW:
                claimants = dict.fromkeys(range(count), "a" if call.actor_name == "b" else "b")
                reply = BlockReply("x", 1, 1, [BlockState.ELSEWHERE] * count, *nothing, claimants=claimants)
                return encode(reply), []
            if request.purpose == Purpose.PREFETCH_CLAIMED and refuses:
                return encode(BlockReply("x", 1, 1, [BlockState.NO_SPACE] * count, *nothing)), []
            return super()._answer(call)

    workers = Claimed()
    assert warmed(workers, [Wanted(file("x"))]) == [Warmed(file("x"), 20, "")]
    homes = {index: place(file("x").id(), index // 2, WORKERS)[0] for index in range(3)}
    expected = {index: home if refuses else ("a" if home == "b" else "b") for index, home in homes.items()}
    assert expected == {index: worker for worker, _, index in workers.asked}


def test_a_lost_worker_is_passed_over() -> None:
    """Its blocks are asked of the next one; nothing is asked twice of those that answer."""
    workers = Workers(dead="b")
    files = [file(str(number)) for number in range(20)]
    assert all(one.bytes == 20 and not one.reason for one in warmed(workers, [Wanted(one) for one in files]))
    assert len(workers.asked) == len(set(workers.asked)) == 60


@pytest.mark.parametrize(
    ("state", "reason"),
    [(BlockState.NO_SPACE, NO_ROOM), (BlockState.FAILED, "503"), (BlockState.GONE, "removed from the lake meanwhile")],
)
def test_what_is_not_loaded_says_why(state: BlockState, reason: str) -> None:
    """Only the file concerned fails, with the lake's own words where there are some."""
    done = warmed(Workers(states={"s3://b/bad": state}), [Wanted(file("good")), Wanted(file("bad"))])
    assert done == [Warmed(file("good"), 20, ""), Warmed(file("bad"), 0, reason)]
