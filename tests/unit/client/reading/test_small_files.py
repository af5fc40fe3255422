"""Small files opened one after another: which are announced, how many, and what is asked of whom for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from raycache.client.file_meta import FileMeta
from raycache.client.ports import WorkerCall
from raycache.client.reading.prefetch import Gathering
from raycache.client.reading.small_files import BYTES_MAX, FILES_MAX, Following
from raycache.client.topology import Topology
from raycache.errors import UnavailableError
from raycache.hashing import place
from raycache.messages import BlockReply, BlockRequest, BlockState, Claim, Purpose, decode, encode
from raycache.ranges import Grid
from raycache.types import FileKind, FileVersion, MembershipView, WorkerView

GRID = Grid(8 << 20, 16 << 10)
VIEW = MembershipView(1, (WorkerView("n1", 1, 100, "actor-1"), WorkerView("n2", 1, 100, "actor-2")))


def directory(count: int, size_bytes: int = 10_000) -> dict[str, FileMeta]:
    """Files that know which is next."""
    metas = {}
    for number in range(count):
        path = f"/lake/d/{number:05}"
        version = FileVersion(f"s3://b/d/{number:05}", size_bytes, "1", 0)
        metas[path] = FileMeta(path, FileKind.FILE, version, (), 60.0)
        metas[path].trace.next_path = f"/lake/d/{number + 1:05}"
    return metas


def opened(metas: dict[str, FileMeta], numbers: list[int]) -> list[tuple[int, int]]:
    """(first, count) of each announcement, when files are opened in this order and nothing is ever mapped."""
    following = Following(metas.get, GRID)
    found = []
    for number in numbers:
        wanted = following.after(metas[f"/lake/d/{number:05}"])
        if wanted:
            names = [int(meta.path[-5:]) for meta in wanted]
            assert list(range(names[0], names[0] + len(names))) == names
            found.append((names[0], len(names)))
    return found


def test_who_goes_through_a_directory_has_more_and_more_announced() -> None:
    """Each announcement begins with the file that is opened, behind the last one; the first file tells nothing yet."""
    found = opened(directory(1200), list(range(1200)))
    assert [(1, 5), (6, 9), (15, 17), (32, 33)] == found[:4]
    assert FILES_MAX + 1 == found[-2][1]
    assert 1199 == sum(count for _, count in found)


def test_a_jump_begins_anew_and_who_jumps_announces_nothing() -> None:
    """A task that reads another part of the directory starts small; files far from each other bring nothing."""
    assert [(1, 5), (6, 9), (501, 5)] == opened(directory(600), [*range(10), 500, 501, 502])
    assert [] == opened(directory(600), [500, 100, 300, 20, 200, 150])


def test_threads_that_open_files_out_of_order_are_followed() -> None:
    """A few files ahead is near; what was announced is not announced again."""
    assert [(3, 5), (10, 9)] == opened(directory(600), [1, 3, 2, 5, 4, 7, 10, 6, 12])


@pytest.mark.parametrize(("size_bytes", "count"), [(1 << 20, 1), (900_000, 5), (0, 1)])
def test_an_announcement_is_bounded_and_of_small_files(size_bytes: int, count: int) -> None:
    """No more than a block's worth; larger files are read as they are asked for, and empty ones are not read."""
    metas = directory(100, size_bytes)
    following = Following(metas.get, GRID)
    first, second = metas["/lake/d/00000"], metas["/lake/d/00001"]
    assert [] == following.after(first)
    assert count == len(following.after(second) or [second])
    many = directory(600, 100_000)
    assert all(count * 100_000 <= BYTES_MAX for _, count in opened(many, list(range(600))))


def gathering(metas: list[FileMeta]) -> Gathering:
    return Gathering(metas, Topology(VIEW, "n1", 0, GRID, 512 << 20, 2))


def told(metas: list[FileMeta]) -> list[tuple[str, int, str]]:
    """(worker, files, from whom they are copied) of each call."""
    found = []
    for call in gathering(metas).calls():
        request: BlockRequest = decode(call.arguments[0])
        assert not request.terms.hands_out
        assert (request.purpose == Purpose.PREFETCH_COPY) == bool(request.source_actor)
        found.append((call.actor_name, len(request.block_index), request.source_actor))
    return found


def test_what_is_announced_is_brought_together_by_those_who_will_be_asked() -> None:
    """What another node holds is copied by the own one, nothing is handed out, and each worker is called once."""
    metas = list(directory(4).values())
    metas[0].places.holders = metas[1].places.holders = (("n2", 1),)
    metas[2].places.holders = metas[3].places.holders = (("n1", 1),)
    assert [("actor-1", 2, "actor-2"), ("actor-1", 2, "")] == told(metas)


def test_who_reads_what_belongs_to_his_node_takes_nothing_from_others() -> None:
    """Tasks that were sent to their files go through the same directory, each node for its own ones."""
    metas = list(directory(40).values())
    at_home = [meta for meta in metas if place(meta.version, 0, VIEW.workers)[0] == "n1"]
    others = [meta for meta in metas if meta not in at_home]
    assert at_home
    assert others
    mixed = [at_home[0], *others, *at_home[1:]]
    assert [("actor-1", len(at_home), "")] == told(mixed)
    asked: list[Any] = []
    gathering(mixed).claim(lambda calls: asked.extend(calls) or [])
    assert not asked


def test_what_nobody_has_is_claimed_and_loaded_here() -> None:
    """The worker that the hash names is asked once for all; what it holds itself is copied, what it cannot say is left."""
    metas = list(directory(40).values())
    (before,) = [count for actor, count, _ in told(metas) if actor == "actor-2"]
    asked: list[BlockRequest] = []

    def ask(calls: Sequence[WorkerCall]) -> list[Any]:
        (call,) = calls
        assert "actor-2" == call.actor_name
        request: BlockRequest = decode(call.arguments[0])
        asked.append(request)
        count = len(request.block_index)
        states = [int(BlockState.HIT_MEMORY), *[int(BlockState.ELSEWHERE)] * (count - 1)]
        reply = BlockReply(
            "n2", 1, 0, states, [-1] * count, [0] * count, [], {}, claimants=dict.fromkeys(range(1, count), "n1")
        )
        return [(encode(reply), [])]

    gathering(metas).claim(ask)
    assert [(Claim.CLAIM, Purpose.PREFETCH, before)] == [(r.claim(0), r.purpose, len(r.block_index)) for r in asked]
    assert ("actor-1", 1, "actor-2") in told(metas)
    assert 39 == sum(count for actor, count, source in told(metas) if actor == "actor-1" and not source)
    lost = list(directory(40).values())
    gathering(lost).claim(lambda calls: [UnavailableError("gone")] * len(calls))
    assert ("actor-2", before, "") in told(lost)
