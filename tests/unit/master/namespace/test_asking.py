"""Look-ups on their way: one question to the lake for all who ask, and an answer for each of them."""

from __future__ import annotations

from raycache.errors import DeniedError, RaycacheError
from raycache.master.namespace.asking import Asking
from raycache.master.namespace.lookups import HeadNeed, Need
from raycache.messages import MountInfo

MOUNT = MountInfo("/m", "memory://x", {}, 60.0, readonly=True)


def head(key: str) -> Need:
    return HeadNeed(MOUNT, "/m", "memory://x", key, 0, 0.0)


def test_a_need_is_asked_once_and_answers_all_who_wait() -> None:
    """A second asker waits for the first one's question, and for what it needs besides."""
    asking, heard = Asking(), list[tuple[str, dict[Need, RaycacheError]]]()
    assert [head("a")] == asking.ask([head("a")], lambda failed: heard.append(("one", failed)))
    assert [head("b")] == asking.ask([head("a"), head("b")], lambda failed: heard.append(("two", failed)))
    asking.answered(head("a"), None)
    assert [("one", {})] == heard
    error = DeniedError("no")
    asking.answered(head("b"), error)
    assert ("two", {head("b"): error}) == heard[1]


def test_an_answered_need_is_asked_again() -> None:
    """What was answered is over; whether it is needed again is the catalog's business."""
    asking = Asking()
    asking.ask([head("a")], lambda _: None)
    assert 1 == len(asking)
    asking.answered(head("a"), None)
    assert [head("a")] == asking.ask([head("a")], lambda _: None)


def test_nothing_needed_is_answered_at_once() -> None:
    """And a need that is named twice is waited for once."""
    heard: list[dict[Need, RaycacheError]] = []
    assert [] == Asking().ask([], heard.append)
    assert [{}] == heard
    asking = Asking()
    assert [head("a")] == asking.ask([head("a"), head("a")], heard.append)
    asking.answered(head("a"), None)
    assert ([{}, {}], 0) == (heard, len(asking))
