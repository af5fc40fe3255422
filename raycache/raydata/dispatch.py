"""Which read task of an execution starts next: a rule, no Ray.

Theory of operation. Ray Data starts a task whenever the cluster has room for one, in an order fixed beforehand, without
saying where the room is. In a fixed order a task often comes up while its own node is busy, and runs elsewhere, although
another task would have fitted the idle node. So the order is decided here at the last moment: a call of `take` means "one
task may start", and gives the one that fits best.

A node has as many slots as CPUs. Of the nodes with a free slot the one with the longest backlog per CPU is served first.
When none of the nodes with a backlog has a free slot, the longest backlog gives a task away: it is charged to the idlest
node, where Ray will probably run it. The counts are a guess, and need be no more: they only order the tasks.

To give a task away is to move its bytes, so it is not done at once (`may_take`). A node whose first task has not ended yet is
probably starting its processes; one with less than two tasks for each slot will soon get to them. For such nodes the
others wait a little, and if that was in vain not again until the node has finished something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

Task = TypeVar("Task")


class DispatchQueue(Generic[Task]):
    """The tasks of one execution that have not started, by node.

    Args:
        tasks: shape (T,): (task, its node), in the order of first choice.
        cpus: per node; a node that is missing counts as one CPU.
        patience_s: how long tasks wait for their node before another one takes them.
    """

    def __init__(self, tasks: Sequence[tuple[Task, str]], cpus: Mapping[str, float], patience_s: float = 0.0) -> None:
        self._pending: dict[str, deque[Task]] = {}
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
        for task, node in tasks:
            self.add(task, node)

    def add(self, task: Task, node: str) -> None:
        """One more task, to be started after those of its node that are there already."""
        if node not in self._cpus:
            self._cpus[node], self._running[node] = 1.0, 0
        if self._is_new:
            self._first, self._is_new = node, False
        self._pending.setdefault(node, deque()).append(task)

    def __len__(self) -> int:
        """Tasks that have not started."""
        return sum(map(len, self._pending.values()))

    def may_take(self, now_s: float) -> bool:
        """Whether a task should start now, or rather a little later.

        Args:
            now_s: monotonic.
        """
        waiting = [node for node, tasks in self._pending.items() if tasks]
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
            first is the first task given, so that the first rows are those of the first file.
        """
        waiting = [node for node, tasks in self._pending.items() if tasks]
        if not waiting:
            return None
        node = self._first or max(waiting, key=lambda n: (self._free(n) >= 1, self._backlog(n)))
        self._first = None
        charged = node if self._free(node) >= 1 else max(self._cpus, key=self._free)
        self._running[charged] += 1
        return self._pending[node].popleft(), charged

    def head(self, node: str) -> Task | None:
        """What this node should start next; it stays where it is."""
        pending = self._pending.get(node)
        return pending[0] if pending else None

    def finished(self, charged: str) -> None:
        """A task that was charged to this node has ended, well or not."""
        self._running[charged] -= 1
        self._proven.add(charged)
        self._given_up.discard(charged)

    def _backlog(self, node: str) -> float:
        """Tasks for each slot."""
        return len(self._pending[node]) / self._cpus[node]

    def _free(self, node: str) -> float:
        return self._cpus[node] - self._running[node]
