"""The segments this process has mapped: what makes a repeated read cost no call.

A worker grants a lease on a segment together with a table of blocks in it: those asked for, and others near them. While the
lease lasts, each of these blocks is read in place, from here. A later grant of the same segment adds to its table. When the lease ends without a renewal, the segment is forgotten. Bytes that were handed
out before stay valid, since the buffers keep the memory (plasma pin or mmap) alive.

Bounds: mapped bytes, segments, and blocks (least recently used ones go first). All methods are safe to call from several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

import pyarrow as pa

from raycache.messages import Grant
from raycache.types import SegmentId, Tier, VersionId

#: The reader stops using a lease this long before the worker ends it: calls take time.
LEASE_MARGIN_S = 2.0
#: Segments on disk are mappings of their own, and Linux allows a process 65,530 by default.
SEGMENTS_MAX = 32_768
#: Some 300 bytes each.
ENTRIES_MAX = 262_144


class MappedSegment:
    """One leased segment."""

    __slots__ = ("actor_name", "buffer", "expires_at_s", "keys", "local", "renewable", "segment", "tier", "used")

    def __init__(
        self,
        segment: SegmentId,
        actor_name: str,
        buffer: pa.Buffer,
        tier: Tier,
        *,
        local: bool,
        expires_at_s: float,
        keys: list[tuple[VersionId, int]],
        renewable: bool = True,
    ) -> None:
        self.segment = segment
        #: The worker that granted it.
        self.actor_name = actor_name
        self.buffer = buffer
        self.tier = tier
        #: Whether the granting worker is on this node.
        self.local = local
        self.expires_at_s = expires_at_s
        self.keys = keys
        #: False where another process keeps the memory for this one, as long as it said.
        self.renewable = renewable
        #: Read since the last renewal.
        self.used = True


class BlockView(NamedTuple):
    """Where one block lies in a mapped segment."""

    mapped: MappedSegment
    offset: int
    length: int


class Leases:
    """Mapped segments by block.

    Args:
        mapped_bytes_max: bound on the bytes mapped; one larger segment is kept alone.
        segments_max: bound on their number.
        entries_max: bound on the blocks in them; one segment with more is kept alone.
    """

    def __init__(self, mapped_bytes_max: int, segments_max: int = SEGMENTS_MAX, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._mapped_bytes_max = mapped_bytes_max
        self._segments_max = segments_max
        self._mapped_bytes = 0
        self._blocks: dict[tuple[VersionId, int], BlockView] = {}
        self._segments: OrderedDict[tuple[str, SegmentId], MappedSegment] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, version: VersionId, block_index: int, now_s: float) -> BlockView | None:
        """The block, if it is mapped under a lease that lasts. About 0.3 us."""
        view = self._blocks.get((version, block_index))
        if view is None:
            return None
        mapped = view.mapped
        if mapped.expires_at_s <= now_s:
            self._forget(mapped)
            return None
        if not mapped.used:
            mapped.used = True
            with self._lock:
                key = (mapped.actor_name, mapped.segment)
                if key in self._segments:
                    self._segments.move_to_end(key)
        return view

    def run(self, version: VersionId, first: int, last: int, now_s: float) -> BlockView | None:
        """Blocks `first` to `last` as one view, if all are mapped and lie one after the other in one segment."""
        view = self.get(version, first, now_s)
        if view is None:
            return None
        mapped, offset, length = view
        for index in range(first + 1, last + 1):
            following = self._blocks.get((version, index))
            if following is None or following.mapped is not mapped or following.offset != offset + length:
                return None
            length += following.length
        return BlockView(mapped, offset, length)

    def add(self, grant: Grant, actor_name: str, buffer: pa.Buffer, *, local: bool, now_s: float) -> MappedSegment:
        """Take in a granted segment; `buffer` is the whole of it."""
        expires_at_s = now_s + max(0.0, grant.lease_s - LEASE_MARGIN_S)
        key = actor_name, grant.segment
        with self._lock:
            mapped = self._segments.pop(key, None)
            if mapped is not None and mapped.expires_at_s <= now_s:
                # What it says may be over, too.
                self._remove(mapped)
                mapped = None
            if mapped is None:
                mapped = MappedSegment(
                    grant.segment, actor_name, buffer, grant.tier, local=local, expires_at_s=expires_at_s, keys=[]
                )
                self._mapped_bytes += buffer.size
            self._mapped_bytes += buffer.size - mapped.buffer.size
            mapped.buffer, mapped.tier, mapped.used = buffer, grant.tier, True
            mapped.expires_at_s = max(mapped.expires_at_s, expires_at_s)
            self._segments[key] = mapped
            for version, block, offset, length in zip(
                grant.entry_versions, grant.entry_blocks, grant.entry_offsets, grant.entry_lengths, strict=True
            ):
                known = self._blocks.get((version, block))
                if known is None or known.mapped is not mapped:
                    mapped.keys.append((version, block))
                self._blocks[version, block] = BlockView(mapped, offset, length)
            self._shrink()
        return mapped

    def share(self, mapped: MappedSegment, entries: list[tuple[VersionId, int, int, int]]) -> None:
        """Take in a segment that another process of this node has shared, with (version, block, offset, length) of its blocks."""
        with self._lock:
            old = self._segments.pop((mapped.actor_name, mapped.segment), None)
            if old is not None:
                self._remove(old)
            self._segments[mapped.actor_name, mapped.segment] = mapped
            self._mapped_bytes += mapped.buffer.size
            for version, block_index, offset, length in entries:
                self._blocks[version, block_index] = BlockView(mapped, offset, length)
            self._shrink()

    def take_used(self) -> dict[str, list[SegmentId]]:
        """The segments read since the last call, by worker actor: leases worth renewing."""
        used: dict[str, list[SegmentId]] = {}
        with self._lock:
            for mapped in self._segments.values():
                if mapped.used and mapped.renewable:
                    mapped.used = False
                    used.setdefault(mapped.actor_name, []).append(mapped.segment)
        return used

    def expire(self, now_s: float) -> None:
        """Let go of every segment whose lease has ended."""
        with self._lock:
            ended = [key for key, mapped in self._segments.items() if mapped.expires_at_s <= now_s]
            for key in ended:
                self._remove(self._segments.pop(key))

    def renew(self, actor_name: str, segments: list[SegmentId], expires_at_s: float, now_s: float) -> None:
        """The worker has prolonged these leases.

        A lease that has ended by now stays ended: meanwhile the worker may have dropped the very copy that is mapped
        here, and prolonged a lease on another one.
        """
        with self._lock:
            for segment in segments:
                mapped = self._segments.get((actor_name, segment))
                if mapped is not None and mapped.expires_at_s > now_s:
                    mapped.expires_at_s = max(mapped.expires_at_s, expires_at_s)

    def forget_version(self, version: VersionId) -> None:
        """Stop serving a file version that has been replaced."""
        with self._lock:
            for key in [key for key in self._blocks if key[0] == version]:
                del self._blocks[key]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._blocks.clear()
            self._segments.clear()
            self._mapped_bytes = 0

    @property
    def mapped_bytes(self) -> int:
        """Bytes of all mapped segments."""
        return self._mapped_bytes

    def _shrink(self) -> None:
        while len(self._segments) > 1 and (
            self._mapped_bytes > self._mapped_bytes_max
            or len(self._segments) > self._segments_max
            or len(self._blocks) > self._entries_max
        ):
            _, oldest = self._segments.popitem(last=False)
            self._remove(oldest)

    def _forget(self, mapped: MappedSegment) -> None:
        with self._lock:
            if self._segments.pop((mapped.actor_name, mapped.segment), None) is not None:
                self._remove(mapped)

    def _remove(self, mapped: MappedSegment) -> None:
        self._mapped_bytes -= mapped.buffer.size
        for key in mapped.keys:
            view = self._blocks.get(key)
            if view is not None and view.mapped is mapped:
                del self._blocks[key]
