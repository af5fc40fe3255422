"""Answers that lack a worker say so: nothing else tells that what it holds is missing from them."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.admin import residency
from raycache.admin.asking_all import absent, ask_all
from raycache.cli.output import Output
from raycache.client.ports import WorkerCall
from raycache.errors import UnavailableError
from raycache.messages import ResidencyReply, StatusReply, encode
from raycache.types import FileVersion, MembershipView, WorkerView

VIEW = MembershipView(1, (WorkerView("a", 1, 1, "worker-a"), WorkerView("b", 2, 1, "worker-b")))
FILE = FileVersion("s3://b/x", 8, "1", 0)


class Cluster:
    """Of two workers, of which one does not answer, and a third that is not asked any more."""

    def workers(self, calls: list[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        del timeout_s
        reply = encode(ResidencyReply([0b1], [0], [0]))
        return [reply if call.actor_name == "worker-a" else UnavailableError("no answer") for call in calls]

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> StatusReply:
        del arguments, timeout_s
        assert method == "status"
        return StatusReply(1.0, 0, 0, [("a", 1, "live", 0.0), ("b", 2, "live", 9.0), ("c", 3, "silent", 99.0)])


@pytest.fixture
def cluster() -> Any:
    return Cluster()


def test_who_does_not_answer_is_named(cluster: Any) -> None:
    """Those that were asked in vain, and those that are not even asked, since nothing has been heard of them."""
    said = ask_all(cluster, VIEW, "resident", (b"",), 1.0)
    assert (["a"], ("b",)) == (list(said.replies), said.silent)
    assert ("b", "c") == absent(cluster, said.silent)


def test_residency_names_whom_it_lacks(cluster: Any) -> None:
    """In the sums as well as in the places of single files."""
    held = residency.ask(cluster, VIEW, [FILE])
    files = [("/lake/x", FILE)]
    checked = residency.summed_up(files, held, 8)
    assert (1, ("b",)) == (checked.blocks_cached, checked.workers_silent)
    (location,) = residency.locations(files, held, 8)
    assert (["a"], ("b",)) == (list(location.nodes), location.workers_silent)
    assert ["b"] == list(checked.as_dict()["workers_silent"])


def test_the_command_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and none where all have answered."""
    Output().silent(())
    Output().silent(("b",))
    assert capsys.readouterr().out == "not all of it: no answer from the workers on b\n"
