"""The ports of the worker actor: bytes are moved by threads, whose results come back to the event loop.

Theory of operation. Nobody may wait for ever, whatever raises where. A port that moves bytes answers False, or a failed
outcome. Where something else raises, a defect, the service is asked at once what this has left waiting for nothing, and
fails that; background tasks go on.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from raycache.clock import Clock
from raycache.errors import UnavailableError
from raycache.messages import BlockRequest
from raycache.types import BlockId, SegmentId, Tier
from raycache.workers.carrier import carry
from raycache.workers.effects import Compact, Effect, Load, LoadOutcome, Reply, SegmentEntry, SegmentGrant
from raycache.workers.figures.exporter import Exporter
from raycache.workers.loop.bounded_threads import BoundedThreads
from raycache.workers.loop.janitor import Janitor
from raycache.workers.loop.turns import Turns
from raycache.workers.service import WorkerService
from raycache.workers.stores.assembly import Bytes
from raycache.workers.stores.loader import Loader
from raycache.workers.stores.stores import Stores

_log = logging.getLogger(__name__)

_IO_THREADS = 8
#: Whatever is done with a segment on disk has failed after that.
_DISK_DEADLINE_S = 60.0
#: Of one store: while so many loads hang, others fail at once.
_HANGING_LOADS_MAX = 4
_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class ThreadPorts:
    """See `WorkerPorts`. To be made and called on the actor's event loop.

    Args:
        service: decides.
        stores: keep the bytes.
        loader: brings them.
        loads_inflight_max: loads at a time.
        clock: tells the time.
        exporter: hears how long loads take.
        turns: measures those of the event loop.
        stall_s: a load that has not got on for so long has failed.
    """

    def __init__(
        self,
        service: WorkerService,
        stores: Stores,
        loader: Loader,
        loads_inflight_max: int,
        clock: Clock,
        exporter: Exporter,
        turns: Turns,
        stall_s: float = 90.0,
    ) -> None:
        self.service = service
        self._stores = stores
        self._loader = loader
        self._clock = clock
        self._exporter = exporter
        self._io = ThreadPoolExecutor(_IO_THREADS, thread_name_prefix="raycache-io")
        #: What waits for the disk: one that hangs keeps nobody waiting who does not need it.
        self.disk = BoundedThreads("raycache-disk", _IO_THREADS, _DISK_DEADLINE_S, _IO_THREADS // 2)
        self._aside = ThreadPoolExecutor(_IO_THREADS, thread_name_prefix="raycache-aside")
        # As many as may run, and as many again that hang.
        self._loads = ThreadPoolExecutor(4 * loads_inflight_max, thread_name_prefix="raycache-load")
        self._stall_s = stall_s
        #: By store: loads that are over for everybody but their thread.
        self.hanging: dict[str, int] = {}
        self.janitor = Janitor()
        self.turns = turns
        self._numbers = itertools.count()
        #: By ticket.
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: Whether loads have ended since the actor last set this to False.
        self.buffers_used = False

    async def ask(self, request: BlockRequest) -> Reply:
        """Put a request to the service, and wait for its reply."""
        ticket = next(self._numbers)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = answer
        try:
            self._ask(ticket, request)
            return await answer
        finally:
            del self._waiting[ticket]

    def _ask(self, ticket: int, request: BlockRequest) -> None:
        try:
            self.run(self.service.ask(ticket, request, self.now_s()))
        except Exception:
            self.recover("a request")
            raise

    def recover(self, what: object) -> None:
        """Called where a defect was met: whatever it left waiting for nothing fails."""
        _log.exception("%s broke off; what waited for it fails", what)
        self.run(self.service.recover(self.now_s()))

    async def forever(self, step: Callable[[], Awaitable[None]], period_s: float) -> None:
        """Do something again and again, whatever becomes of it."""
        while True:
            try:
                await step()
            except Exception:  # a defect: see the module's text
                self.recover(step)
            await asyncio.sleep(period_s)

    async def in_thread(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Call something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._io, work, *arguments)

    async def aside(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Call something that may wait for a store that does not answer, and that nobody depends on."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work, *arguments)

    # --- see `WorkerPorts` --------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        return self._clock.now_s()

    def run(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            try:
                carry(effect, self)
            except Exception:
                # The others are no less due.
                _log.exception("%s was not carried out", type(effect).__name__)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        kind = getattr(work, "__name__", "task").strip("_")
        task = asyncio.get_running_loop().create_task(self.turns.timed(kind, self._watched(work)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # a defect: see the module's text
            self.recover(work)

    def reply(self, reply: Reply) -> None:
        answer = self._waiting.get(reply.ticket)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    async def fetch(self, load: Load) -> tuple[Sequence[Bytes], LoadOutcome]:
        store = load.store
        if self.hanging.get(store, 0) >= _HANGING_LOADS_MAX:
            return (), LoadOutcome.failed(load.items, UnavailableError(f"{store} does not answer; read past the cache"))
        loop = asyncio.get_running_loop()
        future = self._loads.submit(self._loader.load, load)
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        while not (await asyncio.wait([waiting], timeout=self._stall_s / 8))[0]:
            if self._loader.stalled_s(load.load_id) >= self._stall_s:
                self.hanging[store] = self.hanging.get(store, 0) + 1
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._woke_up, store))
                said = UnavailableError(f"{store} did not answer within {self._stall_s:g} s; read past the cache")
                return (), LoadOutcome.failed(load.items, said)
        try:
            return future.result()
        except Exception as error:  # see the module's text
            _log.exception("load %s broke off", load.load_id)
            said = UnavailableError(f"the load broke off ({type(error).__name__}); read past the cache")
            return (), LoadOutcome.failed(load.items, said)

    def _woke_up(self, store: str) -> None:
        """A load has ended that nobody waits for."""
        self.hanging[store] -= 1
        if not self.hanging[store]:
            del self.hanging[store]

    async def store(self, load: Load, pieces: Sequence[Bytes], outcome: LoadOutcome) -> bool:
        if load.tier is Tier.MEMORY:
            return await self._good(self._stores.store, load, pieces, outcome)
        return await self._good_on_disk(
            lambda _: self.drop_disk(load.segment), self._stores.store, load, pieces, outcome
        )

    def load_ended(self, load: Load, took_s: float) -> None:  # noqa: ARG002  # the simulator wants to know which
        self.buffers_used = True
        self._exporter.loaded(took_s)

    async def demote(self, segment: SegmentId, entries: Sequence[SegmentEntry]) -> bool:
        def too_late(_: bool) -> None:
            if not self.service.has_copy(segment, Tier.DISK):
                self.drop_disk(segment)

        return await self._good_on_disk(too_late, self._stores.demote, segment, entries)

    async def promote(self, segment: SegmentId) -> bool:
        def too_late(_: bool) -> None:
            if not self.service.has_copy(segment, Tier.MEMORY):
                self.drop_memory(segment)

        return await self._good_on_disk(too_late, self._stores.promote, segment)

    async def verify(self, segment: SegmentId) -> bool:
        return await self._good_on_disk(None, self._stores.verify, segment)

    async def compact(self, effect: Compact) -> bool:
        if effect.tier is Tier.MEMORY:
            return await self._good(self._stores.compact, effect)
        return await self._good_on_disk(lambda _: self.drop_disk(effect.target), self._stores.compact, effect)

    async def _good(self, work: Callable[[*_Arguments], bool], *arguments: *_Arguments) -> bool:
        try:
            return await self.in_thread(work, *arguments)
        except Exception:  # see the module's text
            _log.exception("%s broke off", work.__name__)
            return False

    async def _good_on_disk(
        self,
        too_late: Callable[[bool], None] | None,
        work: Callable[[*_Arguments], bool],
        *arguments: *_Arguments,
    ) -> bool:
        try:
            return await self.disk.run(work, *arguments, too_late=too_late)
        except TimeoutError:
            return False
        except Exception:  # see the module's text
            _log.exception("%s broke off", work.__name__)
            return False

    def drop_memory(self, segment: SegmentId) -> None:
        self._stores.drop_memory(segment)

    def drop_disk(self, segment: SegmentId) -> None:
        self.janitor.put(functools.partial(self._stores.drop_disk, segment))

    def forget(self, segment: SegmentId, blocks: Sequence[BlockId]) -> None:
        self.janitor.put(functools.partial(self._stores.forget, segment, blocks))

    def reference(self, segment: SegmentId) -> Any:
        return self._stores.reference(segment)

    def path(self, segment: SegmentId) -> str:
        return self._stores.path(segment)

    async def extract(self, grant: SegmentGrant) -> Bytes | None:
        if grant.tier is Tier.MEMORY:
            return await self.in_thread(self._stores.extract, grant)
        try:
            return await self.disk.run(self._stores.extract, grant)
        except TimeoutError:
            # It reads as a lost segment.
            return None
