"""SIEVE: one queue, one bit, and a hand that clears bits. Source: Zhang et al., NSDI 2024.

Theory of operation. New entries come to the young end of a queue. The hand stands somewhere in it and goes from old to
young: an entry that was used since the hand last passed stays, and loses its bit; the first one without a bit is evicted.
At the young end the hand starts again at the old one. Entries keep their places, unlike in CLOCK.

The queue is kept in two parts, since the hand cuts it so: `passed`, older than the hand, and `ahead`, from the hand on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic

from raycache.workers.policies.protocol import Key


class SievePolicy(Generic[Key]):
    """The first that was not used since the hand passed it. All records in O(1), an eviction amortised."""

    def __init__(self) -> None:
        #: Key -> whether it was used; old ones in front.
        self._passed: OrderedDict[Key, bool] = OrderedDict()
        self._ahead: OrderedDict[Key, bool] = OrderedDict()

    def record_insert(self, key: Key, size_bytes: int, content: Hashable = None) -> None:  # noqa: ARG002
        if key in self._ahead or key in self._passed:
            self.record_access(key)
        else:
            self._ahead[key] = False

    def record_access(self, key: Key) -> None:
        for part in (self._ahead, self._passed):
            if key in part:
                part[key] = True

    def record_remove(self, key: Key) -> None:
        self._passed.pop(key, None)
        if self._ahead.pop(key, None) is not None:
            self._turn()

    def record_evict(self, key: Key) -> None:
        if key not in self._ahead and key not in self._passed:
            return
        while True:
            self._turn()
            found, used = self._ahead.popitem(last=False)
            if found == key and not used:
                break
            self._passed[found] = False
        self._turn()

    def _turn(self) -> None:
        """At the young end, the hand starts again."""
        if not self._ahead:
            self._ahead, self._passed = self._passed, self._ahead

    def victims(self) -> Iterator[Key]:
        for used in (False, True):
            for part in (self._ahead, self._passed):
                yield from (key for key, bit in part.items() if bit is used)

    def spares(self, key: Key) -> bool:  # noqa: ARG002
        return False
