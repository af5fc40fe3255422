"""The journal of the simulated cache: what outlives a master; its writes may fail, and stand there all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raycache.errors import UnavailableError

if TYPE_CHECKING:
    from .cluster import Cluster


class SimulatedScribe:
    """What `Scribe` does for one master.

    Args:
        cluster: has the journal.
        snapshot: records that replay to the present state.
    """

    def __init__(self, cluster: Cluster, snapshot: Callable[[], list[dict[str, Any]]]) -> None:
        self._cluster = cluster
        self._snapshot = snapshot
        #: A write has failed, and may stand there: it is made good before the next.
        self._doubtful = False

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """All or none; UnavailableError when they are not written, as far as can be known."""
        if not records:
            return
        cluster, draw = self._cluster, self._cluster.engine.random.random
        fails = cluster.stormy and cluster.plan.journal_failing and draw() < cluster.plan.journal_failing
        if self._doubtful and not fails:
            cluster.journal[:] = self._snapshot()
            self._doubtful = False
        if not fails or draw() < 0.5:
            cluster.journal.extend(records)
        if fails:
            self._doubtful = True
            cluster.checkers.count("writes refused")
            raise UnavailableError("the journal cannot be written")
