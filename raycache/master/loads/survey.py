"""What a load means before it has moved anything: how much, what is cached already, what will fit. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from raycache.hashing import extent_key, place_many
from raycache.master.loads.files import Page
from raycache.messages import LoadSurvey
from raycache.ranges import extents_of, mask_bytes, union
from raycache.types import VersionId, WorkerId, WorkerView

#: Says which workers hold which blocks of a version, as (worker, mask of blocks).
Holders: TypeAlias = Callable[[VersionId], tuple[tuple[WorkerId, int], ...]]

OVER_SHOWN_MAX = 100


class Survey:
    """Adds up the pages of one load.

    Args:
        block_size_bytes, extent_size_bytes: of the cache.
        replicas: copies wanted.
        holders: what the workers have said.
    """

    def __init__(self, block_size_bytes: int, extent_size_bytes: int, replicas: int, holders: Holders) -> None:
        self._block_size_bytes = block_size_bytes
        self._blocks_per_extent = extent_size_bytes // block_size_bytes
        self._replicas = replicas
        self._holders = holders
        self._result = LoadSurvey(0, 0, 0, 0, 0, 0, 0, 0, [])
        #: Bytes that belong on each worker by the hash.
        self._planned: dict[WorkerId, int] = {}
        self._room: dict[WorkerId, int] = {}

    def add(self, page: Page, workers: Sequence[WorkerView]) -> None:
        """Take a page in, given the workers alive now."""
        self._room = {worker.worker: worker.weight_bytes for worker in workers}
        result = self._result
        blocks = size_bytes = files_cached = bytes_cached = 0
        for row, (version, name) in enumerate(zip(page.versions, page.ids, strict=True)):
            wanted = page.wanted(row, self._block_size_bytes)
            held = union(mask for worker, mask in self._holders(name) if worker in self._room) & wanted
            blocks += wanted.bit_count()
            size_bytes += mask_bytes(wanted, version.size_bytes, self._block_size_bytes)
            files_cached += held == wanted
            bytes_cached += mask_bytes(held, version.size_bytes, self._block_size_bytes)
        self._result = result._replace(
            files=result.files + len(page.versions),
            blocks=result.blocks + blocks,
            bytes=result.bytes + size_bytes,
            files_cached=result.files_cached + files_cached,
            bytes_cached=result.bytes_cached + bytes_cached,
        )
        if workers:
            self._plan(page, workers)

    def result(self) -> LoadSurvey:
        """The sums so far."""
        over = sum(max(0, size - self._room.get(worker, 0)) for worker, size in self._planned.items())
        return self._result._replace(capacity_bytes=sum(self._room.values()), bytes_over=over)

    def _plan(self, page: Page, workers: Sequence[WorkerView]) -> None:
        """Put each extent where it belongs; a file is over when one of its extents comes to a full worker."""
        keys: list[int] = []
        sizes: list[int] = []
        rows: list[int] = []
        for row, (version, name) in enumerate(zip(page.versions, page.ids, strict=True)):
            for extent, part in extents_of(page.wanted(row, self._block_size_bytes), self._blocks_per_extent):
                keys.append(extent_key(name, extent))
                sizes.append(mask_bytes(part, version.size_bytes, self._block_size_bytes))
                rows.append(row)
        chosen = place_many(np.array(keys, dtype=np.uint64), workers, self._replicas).tolist()
        over: dict[int, None] = {}
        for row, size, places in zip(rows, sizes, chosen, strict=True):
            for place in places:
                name = workers[place].worker
                self._planned[name] = self._planned.get(name, 0) + size
                if self._planned[name] > self._room[name]:
                    over[row] = None
        shown = [page.path(row) for row in list(over)[: OVER_SHOWN_MAX - len(self._result.over)]]
        self._result = self._result._replace(
            files_over=self._result.files_over + len(over), over=[*self._result.over, *shown]
        )
