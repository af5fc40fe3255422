"""Counting reads in this process. What is counted is defined at `messages.ReadCounters`.

Each count belongs to a reader: the Ray job and task that runs here, and the dataset read. The task is looked up when a
connection is handed out, and by the first read after a flush, not at every read.

A read in place takes a microsecond or two, so counting it must cost next to nothing: its length is only noted, with one
`append` and nothing made for it, and notes are summed up later, many at once, by whoever takes the sums.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TypeAlias

from raycache.messages import LATENCY_BOUNDS_S, OTHER_READERS, Counts, MissReason, ReadCounters, ReadTag
from raycache.types import Tier

#: Readers told apart between two flushes; what others read is counted for `OTHER_READERS`.
READERS_MAX = 256
#: Datasets that a process tells apart, for as long as it lives.
DATASETS_MAX = 4_096
_FIELDS = ReadCounters._fields
_TASKS = _FIELDS.index("tasks_started")
_MISSED = _FIELDS.index("missed_cold")
#: Of a read from memory or disk, from another node: where its bytes are counted besides.
_TIER_REMOTE = (_FIELDS.index("bytes_memory_remote"), _FIELDS.index("bytes_disk_remote"))


#: Lengths of blocks of one dataset read in place: from memory, and from disk.
Tally: TypeAlias = tuple[list[int], list[int]]


class Notes(dict[str, Tally]):
    """By dataset the lengths of blocks read in place.

    Never gets smaller, so that no thread appends to a list that nobody looks at any more; beyond `DATASETS_MAX` all others
    share one.
    """

    def __missing__(self, dataset: str) -> Tally:
        name = dataset if len(self) < DATASETS_MAX else OTHER_READERS.dataset
        return self.setdefault(name, ([], []))


class Counters:
    """Thread-safe sums since the last `take`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: To count a block read in place on this node: `notes[dataset][tier].append(length)`, an eighth of the cost of `hit`.
        self.notes = Notes()
        #: Of the task that runs now, by dataset.
        self._sums: dict[str, list[int]] = {}
        self._before: dict[ReadTag, list[int]] = {}
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._job = self._task = ""

    @property
    def dirty(self) -> bool:
        """Whether there is something to take."""
        return bool(self._sums or self._before or any(map(any, self.notes.values())))

    def run_for(self, job: str, task: str) -> None:
        """From now on reads are counted for this task; one without a name goes on with the task before it."""
        if not task and self._task:
            return
        task = task or "thread"
        if (job, task) != (self._job, self._task):
            with self._lock:
                self._set_aside()
                self._job, self._task = job, task

    def hit(self, tier: Tier, length: int, dataset: str, *, remote: bool = False, blocks: int = 1) -> None:
        """Blocks served from a tier; `remote` when the bytes crossed to this node for it."""
        with self._lock:
            try:
                total = self._sums[dataset]
            except KeyError:
                total = self._new(dataset)
            total[0] += blocks
            total[4 if tier else 3] += length
            if remote:
                total[7] += length
                total[_TIER_REMOTE[tier]] += length

    def miss(self, length: int, dataset: str, reason: MissReason, *, remote: bool, blocks: int = 1) -> None:
        """A block that a worker had to load first."""
        with self._lock:
            total = self._sums.get(dataset) or self._new(dataset)
            total[1] += blocks
            total[5] += length
            total[7] += length if remote else 0
            total[_MISSED + reason] += blocks

    def bypass(self, length: int, dataset: str, reason: MissReason, *, requests: int, blocks: int = 1) -> None:
        """A block read past the cache; `requests` = 0 when it shared another block's request."""
        with self._lock:
            total = self._sums.get(dataset) or self._new(dataset)
            total[2] += blocks
            total[5] += length
            total[8] += length
            total[9] += requests
            total[10] += length
            total[_MISSED + reason] += blocks

    def task_started(self, dataset: str, *, out_of_turn: bool) -> None:
        """A placed read has started a task."""
        with self._lock:
            total = self._sums.get(dataset) or self._new(dataset)
            total[_TASKS] += 1
            total[_TASKS + 1] += out_of_turn

    def took(self, seconds: float) -> None:
        """A read that needed a call has ended."""
        with self._lock:
            self._latencies[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1

    def fold(self) -> None:
        """Sum the notes up: to keep them few where nobody takes the sums."""
        with self._lock:
            self._fold()

    def take(self) -> Counts:
        """The sums so far; starts again from zero."""
        with self._lock:
            self._set_aside()
            taken = Counts(
                [(tag, ReadCounters(*sums)) for tag, sums in self._before.items()],
                self._latencies if any(self._latencies) else [],
            )
            self._before = {}
            self._latencies = [0] * len(self._latencies)
            return taken

    def _new(self, dataset: str) -> list[int]:
        if len(self._sums) >= READERS_MAX:
            dataset = OTHER_READERS.dataset
        return self._sums.setdefault(dataset, [0] * len(_FIELDS))

    def _fold(self) -> None:
        for dataset, tiers in list(self.notes.items()):
            for tier, lengths in enumerate(tiers):
                taken = lengths[:]
                if taken:
                    # Others go on appending at the end.
                    del lengths[: len(taken)]
                    total = self._sums.get(dataset) or self._new(dataset)
                    total[0] += len(taken)
                    total[4 if tier else 3] += sum(taken)

    def _set_aside(self) -> None:
        """What was counted so far belongs to the task that ran until now."""
        self._fold()
        for dataset, sums in self._sums.items():
            self._add(ReadTag(self._job, self._task, dataset), with_local(sums))
        self._sums = {}

    def _add(self, tag: ReadTag, sums: list[int] | ReadCounters) -> None:
        if tag not in self._before and len(self._before) >= READERS_MAX:
            tag = OTHER_READERS
        known = self._before.get(tag)
        self._before[tag] = list(sums) if known is None else [a + b for a, b in zip(known, sums, strict=True)]


def with_local(sums: list[int]) -> list[int]:
    """The sums, with the local bytes worked out: most reads are local, and pay for one addition less."""
    return [*sums[:6], sums[3] + sums[4] + sums[5] - sums[7] - sums[8], *sums[7:]]
