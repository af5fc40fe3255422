"""Where blocks are, as far as the workers have said: hints, never truth.

Theory of operation. What is said of a file version is one flat tuple (slot, mask, slot, mask, ...): a slot is a number
for what one worker currently says, the mask has a bit for each block it holds. Most files have the same few tuples (one
worker, the first block), so each different tuple is kept once, numbered, with a count of the versions that have it; a
version takes a number in a `DigestTable`, some twenty bytes.

A worker that begins to report everything again gets another slot. Its old one *fades*: it holds until all is said, for what
has not been said again. A worker that is lost, or has said everything, just gives its old slot up, which is O(1): pairs of a dead slot are
skipped by readers, removed when the version is next touched, and swept when they are the majority. The number of
versions is bounded; beyond, news are dropped, and those blocks are found by the hash alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from raycache.digests import DigestTable
from raycache.messages import BlockReport, HoldersReply
from raycache.types import VersionId, WorkerId

VERSIONS_MAX = 10_000_000
_SWEEP_MIN = 10_000


class Locations:
    """Block masks of file versions, per worker.

    Args:
        versions_max: bound on versions remembered.
    """

    def __init__(self, versions_max: int = VERSIONS_MAX) -> None:
        self._versions_max = versions_max
        #: Version -> number of what is said of it.
        self._numbers = DigestTable()
        #: By number: what is said, and of how many versions. A number of none is in `_spare`.
        self._said: list[tuple[int, ...]] = []
        self._uses: list[int] = []
        self._spare: list[int] = []
        self._number_of: dict[tuple[int, ...], int] = {}
        self._slot_of: dict[WorkerId, int] = {}
        self._worker_of: dict[int, WorkerId] = {}
        #: The slot that each worker's new one replaces, while it reports everything.
        self._fading: dict[WorkerId, int] = {}
        #: Pairs in all versions per live slot, and of all dead ones.
        self._pairs: dict[int, int] = {}
        self._dead_pairs = 0
        self._next_slot = 0

    def __len__(self) -> int:
        """Versions remembered."""
        return len(self._numbers)

    def apply(self, worker: WorkerId, report: BlockReport) -> None:
        """Take in a worker's report. The caller has checked its epoch and sequence."""
        if report.full:
            self._let_go(self._fading.pop(worker, None))
            if (old := self._slot_of.pop(worker, None)) is not None:
                self._fading[worker] = old
        slot = self._slot_of.get(worker)
        if slot is None:
            slot = self._slot_of[worker] = self._next_slot
            self._worker_of[slot] = worker
            self._pairs[slot] = 0
            self._next_slot += 1
        for version, mask in zip(report.versions, report.masks, strict=True):
            self._set(version, slot, mask)
        if not report.more:
            self._let_go(self._fading.pop(worker, None))
        if self._dead_pairs > max(_SWEEP_MIN, sum(self._pairs.values())):
            self._sweep()

    def drop(self, worker: WorkerId) -> None:
        """Forget what a worker holds."""
        self._let_go(self._slot_of.pop(worker, None))
        self._let_go(self._fading.pop(worker, None))

    def _let_go(self, slot: int | None) -> None:
        if slot is not None:
            del self._worker_of[slot]
            self._dead_pairs += self._pairs.pop(slot)

    def expect(self, version: VersionId, worker: WorkerId, mask: int) -> None:
        """Readers are to ask this worker, which will load these blocks then, while no worker holds any of the version.

        The worker's own report replaces this; a load that never comes leaves a hint that costs nothing.
        """
        if worker in self._slot_of and not self.holders(version):
            self._set(version, self._slot_of[worker], mask)

    def holders(self, version: VersionId) -> tuple[tuple[WorkerId, int], ...]:
        """(worker, mask of the blocks it holds) for each that holds some."""
        number = self._numbers.get(version)
        if number is None:
            return ()
        flat, workers = self._said[number], self._worker_of
        return tuple((workers[flat[i]], flat[i + 1]) for i in range(0, len(flat), 2) if flat[i] in workers)

    def holders_of(self, versions: Iterable[VersionId]) -> HoldersReply:
        """`holders` of many, each different answer once."""
        reply = HoldersReply([], [])
        places: dict[int | None, int] = {}
        for version in versions:
            number = self._numbers.get(version)
            place = places.get(number)
            if place is None:
                place = places[number] = len(reply.said)
                reply.said.append(self.holders(version))
            reply.numbers.append(place)
        return reply

    def _set(self, version: VersionId, slot: int, mask: int) -> None:
        number = self._numbers.get(version)
        old = () if number is None else self._said[number]
        flat: list[int] = []
        fading = self._fading.get(self._worker_of[slot]) if self._fading else None
        for i in range(0, len(old), 2):
            if old[i] in (slot, fading):
                self._pairs[old[i]] -= 1
            elif old[i] in self._worker_of:
                flat += old[i : i + 2]
            else:
                self._dead_pairs -= 1
        if mask and (old or len(self._numbers) < self._versions_max):
            self._pairs[slot] += 1
            flat += (slot, mask)
        if flat:
            self._numbers.put(version, self._number(tuple(flat)))
        elif number is not None:
            self._numbers.remove(version)
        if number is not None:
            self._release(number)

    def _number(self, said: tuple[int, ...]) -> int:
        """The number of a tuple, for one more version."""
        number = self._number_of.get(said)
        if number is None:
            if self._spare:
                number = self._spare.pop()
                self._said[number] = said
            else:
                number = len(self._said)
                self._said.append(said)
                self._uses.append(0)
            self._number_of[said] = number
        self._uses[number] += 1
        return number

    def _release(self, number: int) -> None:
        """One version less has the tuple of that number."""
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._number_of[self._said[number]]
            self._said[number] = ()
            self._spare.append(number)

    def _sweep(self) -> None:
        """Take the dead slots out of every tuple; O(versions) for those that say nothing then."""
        swept: dict[int, int] = {}
        empty: list[int] = []
        for said, number in list(self._number_of.items()):
            flat = [part for i in range(0, len(said), 2) if said[i] in self._worker_of for part in said[i : i + 2]]
            if len(flat) == len(said):
                continue
            if not flat:
                empty.append(number)
                continue
            new = self._number(tuple(flat))
            self._uses[new] += self._uses[number] - 1
            swept[number] = new
        self._numbers.renumber(swept, empty)
        for number in (*swept, *empty):
            self._uses[number] = 1
            self._release(number)
        self._dead_pairs = 0
