"""Least recently used first: good where what was used lately is used again, and nothing at all for loops."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic

from raycache.workers.policies.protocol import Key


class LruPolicy(Generic[Key]):
    """Least recently used first. All records in O(1)."""

    def __init__(self) -> None:
        self._order: OrderedDict[Key, None] = OrderedDict()

    def record_insert(self, key: Key, size_bytes: int, content: Hashable = None) -> None:  # noqa: ARG002  # LRU weighs nothing
        self._order[key] = None
        self._order.move_to_end(key)

    def record_access(self, key: Key) -> None:
        if key in self._order:
            self._order.move_to_end(key)

    def record_remove(self, key: Key) -> None:
        self._order.pop(key, None)

    record_evict = record_remove

    def victims(self) -> Iterator[Key]:
        return iter(self._order)

    def spares(self, key: Key) -> bool:  # noqa: ARG002
        return False
