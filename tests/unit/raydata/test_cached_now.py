"""What an execution knows of what is cached, and what it tells the cluster; no Ray."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from raycache.errors import UnavailableError
from raycache.raydata.queueing import cached_now
from raycache.raydata.queueing.cached_now import CachedNow, LastRead
from raycache.raydata.queueing.dispatch import DispatchQueue


class Cluster:
    """Knows shares by file."""

    def __init__(self, **shares: float) -> None:
        self.held = shares
        self.started: list[tuple[str, bool]] = []
        self.asked = threading.Semaphore(0)

    def shares(self, names: Sequence[str], *, now: bool) -> list[float]:
        if now:
            self.asked.release()
        if not self.held:
            raise UnavailableError("gone")
        return [self.held[name] for name in names]

    def count_task(self, name: str, *, out_of_turn: bool) -> None:
        self.started.append((name, out_of_turn))


def watched(cluster: Cluster, files: Sequence[str], last_read: LastRead | None = None) -> DispatchQueue[str]:
    """A queue of one task a file, all of node n."""
    queue = DispatchQueue([(name, "n") for name in files], {"n": 1.0})
    cached = CachedNow(cluster, last_read)
    queue.on_start = cached.started
    cached.begin(queue, [(number, [name]) for number, name in enumerate(files)])
    cached.is_open = False
    cached.watch(queue)
    return queue


def order(queue: DispatchQueue[str]) -> str:
    return "".join(found[0] for found in iter(queue.take, None))


def test_the_cached_ones_go_first_and_are_counted() -> None:
    """A file that is cached as a whole; one that is not, in its place."""
    cluster = Cluster(a=0.0, b=1.0, c=0.1, d=1.0)
    assert order(watched(cluster, "abcd")) == "bdac"
    assert cluster.started == [("b", True), ("d", True), ("a", False), ("c", False)]


def test_what_was_read_longest_ago_goes_first_in_the_next_epoch() -> None:
    """It is what would make room next."""
    last_read = LastRead()
    cluster = Cluster(a=0.0, b=1.0, c=1.0)
    for name in ("c", "b"):
        last_read.read([name])
    assert order(watched(cluster, "abc", last_read)) == "cba"


def test_what_is_remembered_of_reads_is_bounded() -> None:
    """The oldest go."""
    last_read = LastRead(files_max=2)
    for name in "abc":
        last_read.read([name])
    assert [last_read.when([name]) for name in "abc"] == [0, 2, 3]


def test_news_come_while_tasks_wait(monkeypatch) -> None:
    """What another job has brought in is known soon; a cluster that does not answer leaves the order as it is."""
    monkeypatch.setattr(cached_now, "PAUSE_S", 0.001)
    cluster = Cluster(a=0.0, b=0.0, c=0.0)
    queue = watched(cluster, "abc")
    cluster.held = {}
    assert cluster.asked.acquire(timeout=10)
    cluster.held = {"a": 0.0, "b": 0.0, "c": 1.0}
    # The second answer of these is taken in when the third is asked for.
    for _ in range(4):
        assert cluster.asked.acquire(timeout=10)
    assert order(queue) == "cab"
