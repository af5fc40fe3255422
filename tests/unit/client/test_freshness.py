"""What a process remembers of paths: as long as it may, and not longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raycache.client.freshness import Freshness
from raycache.client.locator import Locator
from raycache.clock import ManualClock
from raycache.errors import UnavailableError
from raycache.invalidations import EVERYTHING, Invalidation, InvalidationFeed, InvalidationLog, Words
from raycache.messages import FileColumns, MountInfo, MountTable, ResolveReply, ResolveRequest, decode
from raycache.types import FileKind, FileVersion, MembershipView

URI = "memory://lake/x"


class Around:
    """A master that knows one file under two mounts, and the node's log."""

    def __init__(self, *, readonly: bool = False) -> None:
        self.clock = ManualClock(100.0)
        words = Words.in_memory()
        self.log = InvalidationLog(words)
        self.asked: list[ResolveRequest] = []
        self.size_bytes = 1
        self.meanwhile: Callable[[], None] = lambda: None
        mounts = [MountInfo(path, "memory://lake", {}, 60.0, readonly) for path in ("/a", "/b")]
        self.mounts = MountTable(5, tuple(mounts))
        self.locator = Locator(self, self.nowhere, lambda _: {}, self.clock, 100, InvalidationFeed(lambda: words))
        self.locator.learn(MembershipView(7, ()), self.mounts)

    def nowhere(self, *_: Any) -> Any:
        raise UnavailableError("no lake")

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        del timeout_s
        assert method == "resolve"
        request: ResolveRequest = decode(arguments[0])
        self.asked.append(request)
        files = [FileVersion(URI, self.size_bytes, "e", 1) for _ in request.paths]
        self.meanwhile()
        count = len(files)
        columns = FileColumns.of(files)
        return ResolveReply([int(FileKind.FILE)] * count, columns, [60.0] * count, [()] * count, {}, None, None)

    def size(self, path: str) -> int:
        return self.locator.file(path).file.size_bytes


@pytest.fixture
def around() -> Around:
    around = Around()
    around.log.trust_until(110.0)
    return around


def test_what_is_known_costs_no_call(around: Around) -> None:
    """As long as nothing was written."""
    assert [1] * 3 == [around.size("/a/x") for _ in range(3)]
    assert 1 == len(around.asked)


@pytest.mark.parametrize("written", [Invalidation(URI), Invalidation("memory://lake", below=True), EVERYTHING])
def test_what_was_written_is_asked_again_under_all_its_names(around: Around, written: Invalidation) -> None:
    """By both mounts, and by its URI."""
    names = ("/a/x", "/b/x", URI)
    assert [1] * 3 == [around.size(name) for name in names]
    around.size_bytes = 2
    around.log.append([written])
    assert [2] * 3 == [around.size(name) for name in names]


def test_what_was_written_elsewhere_changes_nothing(around: Around) -> None:
    """A neighbour, or a file whose name begins alike."""
    around.size("/a/x")
    around.log.append([Invalidation("memory://lake/xx"), Invalidation("memory://lak", below=True)])
    around.size("/a/x")
    assert 1 == len(around.asked)


def test_an_answer_that_was_on_its_way_is_not_remembered(around: Around) -> None:
    """It is given to the one who asked before the writer had closed, and to nobody else."""
    around.meanwhile = lambda: around.log.append([Invalidation(URI)])
    assert 1 == around.size("/a/x")
    around.meanwhile, around.size_bytes = lambda: None, 2
    assert 2 == around.size("/a/x")
    assert 2 == len(around.asked)


def test_without_trust_nothing_is_remembered_that_may_be_written(around: Around) -> None:
    """A lease that is over, and one that comes back."""
    around.size("/a/x")
    around.clock.advance(11.0)
    assert [1, 1] == [around.size("/a/x"), around.size("/a/x")]
    assert 3 == len(around.asked)
    around.log.trust_until(200.0)
    around.clock.advance(1.0)
    assert [1, 1] == [around.size("/a/x"), around.size("/a/x")]
    assert 4 == len(around.asked)


def test_what_nobody_may_write_is_remembered_without_trust() -> None:
    """Read-only mounts go by the TTL, wherever the process runs."""
    around = Around(readonly=True)
    assert [1, 1] == [around.size("/a/x"), around.size("/a/x")]
    assert 1 == len(around.asked)


def test_a_version_that_a_reader_found_outdated_is_asked_of_the_lake(around: Around) -> None:
    """Once; then the answer is remembered again."""
    around.size("/a/x")
    around.locator.outdated(["/a/x"])
    around.size("/a/x")
    around.size("/a/x")
    assert [False, True] == [request.fresh for request in around.asked]


def test_older_knowledge_does_not_come_back(around: Around) -> None:
    """Answers may overtake each other."""
    around.locator.learn(MembershipView(6, ()), MountTable(4, ()))
    assert (7, 5) == (around.locator.view.view_id, around.locator.mounts.version)


def test_who_missed_more_than_is_kept_has_missed_everything() -> None:
    """An answer that was on its way for long is not compared with half of what was written meanwhile."""
    words = Words.in_memory()
    log, feed = InvalidationLog(words), InvalidationFeed(lambda: words)
    log.trust_until(1e9)
    freshness = Freshness(feed)
    freshness.catch_up(0.0)
    mark = freshness.mark()
    for number in range(30):
        log.append([Invalidation(f"s3://b/{number}-{at}", below=False) for at in range(50)])
        freshness.catch_up(float(number))
    assert [EVERYTHING] == freshness.since(mark)
    later = freshness.mark()
    log.append([Invalidation("s3://b/last", below=False)])
    freshness.catch_up(99.0)
    assert ["s3://b/last"] == [found.uri for found in freshness.since(later)]
