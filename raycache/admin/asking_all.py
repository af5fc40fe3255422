"""The same question to all workers; an answer that lacks some of them says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from raycache.client.ports import ActorCalls, MasterCalls, WorkerCall
from raycache.errors import RaycacheError
from raycache.messages import StatusReply, decode
from raycache.types import MembershipView, WorkerId


class Answers(NamedTuple):
    """What came back."""

    #: By worker.
    replies: dict[WorkerId, Any]
    #: The workers that were asked and did not answer.
    silent: tuple[WorkerId, ...]


def ask_all(
    calls: ActorCalls, view: MembershipView, method: str, arguments: tuple[Any, ...], timeout_s: float
) -> Answers:
    """Call a method that answers a blob at every worker of a view."""
    answers = calls.workers([WorkerCall(worker.actor_name, method, arguments) for worker in view.workers], timeout_s)
    named = list(zip((worker.worker for worker in view.workers), answers, strict=True))
    replies = {worker: decode(answer) for worker, answer in named if not isinstance(answer, RaycacheError)}
    return Answers(replies, tuple(worker for worker, answer in named if isinstance(answer, RaycacheError)))


def absent(calls: MasterCalls, silent: Sequence[WorkerId]) -> tuple[WorkerId, ...]:
    """These workers, and those that were not asked since the master has not heard of them for too long; sorted."""
    status: StatusReply = calls.master("status")
    return tuple(sorted({*silent, *(worker for worker, _, state, _ in status.workers if state != "live")}))
