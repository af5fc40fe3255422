"""Sticky: what is here stays, what is new is refused, until what is here is of no use any more.

Theory of operation. Of a loop over more than fits, any set of entries that stays gives the best hit rate there is, and
every exchange of an entry makes it worse. So nothing makes room for something new, except what was not asked for so long
that its loop must be over: twice the longest time after which anything came again, or, before anything did, sixteen
times as many references as there are entries. Times are in references. Times shorter than half the number of entries say
nothing about loops that do not fit: they are several requests of one reader.

Source: MinIO of CoorDL (Mohan et al., VLDB 2021), which never evicts while its one job runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic

from raycache.workers.policies.protocol import Key, ReferenceClock

#: References for each entry after which what was not used goes: at most, and at least.
_AGE_MAX = 16.0
_AGE_MIN = 2.0


class StickyPolicy(Generic[Key]):
    """Least recently used first, and only those that are past use. All records in O(1).

    Args:
        clock: goes on with everything that is asked for.
    """

    def __init__(self, clock: ReferenceClock) -> None:
        self._clock = clock
        #: Key -> when it was used last.
        self._order: OrderedDict[Key, int] = OrderedDict()
        #: After how many references something came again: about the most, of late; 0: nothing did.
        self._longest = 0.0

    def record_insert(self, key: Key, size_bytes: int, content: Hashable = None) -> None:  # noqa: ARG002
        self._order[key] = self._clock.count
        self._order.move_to_end(key)

    def record_access(self, key: Key) -> None:
        used = self._order.get(key)
        if used is None:
            return
        age, count = self._clock.count - used, len(self._order)
        if 2 * age > count:
            self._longest = max(float(age), self._longest - (self._longest - age) / (4 * count))
        self._order[key] = self._clock.count
        self._order.move_to_end(key)

    def record_remove(self, key: Key) -> None:
        self._order.pop(key, None)

    record_evict = record_remove

    def victims(self) -> Iterator[Key]:
        return iter(self._order)

    def spares(self, key: Key) -> bool:
        count = len(self._order)
        wanted = 2 * self._longest if self._longest else _AGE_MAX * count
        age_max = min(max(wanted, _AGE_MIN * count), _AGE_MAX * count)
        return self._clock.count - self._order.get(key, 0) <= age_max
