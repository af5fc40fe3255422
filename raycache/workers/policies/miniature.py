"""A cache in miniature: a policy, a size, and the names of what is asked for; nothing is stored.

Source: miniature simulations (Waldspurger et al., USENIX ATC 2017). Run on a sample of the names, with a size scaled down
alike, it tells what hit rate the policy would have at the full size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic

from raycache.workers.policies.protocol import Key, ReferenceClock
from raycache.workers.policies.table import MakePolicy


class Miniature(Generic[Key]):
    """One policy at one size.

    Args:
        make: of `table.POLICIES`.
        capacity_bytes: of what is sampled.
    """

    def __init__(self, make: MakePolicy, capacity_bytes: float) -> None:
        self._clock = ReferenceClock()
        self._policy = make(self._clock)
        self._sizes: dict[Key, int] = {}
        self._used_bytes = 0
        self.capacity_bytes = capacity_bytes

    def __contains__(self, key: Hashable) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def refer(self, key: Key, size_bytes: int) -> bool:
        """Ask for something; it is kept if the policy has room for it.

        Returns:
            Whether it was there.
        """
        self._clock.count += 1
        if key in self._sizes:
            self._policy.record_access(key)
            return True
        if size_bytes <= self.capacity_bytes and self._make_room(size_bytes):
            self._sizes[key] = size_bytes
            self._used_bytes += size_bytes
            self._policy.record_insert(key, size_bytes)
        return False

    def go_on_with(self, make: MakePolicy) -> None:
        """Keep what is there, in its order, and let another policy order it from now on."""
        ordered = list(self._policy.victims())
        self._policy = make(self._clock)
        for key in ordered:
            self._policy.record_insert(key, self._sizes[key])

    def resize(self, capacity_bytes: float, keeps: Callable[[Key], bool]) -> None:
        """Take another size, and let go of all names but some."""
        self.capacity_bytes = capacity_bytes
        for key in [key for key in self._sizes if not keeps(key)]:
            self._policy.record_remove(key)
            self._used_bytes -= self._sizes.pop(key)

    def _make_room(self, size_bytes: int) -> bool:
        while self._used_bytes + size_bytes > self.capacity_bytes:
            victim = next(self._policy.victims())
            if self._policy.spares(victim):
                return False
            self._policy.record_evict(victim)
            self._used_bytes -= self._sizes.pop(victim)
        return True
