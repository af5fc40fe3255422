"""Where blocks are, as far as the workers have said: hints, never truth.

Theory of operation. Per file version there is one flat tuple (slot, mask, slot, mask, ...): a slot is a number for one
worker's current word, the mask has a bit for each block it holds. A worker that is lost, or that reports everything
anew, just gives its slot up, which is O(1): pairs of a dead slot are skipped by readers, removed by whoever touches the
version next, and swept when they are the majority. The number of versions is bounded; beyond, news are dropped, and
those blocks are found by the hash alone.
"""

from __future__ import annotations

from raycache.messages import BlockReport
from raycache.types import VersionId, WorkerId

VERSIONS_MAX = 10_000_000
_SWEEP_MIN = 10_000
_ALIKE_MAX = 10_000


class Locations:
    """Block masks of file versions, per worker.

    Args:
        versions_max: bound on versions remembered.
    """

    def __init__(self, versions_max: int = VERSIONS_MAX) -> None:
        self._versions_max = versions_max
        self._holders: dict[VersionId, tuple[int, ...]] = {}
        self._slot_of: dict[WorkerId, int] = {}
        self._worker_of: dict[int, WorkerId] = {}
        #: Pairs in `_holders` per live slot, and of all dead ones.
        self._pairs: dict[int, int] = {}
        self._dead_pairs = 0
        self._next_slot = 0
        #: Most files have the same few tuples (one worker, the first block): one object stands for all that are alike.
        self._alike: dict[tuple[int, ...], tuple[int, ...]] = {}

    def __len__(self) -> int:
        """Versions remembered."""
        return len(self._holders)

    def apply(self, worker: WorkerId, report: BlockReport) -> None:
        """Take in a worker's report. The caller has checked its epoch and sequence."""
        if report.full:
            self.drop(worker)
        slot = self._slot_of.get(worker)
        if slot is None:
            slot = self._slot_of[worker] = self._next_slot
            self._worker_of[slot] = worker
            self._pairs[slot] = 0
            self._next_slot += 1
        for version, mask in zip(report.versions, report.masks, strict=True):
            self._set(version, slot, mask)
        if self._dead_pairs > max(_SWEEP_MIN, sum(self._pairs.values())):
            self._sweep()

    def drop(self, worker: WorkerId) -> None:
        """Forget what a worker holds."""
        slot = self._slot_of.pop(worker, None)
        if slot is not None:
            del self._worker_of[slot]
            self._dead_pairs += self._pairs.pop(slot)

    def expect(self, version: VersionId, worker: WorkerId, mask: int) -> None:
        """Readers are to ask this worker, who will load these blocks then, while nobody holds any of the version.

        The worker's own word replaces this one; one that never comes leaves a hint that costs nothing.
        """
        if worker in self._slot_of and not self.holders(version):
            self._set(version, self._slot_of[worker], mask)

    def holders(self, version: VersionId) -> tuple[tuple[WorkerId, int], ...]:
        """(worker, mask of the blocks it holds) for each that holds some."""
        flat = self._holders.get(version)
        if flat is None:
            return ()
        workers = self._worker_of
        return tuple((workers[flat[i]], flat[i + 1]) for i in range(0, len(flat), 2) if flat[i] in workers)

    def _set(self, version: VersionId, slot: int, mask: int) -> None:
        old = self._holders.get(version, ())
        flat: list[int] = []
        for i in range(0, len(old), 2):
            if old[i] == slot:
                self._pairs[slot] -= 1
            elif old[i] in self._worker_of:
                flat += old[i : i + 2]
            else:
                self._dead_pairs -= 1
        if mask and (old or len(self._holders) < self._versions_max):
            self._pairs[slot] += 1
            flat += (slot, mask)
        if flat:
            pairs = tuple(flat)
            if len(self._alike) >= _ALIKE_MAX:
                self._alike.clear()
            self._holders[version] = self._alike.setdefault(pairs, pairs)
        elif old:
            del self._holders[version]

    def _sweep(self) -> None:
        swept: dict[VersionId, tuple[int, ...]] = {}
        for version, old in self._holders.items():
            flat: list[int] = []
            for i in range(0, len(old), 2):
                if old[i] in self._worker_of:
                    flat += old[i : i + 2]
            if flat:
                swept[version] = tuple(flat)
        self._holders = swept
        self._dead_pairs = 0
