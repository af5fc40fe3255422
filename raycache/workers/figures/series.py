"""What this node's readers have read, by mount and Ray job: the labelled series of the metrics. Pure.

There are never more than `SERIES_MAX` pairs of a mount and a job, and one for all others together: a pair that has been
quiet for `QUIET_S` goes, so that the series of ended jobs go away, and makes room for another. A count belongs to the
series that takes it in, for good, so every series grows for as long as it is there, and no rate ever jumps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from raycache.messages import MountInfo, MountTable, ReadCounters

#: Pairs of a mount and a job with a series of their own at a time.
SERIES_MAX = 32
QUIET_S = 900.0
OTHER = "other"
_DATASETS_MAX = 10_000


class MountReads(NamedTuple):
    """What was read of one mount by one Ray job."""

    mount: str
    job: str
    counters: ReadCounters


class ReadSeries:
    """All series of one worker incarnation."""

    def __init__(self) -> None:
        #: (mount, job) -> (sums, when they last grew).
        self._series: dict[tuple[str, str], tuple[ReadCounters, float]] = {}
        self._mount_of = _MountOf(MountTable(0, ()))

    def add(self, reads: Mapping[tuple[str, str], ReadCounters], mounts: MountTable, now_s: float) -> dict[str, int]:
        """Take in what was read since the last time, by (Ray job, dataset); returns the readers' own requests by mount."""
        requests: dict[str, int] = {}
        if mounts.version != self._mount_of.mounts.version:
            self._mount_of = _MountOf(mounts)
        quiet = [pair for pair, (_, grew_s) in self._series.items() if now_s - grew_s >= QUIET_S]
        for pair in quiet:
            del self._series[pair]
        for (job, dataset), counters in reads.items():
            pair = self._mount_of(dataset), job
            if counters.ufs_requests:
                requests[pair[0]] = requests.get(pair[0], 0) + counters.ufs_requests
            if pair not in self._series and len(self._series) >= SERIES_MAX:
                pair = OTHER, OTHER
            sums, _ = self._series.get(pair, (ReadCounters(), now_s))
            self._series[pair] = sums.plus(counters), now_s
        return requests

    def all(self) -> Iterable[MountReads]:
        """All series."""
        return (MountReads(mount, job, counters) for (mount, job), (counters, _) in self._series.items())


def label_of(mount: MountInfo) -> str:
    """The value of the label `mount`: its path, as UTF-8, which a path need not be."""
    return mount.path.encode("utf-8", "backslashreplace").decode()


class _MountOf:
    """The mount of a dataset, remembered: each dataset is asked for many times."""

    def __init__(self, mounts: MountTable) -> None:
        self.mounts = mounts
        self._known: dict[str, str] = {}

    def __call__(self, dataset: str) -> str:
        known = self._known.get(dataset)
        if known is None:
            mount = self.mounts.of_path(dataset)
            known = OTHER if mount is None else label_of(mount)
            if len(self._known) < _DATASETS_MAX:
                self._known[dataset] = known
        return known
