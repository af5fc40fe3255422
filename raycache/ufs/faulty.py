"""A lake that fails on order, for tests: wraps any storage and consults a plan before each call.

A plan is a function of (operation, key, number of the call), so the same plan gives the same failures each time.
`seeded_plan` draws them from a seed; `scripted_plan` lists them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import xxhash
from typing_extensions import Buffer

from raycache.errors import RaycacheError, UnavailableError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter, UnderStorage
from raycache.ufs.identity import Way


class PlannedFault(NamedTuple):
    """What goes wrong with one call."""

    #: Raised instead of the result.
    error: RaycacheError | None = None
    #: The error comes after the work was done: its answer got lost.
    after: bool = False
    #: A read's body is cut to so many bytes: a store that breaks the protocol.
    body_bytes: int | None = None


#: (operation, key, call number from 0 over all operations) -> what goes wrong; None: nothing.
FaultPlan = Callable[[str, str, int], PlannedFault | None]


def scripted_plan(faults: Mapping[tuple[str, int], PlannedFault]) -> FaultPlan:
    """Faults by operation and the how-manieth call of that operation, from 0."""
    counts: dict[str, int] = {}
    lock = threading.Lock()

    def plan(operation: str, key: str, call_index: int) -> PlannedFault | None:
        del key, call_index
        with lock:
            number = counts.get(operation, 0)
            counts[operation] = number + 1
        return faults.get((operation, number))

    return plan


def seeded_plan(seed: int, share: float, operations: Sequence[str] = ("list", "head", "read")) -> FaultPlan:
    """UnavailableError for about `share` (0..1) of these operations, half of them after the work was done."""

    def plan(operation: str, key: str, call_index: int) -> PlannedFault | None:
        if operation not in operations:
            return None
        drawn = xxhash.xxh3_64_intdigest(f"{operation}\0{key}\0{call_index}".encode(), seed=seed)
        if (drawn >> 11) / float(1 << 53) >= share:
            return None
        return PlannedFault(
            UnavailableError(f"planned failure of {operation} {call_index}; try later"), after=bool(drawn & 1)
        )

    return plan


class FaultyStorage:
    """`inner`, failing as `plan` says. Writers fail at `open_writer` ("open_writer") and `close` ("close_writer")."""

    def __init__(self, inner: UnderStorage, plan: FaultPlan) -> None:
        self.inner = inner
        self.root_uri = inner.root_uri
        self.has_directories = inner.has_directories
        #: Operations that were asked for, failed ones included, in order.
        self.calls: list[tuple[str, str]] = []
        self._plan = plan
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FaultyStorage({self.inner!r})"

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`."""
        with self._planned("list", prefix):
            return self.inner.list(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        with self._planned("head", key):
            return self.inner.head(key)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        with self._planned("read", key) as fault:
            body = self.inner.read(key, offset, length, version)
            return body if fault.body_bytes is None else memoryview(body)[: fault.body_bytes]

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`."""
        with self._planned("put", key):
            return self.inner.put(key, data)

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        with self._planned("open_writer", key):
            return _FaultyWriter(self, key, self.inner.open_writer(key))

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`."""
        with self._planned("copy", source_key):
            return self.inner.copy(source_key, target_key)

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`."""
        with self._planned("delete", keys[0] if keys else ""):
            self.inner.delete(keys)

    def make_directory(self, key: str) -> None:
        """See `UnderStorage.make_directory`."""
        with self._planned("make_directory", key):
            self.inner.make_directory(key)

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`."""
        with self._planned("remove_directory", key):
            self.inner.remove_directory(key)

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """See `UnderStorage.remove_tree`."""
        with self._planned("remove_tree", key):
            self.inner.remove_tree(key, contents_only=contents_only)

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`; never fails."""
        return self.inner.way(key)

    def close(self) -> None:
        """See `UnderStorage.close`; never fails."""
        self.inner.close()

    def _planned(self, operation: str, key: str) -> _Planned:
        with self._lock:
            number = len(self.calls)
            self.calls.append((operation, key))
            return _Planned(self._plan(operation, key, number) or PlannedFault())


class _Planned:
    """Raises the fault's error before its body, or after."""

    def __init__(self, fault: PlannedFault) -> None:
        self._fault = fault

    def __enter__(self) -> PlannedFault:
        if self._fault.error is not None and not self._fault.after:
            raise self._fault.error
        return self._fault

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None and self._fault.error is not None:
            raise self._fault.error


class _FaultyWriter:
    def __init__(self, storage: FaultyStorage, key: str, inner: UfsWriter) -> None:
        self._storage = storage
        self._key = key
        self._inner = inner

    def write(self, data: Buffer) -> int:
        return self._inner.write(data)

    def close(self) -> ObjectInfo:
        with self._storage._planned("close_writer", self._key):  # noqa: SLF001  # one class in two
            return self._inner.close()

    def abort(self) -> None:
        self._inner.abort()
