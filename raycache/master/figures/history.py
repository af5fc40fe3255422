"""The last quarter of an hour, node by node: samples of cumulative counters at a fixed step, in rings. Pure.

A window is the difference between now and the sample at its start, so it needs no sums and loses nothing. A node that
was not there at the start of a window began at zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from raycache.messages import ReadCounters
from raycache.types import WorkerId

STEP_S = 5.0
#: Samples kept: 15 minutes of steps, and the one they start from.
SAMPLES = 181
NODES_MAX = 10_000
#: Most bytes of rings that are kept for a restart; beyond, history begins again after it.
SAVED_BYTES_MAX = 256 << 20
_FIELDS = len(ReadCounters._fields)

Samples = npt.NDArray[np.int64]


class History:
    """Rings of one sample per step."""

    def __init__(self) -> None:
        #: Node -> shape (SAMPLES, fields of `ReadCounters`); position `_position` is the latest.
        self._rings: dict[WorkerId, Samples] = {}
        self._position = 0
        #: How many samples there are, at most SAMPLES.
        self._count = 0
        self._next_s = float("-inf")

    def due(self, now_s: float) -> bool:
        """Whether it is time for the next sample."""
        return now_s >= self._next_s

    def sample(self, counters: Mapping[WorkerId, ReadCounters], now_s: float) -> None:
        """Take one sample of every node. After a pause the last values stand for the steps that were missed."""
        missed = 0 if self._next_s == float("-inf") else min(SAMPLES, int((now_s - self._next_s) / STEP_S))
        for _ in range(missed):
            self._step({})
        self._step(counters)
        self._next_s = now_s + STEP_S

    def _step(self, counters: Mapping[WorkerId, ReadCounters]) -> None:
        before, self._position = self._position, (self._position + 1) % SAMPLES
        self._count = min(SAMPLES, self._count + 1)
        for node in [node for node in self._rings if counters and node not in counters]:
            del self._rings[node]
        for node, values in counters.items():
            if node not in self._rings and len(self._rings) < NODES_MAX:
                self._rings[node] = np.zeros((SAMPLES, _FIELDS), np.int64)
            if node in self._rings:
                self._rings[node][self._position] = values
        if not counters:
            for ring in self._rings.values():
                ring[self._position] = ring[before]

    def saved(self, now_s: float, bytes_max: int = SAVED_BYTES_MAX) -> tuple[list[WorkerId], Samples, float]:
        """(nodes, shape (nodes, samples, fields), seconds since the last sample): a copy, see `restore`.

        Args:
            now_s: the time.
            bytes_max: if the samples are more, none are copied, and there are no nodes.
        """
        order = (np.arange(-self._count + 1, 1) + self._position) % SAMPLES
        samples_bytes = len(self._rings) * self._count * _FIELDS * np.dtype(np.int64).itemsize
        nodes = list(self._rings) if samples_bytes <= bytes_max else []
        rings = [self._rings[node][order] for node in nodes]
        samples = np.stack(rings) if rings else np.zeros((0, self._count, _FIELDS), np.int64)
        return nodes, samples, max(0.0, now_s - (self._next_s - STEP_S)) if self._count else 0.0

    def restore(self, nodes: Sequence[WorkerId], samples: Samples, age_s: float, now_s: float) -> None:
        """Go on from what an earlier master had; `age_s` is how long ago its last sample was."""
        if not nodes:
            return
        self._count = samples.shape[1]
        self._position = self._count - 1
        for node, values in zip(nodes, samples, strict=True):
            self._rings[node] = np.zeros((SAMPLES, _FIELDS), np.int64)
            self._rings[node][: self._count] = values
        self._next_s = now_s - age_s + STEP_S

    def window(self, node: WorkerId, now: ReadCounters, seconds: float) -> ReadCounters:
        """What a node counted within the last `seconds` (up to 15 minutes), or since the first sample if that is later.

        Args:
            node: any; one without samples has counted everything just now.
            now: its counters at this moment.
            seconds: rounded up to whole steps.
        """
        ring = self._rings.get(node)
        if ring is None or self._count == 0:
            return now
        steps = int(-(-seconds // STEP_S)) - 1
        start = ring[(self._position - min(steps, self._count - 1)) % SAMPLES]
        return ReadCounters(*(np.array(now, np.int64) - start).tolist())

    def series(self, node: WorkerId, every: int = 1) -> Samples:
        """What a node counted in each run of `every` steps, oldest first.

        Returns:
            Shape (steps // every, fields of `ReadCounters`); fewer rows when there are fewer samples.
        """
        ring = self._rings.get(node)
        if ring is None:
            return np.zeros((0, _FIELDS), np.int64)
        ordered = ring[(np.arange(-self._count + 1, 1) + self._position) % SAMPLES]
        chosen = ordered[(self._count - 1) % every :: every]
        return np.diff(chosen, axis=0)
