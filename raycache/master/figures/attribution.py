"""Counts of reads per Ray job, task name and dataset, summed over all nodes. Pure.

Workers send them in numbered batches, each until it has arrived; a number that is not above the last one of that worker's
epoch is a repetition. Bounded: the readers that have been quiet longest are summed up as `OTHER_READERS`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from raycache.messages import OTHER_READERS, ReadCounters, ReadTag
from raycache.types import WorkerId

READERS_KEPT_MAX = 2_000
#: Worker incarnations whose last number is kept; older ones send nothing any more.
EPOCHS_KEPT_MAX = 20_000

Batches = list[tuple[int, list[tuple[ReadTag, ReadCounters]]]]


class Readers:
    """All readers since this master started."""

    def __init__(self) -> None:
        #: Longest quiet first: tag -> (counters, when it last read).
        self._readers: OrderedDict[ReadTag, tuple[ReadCounters, float]] = OrderedDict()
        self._heard: OrderedDict[tuple[WorkerId, int], int] = OrderedDict()

    def heard(self, node: WorkerId, epoch: int, batches: Batches, now_s: float) -> None:
        """Take in what a heartbeat brought, of whatever epoch."""
        key = (node, epoch)
        last = self._heard.get(key, 0)
        for number, counts in batches:
            if number > last:
                last = number
                self.count(counts, now_s)
        if batches:
            self._heard[key] = last
            self._heard.move_to_end(key)
            if len(self._heard) > EPOCHS_KEPT_MAX:
                self._heard.popitem(last=False)

    def count(self, counts: Iterable[tuple[ReadTag, ReadCounters]], now_s: float) -> None:
        """Add what readers counted."""
        for tag, counters in counts:
            known, _ = self._readers.get(tag, (ReadCounters(), now_s))
            self._readers[tag] = (known.plus(counters), now_s)
            self._readers.move_to_end(tag)
        while len(self._readers) > READERS_KEPT_MAX:
            quiet = next(tag for tag in self._readers if tag != OTHER_READERS)
            counters, _ = self._readers.pop(quiet)
            known, _ = self._readers.get(OTHER_READERS, (ReadCounters(), now_s))
            self._readers[OTHER_READERS] = (known.plus(counters), now_s)

    def all(self, now_s: float) -> list[tuple[ReadTag, ReadCounters, float]]:
        """(tag, counters, seconds since it last read), the last one to read first."""
        return [(tag, counters, now_s - seen_s) for tag, (counters, seen_s) in reversed(self._readers.items())]

    def saved(self, now_s: float) -> dict[str, Any]:
        """Everything, as JSON values: for a checkpoint, see `restore`."""
        return {
            "readers": [[tag, counters, now_s - seen_s] for tag, (counters, seen_s) in self._readers.items()],
            "heard": [[*key, number] for key, number in self._heard.items()],
        }

    def restore(self, saved: dict[str, Any], now_s: float) -> None:
        """Go on from what an earlier master had counted."""
        for tag, counters, quiet_s in saved["readers"]:
            self._readers[ReadTag(*tag)] = (ReadCounters(*counters), now_s - quiet_s)
        for node, epoch, number in saved["heard"]:
            self._heard[node, epoch] = number
