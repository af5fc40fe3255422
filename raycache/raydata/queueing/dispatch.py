"""Which read task of an execution starts next: a rule, no Ray.

Theory of operation. Ray Data starts a task whenever the cluster has room for one, in an order fixed beforehand, without
saying where the room is. In a fixed order a task often comes up while its own node is busy, and runs elsewhere, although
another task would have fitted the idle node. So the order is decided here at the last moment: a call of `take` means "one
task may start", and gives the one that fits best.

A node has as many slots as CPUs. Of the nodes with a free slot the one with the longest backlog per CPU is served first.
When none of the nodes with a backlog has a free slot, the longest backlog gives a task away: it is charged to the idlest
node, where Ray will probably run it. The counts are a guess, and need be no more: they only order the tasks. Which task of
a node it is, says its lane: what is cached first (`lanes`).

To give a task away is to move its bytes, so it is not done at once (`may_take`). A node whose first task has not ended yet is
probably starting its processes; one with less than two tasks for each slot will soon get to them. For such nodes the
others wait a little, and if that was in vain not again until the node has finished something.

What is not cached should be on its way while something else is read (`announceable`). In a fixed order that is the next
task of the node. Where cached tasks go first, it is what will be read last; it may come as soon as there are tasks that
have been read, whose place it can take, and not while other jobs read the same: what this one is done with, they may
still want.

One thread takes tasks; another may say meanwhile what is cached.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from raycache.raydata.queueing.lanes import Lane, Noted, Start

Task = TypeVar("Task")
#: Announced tasks of a node that have not started.
_ANNOUNCED_MAX = 2


class DispatchQueue(Generic[Task]):
    """The tasks of one execution that have not started, by node.

    Args:
        tasks: shape (T,): (task, its node), in the order of first choice.
        cpus: per node; a node that is missing counts as one CPU.
        patience_s: how long tasks wait for their node before another one takes them.
    """

    def __init__(self, tasks: Sequence[tuple[Task, str]], cpus: Mapping[str, float], patience_s: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane[Task]] = {}
        self._lane_of: dict[int, Lane[Task]] = {}
        self._numbers = itertools.count()
        self._cpus = {node: max(1.0, count) for node, count in cpus.items()}
        self._running = dict.fromkeys(self._cpus, 0)
        self._patience_s = patience_s
        self._waiting_since_s: float | None = None
        #: Nodes that have finished a task, and those that were waited for in vain since.
        self._proven: set[str] = set()
        self._given_up: set[str] = set()
        #: The node of the very first task, until it has started.
        self._first: str | None = None
        self._is_new = True
        #: Per node, tasks that have ended, and announced ones; and those that have not started.
        self._finished: dict[str, int] = {}
        self._announced: dict[str, int] = {}
        self._waiting_announced: dict[int, str] = {}
        #: Somebody else brings in what is read here.
        self._others = False
        #: Called with tasks that were added, and their files.
        self.on_add: Callable[[DispatchQueue[Task], Sequence[tuple[int, Sequence[str]]]], None] | None = None
        #: Called with the number of each task that starts, and whether it does so out of turn.
        self.on_start: Callable[[int, bool], None] | None = None
        for task, node in tasks:
            self.add(task, node)

    def add(self, task: Task, node: str) -> int:
        """One more task, to be started after those of its node that are there already. Returns its number, from 0."""
        with self._lock:
            if node not in self._cpus:
                self._cpus[node], self._running[node] = 1.0, 0
            if self._is_new:
                self._first, self._is_new = node, False
            number = next(self._numbers)
            lane = self._lane_of[number] = self._lanes.setdefault(node, Lane())
            lane.add(number, task)
            return number

    def __len__(self) -> int:
        """Tasks that have not started."""
        return len(self._lane_of)

    def waiting(self) -> list[int]:
        """Their numbers."""
        with self._lock:
            return list(self._lane_of)

    def note(self, all_noted: Iterable[Noted], *, at_first: bool = False) -> None:
        """Take in what is cached now.

        Args:
            all_noted: of some tasks.
            at_first: nothing was known of them before.
        """
        with self._lock:
            by_lane: dict[int, list[Noted]] = {}
            for noted in all_noted:
                if noted.number in self._lane_of:
                    by_lane.setdefault(id(self._lane_of[noted.number]), []).append(noted)
            for lane in self._lanes.values():
                arrived = lane.note(by_lane.get(id(lane), ()))
                if not at_first and any(number not in self._waiting_announced for number in arrived):
                    self._others = True

    def may_take(self, now_s: float) -> bool:
        """Whether a task should start now, or rather a little later.

        Args:
            now_s: monotonic.
        """
        waiting = [node for node, lane in self._lanes.items() if lane]
        if not waiting or self._first is not None or any(self._free(node) >= 1 for node in waiting):
            self._waiting_since_s = None
            return True
        longest = max(waiting, key=self._backlog)
        if longest in self._given_up or (longest in self._proven and self._backlog(longest) >= 2):
            return True
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if now_s - self._waiting_since_s < self._patience_s:
            return False
        self._given_up.add(longest)
        return True

    def take(self) -> tuple[Task, str] | None:
        """Start a task.

        Returns:
            The task, and the node it is charged to, to be given to `finished`; None when all have started. The very
            first is of the node of the first task given, and that task itself unless another one is cached: so the
            first rows are those of the first file.
        """
        with self._lock:
            waiting = [node for node, lane in self._lanes.items() if lane]
            if not waiting:
                return None
            node = self._first or max(waiting, key=lambda n: (self._free(n) >= 1, self._backlog(n)))
            self._first = None
            charged = node if self._free(node) >= 1 else max(self._cpus, key=self._free)
            self._running[charged] += 1
            start: Start[Task] = self._lanes[node].pop()
            del self._lane_of[start.number]
            announced = self._waiting_announced.pop(start.number, None)
            if announced is not None:
                self._announced[announced] -= 1
        if self.on_start is not None:
            self.on_start(start.number, start.out_of_turn)
        return start.task, charged

    def head(self, node: str) -> Task | None:
        """What this node should start next; it stays where it is."""
        with self._lock:
            lane = self._lanes.get(node)
            number = None if lane is None else lane.head()
            return None if lane is None or number is None else lane.task(number)

    def announceable(self, node: str) -> list[Task]:
        """The tasks of a node whose files should be on their way by now, each given once where cached ones go first."""
        with self._lock:
            lane = self._lanes.get(node)
            number = None if lane is None else lane.head()
            if lane is None or number is None:
                return []
            if not lane.is_mixed:
                return [lane.task(number)]
            announced = self._announced.get(node, 0)
            count = min(_ANNOUNCED_MAX, self._finished.get(node, 0)) - announced
            absent = (absent for absent in lane.absent() if absent not in self._waiting_announced)
            if self._others:
                # Only what is next anyway.
                absent = (each for each in absent if each == number)
            chosen = list(itertools.islice(absent, max(0, count)))
            self._waiting_announced.update(dict.fromkeys(chosen, node))
            self._announced[node] = announced + len(chosen)
            return [lane.task(each) for each in chosen]

    def finished(self, charged: str) -> None:
        """A task that was charged to this node has ended, well or not."""
        self._running[charged] -= 1
        self._finished[charged] = self._finished.get(charged, 0) + 1
        self._proven.add(charged)
        self._given_up.discard(charged)

    def _backlog(self, node: str) -> float:
        """Tasks for each slot."""
        return len(self._lanes[node]) / self._cpus[node]

    def _free(self, node: str) -> float:
        return self._cpus[node] - self._running[node]
