"""What is asked of the lake, by mount: reads of this worker, counted where they are made. Safe for several threads.

At most `MOUNTS_MAX` mounts are counted one by one for as long as the worker lives; all others count as one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from typing_extensions import Buffer

from raycache.messages import MountInfo
from raycache.metrics import LakeReads
from raycache.types import FileVersion
from raycache.workers.figures.series import OTHER, label_of
from raycache.workers.stores.loader import BlockSource

MOUNTS_MAX = 64


class LakeMeter:
    """Sums since the worker's start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, LakeReads] = {}

    def metered(self, source: BlockSource, mount: MountInfo) -> BlockSource:
        """The same source; what it reads of the lake is counted for a mount."""
        return _Metered(source, label_of(mount), self)

    def add(self, mount: str, *, requests: int = 0, errors: int = 0, size_bytes: int = 0, bypasses: int = 0) -> None:
        """Count reads: of the worker, and those that readers sent past it."""
        with self._lock:
            if mount not in self._sums and len(self._sums) >= MOUNTS_MAX:
                mount = OTHER
            old = self._sums.get(mount) or LakeReads(mount, 0, 0, 0, 0)
            new = (old.requests + requests, old.errors + errors, old.bytes + size_bytes, old.bypasses + bypasses)
            self._sums[mount] = LakeReads(mount, *new)

    def all(self) -> Sequence[LakeReads]:
        """Every mount that was read."""
        with self._lock:
            return list(self._sums.values())


class _Metered:
    """See `LakeMeter.metered`."""

    def __init__(self, source: BlockSource, mount: str, meter: LakeMeter) -> None:
        self._source = source
        self._mount = mount
        self._meter = meter

    @property
    def is_lake(self) -> bool:
        """Whether the read went to the lake; see `loader.BlockSource`."""
        return bool(getattr(self._source, "is_lake", True))

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `BlockSource.read`."""
        size_bytes = -1
        try:
            data = self._source.read(key, offset, length, version)
            size_bytes = memoryview(data).nbytes
        finally:
            if self.is_lake:
                self._meter.add(self._mount, requests=1, errors=int(size_bytes < 0), size_bytes=max(0, size_bytes))
        return data
