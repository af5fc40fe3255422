"""The read tasks of one node that have not started, and which of them is next: what is cached first. A rule, no Ray.

Theory of operation. Tasks have numbers, in the order in which they would start. While some of them read what is not cached,
those that read what is cached now go before the others: what is not there is loaded in place of what was read in this
epoch already, rather than of what is still to be read, and a dataset of which half fits has half its reads hit, instead of
none. Of the cached ones the one goes first that has been known as such for the longest: where several jobs read the same,
that is what makes room next. Where everything is cached, or nothing is, tasks start in their order.
"""

from __future__ import annotations

import enum
import heapq
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

Task = TypeVar("Task")


class CachedShare(enum.IntEnum):
    """How much of what a task reads is cached."""

    WHOLE = 0
    #: A part worth going first for, when nothing is whole.
    PARTLY = 1
    ABSENT = 2

    @classmethod
    def of(cls, share: float) -> CachedShare:
        """That of a share of the bytes."""
        return cls.WHOLE if share >= 0.999 else cls.PARTLY if share >= 0.25 else cls.ABSENT


class Start(NamedTuple, Generic[Task]):
    """A task that starts."""

    number: int
    task: Task
    #: One with a lower number has not started.
    out_of_turn: bool


class Noted(NamedTuple):
    """What is known of a task now."""

    number: int
    coverage: CachedShare
    #: When what it reads was used last, on whatever clock; of those that are cached, the lowest goes first.
    used: int = 0


class Lane(Generic[Task]):
    """One node's tasks."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[int, Task] = OrderedDict()
        #: Of those of which something is cached.
        self._noted: dict[int, Noted] = {}
        #: (coverage, used, number) of these, and of some that are not as they were.
        self._heap: list[tuple[CachedShare, int, int]] = []
        self._whole_count = 0
        #: Whether the order was ever left: something is cached, and something else is not.
        self.is_mixed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, number: int, task: Task) -> None:
        """One more, with a higher number than all before."""
        self._tasks[number] = task

    def note(self, all_noted: Iterable[Noted]) -> list[int]:
        """Take in what is cached now; tasks that are not named are as they were.

        Returns:
            The numbers of those that are whole now and were not.
        """
        arrived: list[int] = []
        for noted in all_noted:
            number, coverage, used = noted
            known = self._noted.get(number)
            if number not in self._tasks or (known is not None and known.coverage is coverage):
                continue
            self._forget(number)
            if coverage is not CachedShare.ABSENT:
                self._noted[number] = noted
                heapq.heappush(self._heap, (coverage, used, number))
            if coverage is CachedShare.WHOLE:
                self._whole_count += 1
                arrived.append(number)
        self.is_mixed = self.is_mixed or (len(self._noted) > 0 and self._whole_count < len(self._tasks))
        return arrived

    def _forget(self, number: int) -> None:
        known = self._noted.pop(number, None)
        self._whole_count -= known is not None and known.coverage is CachedShare.WHOLE

    def head(self) -> int | None:
        """The number of the one to start next."""
        heap = self._heap
        while heap:
            coverage, used, number = heap[0]
            if self._noted.get(number) == (number, coverage, used):
                if self.is_mixed:
                    return number
                break
            heapq.heappop(heap)
        return next(iter(self._tasks), None)

    def task(self, number: int) -> Task:
        """One that has not started."""
        return self._tasks[number]

    def absent(self) -> Iterable[int]:
        """The numbers of those of which nothing much is cached, in their order."""
        return (number for number in self._tasks if number not in self._noted)

    def pop(self) -> Start[Task]:
        """Start the next one; there must be one."""
        number = self.head()
        assert number is not None
        out_of_turn = number != next(iter(self._tasks))
        self._forget(number)
        return Start(number, self._tasks.pop(number), out_of_turn)
