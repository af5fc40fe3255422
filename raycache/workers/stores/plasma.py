"""The memory tier's bytes: numpy arrays in Ray's object store, alive as long as this process holds their references."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import ray

from raycache.errors import InvalidRequestError, NotFoundError, UnavailableError
from raycache.settings import OBJECT_STORE_SHARE_MAX
from raycache.types import SegmentId, WorkerId
from raycache.workers.stores.assembly import Bytes, Pieces

_GET_TIMEOUT_S = 30.0


class MemoryStore:
    """Segments by id. Safe to call from several threads; the slow calls (`put`, `view`) only from threads."""

    def __init__(self) -> None:
        self._references: dict[SegmentId, tuple[Any, int]] = {}
        self._lock = threading.Lock()
        #: Bytes of the objects that the references here keep.
        self.used_bytes = 0

    def put(self, segment: SegmentId, pieces: Sequence[Bytes]) -> None:
        """Copy a segment, in pieces that follow each other, into the object store as one array."""
        size_bytes = sum(piece.nbytes for piece in pieces)
        reference = ray.put(pieces[0] if len(pieces) == 1 else Pieces(pieces))
        self.drop(segment)
        with self._lock:
            self._references[segment] = (reference, size_bytes)
            self.used_bytes += size_bytes

    def reference(self, segment: SegmentId) -> Any:
        """The reference to hand to a reader; None when the segment is not here."""
        found = self._references.get(segment)
        return None if found is None else found[0]

    def view(self, segment: SegmentId) -> Bytes:
        """Map the segment, read-only, without a copy.

        Raises:
            NotFoundError: it is not here.
            UnavailableError: Ray has lost it.
        """
        reference = self.reference(segment)
        if reference is None:
            raise NotFoundError(f"segment {segment} is not in memory; load it again")
        try:
            array: Bytes = wait_for(reference, _GET_TIMEOUT_S)
        except Exception as error:
            raise UnavailableError(f"segment {segment} cannot be read from the object store; load it again") from error
        return array

    def drop(self, segment: SegmentId) -> None:
        """Let go. Readers that have it mapped keep their view; a missing one is not an error."""
        with self._lock:
            found = self._references.pop(segment, None)
            if found is not None:
                self.used_bytes -= found[1]


def wait_for(reference: Any, timeout_s: float) -> Any:
    """Wait for the object of a reference: `ray.get`, for threads only. An event loop must await the reference instead."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return ray.get(reference, timeout=timeout_s)
    raise AssertionError("an event loop must not wait for an object; call this in a thread")


class StoreUse(NamedTuple):
    """Of a node's object store, all its users together."""

    used_bytes: int
    #: Since the node started.
    spilled_bytes: int


def room_bytes(store_bytes: int, own_bytes: int, use: StoreUse, before: StoreUse) -> int:
    """How much the memory tier may hold so that the object store stays below `OBJECT_STORE_SHARE_MAX`.

    Args:
        store_bytes: capacity of the object store.
        own_bytes: what the memory tier holds.
        use, before: now, and at the last look.
    """
    # What Ray has spilled may have left the store. Ray does not say whose it is. So all that is used counts as others' then,
    # and the cache gives up what it has in name only.
    kept_bytes = own_bytes if use.spilled_bytes == before.spilled_bytes else 0
    others_bytes = max(0, use.used_bytes - kept_bytes)
    return max(0, int(store_bytes * OBJECT_STORE_SHARE_MAX) - others_bytes)


class Pressure:
    """What the memory tier may hold, as the object store fills.

    Args:
        store_bytes: capacity of the object store.
        memory_bytes: the tier's quota.
    """

    def __init__(self, store_bytes: int, memory_bytes: int) -> None:
        self._store_bytes = store_bytes
        self._memory_bytes = memory_bytes
        #: Of the whole object store, all users together, as last seen.
        self.used_bytes = 0
        self._last: StoreUse | None = None

    def seen(self, use: StoreUse, own_bytes: int) -> int:
        """The quota from now on, with what the tier holds at this use of the store."""
        self.used_bytes = use.used_bytes
        room = room_bytes(self._store_bytes, own_bytes, use, self._last or use)
        self._last = use
        return min(self._memory_bytes, room)


def store_use(node: WorkerId) -> StoreUse:
    """Look at a node's object store.

    Raises:
        UnavailableError: the node does not answer.
    """
    # Ray has no public call for one node's figures; this one costs about 3 ms.
    from ray._private.internal_api import node_stats

    for entry in ray.nodes():
        if entry["NodeID"] == node and entry["Alive"]:
            try:
                stats = node_stats(entry["NodeManagerAddress"], entry["NodeManagerPort"], False)
            except Exception as error:
                raise UnavailableError(f"node {node} does not tell the use of its object store") from error
            store = stats.store_stats
            return StoreUse(int(store.object_store_bytes_used), int(store.spilled_bytes_total))
    raise UnavailableError(f"node {node} is not alive")


def object_store_bytes(node: WorkerId) -> int:
    """Capacity of the node's object store.

    Raises:
        InvalidRequestError: no such node.
    """
    for entry in ray.nodes():
        if entry["NodeID"] == node:
            return int(entry["Resources"].get("object_store_memory", 0))
    raise InvalidRequestError(f"node {node} is not in this Ray cluster")
