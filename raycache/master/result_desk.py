"""Kept results, as clients ask for them: `KeptResults` with the time, the namespace and the workers around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from raycache.clock import Clock
from raycache.errors import InvalidRequestError
from raycache.master.kept_results import KeptResults
from raycache.master.service import MasterService
from raycache.master.worker_keeper import WorkerKeeper
from raycache.messages import InventoryReply, InventoryRequest, Selector, decode, encode
from raycache.messages.keeping import MOUNT_URI, ClaimReply, ClaimState, FindReply, KeptDataset, KeptResult
from raycache.rules import Pattern
from raycache.types import VersionId, WorkerId
from raycache.ufs.base import ObjectInfo
from raycache.ufs.kept_files.kept_storage import kept_storage

_log = logging.getLogger(__name__)

#: How often it is looked whether there are workers that may hold results of an earlier time.
_LOOK_S = 1.0
_TIMEOUT_S = 10.0
_PAGE = 10_000
_VERBS = frozenset({"claim", "renew", "release", "keep", "used", "find", "cut", "datasets", "drop"})


class ResultDesk:
    """Runs in the master's event loop.

    Args:
        service: knows where blocks are.
        workers: hold the results.
        clock: the time.
        spawn: starts a task that is kept.
    """

    def __init__(
        self,
        service: MasterService,
        workers: WorkerKeeper,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._service = service
        self._workers = workers
        self._clock = clock
        self._results = KeptResults()
        self._storage = kept_storage()
        #: Files of results for which newer ones stand, which the workers have not heard of yet.
        self._superseded: list[VersionId] = []
        #: Epochs of the workers that have said which results they hold from earlier times.
        self._asked: dict[WorkerId, int] = {}
        spawn(self._ask_forever())

    async def answer(self, verb: str, arguments: Sequence[Any]) -> Any:
        """Carry out one of the methods below.

        Raises:
            InvalidRequestError: there is no such.
        """
        if verb not in _VERBS:
            raise InvalidRequestError(f"kept results know no {verb!r}; there are {', '.join(sorted(_VERBS))}")
        found = getattr(self, f"_{verb}")(*arguments)
        return await found if asyncio.iscoroutine(found) else found

    def _claim(self, key: str, claimant: str, gone: str) -> ClaimReply:
        self._look_at(key)
        reply = self._results.claim(key, claimant, self._clock.now_s(), gone=gone)
        if gone and reply.state != ClaimState.KEPT:
            self._storage.forget(key)
        if reply.result is None:
            return reply
        return reply._replace(holders=self._service.locations.holders(reply.result.file.id()))

    def _renew(self, keys: list[str], claimant: str) -> None:
        self._results.renew(keys, claimant, self._clock.now_s())

    def _release(self, key: str, claimant: str) -> None:
        self._results.release(key, claimant)

    def _keep(self, result: KeptResult) -> None:
        for forgotten in self._results.keep(result, self._clock.now_s()):
            self._storage.forget(forgotten.key)
        self._show(result)
        self._superseded += [older.file.id() for older in self._results.superseded_by(result)]

    def _used(self, keys: list[str]) -> None:
        for key in keys:
            self._results.used(key, self._clock.now_s())

    def _find(self, keys: list[str]) -> FindReply:
        reply = FindReply([], [])
        for key in keys:
            self._look_at(key)
            known = self._results.get(key)
            reply.found.append(None if known is None else (known.size_bytes, known.etag))
            reply.holders.append(() if known is None else self._service.locations.holders(known.file.id()))
        return reply

    def _cut(self, dataset: str, wanted: int) -> int:
        return self._results.cut(dataset, wanted)

    def _datasets(self) -> list[KeptDataset]:
        return self._results.datasets(self._clock.now_s())

    async def _drop(self, dataset: str) -> int:
        """Drop all results of a dataset, pinned ones too; how many there were."""
        dropped = self._results.drop(dataset)
        for result in dropped:
            self._storage.forget(result.key)
        selector = encode(Selector([Pattern(f"{MOUNT_URI}/{dataset}")]))
        calls = [asyncio.wait_for(handle.free.remote(selector, True), _TIMEOUT_S) for handle in self._workers.live()]
        await asyncio.gather(*calls, return_exceptions=True)  # who cannot be reached has lost them, or evicts them
        return len(dropped)

    def _look_at(self, key: str) -> None:
        """Forget a result that nobody holds; while workers are still telling what they hold, it may be anywhere."""
        known = self._results.get(key)
        if known is None or self._service.membership.settling or self._asked_all() is False:
            return
        if not self._service.locations.holders(known.file.id()):
            self._results.lose(key)
            self._storage.forget(key)

    def _show(self, result: KeptResult) -> None:
        self._storage.note(ObjectInfo(result.key, result.size_bytes, result.etag, None))

    # --- after a restart ----------------------------------------------------------------------------------------------

    def _asked_all(self) -> bool:
        return all(self._asked.get(worker.worker) == worker.epoch for worker in self._service.membership.view().workers)

    async def _ask_forever(self) -> None:
        while True:
            for worker in self._service.membership.view().workers:
                if self._asked.get(worker.worker) == worker.epoch:
                    continue
                try:
                    await self._ask(self._workers.handle(worker))
                    self._asked[worker.worker] = worker.epoch
                except Exception as error:  # it starts, or ends: it is asked again
                    _log.debug("worker %s does not say which results it holds: %s", worker.worker, error)
            if self._superseded:
                await self._tell_superseded()
            await asyncio.sleep(_LOOK_S)

    async def _tell_superseded(self) -> None:
        """A hint: who does not hear of it drops what is least lately used, as ever."""
        some, self._superseded = self._superseded[:_PAGE], self._superseded[_PAGE:]
        selector = encode(Selector([], some, superseded=True))
        calls = [asyncio.wait_for(handle.free.remote(selector, False), _TIMEOUT_S) for handle in self._workers.live()]
        await asyncio.gather(*calls, return_exceptions=True)

    async def _ask(self, handle: Any) -> None:
        """Take in the results that a worker holds, from its disk, or from before this master started."""
        request: InventoryRequest | None = InventoryRequest([Pattern(MOUNT_URI)], None, _PAGE)
        while request is not None:
            reply: InventoryReply = decode(await asyncio.wait_for(handle.inventory.remote(encode(request)), _TIMEOUT_S))
            for file in reply.files.versions():
                key = file.uri[len(MOUNT_URI) + 1 :]
                if self._results.get(key) is None:
                    result = KeptResult(key, file.size_bytes, file.etag)
                    for forgotten in self._results.note(result):
                        self._storage.forget(forgotten.key)
                    self._show(result)
            request = None if reply.after is None else request._replace(after=reply.after)
