"""What an eviction policy is: an order over the copies of one tier, that records what happens to them.

Theory of operation. A policy keeps records of names, never the things themselves. It gives an order only; whether a copy
may go now (leases, pins, running copies) is decided by whoever walks the order, and skips those that may not. Walking
changes nothing. What the published algorithms do on their way to a victim (clear a bit, move an entry from one queue to
another) is done when that victim is recorded as evicted: `record_evict` goes the way to it once more, and then for good.

Policies that go by age count it in references: a `ReferenceClock` goes on by one with everything that is asked for,
whether it is here or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


class ReferenceClock:
    """How much has been asked for: the time of policies."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class EvictionPolicy(Protocol[Key]):
    """An order over the copies in one tier."""

    def record_insert(self, key: Key, size_bytes: int, content: Hashable = None) -> None:
        """The copy is now in the tier; again for a known one counts as an access.

        Args:
            key: its name.
            size_bytes: of the copy.
            content: what it holds, the same when the same comes again under another name; None: the key says it.
        """
        ...

    def record_access(self, key: Key) -> None:
        """It has been used. An unknown one is ignored."""
        ...

    def record_evict(self, key: Key) -> None:
        """It has made room, as one of `victims`. An unknown one is ignored."""
        ...

    def record_remove(self, key: Key) -> None:
        """It has left the tier for another reason. An unknown one is ignored."""
        ...

    def victims(self) -> Iterator[Key]:
        """All copies, the one to evict first in front. Invalid after the next `record_*`."""
        ...

    def spares(self, key: Key) -> bool:
        """Whether it should stay although something new wants its place, which is then refused."""
        ...
