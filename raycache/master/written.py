"""What was written through the cache, and which nodes have heard of it. Pure; see `raycache.invalidations`.

Theory of operation. A writer's close ends when no reader in the cluster can still use what it remembers of the file. Readers
of a node may, while its worker has not heard of the write *and* the lease of its log runs. The lease runs from the moment the
worker sends a heartbeat, so it ends at most `LEASE_S` after the master has taken it in. A heartbeat that a worker sends
without having heard is answered with what it lacks, which it appends before it goes on; so a worker that speaks has soon heard,
and one that does not stops being trusted. A new incarnation closes its forerunner's log before it first speaks.

A master that has just started does not know whom earlier ones have heard: until all nodes' workers have spoken, or a lease has
gone by, any node may be trusted.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable

from raycache.invalidations import EVERYTHING, LEASE_S, Invalidation
from raycache.types import WorkerId

#: Writes remembered for workers that have not heard of them; one that lacks older ones is told to forget everything.
KEPT_MAX = 10_000


@dataclasses.dataclass(slots=True)
class _Listener:
    epoch: int
    #: Position in the log up to which it has heard.
    position: int
    #: When its last heartbeat was taken in.
    spoke_s: float


class WrittenLog:
    """All writes, in order.

    Args:
        first_position: larger than any of an earlier master.
        started_s: when this master started.
    """

    def __init__(self, first_position: int, started_s: float = 0.0) -> None:
        self._start = first_position
        self._found: deque[Invalidation] = deque()
        self._started_s = started_s
        self._listeners: dict[WorkerId, _Listener] = {}

    @property
    def position(self) -> int:
        """Behind the last write."""
        return self._start + len(self._found)

    def append(self, found: Iterable[Invalidation]) -> int:
        """Something was written; returns the position that all must hear of."""
        self._found.extend(found)
        while len(self._found) > KEPT_MAX:
            self._found.popleft()
            self._start += 1
        return self.position

    def spoke(self, worker: WorkerId, epoch: int, position: int, now_s: float) -> None:
        """A heartbeat was taken in: this worker's readers may trust its log for a lease from before now."""
        known = self._listeners.get(worker)
        if known is None or epoch > known.epoch:
            self._listeners[worker] = _Listener(epoch, position, now_s)
        elif epoch == known.epoch:
            known.position, known.spoke_s = max(known.position, position), now_s

    def heard(self, worker: WorkerId, epoch: int, position: int) -> None:
        """A worker has appended what was written up to a position."""
        known = self._listeners.get(worker)
        if known is not None and known.epoch == epoch:
            known.position = max(known.position, position)

    def since(self, position: int) -> list[Invalidation]:
        """What a worker lacks that has heard up to a position."""
        if position < self._start:
            return [EVERYTHING] if self.position > position else []
        return [self._found[i] for i in range(position - self._start, len(self._found))]

    def unheard(self, position: int, now_s: float, *, complete: bool) -> bool:
        """Whether readers somewhere may not know what was written up to a position.

        Args:
            position: as `append` gave it.
            now_s: the time.
            complete: the workers of all nodes have spoken to this master.
        """
        if not complete and now_s < self._started_s + LEASE_S:
            return True
        return any(known.position < position and now_s < known.spoke_s + LEASE_S for known in self._listeners.values())

    def forget_silent(self, now_s: float) -> None:
        """Those whose lease is over are of no interest; should they speak again, they are told what they lack."""
        gone = [worker for worker, known in self._listeners.items() if now_s >= known.spoke_s + LEASE_S]
        for worker in gone:
            del self._listeners[worker]
