"""Counting reads in this process. What is counted is defined at `messages.ReadCounters`."""

from __future__ import annotations

import threading

from raycache.messages import ReadCounters
from raycache.types import Tier


class Counters:
    """Thread-safe sums since the last `take`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sum = [0] * len(ReadCounters._fields)
        self.dirty = False

    def hit(self, tier: Tier, length: int, *, remote: bool = False, blocks: int = 1) -> None:
        """Blocks served from a tier; `remote` when the bytes crossed to this node for it."""
        with self._lock:
            total = self._sum
            total[0] += blocks
            total[4 if tier else 3] += length
            total[7 if remote else 6] += length
            self.dirty = True

    def miss(self, length: int, *, remote: bool) -> None:
        """One block that a worker had to load first."""
        with self._lock:
            total = self._sum
            total[1] += 1
            total[5] += length
            total[7 if remote else 6] += length
            self.dirty = True

    def bypass(self, length: int, requests: int) -> None:
        """One block read past the cache; `requests` = 0 when it shared another block's request."""
        with self._lock:
            total = self._sum
            total[2] += 1
            total[5] += length
            total[8] += length
            total[9] += requests
            total[10] += length
            self.dirty = True

    def take(self) -> ReadCounters:
        """The sums so far; starts again from zero."""
        with self._lock:
            taken = ReadCounters(*self._sum)
            self._sum = [0] * len(self._sum)
            self.dirty = False
            return taken
