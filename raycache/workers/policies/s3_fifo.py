"""S3-FIFO: a small queue in front keeps what is asked for once away from the rest. Source: Yang et al., SOSP 2023.

Theory of operation. New entries go to a small queue, a tenth of all bytes; those that were evicted from it lately (the
ghosts) go to the main one. While the small queue has more than its share, its oldest goes: to the main queue if it was
used more than once, else away, and its name becomes a ghost. Otherwise the oldest of the main queue goes, after as many
further rounds as it was used, three at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic

from raycache.workers.policies.protocol import Key

_SMALL_SHARE = 0.1
#: As many ghosts as the main queue has entries when it is full.
_MAIN_SHARE = 0.9
_USES_MAX = 3
#: Uses in the small queue that are worth a place in the main one.
_PROMOTED_USES = 2


class _Queue(Generic[Key]):
    """Old ones in front."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Key, int] = OrderedDict()
        self.size_bytes = 0


class S3FifoPolicy(Generic[Key]):
    """Small queue first, while it has more than its share. All records in O(1), an eviction amortised."""

    def __init__(self) -> None:
        self._small: _Queue[Key] = _Queue()
        self._main: _Queue[Key] = _Queue()
        #: Key -> (bytes, content).
        self._known: dict[Key, tuple[int, Hashable]] = {}
        self._ghosts: OrderedDict[Hashable, None] = OrderedDict()

    def record_insert(self, key: Key, size_bytes: int, content: Hashable = None) -> None:
        if key in self._known:
            self.record_access(key)
            return
        content = key if content is None else content
        self._known[key] = (size_bytes, content)
        was_ghost = content in self._ghosts
        self._ghosts.pop(content, None)
        self._put(self._main if was_ghost else self._small, key)

    def record_access(self, key: Key) -> None:
        for queue in (self._small, self._main):
            if key in queue.entries:
                queue.entries[key] = min(_USES_MAX, queue.entries[key] + 1)

    def record_remove(self, key: Key) -> None:
        for queue in (self._small, self._main):
            self._take(queue, key)
        self._known.pop(key, None)

    def record_evict(self, key: Key) -> None:
        if key in self._small.entries:
            self._promote_before(key)
            self._ghosts[self._known[key][1]] = None
        elif key in self._main.entries:
            self._go_round_to(key)
        self.record_remove(key)
        while len(self._ghosts) > _MAIN_SHARE * len(self._known):
            self._ghosts.popitem(last=False)

    def _promote_before(self, key: Key) -> None:
        passed: list[Key] = []
        for name, uses in self._small.entries.items():
            if name == key:
                break
            if uses >= _PROMOTED_USES:
                passed.append(name)
        for name in passed:
            self._take(self._small, name)
            self._put(self._main, name)

    def _go_round_to(self, key: Key) -> None:
        entries = self._main.entries
        for _ in range(_USES_MAX + 1):
            for name, uses in list(_until(entries, key)):
                if uses:
                    entries[name] = uses - 1
                    entries.move_to_end(name)
            if not entries[key]:
                return
            entries[key] -= 1
            entries.move_to_end(key)

    def _put(self, queue: _Queue[Key], key: Key) -> None:
        queue.entries[key] = 0
        queue.size_bytes += self._known[key][0]

    def _take(self, queue: _Queue[Key], key: Key) -> None:
        if queue.entries.pop(key, None) is not None:
            queue.size_bytes -= self._known[key][0]

    def victims(self) -> Iterator[Key]:
        small, main = self._small, self._main
        over = small.size_bytes >= _SMALL_SHARE * (small.size_bytes + main.size_bytes)
        if over:
            yield from (key for key, uses in small.entries.items() if uses < _PROMOTED_USES)
        for rounds in range(_USES_MAX + 1):
            yield from (key for key, uses in main.entries.items() if uses == rounds)
        if not over:
            yield from (key for key, uses in small.entries.items() if uses < _PROMOTED_USES)
        yield from (key for key, uses in small.entries.items() if uses >= _PROMOTED_USES)

    def spares(self, key: Key) -> bool:  # noqa: ARG002
        return False


def _until(entries: OrderedDict[Key, int], key: Key) -> Iterator[tuple[Key, int]]:
    """What stands before a key."""
    for name, uses in entries.items():
        if name == key:
            return
        yield name, uses
