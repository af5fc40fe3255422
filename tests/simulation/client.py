"""A reading process: the real `Cache` of the client, over simulated calls, a simulated clock and the simulated lake.

Only what touches Ray, threads or files is replaced. The API is synchronous: a call lets other events happen until its
answer is there; see `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raycache.cache import Cache
from raycache.client.client import Client, Parts, topology_of
from raycache.client.counters import Counters, with_local
from raycache.client.flusher import Flusher
from raycache.client.locator import Locator
from raycache.client.ports import WorkerCall
from raycache.client.reading.leases import Leases
from raycache.client.reading.reader import Reader, Request
from raycache.errors import RaycacheError, UnavailableError
from raycache.invalidations import InvalidationFeed
from raycache.messages import Counts, Hello, ReadCounters, ResolveReply, sum_counters
from raycache.ranges import block_ranges
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo

from .engine import Answer
from .fetching import ObjectRef
from .lake import LakeDoor

if TYPE_CHECKING:
    from .cluster import Cluster
    from .node import Node


class SimulatedCalls:
    """Stands for `calls.Calls`."""

    def __init__(self, client: SimulatedClient) -> None:
        self._client = client
        self._cluster = client.cluster
        self._settings = client.cluster.plan.settings

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """See `Calls.master`."""
        timeout_s = min(timeout_s or self._settings.master_timeout_s, self._settings.master_timeout_s)
        result = self._client.wait_for(lambda then: self._call_master(method, arguments, timeout_s, then))
        if isinstance(result, RaycacheError):
            raise result
        return self._mislead(result) if isinstance(result, ResolveReply) else result

    def _call_master(self, method: str, arguments: tuple[Any, ...], timeout_s: float, then: Any) -> None:
        self._cluster.network.call(lambda: self._cluster.master, method, arguments, timeout_s, then)

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        """See `Calls.workers`."""
        timeout_s = min(timeout_s or self._settings.worker_timeout_s, self._settings.worker_timeout_s)
        results: list[Any] = [None] * len(calls)
        left = len(calls)

        def start(then: Callable[[Any], None]) -> None:
            for number, call in enumerate(calls):

                def answered(result: Any, number: int = number) -> None:
                    nonlocal left
                    results[number] = result
                    left -= 1
                    if left == 0:
                        then(results)

                name = call.actor_name
                self._cluster.network.call(
                    lambda name=name: self._cluster.workers.get(name), call.method, call.arguments, timeout_s, answered
                )

        return self._client.wait_for(start) if calls else []

    def objects(self, references: Sequence[ObjectRef], peer: str = "", timeout_s: float | None = None) -> list[Any]:
        """See `Calls.objects`: what is pulled from a worker that has died is lost."""
        del timeout_s
        self._client.pause(self._cluster.network.delay_s())
        return [
            reference.array if reference.owner.alive else UnavailableError("the owner has died")
            for reference in references
        ]

    def _mislead(self, reply: ResolveReply) -> ResolveReply:
        """Hints may be wrong in any way; reads must not mind."""
        plan, draw = self._cluster.plan, self._cluster.engine.random
        if not plan.wrong_hints or draw.random() >= plan.wrong_hints:
            return reply
        nodes = [*self._cluster.nodes, "nobody"]
        holders = [
            tuple((draw.choice(nodes), draw.getrandbits(16)) for _ in range(draw.randrange(3))) for _ in reply.holders
        ]
        return reply._replace(holders=holders)


class SlowDoor(LakeDoor):
    """The lake as a client sees it: other things happen while it reads."""

    def __init__(self, client: SimulatedClient, failing: float) -> None:
        super().__init__(client.cluster.lake, client.name, failing)
        self._client = client

    def list(self, prefix: str, **options: Any) -> ListPage:
        """See `UnderStorage.list`."""
        self._client.pause(0.02)
        return super().list(prefix, **options)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        self._client.pause(0.02)
        return super().head(key)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Any:
        """See `UnderStorage.read`."""
        self._client.pause(0.03)
        return super().read(key, offset, length, version)


class TalliedCounters(Counters):
    """Remembers what was ever counted."""

    def __init__(self) -> None:
        super().__init__()
        self._taken = ReadCounters()

    def take(self) -> Counts:
        """See `Counters.take`."""
        taken = super().take()
        self._taken = self._taken.plus(taken.total())
        return taken

    def ever(self) -> ReadCounters:
        """All of it."""
        self.fold()
        waiting = [*map(with_local, self._sums.values()), *self._before.values()]
        return self._taken.plus(sum_counters(ReadCounters(*sums) for sums in waiting))


class CheckedReader(Reader):
    """Every attempt to read is checked: what it counted is what it was asked for."""

    client: SimulatedClient

    def read(self, requests: Sequence[Request]) -> list[pa.Buffer]:
        """See `Reader.read`."""
        client = self.client
        before = client.counters.ever()
        client.cluster.checkers.attempt(client, requests)
        buffers = super().read(requests)
        asked = [part for r in requests for part in block_ranges(r.offset, r.length, self._grid.block_size_bytes)]
        client.cluster.checkers.counted(client, before, client.counters.ever(), asked)
        return buffers


class _Inline:
    """An executor without threads."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [function(item) for item in items]


class QuietFlusher(Flusher):
    """Without the thread: the scenario flushes."""

    def wake(self) -> None:
        """See `Flusher.wake`."""


class SimulatedCache(Cache):
    """The real `Cache` over the real `Client`; only its parts are put together differently."""

    def __init__(self, client: SimulatedClient, hello: Hello) -> None:
        cluster, node = client.cluster, client.node.name
        settings = cluster.plan.settings
        calls: Any = SimulatedCalls(client)
        clock: Any = cluster.engine.clock
        leases = Leases(settings.client_mapped_bytes_max)
        feed = InvalidationFeed(client.node.find_log)
        locator = Locator(
            calls, lambda root_uri, options: client.door, lambda root_uri: {}, clock, settings.client_paths_max, feed
        )
        locator.learn(hello.view, hello.mounts)
        flusher = QuietFlusher(calls, locator, leases, client.counters, clock, node, lambda: settings.lease_s)
        reader = CheckedReader(
            calls,
            locator,
            leases,
            client.counters,
            clock,
            lambda: topology_of(locator, settings, node),
            on_read=lambda: None,
            map_file=client.node.map_file,
            claims=lambda: cluster.plan.claims,
        )
        reader.client = client
        inline: Any = _Inline()
        reader._bypass._pool = inline
        parts = Parts(
            calls, clock, client.counters, leases, locator, flusher, reader, in_worker=lambda: cluster.plan.claims
        )
        self._clock = clock
        super().__init__(Client(hello.cache_id, settings, {}, node, parts))

    @property
    def table(self) -> Leases:
        """The segments mapped."""
        return self.client.leases

    def flush(self) -> None:
        """What the flusher's thread does now and then."""
        self.client.flusher.flush()
        self.client.leases.expire(self._clock.now_s())


class SimulatedClient:
    """One process with a `Cache`, on a node."""

    def __init__(self, cluster: Cluster, name: str, node: Node, hello: Hello) -> None:
        self.cluster = cluster
        self.engine = cluster.engine
        self.name = name
        self.node = node
        #: Time lost to events that were nested in this client's waits.
        self.held_up_s = 0.0
        self.held_up_max_s = 0.0
        self.counters = TalliedCounters()
        self.door = SlowDoor(self, cluster.plan.reader_lake_failing)
        self.cache = SimulatedCache(self, hello)
        self.busy = False
        self.flushing = False

    def wait_for(self, start: Callable[[Callable[[Any], None]], None]) -> Any:
        """Start something that ends with one answer, and wait for it."""
        answer = Answer()
        start(lambda value: self.engine.resolve(answer, value) and None)
        self.engine.wait(answer)
        held_up_s = self.engine.now_s - answer.done_at_s
        self.held_up_s += held_up_s
        self.held_up_max_s = max(self.held_up_max_s, held_up_s)
        return answer.value

    def pause(self, delay_s: float) -> None:
        """Let time pass."""
        self.wait_for(lambda then: self.engine.after(delay_s, f"{self.name} goes on", lambda: then(None)))

    def flush(self) -> None:
        """Deliver counters and renew leases."""
        self._alone(self.cache.flush)

    def stats(self) -> None:
        """Ask for statistics, which delivers counters first."""
        self._alone(lambda: self.cache.stats() and None)

    def _alone(self, work: Callable[[], None]) -> None:
        """The flusher's lock: without threads whoever finds it taken goes away."""
        if not self.flushing:
            self.flushing = True
            try:
                work()
            finally:
                self.flushing = False
