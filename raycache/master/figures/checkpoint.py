"""What the master has counted, as one record to keep beside its journal: so that a restart loses no counts. Pure.

Live workers say their own totals again with every heartbeat. Only the master knows what was counted by workers that are
gone, by readers on nodes without a worker, per reader, and in the last 15 minutes. That is written down every
`PERIOD_S` while something is read, and at once when a worker is lost, since its totals will not come again. A restarted
master goes on from the last record: the totals of live workers catch up with their next heartbeat, and the steps of history
in between are filled with the first of them.

Lost in the worst case: what is only the master's, of the last `PERIOD_S` before its end. A record of another cache, or
of a version with other counters, is passed over.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from raycache.master.figures.history import Samples
from raycache.messages import ReadCounters, WorkerStats

PERIOD_S = 15.0
_FIELDS = [*ReadCounters._fields, *WorkerStats._fields]


class Keeping:
    """When to keep a checkpoint: now and then, while something is read."""

    def __init__(self) -> None:
        self._next_s = float("-inf")
        #: All reads when it was last kept; None: that failed.
        self._kept: ReadCounters | None = ReadCounters()
        self._hurried = False

    def hurry(self) -> None:
        """Something was counted that no worker will say again."""
        self._hurried = True

    def due(self, count: Callable[[], ReadCounters], now_s: float) -> bool:
        """Whether to keep one now; `count` tells all reads so far."""
        if now_s < self._next_s and not self._hurried:
            return False
        total = count()
        due = self._hurried or total != self._kept
        self._next_s, self._kept, self._hurried = now_s + PERIOD_S, total, False
        return due

    def failed(self) -> None:
        """The last one was not written: another is due after `PERIOD_S`, whether or not anything is read until then."""
        self._kept = None


class Checkpoint(NamedTuple):
    """The counts of one moment; `record` may take a while, and can be called in another thread."""

    cache_id: str
    #: See `Figures.saved` and `Readers.saved`.
    figures: dict[str, Any]
    readers: dict[str, Any]
    #: Nodes of the history, its samples (shape (nodes, samples, counters)), and seconds since the last of them.
    history_nodes: list[str]
    history: Samples
    history_age_s: float

    def record(self, wall_s: float) -> dict[str, Any]:
        """JSON values; `wall_s` is the time of day, which goes on over restarts."""
        # Differences in time are small numbers, mostly zeros.
        steps = np.diff(self.history, axis=1, prepend=0)
        return {
            "cache_id": self.cache_id,
            "fields": _FIELDS,
            "wall_s": wall_s,
            "figures": self.figures,
            "readers": self.readers,
            "history": {
                "nodes": self.history_nodes,
                "shape": self.history.shape,
                "steps": base64.b85encode(zlib.compress(steps.tobytes(), 1)).decode(),
                "age_s": self.history_age_s,
            },
        }


def read_checkpoint(record: dict[str, Any], cache_id: str, wall_s: float) -> tuple[Checkpoint, float] | None:
    """(what was kept, its age in seconds), or None when it is of another cache or version."""
    if record.get("cache_id") != cache_id or record.get("fields") != _FIELDS:
        return None
    kept = record["history"]
    steps = np.frombuffer(zlib.decompress(base64.b85decode(kept["steps"])), np.int64).reshape(kept["shape"])
    samples = np.cumsum(steps, axis=1)
    checkpoint = Checkpoint(
        cache_id, record["figures"], record["readers"], kept["nodes"], samples, float(kept["age_s"])
    )
    return checkpoint, max(0.0, wall_s - float(record["wall_s"]))
