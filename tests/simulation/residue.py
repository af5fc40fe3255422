"""Checker: what was given up on disk is not taken over by the next worker there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raycache.types import BlockId
from raycache.workers.tiers.segment import Operation

from .checkers import Checker

if TYPE_CHECKING:
    from .worker import SimulatedWorker


class FreedStaysFreed(Checker):
    """The files of a worker list exactly what it can read from them: a restart brings nothing back."""

    def check(self, worker: SimulatedWorker) -> None:
        """The worker dies now, or has come to rest. What is being written or checked is not known yet."""
        for name, segment in worker.service._table.segments.items():
            stored = worker.slot.files.get(name)
            busy = segment.operation in (Operation.DEMOTE, Operation.VERIFY)
            if stored is None or not segment.on_disk or busy or not segment.verified:
                continue
            listed = {BlockId(entry.version.id(), entry.block_index) for entry in stored.entries}
            self.require(listed == set(segment.entries), f"{worker.name}: the file of {name} lists {listed}")
