"""A worker's figures as Prometheus metrics, through Ray's own: sums since the last time, so readers pay nothing.

Ray gives each process a `WorkerId` label at some cardinality levels, which a restart changes; ours are stable. Counters with
a `job` label are handed to Ray as gauges: Ray keeps the series of a counter for ever, but drops that of a gauge half a
minute after it was last set. To PromQL they are counters all the same.
"""

from __future__ import annotations

import logging
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from raycache.messages import LATENCY_BOUNDS_S, MountTable, WorkerStats
from raycache.metrics import LOAD_BOUNDS_S, LOAD_LATENCY, METRICS, READ_LATENCY, bucket_value, samples
from raycache.types import WorkerId
from raycache.workers.figures.lake_meter import LakeMeter
from raycache.workers.figures.readings import Readings
from raycache.workers.figures.series import ReadSeries

_log = logging.getLogger(__name__)
#: Loads remembered between two exports.
_LOADS_MAX = 10_000


class Exporter:
    """All metrics of one worker incarnation.

    Args:
        node: the value of the `node` label.
    """

    def __init__(self, node: WorkerId) -> None:
        self._node = {"node": node}
        self._metrics: dict[str, Any] = {}
        for metric in METRICS:
            match metric.kind:
                case "histogram":
                    bounds = LOAD_BOUNDS_S if metric.name == LOAD_LATENCY else LATENCY_BOUNDS_S
                    made = Histogram(metric.name, metric.meaning, list(bounds), metric.labels)
                case _ if metric.is_set:
                    made = Gauge(metric.name, metric.meaning, metric.labels)
                case _:
                    made = Counter(metric.name, metric.meaning, metric.labels)
            self._metrics[metric.name] = made
        self._labels = {metric.name: metric.labels[1:] for metric in METRICS}
        self._set = {metric.name for metric in METRICS if metric.is_set}
        #: Most of their series are 0, and left out. Hits, misses and bypasses are not: a rate needs all three.
        self._sparse = {metric.name for metric in METRICS if "job" in metric.labels and len(metric.labels) > 3}
        self._series = ReadSeries()
        #: What the worker's loads read of the lake.
        self.lake = LakeMeter()
        self._last: dict[tuple[str, tuple[str, ...]], int] = {}
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._loads_s: list[float] = []

    def loaded(self, seconds: float) -> None:
        """A load has ended."""
        if len(self._loads_s) < _LOADS_MAX:
            self._loads_s.append(seconds)

    def export(self, readings: Readings, stats: WorkerStats, mounts: MountTable, now_s: float) -> None:
        """Hand over what has changed since the last time. Never raises: metrics must not end a worker.

        Args:
            readings: of the node's readers.
            stats: of the worker.
            mounts: which the readers' datasets belong to.
            now_s: the time.
        """
        try:
            for mount, requests in self._series.add(readings.take_unexported(), mounts, now_s).items():
                self.lake.add(mount, bypasses=requests)
            self._export(readings, stats)
        except Exception:
            # Whatever fails in Ray's metrics: the next export may succeed.
            _log.debug("exporting metrics failed", exc_info=True)

    def _export(self, readings: Readings, stats: WorkerStats) -> None:
        for sample in samples(self._series.all(), self.lake.all(), stats):
            if not sample.value and sample.name in self._sparse:
                continue
            labels = {**self._node, **dict(zip(self._labels[sample.name], sample.labels, strict=True))}
            metric = self._metrics[sample.name]
            if sample.name in self._set:
                metric.set(sample.value, labels)
                continue
            key = (sample.name, sample.labels)
            if sample.value > self._last.get(key, 0):
                metric.inc(sample.value - self._last.get(key, 0), labels)
                self._last[key] = sample.value
        for index, count in enumerate(readings.latencies):
            for _ in range(count - self._latencies[index]):
                self._metrics[READ_LATENCY].observe(bucket_value(index), self._node)
        self._latencies = list(readings.latencies)
        loads_s, self._loads_s = self._loads_s, []
        for seconds in loads_s:
            self._metrics[LOAD_LATENCY].observe(seconds, self._node)
