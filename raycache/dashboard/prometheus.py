"""The figures of all nodes as a Prometheus page: the names of `raycache.metrics`, summed up over restarts of workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from raycache.messages import ReadCounters, WorkerStats
from raycache.metrics import METRICS, LakeReads, samples


def render(nodes: Iterable[tuple[str, ReadCounters, WorkerStats]]) -> str:
    """Write the page.

    Args:
        nodes: (node id, reads, worker's figures) each.
    """
    series: dict[str, list[str]] = {}
    labels = {metric.name: metric.labels for metric in METRICS}
    for node, reads, stats in nodes:
        # By mount and job is the workers' own word: an empty label is none.
        lake = LakeReads("", stats.ufs_requests, stats.ufs_errors, stats.ufs_bytes, reads.ufs_requests)
        for sample in samples([("", "", reads)], [lake], stats):
            pairs = zip(labels[sample.name], (node, *sample.labels), strict=True)
            text = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs if value)
            series.setdefault(sample.name, []).append(f"{sample.name}{{{text}}} {sample.value}")
    return "\n".join(_lines(series)) + "\n"


def _lines(series: dict[str, list[str]]) -> Iterator[str]:
    for metric in METRICS:
        if metric.name in series:
            yield f"# HELP {metric.name} {metric.meaning}"
            yield f"# TYPE {metric.name} {metric.kind}"
            yield from series[metric.name]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
