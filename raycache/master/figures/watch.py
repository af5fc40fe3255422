"""What dashboard and terminal show of the cache: its figures, with their history. Pure; asks no worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raycache.master.figures.attribution import Batches, Readers
from raycache.master.figures.checkpoint import Checkpoint
from raycache.master.figures.history import STEP_S, History, Samples
from raycache.master.figures.nodes import Figures
from raycache.messages import Counts, NodeFigures, NodeOverview, ReadCounters, ReadTag, sum_counters
from raycache.types import WorkerId

MINUTE_S, QUARTER_S = 60.0, 900.0
_SPARK_STEPS = 6
_ALL: WorkerId = ""
_HITS, _MISSES, _BYPASSES = (ReadCounters._fields.index(name) for name in ("hits", "misses", "bypasses"))
_MEMORY, _DISK, _LAKE, _MEMORY_REMOTE, _DISK_REMOTE = (
    ReadCounters._fields.index(name)
    for name in ("bytes_memory", "bytes_disk", "bytes_ufs", "bytes_memory_remote", "bytes_disk_remote")
)


class Watch:
    """History of all nodes and their readers, kept while the cache runs."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._history = History()
        self._readers = Readers()
        self._sparks: dict[WorkerId, list[int]] = {}
        self._series: list[tuple[int, int, int, int]] = []

    def heard(self, node: WorkerId, epoch: int, batches: Batches, now_s: float) -> None:
        """Take in the readers' counts of a heartbeat."""
        self._readers.heard(node, epoch, batches, now_s)

    def count(self, counts: Counts, now_s: float) -> None:
        """Take in the counts of a reader on a node without a worker."""
        self._readers.count(counts.readers, now_s)

    def tick(self, now_s: float) -> None:
        """To be called twice a second or so: takes a sample when it is time."""
        if not self._history.due(now_s):
            return
        counters = {node.node: node.counters for node in self._figures.all({})}
        self._history.sample({**counters, _ALL: sum_counters(counters.values())}, now_s)
        self._sparks = {node: _spark(self._history.series(node, _SPARK_STEPS)) for node in counters}
        self._series = [_sources(row) for row in self._history.series(_ALL).tolist()]

    def checkpoint(self, cache_id: str, now_s: float) -> Checkpoint:
        """What a restarted master needs to go on."""
        return Checkpoint(cache_id, self._figures.saved(), self._readers.saved(now_s), *self._history.saved(now_s))

    def restore(self, checkpoint: Checkpoint, age_s: float, now_s: float) -> None:
        """Go on from an earlier master's checkpoint of `age_s` ago."""
        self._figures.restore(checkpoint.figures)
        self._readers.restore(checkpoint.readers, now_s - age_s)
        nodes, samples = checkpoint.history_nodes, checkpoint.history
        self._history.restore(nodes, samples, age_s + checkpoint.history_age_s, now_s)

    def nodes(
        self,
        figures: Sequence[NodeFigures],
        workers: Mapping[WorkerId, tuple[int, str, float]],
        hosts: Mapping[WorkerId, str],
    ) -> list[NodeOverview]:
        """Each node with its windows."""
        window = self._history.window
        return [
            NodeOverview(
                node,
                window(node.node, node.counters, MINUTE_S),
                window(node.node, node.counters, QUARTER_S),
                self._sparks.get(node.node, []),
                workers.get(node.node),
                hosts.get(node.node, ""),
            )
            for node in figures
        ]

    def series(self) -> tuple[list[tuple[int, int, int, int]], float]:
        """Bytes read by source per step (see `OverviewReply.series`), and the step in seconds."""
        return self._series, STEP_S

    def readers(self, now_s: float) -> list[tuple[ReadTag, ReadCounters, float]]:
        """See `Readers.all`."""
        return self._readers.all(now_s)


def _spark(rows: Samples) -> list[int]:
    hits = rows[:, _HITS]
    asked = hits + rows[:, _MISSES] + rows[:, _BYPASSES]
    rates: list[int] = np.where(asked > 0, hits * 1000 // np.maximum(asked, 1), -1).tolist()
    return rates


def _sources(row: list[int]) -> tuple[int, int, int, int]:
    remote = row[_MEMORY_REMOTE] + row[_DISK_REMOTE]
    return row[_MEMORY] - row[_MEMORY_REMOTE], row[_DISK] - row[_DISK_REMOTE], remote, row[_LAKE]
