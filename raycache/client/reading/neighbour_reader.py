"""Reading in a process that is no part of the Ray cluster: what is not mapped here is asked of the node's endpoint.

The endpoint answers with the bytes, and with where the segments lie that they came from: those on disk are files, and those in plasma
parts of one file. This process maps them and reads what else is in them by itself, for as long as the endpoint's lease lasts. A file
keeps its content while it is mapped, so it is read in place. Plasma's memory is used again after the lease, so it is copied, and the
copy counts only if the lease lasted until its end; it is not renewed, since it is the endpoint that keeps that memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence

import pyarrow as pa

from raycache.client.counters import Counters
from raycache.client.file_meta import FileMeta
from raycache.client.neighbour.neighbour_calls import NeighbourCalls, NeighbourRead, SharedSegment
from raycache.client.reading.leases import Leases, MappedSegment
from raycache.client.reading.reader import Request
from raycache.clock import Clock
from raycache.errors import ConflictError
from raycache.types import Tier

_NOTHING = pa.py_buffer(b"")


class NeighbourReader:
    """As `Reader`, for a process without Ray. The endpoint counts what it is asked for, and this what is read in place.

    Args:
        calls: to the endpoint.
        outdated: told of paths that are another version by now.
        leases, counters, clock: of this process.
        block_size_bytes: of the cache.
        on_read: called after every read in place.
    """

    def __init__(
        self,
        calls: NeighbourCalls,
        outdated: Callable[[list[str]], None],
        leases: Leases,
        counters: Counters,
        block_size_bytes: int,
        clock: Clock,
        *,
        on_read: Callable[[], None],
    ) -> None:
        self._calls = calls
        self._outdated = outdated
        self._leases = leases
        self._counters = counters
        self._block_size_bytes = block_size_bytes
        self._clock = clock
        self._on_read = on_read
        #: The object store's file, by inode.
        self._stores: dict[int, memoryview] = {}

    def in_place(self, meta: FileMeta, offset: int, length: int, now_s: float) -> pa.Buffer | None:
        """See `Reader.in_place`; what lies in plasma is copied."""
        size, leases = self._block_size_bytes, self._leases
        first, last = offset // size, (offset + length - 1) // size
        view = leases.get(meta.version, first, now_s) if first == last else leases.run(meta.version, first, last, now_s)
        if view is None:
            return None
        mapped = view.mapped
        buffer = mapped.buffer.slice(view.offset + offset - first * size, length)
        if mapped.tier is Tier.MEMORY:
            buffer = pa.py_buffer(buffer.to_pybytes())
            if self._clock.now_s() >= mapped.expires_at_s:
                return None
        trace = meta.trace
        if trace.tally is None:
            trace.tally = self._counters.notes[meta.dataset]
        tally = trace.tally[mapped.tier]
        tally.append(length)
        tally.extend([0] * (last - first))
        self._on_read()
        return buffer

    def read(self, requests: Sequence[Request]) -> list[pa.Buffer]:
        """See `Reader.read`."""
        now_s = self._clock.now_s()
        found: list[pa.Buffer | None] = [
            self.in_place(r.meta, r.offset, r.length, now_s) if r.length else _NOTHING for r in requests
        ]
        missing = [index for index, buffer in enumerate(found) if buffer is None]
        wanted = [
            NeighbourRead(r.meta.path, r.meta.version, r.offset, r.length)
            for r in (requests[index] for index in missing)
        ]
        if wanted:
            try:
                reply = self._calls.read(wanted)
            except ConflictError as error:
                self._outdated(error.fields.get("paths", [r.path for r in wanted]))
                raise
            for index, piece in zip(missing, reply.pieces, strict=True):
                found[index] = pa.py_buffer(piece)
            for shared in reply.shared:
                self._take(shared)
        return [_NOTHING if buffer is None else buffer for buffer in found]

    def picks(self, request: Request) -> bool:
        """The endpoint sees for itself how a file is read."""
        del request
        return True

    def map_held(self, meta: FileMeta) -> None:
        """What the endpoint has mapped comes with the next read."""
        del meta

    def _take(self, shared: SharedSegment) -> None:
        """Map a segment; where that cannot be, its blocks are asked for, as before."""
        tier = Tier(shared.tier)
        try:
            if tier is Tier.MEMORY:
                whole = self._stores.get(shared.inode)
                if whole is None:
                    whole = self._stores[shared.inode] = _mapped(shared)
                buffer = pa.py_buffer(whole[shared.offset : shared.offset + shared.size_bytes])
            else:
                buffer = pa.py_buffer(_mapped(shared)[shared.offset : shared.offset + shared.size_bytes])
        except (OSError, ValueError):
            return
        if buffer.size == shared.size_bytes:
            mapped = MappedSegment(
                shared.segment,
                shared.actor_name,
                buffer,
                tier,
                local=True,
                expires_at_s=shared.expires_at_s,
                keys=[entry[:2] for entry in shared.entries],
                renewable=tier is Tier.DISK,
            )
            self._leases.share(mapped, shared.entries)


def _mapped(shared: SharedSegment) -> memoryview:
    """The whole file, read-only.

    Raises:
        OSError, ValueError: it cannot be mapped, or is another one by now.
    """
    file = os.open(shared.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_ino != shared.inode:
            raise OSError("another file stands there")
        return memoryview(mmap.mmap(file, 0, prot=mmap.PROT_READ))
    finally:
        os.close(file)
