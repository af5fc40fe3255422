"""A batched read as a state machine: who is asked, in which order, and what happens when they fail."""

from __future__ import annotations

import pytest

from raycache.client.reading.read_operation import WORKER_ATTEMPTS_MAX, FileTarget, Part, ReadOperation, Round
from raycache.client.topology import Topology
from raycache.errors import SilentPeerError
from raycache.hashing import place
from raycache.messages import BlockReply, BlockState, Grant, GrantKind, Purpose
from raycache.ranges import Grid
from raycache.types import FileVersion, MembershipView, Tier, WorkerView

READ, READ_COPY, PREFETCH = Purpose.READ, Purpose.READ_COPY, Purpose.PREFETCH
BLOCK, PAGE, EXTENT = 4, 2, 16
VIEW = MembershipView(7, tuple(WorkerView(f"n{i}", 1, 100, f"actor-n{i}") for i in range(3)))


def target(name: str, *holders: tuple[str, int]) -> FileTarget:
    file = FileVersion(f"s3://b/{name}", 1000, f"etag-{name}", 0)
    return FileTarget(file, file.id(), holders)


def operation(
    targets: list[FileTarget], parts: list[Part], view: MembershipView = VIEW, replicas_max: int = 1
) -> ReadOperation:
    return ReadOperation(targets, parts, Topology(view, "n0", 5, Grid(BLOCK, PAGE), EXTENT, replicas_max))


def reply(call: Round, *states: BlockState, kind: GrantKind = GrantKind.PLASMA) -> BlockReply:
    grant = Grant("seg", Tier.MEMORY, kind, 64, "", 30.0, [], [], [], [])
    served = [0 if state.served else -1 for state in states]
    return BlockReply(call.worker.worker, 1, 7, list(states), served, [8] * len(states), [grant], {})


def owner(of: FileTarget, extent: int = 0) -> str:
    return place(of.version, extent, VIEW.workers)[0]


def test_one_call_per_worker_however_many_blocks() -> None:
    """A hundred files in a thousand parts make at most one call to each worker."""
    targets = [target(str(i)) for i in range(100)]
    parts = [Part(t, block, 0, BLOCK) for t in range(100) for block in range(10)]
    calls = operation(targets, parts).next_calls()
    assert len({call.worker.worker for call in calls}) == len(calls) <= 3
    assert list(range(1000)) == sorted(index for call in calls for index in call.part_indices)


def test_unknown_blocks_go_to_the_worker_the_hash_names() -> None:
    """Without hints a cold block is asked of its owner: where every other reader asks, too."""
    file = target("x")
    (call,) = operation([file], [Part(0, 0, 0, 4)]).next_calls()
    assert owner(file) == call.worker.worker
    assert (call.request.offsets, call.request.lengths, call.request.files.uris) == ([0], [4], ["s3://b/x"])


def test_a_holder_on_the_own_node_comes_first() -> None:
    """Of several holders, the local one is asked."""
    (call,) = operation([target("x", ("n2", 1), ("n0", 1), ("n1", 1))], [Part(0, 0, 0, 4)]).next_calls()
    assert call.worker.worker == "n0"


def test_a_hint_counts_only_for_its_blocks() -> None:
    """A worker that holds block 0 is not asked for block 1."""
    file = target("x", *((f"n{i}", 1) for i in range(3) if f"n{i}" != owner(target("x"))))
    calls = operation([file], [Part(0, 1, 0, 4)]).next_calls()
    assert [owner(file)] == [call.worker.worker for call in calls]


def test_a_dead_hint_is_ignored() -> None:
    """A holder that is not alive is never called."""
    file = target("x", ("gone", 1))
    (call,) = operation([file], [Part(0, 0, 0, 4)]).next_calls()
    assert owner(file) == call.worker.worker


def test_served_parts_say_where_their_bytes_are() -> None:
    """In a segment the wanted part starts inside its block; inline bytes hold just the part."""
    read = operation([target("x")], [Part(0, 0, 1, 2)])
    (call,) = read.next_calls()
    assert read.replied(call, reply(call, BlockState.HIT_MEMORY)) == [(0, 0, 9)]
    assert read.replied(call, reply(call, BlockState.LOADED, kind=GrantKind.INLINE)) == [(0, 0, 8)]


@pytest.mark.parametrize("state", [BlockState.NO_SPACE, BlockState.FAILED])
def test_what_a_worker_refuses_is_read_past_it(state: BlockState) -> None:
    """No room, or a lake that failed for the worker: the part goes to the under storage, nobody else is asked."""
    read = operation([target("x")], [Part(0, 0, 0, 4)])
    (call,) = read.next_calls()
    read.replied(call, reply(call, state))
    assert (read.next_calls(), read.bypass, read.stale) == ([], [0], [])


@pytest.mark.parametrize("state", [BlockState.CHANGED, BlockState.GONE])
def test_a_replaced_file_is_stale(state: BlockState) -> None:
    """A changed version is neither served nor bypassed: the path must be resolved again."""
    read = operation([target("x")], [Part(0, 0, 0, 4)])
    (call,) = read.next_calls()
    read.replied(call, reply(call, state))
    assert (read.next_calls(), read.bypass, read.stale) == ([], [], [0])


def test_failures_end_in_a_bypass_after_bounded_rounds() -> None:
    """Lost workers are tried at most twice over, never the same one again; then the lake serves the part."""
    read = operation([target("x", ("n0", 1), ("n1", 1), ("n2", 1))], [Part(0, 0, 0, 4)])
    asked = []
    while calls := read.next_calls():
        asked.append(calls[0].worker.worker)
        read.failed(calls[0].part_indices)
    assert WORKER_ATTEMPTS_MAX == len(asked) == len(set(asked))
    assert read.bypass == [0]


def test_without_workers_everything_is_a_bypass() -> None:
    """An empty cluster reads straight from the lake."""
    read = operation([target("x")], [Part(0, 0, 0, 4), Part(0, 1, 0, 4)], MembershipView(1, ()))
    assert (read.next_calls(), read.bypass) == ([], [0, 1])


def test_what_another_worker_holds_is_first_asked_of_the_own_one() -> None:
    """As a passive copy, made from the holder; refused, the holder itself is asked, and nothing is lost."""
    read = operation([target("x", ("n2", 1))], [Part(0, 0, 0, 4)], replicas_max=2)
    (call,) = read.next_calls()
    assert (call.worker.worker, call.request.purpose, call.request.source_actor) == ("n0", READ_COPY, "actor-n2")
    assert read.replied(call, reply(call, BlockState.NO_SPACE)) == []
    (call,) = read.next_calls()
    assert (call.worker.worker, call.request.purpose, call.request.source_actor) == ("n2", READ, "")
    assert read.replied(call, reply(call, BlockState.HIT_MEMORY)) == [(0, 0, 8)]
    assert (read.next_calls(), read.bypass) == ([], [])


def test_what_the_holder_does_not_have_it_loads_before_it_is_copied() -> None:
    """Expected to hold a file, it is asked to load it and hand nothing out; then the copy is asked for again."""
    read = operation([target("x", ("n2", 1))], [Part(0, 0, 0, 4)], replicas_max=2)
    (call,) = read.next_calls()
    assert read.replied(call, reply(call, BlockState.FAILED)) == []
    (call,) = read.next_calls()
    assert (call.worker.worker, call.request.purpose) == ("n2", PREFETCH)
    assert read.replied(call, reply(call, BlockState.LOADED)) == []
    (call,) = read.next_calls()
    assert (call.worker.worker, call.request.purpose) == ("n0", READ_COPY)
    assert read.replied(call, reply(call, BlockState.COPIED)) == [(0, 0, 8)]
    assert (read.next_calls(), read.bypass, read.loaded) == ([], [], {0})


def test_a_holder_loads_for_a_copy_once() -> None:
    """When it has lost the block again by the time of the copy, it hands the bytes out itself; a hit there is no load."""
    read = operation([target("x", ("n2", 1))], [Part(0, 0, 0, 4)], replicas_max=2)
    asked = []
    for state in (BlockState.FAILED, BlockState.HIT_MEMORY, BlockState.FAILED, BlockState.HIT_MEMORY):
        (call,) = read.next_calls()
        asked.append((call.worker.worker, call.request.purpose))
        served = read.replied(call, reply(call, state))
    assert asked == [("n0", READ_COPY), ("n2", PREFETCH), ("n0", READ_COPY), ("n2", READ)]
    assert (served, read.next_calls(), read.bypass, read.loaded) == ([(0, 0, 8)], [], [], set())


@pytest.mark.parametrize("state", [BlockState.NO_SPACE, BlockState.FAILED])
def test_a_holder_that_cannot_load_is_read_past(state: BlockState) -> None:
    """No room for what is to be copied: the part goes to the under storage, as if the holder had been asked for it."""
    read = operation([target("x", ("n2", 1))], [Part(0, 0, 0, 4)], replicas_max=2)
    (call,) = read.next_calls()
    read.replied(call, reply(call, BlockState.FAILED))
    (call,) = read.next_calls()
    read.replied(call, reply(call, state))
    assert (read.next_calls(), read.bypass) == ([], [0])


def test_a_silent_holder_is_not_waited_for_twice() -> None:
    """The own worker found no sign of life of it: the other holder is asked for a copy, and the silent one no more."""
    read = operation([target("x", ("n1", 1), ("n2", 1))], [Part(0, 0, 0, 4)], replicas_max=3)
    (call,) = read.next_calls()
    first = call.request.source_actor
    silent = {0: SilentPeerError("no sign of life")}
    assert read.replied(call, reply(call, BlockState.FAILED)._replace(errors=silent)) == []
    (call,) = read.next_calls()
    assert call.worker.actor_name not in ("actor-n0", first)
    assert call.request.purpose == READ
    assert read.replied(call, reply(call, BlockState.HIT_MEMORY)) == [(0, 0, 8)]


def test_a_passive_copy_is_no_attempt() -> None:
    """The own worker may refuse and two others fail before the lake is asked; never more."""
    read = operation([target("x", ("n1", 1), ("n2", 1))], [Part(0, 0, 0, 4)], replicas_max=3)
    asked = []
    while calls := read.next_calls():
        asked.append((calls[0].worker.worker, calls[0].request.purpose))
        read.failed(calls[0].part_indices)
    assert asked[0] == ("n0", READ_COPY)
    assert sorted(asked[1:]) == [("n1", READ), ("n2", READ)]
    assert read.bypass == [0]


@pytest.mark.parametrize(
    ("holders", "part", "replicas_max"),
    [
        ((("n1", 1), ("n2", 1)), Part(0, 0, 0, 4), 2),  # enough workers hold it
        ((("n2", 1),), Part(0, 0, 0, 1), 2),  # a quarter of the block is wanted
        ((), Part(0, 0, 0, 4), 2),  # nobody is known to hold it
        ((("gone", 1),), Part(0, 0, 0, 4), 2),
        ((("n0", 1), ("n2", 1)), Part(0, 0, 0, 4), 3),  # the own worker does
    ],
)
def test_passive_copies_are_bounded(holders: tuple[tuple[str, int], ...], part: Part, replicas_max: int) -> None:
    """None beyond `replicas_max`, none for little, and none of what is cold."""
    (call,) = operation([target("x", *holders)], [part], replicas_max=replicas_max).next_calls()
    assert call.request.purpose != READ_COPY


def test_the_own_worker_makes_one_call_per_source() -> None:
    """A request names one source; blocks of several holders are several requests."""
    files = [target("x", ("n1", 1)), target("y", ("n2", 1)), target("z", ("n1", 1))]
    calls = operation(files, [Part(i, 0, 0, 4) for i in range(3)], replicas_max=2).next_calls()
    assert {call.request.source_actor: call.part_indices for call in calls} == {"actor-n1": [0, 2], "actor-n2": [1]}
