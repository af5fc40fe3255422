"""Each store in its own compartment: threads, connections and a deadline, so that one that does not answer stops nobody else.

Theory of operation. A look-up waits for the deadline at most, and is then told that the store does not answer. The call itself
cannot be ended (a kernel's NFS, Hadoop's library): it keeps its thread, and what it brings in the end is learned. Its need
stays on the way, so nobody asks the same once more. When all threads of a store are with calls that are overdue, further
look-ups of it are refused at once. Listings of loads and syncs have threads of their own, and end when no page comes for long.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

from raycache import paths
from raycache.errors import RaycacheError, UnavailableError
from raycache.master.namespace.asking import Asking
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import Need, NeedResult
from raycache.messages import MountInfo
from raycache.ufs.base import UnderStorage

T = TypeVar("T")

#: Compartments kept; beyond, the one that was not used for longest gives its threads back, unless something is on its way.
KEPT_MAX = 64
#: Look-ups of one store that wait for a thread.
_WAITING_MAX = 10_000
#: A listing that brings nothing for this long has broken off.
STALL_S = 300.0


class Bulkhead:
    """The compartment of one store.

    Args:
        name: of the store, for messages.
        storage_of: opens it.
        inflight_max: requests at a time.
    """

    def __init__(self, name: str, storage_of: Callable[[MountInfo], UnderStorage], inflight_max: int) -> None:
        self.name = name
        self.lister = Lister(storage_of, inflight_max)
        self.long_lister = Lister(storage_of, inflight_max)
        self.threads = ThreadPoolExecutor(inflight_max, thread_name_prefix="raycache-ask")
        self.long_threads = ThreadPoolExecutor(inflight_max, thread_name_prefix="raycache-list-long")
        self._inflight_max = inflight_max
        #: Calls on their way: since when.
        self._since_s: dict[int, float] = {}
        self._numbers = 0

    def begin(self, now_s: float) -> int:
        """A call goes to the store; returns its number."""
        self._numbers += 1
        self._since_s[self._numbers] = now_s
        return self._numbers

    def end(self, number: int) -> None:
        """It has come back."""
        del self._since_s[number]

    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._since_s

    def is_stuck(self, now_s: float, deadline_s: float) -> bool:
        """Whether another call would only wait."""
        overdue = sum(now_s - since_s > deadline_s for since_s in self._since_s.values())
        return overdue >= self._inflight_max or len(self._since_s) >= _WAITING_MAX

    def close(self) -> None:
        """Start nothing new."""
        self.lister.close()
        self.long_lister.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.long_threads.shutdown(wait=False, cancel_futures=True)


class Bulkheads:
    """All compartments; runs in the master's event loop.

    Args:
        storage_of: opens the store of a mount.
        inflight_max: requests to one store at a time.
        deadline_s: of a look-up.
        learn: takes an answer of the lake in.
        now_s: the time.
        spawn: starts a task that is kept.
    """

    def __init__(
        self,
        storage_of: Callable[[MountInfo], UnderStorage],
        inflight_max: int,
        deadline_s: float,
        learn: Callable[[Need, NeedResult], object],
        now_s: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._storage_of = storage_of
        self._inflight_max = inflight_max
        self._deadline_s = deadline_s
        self._learn = learn
        self._now_s = now_s
        self._spawn = spawn
        self._asking = Asking()
        self._kept: OrderedDict[tuple[str, str], Bulkhead] = OrderedDict()

    def of(self, mount: MountInfo) -> Bulkhead:
        """The compartment of a mount's store: one for all mounts of it with the same options."""
        root_uri = paths.split_uri(mount.uri)[0]
        key = root_uri, json.dumps(mount.options, sort_keys=True, default=repr)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = Bulkhead(root_uri, self._storage_of, self._inflight_max)
            for other in [other for other, one in self._kept.items() if one.is_idle()][: len(self._kept) - KEPT_MAX]:
                if other != key:
                    self._kept.pop(other).close()
        self._kept.move_to_end(key)
        return found

    def long_threads(self, mount: MountInfo) -> Executor:
        """Where listings of a store wait."""
        return self.of(mount).long_threads

    def long_lister(self, mount: MountInfo) -> Lister:
        """Lists a store for loads and syncs."""
        return self.of(mount).long_lister

    async def ask(self, needs: Sequence[Need]) -> dict[Need, RaycacheError]:
        """Look up what is needed; each need is on its way at most once. Returns those that failed."""
        by_store: dict[int, tuple[Bulkhead, list[Need]]] = {}
        for need in needs:
            bulkhead = self.of(need.mount)
            by_store.setdefault(id(bulkhead), (bulkhead, []))[1].append(need)
        failed: dict[Need, RaycacheError] = {}
        for one in await asyncio.gather(*(self._ask_one(*store) for store in by_store.values())):
            failed |= one
        return failed

    async def run(self, mount: MountInfo, work: Callable[..., T], *arguments: Any) -> T:
        """Run something that asks a store, in its threads.

        Raises:
            UnavailableError: it did not end in time.
        """
        bulkhead = self.of(mount)
        if bulkhead.is_stuck(self._now_s(), self._deadline_s):
            raise self._overdue(bulkhead)
        number = bulkhead.begin(self._now_s())
        call = asyncio.get_running_loop().run_in_executor(bulkhead.threads, work, *arguments)

        def ended(call: asyncio.Future[T]) -> None:
            bulkhead.end(number)
            _ = call.cancelled() or call.exception()  # whoever waited in vain has been told already

        call.add_done_callback(ended)
        done, _ = await asyncio.wait({call}, timeout=self._deadline_s)
        if not done:
            raise self._overdue(bulkhead)
        return call.result()

    async def _ask_one(self, bulkhead: Bulkhead, needs: list[Need]) -> dict[Need, RaycacheError]:
        answer: asyncio.Future[dict[Need, RaycacheError]] = asyncio.get_running_loop().create_future()
        # An asker that has given up has cancelled its own future only.
        new = self._asking.ask(needs, lambda failed: None if answer.done() else answer.set_result(failed))
        if new and bulkhead.is_stuck(self._now_s(), self._deadline_s):
            for need in new:
                self._asking.answered(need, self._overdue(bulkhead))
        elif new:
            self._spawn(self._fetch(bulkhead, new))
        try:
            return await asyncio.wait_for(answer, self._deadline_s)
        except TimeoutError:
            return dict.fromkeys(needs, self._overdue(bulkhead))

    async def _fetch(self, bulkhead: Bulkhead, needs: list[Need]) -> None:
        error: RaycacheError | None = UnavailableError("the look-up in the lake broke off; try again")
        outcomes: dict[Need, RaycacheError | None] = {}
        number = bulkhead.begin(self._now_s())
        try:
            results = await asyncio.get_running_loop().run_in_executor(bulkhead.threads, bulkhead.lister.fetch, needs)
            for need in needs:
                self._learn(need, results[need])
                outcomes[need] = results[need].error
        finally:
            bulkhead.end(number)
            # Whatever happened, no asker waits for ever.
            for need in needs:
                self._asking.answered(need, outcomes.get(need, error))

    def _overdue(self, bulkhead: Bulkhead) -> UnavailableError:
        return UnavailableError(
            f"{bulkhead.name} did not answer within {self._deadline_s:g} s; other stores are not concerned",
            uri=bulkhead.name,
        )


async def unless_stalled(call: asyncio.Future[T], moved: Callable[[], int], stall_s: float = STALL_S) -> T:
    """Wait for a listing as long as it brings something.

    Args:
        call: in a thread.
        moved: grows with everything that it brings.
        stall_s: how long it may bring nothing.

    Raises:
        UnavailableError: it has brought nothing for so long; its thread stays with it.
    """
    seen = -1
    while seen != moved():
        seen = moved()
        done, _ = await asyncio.wait({call}, timeout=stall_s)
        if done:
            return call.result()
    call.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    raise UnavailableError(f"the store has listed nothing for {stall_s:g} s; try again when it answers")
