"""Telling the workers, in the background, what this process read: counters, and which leases are in use.

One daemon thread per process, asleep while nothing is read. Counters go to the worker of this node (it counts for its
node's readers), or to the master where there is none. A delivery without an answer is repeated under its number before
there is a new one, to the same worker, so that nothing is counted twice; when that worker is gone, it goes to the master,
which knows what the worker had passed on.
"""

from __future__ import annotations

import atexit
import threading
import uuid
from collections.abc import Callable

from raycache.client.counters import Counters
from raycache.client.locator import Locator
from raycache.client.ports import ActorCalls, WorkerCall
from raycache.client.reading.leases import LEASE_MARGIN_S, Leases
from raycache.clock import Clock
from raycache.errors import RaycacheError
from raycache.messages import Counts, Delivery, Hello, TouchRequest, decode, encode
from raycache.types import WorkerId

#: Quiet time after a flush, so that many small reads make few calls. Not before it: a task may be over sooner, and then its
#: first counts, which are all that many tasks have, are not seen by who waited for it.
_DELAY_S = 0.2
_TIMEOUT_S = 10.0
#: Every so many reads, less one, notes are summed up by the reader: a flush may take long.
_FOLD_MASK = (1 << 14) - 1
#: Deliveries of one flush.
_ROUNDS_MAX = 3


class Flusher:
    """Delivers counters and lease renewals.

    Args:
        lease_s: asks for an answer about the current lease time, as the workers grant it.
        on_wake: called in the reading thread by its first read after a flush.
    """

    def __init__(
        self,
        calls: ActorCalls,
        locator: Locator,
        leases: Leases,
        counters: Counters,
        clock: Clock,
        node: WorkerId,
        lease_s: Callable[[], float],
        on_wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._calls = calls
        self._locator = locator
        self._leases = leases
        self._counters = counters
        self._clock = clock
        self._node = node
        self._lease_s = lease_s
        self._on_wake = on_wake
        self._wanted = threading.Event()
        #: The same, for readers: much cheaper to look at.
        self._due = False
        #: While a flush was due: roughly, since threads do not wait for each other here.
        self._reads = 0
        self._closed = threading.Event()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._reader = uuid.uuid4().hex
        #: Handed over, not acknowledged.
        self._delivery = Delivery(self._reader, 0, Counts([], []))
        self._acknowledged = True
        #: The worker that may have taken it.
        self._handed_to: str | None = None
        #: The master was asked to take it, and may have: no worker must count it as well.
        self._for_master = False

    def wake(self) -> None:
        """Something was read: flush soon. Costs next to nothing when a flush is due already."""
        if self._due:
            self._reads += 1
            if not self._reads & _FOLD_MASK:
                self._counters.fold()
            return
        self._due = True
        self._wanted.set()
        self._on_wake()
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="raycache-flusher", daemon=True)
                    self._thread.start()
                    atexit.register(self.close)

    def flush(self, *, urgent: bool = True) -> None:
        """Deliver; failures keep the counts for later.

        Args:
            urgent: the worker should tell the master at once, rather than with its next heartbeat.
        """
        with self._flushing:
            # In this order: a read that finds a flush due is counted before this one takes the counts.
            self._wanted.clear()
            self._due = False
            for _ in range(_ROUNDS_MAX):
                asked = self._own_actor()
                repeated = not self._acknowledged
                self._deliver(urgent=urgent)
                # Again for what has been counted since an old delivery, or when another worker is here by now.
                if not (repeated if self._acknowledged else self._own_actor() != asked):
                    break

    def close(self) -> None:
        """Deliver a last time and stop the thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._wanted.set()
            self.flush()

    def abandon(self) -> None:
        """Deliver nothing any more; the thread ends by itself."""
        self._closed.set()
        self._wanted.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            # Woken by a read, or in time to let ended leases go.
            self._wanted.wait(self._lease_s())
            if self._closed.is_set():
                return
            if self._wanted.is_set():
                self.flush(urgent=False)
            self._leases.expire(self._clock.now_s())
            self._closed.wait(_DELAY_S)

    def _deliver(self, *, urgent: bool) -> None:
        self._leases.expire(self._clock.now_s())
        used = self._leases.take_used()
        own_actor = self._own_actor()
        delivery = self._next_delivery()
        # Another worker would not know whether the one before has counted it.
        self._for_master = self._for_master or self._handed_to not in (None, own_actor)
        for_worker = delivery is not None and own_actor is not None and not self._for_master
        if for_worker:
            used.setdefault(own_actor or "", [])
            self._handed_to = own_actor
        now_s = self._clock.now_s()
        messages = [
            (actor, segments, TouchRequest(segments, delivery if for_worker and actor == own_actor else None, urgent))
            for actor, segments in used.items()
        ]
        if messages:
            replies = self._calls.workers(
                [WorkerCall(actor, "touch", (encode(message),)) for actor, _, message in messages], _TIMEOUT_S
            )
            for (actor, _, message), reply in zip(messages, replies, strict=True):
                if isinstance(reply, RaycacheError):
                    continue
                self._acknowledged = self._acknowledged or message.delivery is not None
                # A segment that was freed is not renewed: the worker counts its bytes as gone when the old lease ends.
                until_s = now_s + self._lease_s() - LEASE_MARGIN_S
                self._leases.renew(actor, decode(reply), until_s, self._clock.now_s())
        if delivery is not None and not self._acknowledged:
            self._look_around(delivery, own_actor)

    def _own_actor(self) -> str | None:
        """The worker of this node, as far as is known."""
        workers = self._locator.view.workers
        return next((worker.actor_name for worker in workers if worker.worker == self._node), None)

    def _next_delivery(self) -> Delivery | None:
        """What is to be handed over now: the old one while it is not acknowledged, else what was counted since."""
        if self._acknowledged and self._counters.dirty:
            self._delivery = Delivery(self._reader, self._delivery.number + 1, self._counters.take())
            self._acknowledged = self._for_master = False
            self._handed_to = None
        return None if self._acknowledged else self._delivery

    def _look_around(self, delivery: Delivery, own_actor: str | None) -> None:
        """Nobody took the delivery: give it to the master where no worker is, or learn who is there now."""
        try:
            if own_actor is None or self._for_master:
                self._for_master = True
                self._calls.master("count", self._node, encode(delivery), timeout_s=_TIMEOUT_S)
                self._acknowledged = True
            else:
                hello: Hello = self._calls.master("hello", timeout_s=_TIMEOUT_S)
                self._locator.learn(hello.view, hello.mounts)
                self._wanted.set()
        except RaycacheError:
            # The master is away as well: with the next read, or at the latest when this process ends.
            return
