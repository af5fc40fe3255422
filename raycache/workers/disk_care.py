"""Looking after a worker's disk: taking over what is there after a restart, and checking it when somebody asks."""

from __future__ import annotations

import asyncio

from raycache.messages import DiskCheck
from raycache.types import SegmentId, Tier
from raycache.workers.service import WorkerService
from raycache.workers.stores.stores import Stores
from raycache.workers.threads import ThreadPorts

#: Files that a thread looks into at a time.
_DESCRIBED_MAX = 16
#: Until a disk that did not answer is asked again.
_AGAIN_S = 5.0
#: A younger file may be on its way into the tables.
_ORPHAN_AGE_S = 600.0
_SHOWN_MAX = 20


class DiskCare:
    """Runs on the actor's event loop, a bounded step at a time.

    Args:
        service: decides.
        stores: have the files.
        ports: carry effects out.
    """

    def __init__(self, service: WorkerService, stores: Stores, ports: ThreadPorts) -> None:
        self._service = service
        self._stores = stores
        self._ports = ports

    async def adopt(self) -> None:
        """Take over what an earlier incarnation has left on disk, while this one serves."""
        while True:
            try:
                found = await self._ports.disk.run(self._stores.find)
                break
            except TimeoutError:
                await asyncio.sleep(_AGAIN_S)
        files, effects = self._service.found_on_disk(found, self._ports.now_s())
        self._ports.run(effects)
        for start in range(0, len(files), _DESCRIBED_MAX):
            several = files[start : start + _DESCRIBED_MAX]
            try:
                described = await self._ports.disk.run(self._stores.describe, several)
            except TimeoutError:
                described = [None] * len(several)
            for file, segment in zip(several, described, strict=True):
                self._ports.run(self._service.adopt_one(file.segment, segment, self._ports.now_s()))
                await self._ports.turns.over()

    async def check(self, *, repair: bool) -> DiskCheck:
        """Read every segment on disk, and look for files that belong to none.

        Args:
            repair: what is damaged is dropped, and files that belong to none are deleted.
        """
        bad: list[SegmentId] = []
        names = self._service.segments_on_disk()
        for name in names:
            try:
                good = await self._ports.disk.run(self._stores.verify, name)
            except TimeoutError:
                good = False
            # It may have been evicted meanwhile.
            if not good and self._service.has_copy(name, Tier.DISK):
                bad.append(name)
                if repair:
                    self._ports.run(self._service.recheck(name, self._ports.now_s()))
            await self._ports.turns.over()
        orphans: list[SegmentId] = []
        orphan_bytes = 0
        for file in await self._ports.disk.run(self._stores.files):
            if file.age_s > _ORPHAN_AGE_S and not self._service.expects(file.segment):
                orphans.append(file.segment)
                orphan_bytes += file.size_bytes
                if repair:
                    self._ports.drop_disk(file.segment)
        return DiskCheck(self._service.worker, len(names), len(bad), bad[:_SHOWN_MAX], len(orphans), orphan_bytes)
