"""Who loads what nobody has: the rules, at the worker that the hash names, in a read, and in a load job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from raycache.client.counters import Counters
from raycache.client.file_meta import FileMeta
from raycache.client.ports import WorkerCall
from raycache.client.reading.leases import Leases
from raycache.client.reading.read_operation import FileTarget, Part, ReadOperation, Round
from raycache.client.reading.reader import Reader, Request
from raycache.client.topology import Topology
from raycache.clock import ManualClock
from raycache.hashing import place
from raycache.master.loads.pieces import Aim, Batch, Piece, by_holder
from raycache.messages import (
    BlockReply,
    BlockRequest,
    BlockState,
    Claim,
    Grant,
    GrantKind,
    Purpose,
    Selector,
    Shares,
    decode,
    encode,
)
from raycache.ranges import FIRST_PAGE, Grid
from raycache.rules import Pattern, Rule, RuleKind, RuleTable
from raycache.types import BlockId, FileKind, FileVersion, MembershipView, Tier, WorkerView
from raycache.workers.claims import Claims
from tests.unit.client.reading.test_pages import ask
from tests.unit.master.loads.test_job import answer, job, run, send, view
from tests.unit.workers.test_service import Worker, file, loads_in, reply_in

BLOCK, EXTENT = 4, 16
READ, READ_CLAIMED = Purpose.READ, Purpose.READ_CLAIMED
GRID = Grid(BLOCK, 2)
VIEW = MembershipView(7, tuple(WorkerView(f"n{i}", 1, 100, f"actor-n{i}") for i in range(4)))
CLAIM: dict[str, Any] = {"claims": bytes([Claim.CLAIM])}
FOLLOW: dict[str, Any] = {"claims": bytes([Claim.FOLLOW])}


def block(name: str, index: int = 0) -> BlockId:
    return BlockId(FileVersion(name, 100, "1", 0).id(), index)


# --- the table --------------------------------------------------------------------------------------------------------


def test_an_extent_is_claimed_with_its_pages() -> None:
    """All blocks and pages of an extent have one claimant; the next extent has its own."""
    claims = Claims("here", GRID, EXTENT)
    claims.claim(block("a", 1), "n1")
    claims.claim(block("a", 4), "n2")
    found = [claims.claimant(block("a", index)) for index in (0, 3, FIRST_PAGE, FIRST_PAGE + 7, 4, FIRST_PAGE + 8, 8)]
    assert ["n1", "n1", "n1", "n1", "n2", "n2", None] == found
    claims.forget(block("a", 2))
    assert [None, "n2"] == [claims.claimant(block("a", index)) for index in (0, 4)]


def test_claims_are_bounded() -> None:
    """Those nobody asked for go first; what is asked for stays, however many come."""
    claims = Claims("here", GRID, EXTENT, claims_max=10)
    for number in range(100):
        claims.claim(block(str(number)), f"n{number % 3}")
        assert claims.claimant(block("0")) == "n0"
    known = [number for number in range(100) if claims.claimant(block(str(number))) is not None]
    assert 99 in known
    assert 10 <= len(known) <= 20


# --- the worker that the hash names -----------------------------------------------------------------------------------


def test_the_first_reader_claims_and_the_others_are_sent_to_it() -> None:
    """Whoever asks for any block of the file; nothing is loaded here."""
    worker = Worker()
    reply = reply_in(worker.ask(file("a", 20), node="n1", **CLAIM))
    assert ([BlockState.ELSEWHERE] * 3, {0: "n1", 1: "n1", 2: "n1"}) == (reply.states, reply.claimants)
    for options in (CLAIM, FOLLOW):
        reply = reply_in(worker.ask(file("a", 20), node="n2", blocks=[1], **options))
        assert ([BlockState.ELSEWHERE], {0: "n1"}) == (reply.states, reply.claimants)


def test_who_comes_back_is_served_and_the_claim_forgotten() -> None:
    """The claimant was gone, or had no room."""
    worker = Worker()
    worker.ask(file("a", 20), node="n1", blocks=[0], **CLAIM)
    assert len(loads_in(worker.ask(file("a", 20), node="n1", blocks=[0]))) == 1
    assert len(loads_in(worker.ask(file("a", 20), node="n2", blocks=[1], **FOLLOW))) == 1


def test_free_ends_all_claims() -> None:
    """Who reads it next is the first again; dropping stale versions takes no claims."""
    worker = Worker()
    worker.ask(file("a", 20), node="n1", blocks=[0], **CLAIM)
    worker.service.free(Selector([], [file("b", 1).id()]), False, 0.0)
    assert reply_in(worker.ask(file("a", 20), node="n2", blocks=[0], **CLAIM)).claimants == {0: "n1"}
    worker.service.free(Selector([Pattern("s3://b")]), False, 0.0)
    assert reply_in(worker.ask(file("a", 20), node="n2", blocks=[0], **CLAIM)).claimants == {0: "n2"}


def test_a_copy_takes_no_claim_away() -> None:
    """It is made from what the claimant has; that one is asked for the rest, as before."""
    worker = Worker()
    worker.ask(file("a", 20), node="n1", blocks=[0], **CLAIM)
    assert len(loads_in(worker.ask(file("a", 20), blocks=[0], source_actor="actor-n1", purpose=Purpose.READ_COPY))) == 1
    assert reply_in(worker.ask(file("a", 20), node="n2", blocks=[1], **FOLLOW)).claimants == {0: "n1"}


def test_without_a_claim_it_is_loaded_here() -> None:
    """A reader that claims nothing, and one on this node; a later claim on the rest of the file is too late."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 20), node="n1", blocks=[2], **FOLLOW))
    worker.loaded(load)
    assert len(loads_in(worker.ask(file("a", 20), node="n1", blocks=[0], **CLAIM))) == 1
    assert len(loads_in(worker.ask(file("b", 20), node="here", blocks=[0], **CLAIM))) == 1
    assert len(loads_in(worker.ask(file("b", 20), node="n1", blocks=[1], **CLAIM))) == 1


def test_what_this_worker_is_expected_to_load_is_not_claimed() -> None:
    """`near_many` has sent the readers here, whoever comes first; a claim that was made before holds."""
    worker = Worker()
    assert len(loads_in(worker.ask(file("a", 20), node="n1", blocks=[0], **FOLLOW))) == 1
    worker.ask(file("b", 20), node="n2", blocks=[0], **CLAIM)
    assert reply_in(worker.ask(file("b", 20), node="n1", blocks=[0], **FOLLOW)).claimants == {0: "n2"}


def test_pages_here_keep_their_file_here() -> None:
    """Or the bytes of the pages would leave the lake twice."""
    worker = Worker()
    (load,) = loads_in(ask(worker, file("a", 20), FIRST_PAGE, **FOLLOW))
    worker.loaded(load)
    assert len(loads_in(worker.ask(file("a", 20), node="n1", blocks=[0], **CLAIM))) == 1


def test_what_was_claimed_goes_into_free_memory_only() -> None:
    """Nothing is evicted for it, and it is no refusal; once here, it is like any other."""
    worker = Worker(memory=16)
    worker.fill(file("old", 8))
    only: dict[str, Any] = {"purpose": Purpose.READ_CLAIMED, "now_s": 100.0}
    (load,) = loads_in(worker.ask(file("a", 8), **only))
    worker.loaded(load, now_s=100.0)
    assert reply_in(worker.ask(file("b", 8), **only)).states == [BlockState.NO_SPACE]
    assert (worker.service.stats().refusals, worker.service.stats().evictions) == (0, 0)
    assert reply_in(worker.ask(file("a", 8), **only)).states == [BlockState.HIT_MEMORY]
    assert len(loads_in(worker.ask(file("b", 8), now_s=200.0))) == 1


def test_what_was_claimed_evicts_nothing_for_a_quota_either() -> None:
    """The worker of the hash may make room, and will be asked."""
    worker = Worker(memory=64)
    quota = {"s3://b": 16}
    worker.service.set_rules(RuleTable(1, (Rule(RuleKind.QUOTA, Pattern("s3://b"), 16),)), Shares(1, quota, quota), 0.0)
    worker.fill(file("a", 8), file("b", 8))
    reply = reply_in(worker.ask(file("c", 8), purpose=Purpose.READ_CLAIMED, now_s=100.0))
    assert reply.states == [BlockState.NO_SPACE]
    assert worker.service.stats().memory_used_bytes == 16
    assert len(loads_in(worker.ask(file("c", 8), now_s=100.0))) == 1


# --- a read -----------------------------------------------------------------------------------------------------------


def target(**claimants: int) -> FileTarget:
    """A file that the hash places on n1."""
    for number in range(100):
        version = FileVersion(f"s3://b/{number}", 1000, "e", 0)
        if place(version.id(), 0, VIEW.workers)[0] == "n1":
            return FileTarget(version, version.id(), (), {extent: worker for worker, extent in claimants.items()})
    raise AssertionError("no such file")


def read_of(found: FileTarget, node: str = "n0", **options: bool) -> ReadOperation:
    return ReadOperation([found], [Part(0, 0, 0, 4)], Topology(VIEW, node, 5, GRID, EXTENT, 1), **options)


def said(call: Round, state: BlockState, claimant: str = "") -> BlockReply:
    claimants = {0: claimant} if claimant else {}
    return BlockReply(call.worker.worker, 1, 7, [state], [-1], [0], [], {}, claimants=claimants)


def asked(call: Round) -> tuple[str, Purpose, Claim]:
    return call.worker.worker, Purpose(call.request.purpose), Claim(call.request.claim(0))


def test_a_read_follows_a_claim() -> None:
    """One call to the worker that the hash names, one to the claimant; the next read knows."""
    read = read_of(target(), claims=True)
    (call,) = read.next_calls()
    assert asked(call) == ("n1", READ, Claim.CLAIM)
    assert read.replied(call, said(call, BlockState.ELSEWHERE, "n0")) == []
    (call,) = read.next_calls()
    assert asked(call) == ("n0", READ_CLAIMED, Claim.IGNORE)
    assert read.claimants == {(0, 0): "n0"}
    (call,) = read_of(target(n2=0)).next_calls()
    assert asked(call) == ("n2", READ_CLAIMED, Claim.IGNORE)


def test_a_claimant_without_room_or_answer_sends_the_reader_back() -> None:
    """The worker that the hash names loads it then, whatever it knows; the read has tried as many workers as ever."""
    for refusal in (BlockState.NO_SPACE, BlockState.FAILED, None):
        read = read_of(target(), claims=True)
        (call,) = read.next_calls()
        read.replied(call, said(call, BlockState.ELSEWHERE, "n2"))
        (call,) = read.next_calls()
        assert call.worker.worker == "n2"
        if refusal is not None:
            read.replied(call, said(call, refusal))
        else:
            read.failed(call.part_indices)
        (call,) = read.next_calls()
        assert asked(call) == ("n1", READ, Claim.IGNORE)
        assert read.claimants == {(0, 0): "n2" if refusal is None else None}
        read.replied(call, said(call, BlockState.NO_SPACE))
        assert (read.next_calls(), read.bypass) == ([], [0])


def test_a_claimant_that_is_gone_is_not_called() -> None:
    """Neither one that is remembered, nor one that is named now."""
    (call,) = read_of(target(gone=0)).next_calls()
    assert asked(call) == ("n1", READ, Claim.FOLLOW)
    read = read_of(target())
    (call,) = read.next_calls()
    read.replied(call, said(call, BlockState.ELSEWHERE, "gone"))
    (call,) = read.next_calls()
    assert asked(call) == ("n1", READ, Claim.IGNORE)


def test_a_worker_that_sends_on_for_ever_is_read_past() -> None:
    """Who was told to load it must not answer with a name."""
    read = read_of(target())
    for _ in range(10):
        for call in read.next_calls():
            read.replied(call, said(call, BlockState.ELSEWHERE, "n2"))
    assert read.bypass == [0]


@pytest.mark.parametrize(("node", "claims"), [("n0", False), ("elsewhere", True)])
def test_only_who_has_a_worker_claims(node: str, claims: bool) -> None:
    """A driver does not, nor a process on a node without a worker."""
    (call,) = read_of(target(), node, claims=claims).next_calls()
    assert asked(call) == ("n1", READ, Claim.FOLLOW)


def test_a_stale_hint_at_the_worker_of_the_hash_takes_no_claim() -> None:
    """It says it had a block, but another has claimed the file since: it is asked as one that may send on."""
    version = target().file
    read = read_of(FileTarget(version, version.id(), (("n1", 1),)), claims=True)
    (call,) = read.next_calls()
    assert asked(call) == ("n1", READ, Claim.FOLLOW)
    read.replied(call, said(call, BlockState.ELSEWHERE, "n2"))
    (call,) = read.next_calls()
    assert asked(call) == ("n2", READ_CLAIMED, Claim.IGNORE)
    read.failed(call.part_indices)
    (call,) = read.next_calls()
    assert asked(call) == ("n1", READ, Claim.IGNORE)


# --- a load job -------------------------------------------------------------------------------------------------------


def test_a_load_asks_the_claimant() -> None:
    """What a reader has claimed is loaded there, once, and counted once."""
    load = job([40], members=view("a", "b"))
    (first, *_) = send(load, view("a", "b"))
    assert first.request.claim(0) == Claim.FOLLOW
    other = "b" if first.worker.worker == "a" else "a"
    count = len(first.request.block_index)
    reply = answer(first, BlockState.ELSEWHERE)._replace(claimants=dict.fromkeys(range(count), other))
    load.replied(first.batch_id, reply, 1.0)
    (second, *_) = send(load, view("a", "b"))
    assert (other, first.request.block_index, Claim.IGNORE) == (
        second.worker.worker,
        second.request.block_index,
        second.request.claim(0),
    )
    load.replied(second.batch_id, answer(second, BlockState.HIT_MEMORY), 1.0)
    run(load, view("a", "b"))
    progress = load.progress(1.0)
    assert (progress.files_done, progress.bytes_done, progress.files_failed) == (1, 40, 0)


@pytest.mark.parametrize("refusal", [BlockState.NO_SPACE, BlockState.FAILED])
def test_a_load_comes_back_from_a_claimant_that_cannot(refusal: BlockState) -> None:
    """Full, or without a way to the lake: the worker of the hash is asked once more, and then loads it itself."""
    load = job([4], members=view("a", "b"))
    asked: list[tuple[str, bool]] = []

    def reply(batch: Batch) -> BlockReply:
        asked.append((batch.worker.worker, batch.request.claim(0) == Claim.FOLLOW))
        if batch.request.claim(0) == Claim.FOLLOW:
            other = "b" if batch.worker.worker == "a" else "a"
            return answer(batch, BlockState.ELSEWHERE)._replace(claimants={0: other})
        return answer(batch, refusal if len(asked) == 2 else BlockState.LOADED)

    run(load, view("a", "b"), reply)
    home = asked[0][0]
    assert [(home, True), ("b" if home == "a" else "a", False), (home, False)] == asked
    assert (load.finished, load.progress(1.0).files_done) == (True, 1)


def test_a_load_asks_each_holder_for_its_part() -> None:
    """A file that lies on two nodes is loaded by neither again."""
    piece = Piece(0, 0, 2, 6, Aim.LOAD)
    masks = (("gone", 0b11111111), ("a", 0b00001100), ("b", 0b00110000))
    assert [(2, 2, "a"), (4, 2, "b"), (6, 2, None)] == [
        (part.first_block, part.block_count, worker) for part, worker in by_holder(piece, masks, {"a", "b"})
    ]
    both = (("a", 0b00001100), ("b", 0b11111100))
    assert [(piece, "b")] == by_holder(piece, both, {"a", "b"})


def test_a_load_comes_back_when_the_claimant_is_gone() -> None:
    """And does not ask for it again, so it ends."""
    load = job([4], members=view("a"))
    sent = run(
        load,
        view("a"),
        lambda batch: (
            answer(batch, BlockState.ELSEWHERE)._replace(claimants={0: "gone"})
            if batch.request.claim(0) == Claim.FOLLOW
            else answer(batch)
        ),
    )
    assert [True, False] == [batch.request.claim(0) == Claim.FOLLOW for batch in sent]
    assert (load.finished, load.progress(1.0).files_done) == (True, 1)


class FullNode:
    """Workers of which the hash's one has all it is told to load, and the reader's own has no room."""

    def __init__(self) -> None:
        self.requests: list[BlockRequest] = []

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[tuple[bytes, list[Any]]]:
        del timeout_s
        (call,) = calls
        request = decode(call.arguments[0])
        self.requests.append(request)
        nothing = ([-1], [0], [], {})
        if request.claim(0) == Claim.CLAIM:
            reply = BlockReply("n1", 1, 7, [BlockState.ELSEWHERE], *nothing, claimants={0: request.node})
        elif request.purpose == READ_CLAIMED:
            reply = BlockReply("n0", 1, 7, [BlockState.NO_SPACE], *nothing)
        else:
            grant = Grant("s", Tier.MEMORY, GrantKind.INLINE, 4, "", 0.0, [], [], [], [])
            return [(encode(BlockReply("n1", 1, 7, [BlockState.LOADED], [0], [0], [grant], {})), [b"abcd"])]
        return [(encode(reply), [])]

    def objects(self, references: Sequence[Any], peer: str = "", timeout_s: float | None = None) -> list[Any]:
        del timeout_s
        return list(references)


def test_a_full_node_claims_nothing_for_a_while() -> None:
    """So that a cache with more to hold than it can costs no call more than before."""
    around: Any = FullNode()
    clock = ManualClock()
    reader = Reader(
        around, around, Leases(1000), Counters(), clock, lambda: Topology(VIEW, "n0", 0, GRID, EXTENT, 1),
        on_read=lambda: None, claims=lambda: True,
    )  # fmt: skip
    version = target().file._replace(size_bytes=4)

    def read() -> int:
        """How many calls it takes."""
        around.requests.clear()
        meta = FileMeta("/lake/x", FileKind.FILE, version, (), 1e9)
        (found,) = reader.read([Request(meta, 0, 4)])
        assert found.to_pybytes() == b"abcd"
        return len(around.requests)

    assert [3, 1, 1] == [read(), read(), read()]
    clock.advance(60.0)
    assert [3, 1] == [read(), read()]
