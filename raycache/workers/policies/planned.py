"""Clairvoyant: what is wanted latest goes first, as far as plans tell; what no plan names goes before that, by another policy.

Source: MIN (Belady, IBM Systems Journal 1966), with what is refused as in Seneca and NoPFS (SC 2021): what comes in is wanted
once more at a known time, too, and takes no place of what is wanted sooner (`Since.next_use`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic

from sortedcontainers import SortedList

from raycache.types import BlockId, VersionId
from raycache.workers.policies.plans import NEVER, Plans
from raycache.workers.policies.protocol import EvictionPolicy, Key


class PlannedPolicy(Generic[Key]):
    """An order by next use. All records in O(log n).

    Args:
        inner: orders what no plan names.
        plans: tell of next uses; this policy watches them.
    """

    def __init__(self, inner: EvictionPolicy[Key], plans: Plans) -> None:
        self._inner = inner
        self._plans = plans
        plans.watchers.append(self._changed)
        #: Key -> bytes and content.
        self._known: dict[Key, tuple[int, Hashable]] = {}
        self._by_file: dict[VersionId, dict[Key, None]] = {}
        #: Of what plans name, (next use, a number that makes it unique, key), and the same by key.
        self._uses: SortedList = SortedList(key=lambda use: use[:2])
        self._use_of: dict[Key, tuple[float, int, Key]] = {}
        self._count = 0

    def close(self) -> None:
        """Watch no more."""
        self._plans.watchers.remove(self._changed)

    def record_insert(self, key: Key, size_bytes: int, content: Hashable = None) -> None:
        if key in self._known:
            self.record_access(key)
            return
        self._known[key] = size_bytes, content
        if isinstance(content, BlockId):
            self._by_file.setdefault(content.version, {})[key] = None
        self._place(key)

    def record_access(self, key: Key) -> None:
        if key not in self._use_of:
            self._inner.record_access(key)

    def record_evict(self, key: Key) -> None:
        self._forget(key)
        self._inner.record_evict(key)

    def record_remove(self, key: Key) -> None:
        self._forget(key)
        self._inner.record_remove(key)

    def victims(self) -> Iterator[Key]:
        yield from self._inner.victims()
        for _, _, key in reversed(self._uses):
            yield key

    def spares(self, key: Key) -> bool:
        return key not in self._use_of and self._inner.spares(key)

    def _forget(self, key: Key) -> None:
        _, content = self._known.pop(key, (0, None))
        if isinstance(content, BlockId):
            keys = self._by_file[content.version]
            del keys[key]
            if not keys:
                del self._by_file[content.version]
        use = self._use_of.pop(key, None)
        if use is not None:
            self._uses.remove(use)

    def _place(self, key: Key) -> None:
        """Put a known key where it belongs now."""
        size_bytes, content = self._known[key]
        next_use = self._plans.next_use(content.version) if isinstance(content, BlockId) else NEVER
        before = self._use_of.pop(key, None)
        if before is not None:
            self._uses.remove(before)
        if next_use < NEVER:
            if before is None:
                self._inner.record_remove(key)
            self._count += 1
            use = self._use_of[key] = next_use, self._count, key
            self._uses.add(use)
        else:
            self._inner.record_insert(key, size_bytes, content)

    def _changed(self, file: VersionId) -> None:
        for key in self._by_file.get(file, ()):
            self._place(key)
