"""Counts on their way out of a reading process: in the background, all of them, each once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from raycache.client import flusher as flusher_module
from raycache.client.counters import Counters
from raycache.client.flusher import Flusher
from raycache.client.locator import Locator
from raycache.client.ports import WorkerCall
from raycache.client.reading.leases import Leases
from raycache.clock import SystemClock
from raycache.errors import UnavailableError
from raycache.invalidations import InvalidationFeed
from raycache.master.figures.nodes import Figures
from raycache.messages import Deliveries, Hello, MountTable, ReadCounters, WorkerStats, decode, encode
from raycache.types import MembershipView, Tier, WorkerView

_TIMEOUT_S = 30.0


class Worker:
    """Takes deliveries as the worker of the node does; loses some answers when told to."""

    def __init__(self, *, loses_every: int = 0) -> None:
        self._loses_every = loses_every
        self._calls = 0
        self._deliveries = Deliveries()
        self.total = ReadCounters()
        self.news = threading.Condition()

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        del timeout_s
        return [self._touch(call) for call in calls]

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        del arguments, timeout_s
        if method != "hello":
            raise UnavailableError("only the worker takes counts here")
        return Hello("c", {}, {}, VIEW, MountTable(0, ()))

    def _touch(self, call: WorkerCall) -> Any:
        request = decode(call.arguments[0])
        with self.news:
            if request.delivery is not None and self._deliveries.is_new(request.delivery):
                self.total = self.total.plus(request.delivery.counts.total())
            self._calls += 1
            self.news.notify_all()
            if self._loses_every and self._calls % self._loses_every == 0:
                return UnavailableError("no answer")
        return encode([])


VIEW = MembershipView(1, (WorkerView("n", 1, 100, "worker-n"),))


def flusher_of(worker: Worker, counters: Counters) -> Flusher:
    calls: Any = worker
    clock = SystemClock()
    locator = Locator(calls, lambda root, options: None, lambda root: {}, clock, 100, InvalidationFeed.of_nothing())  # type: ignore[arg-type, return-value]
    locator.learn(VIEW, None)
    return Flusher(calls, locator, Leases(1 << 20), counters, clock, "n", lambda: 0.5)


@pytest.mark.parametrize("loses_every", [0, 3])
def test_whatever_is_read_arrives_by_itself(loses_every: int) -> None:
    """Many threads read while counts go out: nobody flushes, and the last read's count arrives, too, each once."""
    counters, worker = Counters(), Worker(loses_every=loses_every)
    flusher = flusher_of(worker, counters)
    threads, reads = 4, 30_000

    def read() -> None:
        notes = counters.notes
        for _ in range(reads):
            notes["/lake/x"][Tier.MEMORY].append(10)
            flusher.wake()

    readers = [threading.Thread(target=read) for _ in range(threads)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    with worker.news:
        assert worker.news.wait_for(lambda: worker.total.hits >= threads * reads, _TIMEOUT_S), worker.total.hits
    flusher.close()
    assert (threads * reads, 10 * threads * reads) == (worker.total.hits, worker.total.bytes_local)


def test_the_first_counts_of_a_process_go_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many a task has read all it reads by then; who waited for it sees what it read."""
    monkeypatch.setattr(flusher_module, "_DELAY_S", 3600.0)
    counters, worker = Counters(), Worker()
    flusher = flusher_of(worker, counters)
    counters.notes["/lake/x"][Tier.MEMORY].append(10)
    flusher.wake()
    with worker.news:
        assert worker.news.wait_for(lambda: worker.total.hits == 1, _TIMEOUT_S)
    flusher.close()


def test_a_reader_sums_up_what_nobody_takes() -> None:
    """While a flush takes long, notes stay few."""
    counters, worker = Counters(), Worker()
    flusher = flusher_of(worker, counters)
    most = 0
    with worker.news:  # it answers nobody
        for _ in range(100_000):
            counters.notes["/lake/x"][Tier.DISK].append(1)
            flusher.wake()
            most = max(most, len(counters.notes["/lake/x"][Tier.DISK]))
    assert most <= 1 << 15
    flusher.close()
    assert 100_000 == worker.total.hits


class DyingWorker(Worker):
    """Dies when it has taken a delivery in and passed it on; another one stands in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.view = VIEW
        self.figures = Figures()
        self.asked: list[str] = []

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        if method != "count":
            return super().master(method, *arguments, timeout_s=timeout_s)._replace(view=self.view)
        self.figures.count(arguments[0], decode(arguments[1]))
        return None

    def _touch(self, call: WorkerCall) -> Any:
        self.asked.append(call.actor_name)
        delivery = decode(call.arguments[0]).delivery
        hits = delivery.counts.total()
        if call.actor_name == "worker-n":
            self.view = MembershipView(2, (WorkerView("n", 2, 100, "worker-n-2"),))
            self.figures.heard("n", 1, 1, hits, WorkerStats(), {delivery.reader: delivery.number})
            return UnavailableError("it has died")
        self.figures.heard("n", 2, 1, hits, WorkerStats(), {delivery.reader: delivery.number})
        return encode([])


def test_a_delivery_is_not_repeated_to_another_worker() -> None:
    """The one before may have passed it on before it died: the master knows, the next worker does not."""
    counters, worker = Counters(), DyingWorker()
    flusher = flusher_of(worker, counters)
    counters.hit(Tier.MEMORY, 10, "/lake/x")
    flusher.flush()
    assert [1] == [node.counters.hits for node in worker.figures.all({})]
    counters.hit(Tier.MEMORY, 10, "/lake/x")
    flusher.close()
    assert [2] == [node.counters.hits for node in worker.figures.all({})]
    assert ["worker-n", "worker-n-2"] == worker.asked
