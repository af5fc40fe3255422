"""What this process remembers of paths, and may still use: it follows the log of what was written through the cache.

Theory of operation. `is_due` is asked before anything that is remembered is used, and costs two comparisons. When it says so,
`catch_up` tells what was written since. A look-up takes a `mark` before it asks the master; an answer that was on its way
while one of its files was written must not be remembered: `since(mark)` tells. While the log cannot be trusted (no worker
stands on this node, or it is cut off from the master), nothing of a writable mount is remembered; see `invalidations`.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque

from raycache.invalidations import EVERYTHING, Invalidation, InvalidationFeed

#: How often a log that is not trusted is looked at.
_AGAIN_S = 0.5
#: Invalidations kept for answers on their way; an answer that is older than all of them is not remembered.
_KEPT_MAX = 1_000


class Freshness:
    """Follows the log of this node.

    Args:
        feed: of the log.
    """

    __slots__ = ("_count", "_feed", "_lock", "_recent", "again_at_s", "sequence", "trusted", "words")

    def __init__(self, feed: InvalidationFeed) -> None:
        self._feed = feed
        self._lock = threading.Lock()
        self._recent: deque[Invalidation] = deque(maxlen=_KEPT_MAX)
        #: Invalidations taken in all.
        self._count = 0
        #: Of the log; the first is compared at each look-up.
        self.words = feed.words
        self.sequence = feed.sequence
        #: Whether what is remembered of writable mounts may be used.
        self.trusted = False
        self.again_at_s = float("-inf")

    def is_due(self, now_s: float) -> bool:
        """Whether `catch_up` may have something to tell."""
        return self.words[0] != self.sequence or now_s > self.again_at_s

    def catch_up(self, now_s: float) -> list[Invalidation]:
        """What was written since the last time."""
        with self._lock:
            # Read before: what is appended meanwhile is found at the next look.
            sequence = self._feed.sequence
            found = self._feed.take()
            until_s = self._feed.trusted_until_s()
            self.trusted = until_s > now_s
            self.again_at_s = until_s if self.trusted else now_s + _AGAIN_S
            # A log that was closed has another one in its place.
            self.sequence = sequence if self.words is self._feed.words else self._feed.sequence
            self.words = self._feed.words
            self._recent.extend(found)
            self._count += len(found)
            return found

    def mark(self) -> int:
        """To be taken before a question is asked."""
        return self._count

    def since(self, mark: int) -> list[Invalidation]:
        """What was taken since a mark."""
        with self._lock:
            count = self._count - mark
            if count > len(self._recent):
                return [EVERYTHING]
            return list(itertools.islice(self._recent, len(self._recent) - count, None))
