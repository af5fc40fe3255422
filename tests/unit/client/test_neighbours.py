"""Looking files of one directory up one by one: later look-ups bring those along that will be asked for next."""

from __future__ import annotations

from typing import Any

from raycache.client.locator import NEIGHBOURS_MAX, Locator
from raycache.clock import ManualClock
from raycache.invalidations import InvalidationFeed
from raycache.messages import ResolveRequest, decode
from raycache.types import FileKind
from tests.unit.master.test_service import _TTL_S, _Master


class Process:
    """A locator that asks a master's service, and counts how often."""

    def __init__(self, files: int) -> None:
        self.master_side = _Master()
        for number in range(files):
            self.master_side.storage.put(f"p/d/{number:05}", b"x" * number)
            self.master_side.storage.put(f"p/d/{number:05}.d/deep", b"")
        self.master_side.list("/m", recursive=True)
        self.calls = 0
        self.rows = 0
        clock = ManualClock(0.0)
        nowhere: Any = None
        self.locator = Locator(self, nowhere, lambda root_uri: {}, clock, 10_000, InvalidationFeed.of_nothing())
        self.clock = clock

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        del timeout_s
        assert method == "resolve"
        self.calls += 1
        request: ResolveRequest = decode(arguments[0])
        reply = self.master_side.service.resolve(request, {}, self.clock.now_s())
        self.rows += len(reply.kinds)
        return reply


def test_a_directory_gone_through_costs_few_calls() -> None:
    """A thousand files, one by one, cost a handful of look-ups; each is told right."""
    process = Process(1000)
    for number in range(1000):
        meta = process.locator.file(f"/m/d/{number:05}")
        assert (meta.file.size_bytes, meta.kind) == (number, FileKind.FILE)
    assert process.calls < 10


def test_single_files_bring_nothing_along() -> None:
    """Files of different directories, and files asked for together, are answered alone."""
    process = Process(3)
    process.locator.file("/m/d/00000")
    process.locator.file("/m/d/00000.d/deep")
    process.locator.resolve(["/m/d/00001", "/m/d/00000"])
    assert process.locator.cached("/m/d/00002", 0.0) is None
    assert process.calls == 3


def test_only_what_may_still_be_used_comes_along() -> None:
    """What lies deeper, elsewhere, before the path, or is too old, does not; nor is the lake asked for it."""
    master = _Master()
    for key in ("d/a", "d/b", "d/b.d/x", "d/c", "e/a"):
        master.storage.put(f"p/{key}", b"")
    master.list("/m", recursive=True)
    request = ResolveRequest(["/m/d/a"], 0, 0, neighbours_max=NEIGHBOURS_MAX)
    assert master.service.resolve(request, {}, 0.0).neighbours == ["/m/d/b", "/m/d/c"]
    assert master.service.resolve(request._replace(neighbours_max=1), {}, 0.0).neighbours == ["/m/d/b"]
    assert master.service.resolve(request, {}, _TTL_S + 1).neighbours == []
    assert master.service.resolve(request._replace(paths=["memory://x/p/d/b"]), {}, 0.0).neighbours == [
        "memory://x/p/d/c"
    ]


def test_neighbours_that_are_known_or_not_there_are_not_asked_for_again() -> None:
    """Looking for names that do not exist, or backwards through a directory, does not bring the same files every time."""
    process = Process(500)
    for number in range(200):
        assert process.locator.resolve([f"/m/d/{number:05}.missing"])[0].kind is FileKind.MISSING
    assert process.rows < 200 * 20
    backwards = Process(500)
    for number in range(499, -1, -1):
        backwards.locator.file(f"/m/d/{number:05}")
    assert backwards.rows < 500 * 20
