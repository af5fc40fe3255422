"""The log by which this node's readers hear what was written through the cache; see `raycache.invalidations`."""

from __future__ import annotations

import contextlib

from raycache.invalidations import LEASE_S, InvalidationLog, log_folder, log_path, remove_leftovers
from raycache.messages import WrittenNews


class NodeLog:
    """How far this worker has heard what was written, and what it tells its node.

    Args:
        log: None where there is no room for one: this node's readers then ask the master each time.
    """

    def __init__(self, log: InvalidationLog | None) -> None:
        self._log = log
        #: In the master's log.
        self.position = 0
        self._trusted_s = 0.0

    @classmethod
    def create(cls, cache_id: str, node: str) -> NodeLog:
        """Start a log for the node, in the place of an earlier incarnation's."""
        with contextlib.suppress(OSError):
            remove_leftovers(log_folder())
            return cls(InvalidationLog.create(log_path(cache_id, node)))
        return cls(None)

    def heed(self, news: WrittenNews) -> int:
        """Tell the node; returns how far it knows. News that leave a gap wait for the next heartbeat, which brings all."""
        if news.start <= self.position or not self.position:
            found = news.found[self.position - news.start :] if self.position else news.found
            if found and self._log is not None:
                self._log.append(found)
            self.position = max(self.position, news.position)
        return self.position

    def trust(self, news: WrittenNews, sent_s: float) -> None:
        """The master has answered a heartbeat that was sent at this time, with what was lacking then."""
        self.heed(news)
        self._trusted_s = max(self._trusted_s, sent_s + LEASE_S)
        if self._log is not None:
            self._log.trust_until(self._trusted_s)

    def close(self) -> None:
        """The node's readers trust nothing any more."""
        if self._log is not None:
            self._log.close()
