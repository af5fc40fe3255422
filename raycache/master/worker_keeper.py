"""Keeps a worker on every live node: starts the actors, stays with each until its end, and has their handles.

`Membership` decides which worker to start, to take over or to forget; this carries it out. A started worker is watched by
a call that ends only when its actor does, so that its death is known at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from raycache.clock import Clock
from raycache.invalidations import LEASE_S
from raycache.master.membership import AdoptWorker, AskWorker, Effect, EndWorker, ForgetWorker, StartWorker
from raycache.master.service import MasterService
from raycache.messages import decode, encode
from raycache.settings import Settings
from raycache.types import WorkerId, WorkerView

_START_TIMEOUT_S = 60.0
_BEAT_TIMEOUT_S = 3.0
#: For a node that does not answer, until its lease is over.
_LOOK_S = 0.05
_LOOKS_MAX = int(1.5 * LEASE_S / _LOOK_S)


class Launcher(Protocol):
    """Starts worker actors; given by `cluster.py`, so that the master does not know the worker's class."""

    def start(self, cache_id: str, worker: WorkerId, epoch: int, actor_name: str, settings: dict[str, Any]) -> Any:
        """Start a worker on its node; returns the actor handle at once."""
        ...

    def find(self, actor_name: str) -> Any:
        """The handle of a running worker, or None."""
        ...

    def end(self, actor_name: str) -> None:
        """End a worker that may run still, whatever it is doing."""
        ...


class WorkerKeeper:
    """Runs in the master's event loop.

    Args:
        cache_id: given to the workers.
        settings: of the cache.
        service: decides, and hears what became of the workers.
        launcher: starts and finds actors.
        clock: the time.
        spawn: starts a task that is kept.
    """

    def __init__(
        self,
        cache_id: str,
        settings: Settings,
        service: MasterService,
        launcher: Launcher,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._cache_id = cache_id
        self._settings = settings
        self._service = service
        self._launcher = launcher
        self._clock = clock
        self._spawn = spawn
        self._handles: dict[WorkerId, Any] = {}
        self._telling = asyncio.Lock()
        #: Up to where workers were told what was written.
        self._told = service.written.position

    def carry(self, effects: Iterable[Effect]) -> None:
        """Carry out what the service has decided about workers."""
        for effect in effects:
            match effect:
                case StartWorker() | AdoptWorker():
                    self._spawn(self._stay_with(effect))
                case ForgetWorker():
                    self._handles.pop(effect.worker, None)
                case AskWorker():
                    self._spawn(self._ask_again(effect))
                case EndWorker():
                    self._handles.pop(effect.worker, None)
                    self._launcher.end(effect.actor_name)

    def live(self) -> list[Any]:
        """The handles of the live workers, as far as they have been started or found."""
        workers = self._service.membership.view().workers
        return [handle for worker in workers if (handle := self._handles.get(worker.worker)) is not None]

    def handle(self, worker: WorkerView) -> Any:
        """The handle of a worker's actor; None when it is gone."""
        return self._handles.get(worker.worker) or self._launcher.find(worker.actor_name)

    async def hear_all(self) -> None:
        """Ask every live worker for a heartbeat now."""
        await asyncio.gather(*(self._hear(worker) for worker in self._service.membership.view().workers))

    async def announce(self, position: int) -> None:
        """Wait until no reader uses what it remembers from before a position of what was written.

        Workers are told in order; what is written while they are told goes to them together, however many writers wait.
        """
        async with self._telling:
            if self._told < position:
                news = self._service.written_news(self._told)
                self._told, blob = news.position, encode(news)
                await asyncio.gather(*(self._tell(worker, blob) for worker in self._service.membership.view().workers))
        for _ in range(_LOOKS_MAX):
            if self._service.is_heard(position, self._clock.now_s()):
                return
            await asyncio.sleep(_LOOK_S)

    async def _tell(self, worker: WorkerView, blob: bytes) -> None:
        handle = self.handle(worker)
        if handle is None:
            return
        try:
            position = await asyncio.wait_for(handle.heed_written.remote(blob), _BEAT_TIMEOUT_S)
        except Exception:
            # Until it speaks again, its readers trust nothing.
            return
        self._service.written.heard(worker.worker, worker.epoch, position)

    async def _stay_with(self, effect: StartWorker | AdoptWorker) -> None:
        """Start one worker, or find the one an earlier master started, and stay with it until its end."""
        try:
            handle = self._launcher.find(effect.actor_name)
            if handle is None and isinstance(effect, AdoptWorker):
                # It spoke, and is gone: a new one needs a new epoch.
                self._service.lost(effect.worker, effect.epoch, self._clock.now_s())
                return
            handle = handle or self._launcher.start(
                self._cache_id, effect.worker, effect.epoch, effect.actor_name, self._settings.as_dict()
            )
            weight_bytes: int = decode(await asyncio.wait_for(handle.start.remote(), _START_TIMEOUT_S))
            self._handles[effect.worker] = handle
            self._service.membership.spoke(effect.worker, effect.epoch, weight_bytes, self._clock.now_s())
            await handle.watch.remote()
        except Exception:
            # Its end, or a start that failed: either way it is lost, and the service decides when to try again. One that
            # only took too long must not stay beside the next.
            self._launcher.end(effect.actor_name)
            self._service.lost(effect.worker, effect.epoch, self._clock.now_s())

    async def _ask_again(self, effect: AskWorker) -> None:
        view = self._service.membership.view()
        for worker in view.workers:
            if (worker.worker, worker.epoch) == (effect.worker, effect.epoch):
                await self._hear(worker)

    async def _hear(self, worker: WorkerView) -> None:
        handle = self.handle(worker)
        if handle is None:
            return
        self._handles[worker.worker] = handle
        try:
            heartbeat = decode(await asyncio.wait_for(handle.beat.remote(), _BEAT_TIMEOUT_S))
        except Exception:
            # Its last heartbeat stands.
            return
        self._service.heartbeat(heartbeat, self._clock.now_s(), delivered=False)
