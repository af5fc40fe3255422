"""The table of what a read does with answers, walked completely: every purpose, whatever state is answered."""

from __future__ import annotations

import itertools

import pytest

from raycache.client.reading.next_steps import STEPS, NextStep, steps_of
from raycache.client.reading.read_operation import FileTarget, Part, ReadOperation, Round
from raycache.errors import InvalidRequestError
from raycache.messages import TERMS, BlockReply, BlockState, Claim, Need, Purpose
from tests.unit.client.reading.test_read_operation import operation, owner, reply, target

FILE = target("x")
OTHER = next(name for name in ("n1", "n2") if name != owner(FILE))


def asking_for(purpose: Purpose) -> tuple[ReadOperation, Round]:
    """A read of one part by a process on n0, and its call for this purpose."""
    targets = {
        Purpose.READ: FILE,
        Purpose.READ_CLAIMED: FILE._replace(claimants={0: OTHER}),
        Purpose.READ_COPY: FILE._replace(holders=((OTHER, 1),)),
        Purpose.PREFETCH: FILE._replace(holders=((owner(FILE), 1),)),
    }
    read = operation([targets[purpose]], [Part(0, 0, 0, 4)], replicas_max=2)
    (call,) = read.next_calls()
    if purpose is Purpose.PREFETCH:
        read.replied(call, reply(call, BlockState.FAILED))
        (call,) = read.next_calls()
    assert purpose == call.request.purpose
    return read, call


def step_in(read: ReadOperation, served: bool) -> NextStep:
    """What the read has done with its part."""
    if served:
        return NextStep.SERVE
    if read.stale:
        return NextStep.RESOLVE
    calls = read.next_calls()
    if not calls:
        assert read.bypass == [0]
        return NextStep.BYPASS
    (call,) = calls
    match Purpose(call.request.purpose), Claim(call.request.claim(0)):
        case Purpose.READ_COPY, _:
            return NextStep.COPY
        case Purpose.PREFETCH, _:
            return NextStep.FILL
        case Purpose.READ_CLAIMED, _:
            assert OTHER == call.worker.worker
            return NextStep.FOLLOW
        case Purpose.READ, Claim.IGNORE if call.worker.worker == owner(FILE):
            assert read.claimants == {(0, 0): None}
            return NextStep.RETURN
        case Purpose.READ, _:
            assert OTHER == call.worker.worker
            return NextStep.NEXT
    raise AssertionError(call)


@pytest.mark.parametrize(("purpose", "state"), list(itertools.product(STEPS, BlockState)), ids=lambda v: v.name)
def test_a_read_does_as_the_table_says(purpose: Purpose, state: BlockState) -> None:
    """With each part, whatever the worker has answered."""
    read, call = asking_for(purpose)
    said: BlockReply = reply(call, state)
    if state is BlockState.ELSEWHERE:
        said = said._replace(claimants={0: OTHER})
    served = read.replied(call, said)
    assert step_in(read, bool(served)) is steps_of(purpose)[state]


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose not in STEPS])
def test_a_read_does_not_ask_for_anything_else(purpose: Purpose) -> None:
    """An answer to another purpose is a mistake of the caller."""
    read, call = asking_for(Purpose.READ)
    other = call._replace(request=call.request._replace(purpose=int(purpose)))
    with pytest.raises(InvalidRequestError):
        read.replied(other, reply(call, BlockState.HIT_MEMORY))


@pytest.mark.parametrize(("purpose", "state"), list(itertools.product(STEPS, BlockState)), ids=lambda v: v.name)
def test_the_table_agrees_with_the_terms(purpose: Purpose, state: BlockState) -> None:
    """Bytes are taken where they are handed out, claims followed where they may be, and stale files resolved again."""
    step, terms = STEPS[purpose][state], TERMS[purpose]
    assert (step is NextStep.SERVE) == (state.served and terms.hands_out)
    assert (step is NextStep.COPY) == (state.served and not terms.hands_out)
    assert (step is NextStep.FOLLOW) == (state is BlockState.ELSEWHERE and terms.claims >= Claim.FOLLOW)
    assert (step is NextStep.RESOLVE) == (state in (BlockState.CHANGED, BlockState.GONE))
    # Without harm: others are asked then.
    if state in (BlockState.NO_SPACE, BlockState.FAILED):
        assert (step is NextStep.BYPASS) == (terms.need is Need.NEEDED)


def test_the_table_is_complete() -> None:
    """Each row has an entry for every state."""
    assert {len(BlockState)} == {len(row) for row in STEPS.values()}


def test_a_holder_is_asked_to_load_for_a_copy_once() -> None:
    """Where it has lost the block again by then, it is asked for the bytes."""
    read, call = asking_for(Purpose.PREFETCH)
    read.replied(call, reply(call, BlockState.LOADED))
    (call,) = read.next_calls()
    read.replied(call, reply(call, BlockState.FAILED))
    (call,) = read.next_calls()
    assert (owner(FILE), Purpose.READ) == (call.worker.worker, call.request.purpose)


def test_who_was_told_to_load_may_not_send_on() -> None:
    """A part that comes back from its claimant is read past a worker that names one again."""
    target_: FileTarget = FILE._replace(claimants={0: OTHER})
    read = operation([target_], [Part(0, 0, 0, 4)])
    (call,) = read.next_calls()
    read.replied(call, reply(call, BlockState.NO_SPACE))
    (call,) = read.next_calls()
    read.replied(call, reply(call, BlockState.ELSEWHERE)._replace(claimants={0: OTHER}))
    assert (read.next_calls(), read.bypass) == ([], [0])
