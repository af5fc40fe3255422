"""Where blocks go, and which workers may be asked for them, as one process knows it at one moment."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from raycache.ranges import Grid
from raycache.types import MembershipView, WorkerId


class Topology(NamedTuple):
    """What every request to workers is planned with. The same one holds for all calls of one read."""

    #: The live workers.
    view: MembershipView
    #: The node that this process runs on; a worker need not stand there.
    node: WorkerId
    #: Of the mounts known here; a worker that knows fewer asks the master before it answers.
    mounts_version: int
    #: How files are cut.
    grid: Grid
    extent_size_bytes: int
    #: Workers that may hold a block before no more passive copies are asked for.
    replicas_max: int

    @property
    def block_size_bytes(self) -> int:
        """Of the grid."""
        return self.grid.block_size_bytes

    @property
    def blocks_per_extent(self) -> int:
        """How many blocks of a file are placed together."""
        return self.extent_size_bytes // self.grid.block_size_bytes

    def without(self, workers: Container[WorkerId]) -> Topology:
        """The same, with these workers passed over."""
        left = tuple(worker for worker in self.view.workers if worker.worker not in workers)
        return self._replace(view=self.view._replace(workers=left))
