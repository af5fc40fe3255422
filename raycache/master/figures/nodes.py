"""Statistics of all nodes: counters that are never lost and never counted twice.

Each worker incarnation counts from its start and sends totals, so the latest totals of an epoch replace those before.
A node's counters are the sum over its epochs; sizes (gauges) are those of the live one. The last few epochs of a node
are kept apart, since the last totals of a lost worker may come late; older ones are summed up for good. Nodes that are
long gone are summed up in one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from raycache.messages import Deliveries, Delivery, NodeFigures, ReadCounters, WorkerStats, sum_counters
from raycache.types import WorkerId

EPOCHS_KEPT = 4
NODES_KEPT_MAX = 10_000
#: Stands for all nodes that are no longer kept apart.
DEPARTED: WorkerId = "departed"

_GAUGES = frozenset(
    {"memory_used_bytes", "memory_capacity_bytes", "disk_used_bytes", "disk_capacity_bytes", "blocks", "segments",
     "loads_inflight", "plasma_used_bytes", "plasma_capacity_bytes"}
)  # fmt: skip


@dataclasses.dataclass(slots=True)
class _Node:
    #: Epoch -> (sequence, read counters, stats), oldest first.
    epochs: dict[int, tuple[int, ReadCounters, WorkerStats]] = dataclasses.field(default_factory=dict)
    #: Of readers without a worker, and of epochs no longer kept.
    counters: ReadCounters = dataclasses.field(default_factory=ReadCounters)
    stats: WorkerStats = dataclasses.field(default_factory=WorkerStats)


class Figures:
    """The latest totals of every worker incarnation."""

    def __init__(self) -> None:
        self._nodes: dict[WorkerId, _Node] = {}
        self._deliveries = Deliveries()

    def heard(
        self,
        node: WorkerId,
        epoch: int,
        sequence: int,
        counters: ReadCounters,
        stats: WorkerStats,
        deliveries: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Take in a heartbeat's figures, of whatever epoch; an older one of the same epoch is ignored.

        Args:
            node, epoch, sequence: of the worker, and of the heartbeat.
            counters, stats: since the worker's start.
            deliveries: what is in these counters, see `Heartbeat`.
        """
        known = self._node(node)
        if epoch in known.epochs and known.epochs[epoch][0] >= sequence:
            return
        if epoch not in known.epochs and len(known.epochs) >= EPOCHS_KEPT and epoch < min(known.epochs):
            return  # it may have been summed up already
        known.epochs[epoch] = (sequence, counters, stats)
        for reader, number in deliveries.items():
            self._deliveries.note(reader, number)
        if len(known.epochs) > EPOCHS_KEPT:
            _, old_counters, old_stats = known.epochs.pop(min(known.epochs))
            known.counters = known.counters.plus(old_counters)
            known.stats = _plus(known.stats, old_stats)

    def count(self, node: WorkerId, delivery: Delivery) -> bool:
        """Add counters of a reader without a worker; False when that was done before, be it by a worker that has died."""
        new = self._deliveries.is_new(delivery)
        if new:
            known = self._node(node)
            known.counters = known.counters.plus(delivery.counts.total())
        return new

    def total(self) -> ReadCounters:
        """All reads there have been."""
        return sum_counters(node.counters for node in self.all({}))

    def saved(self) -> dict[str, Any]:
        """Everything, as JSON values: for a checkpoint, see `restore`."""
        return {
            "nodes": [
                [node, known.counters, known.stats, [[epoch, *word] for epoch, word in known.epochs.items()]]
                for node, known in self._nodes.items()
            ],
            "deliveries": self._deliveries.saved(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what an earlier master had counted; the next totals of live workers replace what it knew of them."""
        self._deliveries.restore(saved["deliveries"])
        for node, counters, stats, epochs in saved["nodes"]:
            self._nodes[node] = _Node(
                {epoch: (sequence, ReadCounters(*read), WorkerStats(*own)) for epoch, sequence, read, own in epochs},
                ReadCounters(*counters),
                WorkerStats(*stats),
            )

    def all(self, alive: dict[WorkerId, int]) -> list[NodeFigures]:
        """All nodes, sorted.

        Args:
            alive: the live workers' epochs.
        """
        return [self._figures(node, known, alive.get(node)) for node, known in sorted(self._nodes.items())]

    def _figures(self, node: WorkerId, known: _Node, live_epoch: int | None) -> NodeFigures:
        counters, stats = known.counters, known.stats
        if len(known.epochs) == 1 and live_epoch in known.epochs and not any(counters) and not any(stats):
            _, counters, stats = known.epochs[live_epoch]  # most nodes
            return NodeFigures(node, True, counters, stats)
        for epoch, (_, epoch_counters, epoch_stats) in known.epochs.items():
            counters = counters.plus(epoch_counters)
            stats = _plus(stats, epoch_stats, gauges=epoch == live_epoch)
        return NodeFigures(node, live_epoch is not None, counters, stats)

    def _node(self, node: WorkerId) -> _Node:
        known = self._nodes.get(node)
        if known is None:
            if len(self._nodes) >= NODES_KEPT_MAX:
                self._fold(next(old for old in self._nodes if old != DEPARTED))
            known = self._nodes[node] = _Node()
        return known

    def _fold(self, node: WorkerId) -> None:
        gone = self._figures(node, self._nodes.pop(node), None)
        departed = self._nodes.setdefault(DEPARTED, _Node())
        departed.counters = departed.counters.plus(gone.counters)
        departed.stats = _plus(departed.stats, gone.stats)


def _plus(total: WorkerStats, other: WorkerStats, *, gauges: bool = False) -> WorkerStats:
    """Add counters; gauges are added only where they are of a live worker."""
    return WorkerStats(
        *(
            a + b if gauges or name not in _GAUGES else a
            for name, a, b in zip(WorkerStats._fields, total, other, strict=True)
        )
    )
