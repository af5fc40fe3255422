"""Batches that wait for their load to start, by store, and which may start. Pure.

Theory of operation. A store that does not answer must not keep others waiting. So loads of one store have at most
`loads_inflight_max` places and `load_bytes_inflight_max` bytes, and never more than are left free then, of twice as much in
all (dynamic thresholds: Choudhury and Hahne, IEEE/ACM ToN 1998): one store alone gets all of its bound, a second one half as
much beside it, and so on. Stores take turns; the batches of one start in the order in which they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something on its way."""

    @property
    def store(self) -> str:
        """Where it comes from."""
        ...

    @property
    def length(self) -> int:
        """Bytes."""
        ...


_Item = TypeVar("_Item", bound=Sized)


class WaitingLine(Generic[_Item]):
    """Batches in line, none empty, all items of one from the same store.

    Args:
        loads_max: of one store.
        bytes_max: of one store; a larger load goes alone.
    """

    def __init__(self, loads_max: int, bytes_max: int) -> None:
        self._loads_max = loads_max
        self._bytes_max = bytes_max
        #: By store, not empty; the next to have a turn in front.
        self._lines: dict[str, deque[list[_Item]]] = {}
        #: By store: loads that run, and their bytes.
        self._running: dict[str, tuple[int, int]] = {}
        self._loads = self._bytes = 0
        #: Items in line.
        self.count = 0

    def __iter__(self) -> Iterator[list[_Item]]:
        return (batch for line in self._lines.values() for batch in line)

    def append(self, batch: list[_Item]) -> None:
        """Last in line."""
        self._lines.setdefault(batch[0].store, deque()).append(batch)
        self.count += len(batch)

    def put_back(self, batch: list[_Item]) -> None:
        """First in line again."""
        self._lines.setdefault(batch[0].store, deque()).appendleft(batch)
        self.count += len(batch)

    def take(self) -> list[_Item] | None:
        """The next batch that may start; None when none may."""
        for store, line in self._lines.items():
            if self._may_start(store, sum(item.length for item in line[0])):
                batch = line.popleft()
                self.count -= len(batch)
                del self._lines[store]
                if line:
                    self._lines[store] = line
                return batch
        return None

    def started(self, store: str, size_bytes: int) -> None:
        """A load runs."""
        self._count(store, 1, size_bytes)

    def ended(self, store: str, size_bytes: int) -> None:
        """It does not run any more."""
        self._count(store, -1, -size_bytes)

    def _may_start(self, store: str, size_bytes: int) -> bool:
        loads, used_bytes = self._running.get(store, (0, 0))
        loads_max = min(self._loads_max, 2 * self._loads_max - self._loads)
        bytes_max = min(self._bytes_max, 2 * self._bytes_max - self._bytes)
        return loads < loads_max and (not loads or used_bytes + size_bytes <= bytes_max)

    def _count(self, store: str, loads: int, size_bytes: int) -> None:
        before = self._running.pop(store, (0, 0))
        now = before[0] + loads, before[1] + size_bytes
        if now[0]:
            self._running[store] = now
        self._loads += loads
        self._bytes += size_bytes

    def validate(self, running: dict[str, list[int]]) -> None:
        """Check the counts.

        Args:
            running: by store, the bytes of each load that runs.
        """
        assert self.count == sum(len(batch) for batch in self), f"{self.count} items counted in line"
        counted = {store: (len(sizes), sum(sizes)) for store, sizes in running.items()}
        assert counted == self._running, f"{counted} run, {self._running} counted"
        for store, (loads, size_bytes) in counted.items():
            assert loads <= self._loads_max, f"{loads} loads of {store} run"
            assert loads <= 1 or size_bytes <= self._bytes_max, f"{size_bytes} bytes of {store} run in {loads} loads"
        assert self._loads <= 2 * self._loads_max, f"{self._loads} loads run"
