"""What a sync and an import say of the load job that brought their files in."""

from __future__ import annotations

from typing import Any

from raycache.admin import map_transfer, sync
from raycache.admin.loads import STOPPED, progress_of
from raycache.messages import NO_ROOM, FileColumns, JobProgress, SyncReply, Tally
from raycache.results import Amount, Failure, Progress

NOTHING = Tally()


def ended(state: str, failures: list[tuple[str, str]], **figures: int) -> Progress:
    counts: dict[str, Any] = dict.fromkeys(JobProgress._fields[:14], 0) | {"state": state, "failures": failures}
    return progress_of(JobProgress(**(counts | figures)))


def difference(added: int, changed: int = 0) -> SyncReply:
    return SyncReply(Tally(added, 0), Tally(changed, 0), NOTHING, NOTHING, FileColumns.of([]), [])


def loaded(reply: SyncReply, asked: int, progress: Progress | None) -> sync.Loaded:
    return sync.loaded_of(reply, asked, progress, lambda uri: uri.replace("s3://b", "/lake"))


def test_a_sync_tells_what_was_loaded_and_what_was_not() -> None:
    """In files and bytes; failures have the names that users know."""
    progress = ended("FAILED", [("s3://b/x", "gone")], files_done=2, bytes_done=30, files_failed=1)
    assert (Amount(2, 30), (Failure("/lake/x", "gone"),)) == loaded(difference(1, 2), 3, progress)
    assert (Amount(), ()) == loaded(difference(0), 0, None)


def test_a_sync_says_that_there_is_more() -> None:
    """More differs than one sync loads, or the load was stopped: the rest is for a load of the path."""
    assert (Failure("", sync.MORE),) == loaded(difference(9), 3, ended("SUCCEEDED", [], files_done=3)).failures
    assert (Failure("", STOPPED),) == loaded(difference(3), 3, ended("STOPPED", [], files_done=1)).failures


def test_an_import_counts_what_found_no_room_apart() -> None:
    """It is no failure: what did not fit is the coldest."""
    failures = [("s3://b/a", NO_ROOM), ("s3://b/b", "gone"), ("s3://b/c", NO_ROOM)]
    found = map_transfer.loaded_of(ended("FAILED", failures, files_done=5, bytes_done=50), Tally(1, 7))
    assert (Amount(5, 50), Amount(3, 7), (Failure("s3://b/b", "gone"),)) == found
    assert (Amount(), Amount(1, 7), ()) == map_transfer.loaded_of(None, Tally(1, 7))
    assert (Failure("", STOPPED),) == map_transfer.loaded_of(ended("STOPPED", []), NOTHING)[2]
