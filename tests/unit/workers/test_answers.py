"""The table of a worker's answers, walked completely: every purpose, wherever the block is."""

from __future__ import annotations

import itertools

import pytest

from raycache.errors import InvalidRequestError
from raycache.messages import TERMS, BlockState, Claim, Purpose
from raycache.workers.answer_table import ANSWERS, Answer, Presence
from raycache.workers.effects import Effect, Load, Promote, Reply, SegmentEntry, Verify
from tests.support.disk_segments import on_disk
from tests.support.requests import fields_of
from tests.unit.workers.test_service import BLOCK, Worker, file, reply_in

FILE = file("a", BLOCK)


def worker_with(presence: Presence) -> Worker:
    """A worker for which the block is there."""
    worker = Worker(disk=64)
    match presence:
        case Presence.HERE | Presence.UNCHECKED:
            worker.service.adopt([on_disk("old", BLOCK, [SegmentEntry(FILE, 0, 0, BLOCK)])], 0.0)
            if presence is Presence.HERE:
                assert [Verify("old")] == worker.ask(FILE, purpose=Purpose.PREFETCH)
                worker.service.verified("old", True, 0.0)
        case Presence.COMING:
            worker.ask(FILE)
        case Presence.CLAIMED:
            worker.ask(FILE, node="n1", claims=bytes([Claim.CLAIM]))
        case Presence.ABSENT:
            pass
    return worker


def answer_in(effects: list[Effect]) -> Answer:
    """What the worker has done with the block."""
    match [effect for effect in effects if not isinstance(effect, Promote)]:
        case []:
            return Answer.JOIN
        case [Verify()]:
            return Answer.CHECK
        case [Load()]:
            return Answer.LOAD
        case [Reply(states=[BlockState.HIT_DISK])]:
            return Answer.SERVE
        case [Reply(states=[BlockState.ELSEWHERE], claimants={0: "n1"})]:
            return Answer.SEND_ON
        case [Reply(states=[BlockState.NO_SPACE])]:
            return Answer.REFUSE
    raise AssertionError(effects)


@pytest.mark.parametrize(("purpose", "presence"), list(itertools.product(Purpose, Presence)), ids=lambda v: v.name)
def test_a_worker_answers_as_the_table_says(purpose: Purpose, presence: Presence) -> None:
    """What it says None of may not be asked for."""
    worker, expected = worker_with(presence), ANSWERS[purpose][presence]
    claims = bytes([Claim.FOLLOW if presence is Presence.CLAIMED else Claim.IGNORE])
    effects = worker.ask(FILE, **fields_of(purpose), claims=claims)
    if expected is None:
        reply = reply_in(effects)
        assert ([BlockState.FAILED], [InvalidRequestError]) == (reply.states, [type(e) for e in reply.errors.values()])
    elif expected is Answer.RECHECK:
        # Once: the check has ended well, and the block is served.
        assert answer_in(effects) is Answer.CHECK
        assert answer_in(worker.service.verified("old", True, 0.0)) is Answer.SERVE
    else:
        assert answer_in(effects) is expected


def test_the_table_is_complete() -> None:
    """A row for each purpose, with an entry for each presence."""
    assert list(Purpose) == list(ANSWERS)
    assert {len(Presence)} == {len(row) for row in ANSWERS.values()}


@pytest.mark.parametrize("purpose", Purpose)
def test_the_table_agrees_with_the_terms(purpose: Purpose) -> None:
    """Who needs nothing neither loads nor waits for a load; who may follow claims, and nobody else, is sent on."""
    row, terms = ANSWERS[purpose], TERMS[purpose]
    missing = (Answer.REFUSE, Answer.REFUSE) if terms.need is None else (Answer.JOIN, Answer.LOAD)
    assert missing == (row[Presence.COMING], row[Presence.ABSENT])
    assert (Answer.SEND_ON if terms.claims >= Claim.FOLLOW else None) is row[Presence.CLAIMED]
    here = (Answer.RECHECK, Answer.RECHECK) if purpose is Purpose.VERIFY else (Answer.SERVE, Answer.CHECK)
    assert here == (row[Presence.HERE], row[Presence.UNCHECKED])


def test_a_request_that_cannot_be_is_refused_whole() -> None:
    """Every block of it, at once; nothing is loaded or remembered."""
    worker = Worker()
    reply = reply_in(worker.ask(file("a", 20), purpose=Purpose.READ_COPY))
    assert ([BlockState.FAILED] * 3, [-1] * 3, {0, 1, 2}) == (reply.states, reply.grant_index, set(reply.errors))
    assert all(isinstance(error, InvalidRequestError) for error in reply.errors.values())


def test_another_worker_gets_only_what_is_here() -> None:
    """What a peer asks for in vain is neither loaded nor waited for; it asks the lake itself.

    Found by the simulation: two workers, each full of loads that fetched replicas from the other, waited for each other
    until their calls timed out, one block at a time.
    """
    worker = Worker(memory=100)
    worker.fill(file("a", 8))
    effects = worker.ask(file("a", 8), file("b", 8), purpose=Purpose.READ_HELD)
    assert [type(effect) for effect in effects] == [Reply]
    assert reply_in(effects).states == [BlockState.HIT_MEMORY, BlockState.NO_SPACE]
    assert worker.service.stats().refusals == 0
