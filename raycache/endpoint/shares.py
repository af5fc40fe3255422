"""What a neighbour may map by itself: the segments that this process has mapped, as files and offsets.

A segment on disk is a file. A segment in plasma lies in the one file that the node's object store is made of, which has no name any
more; the raylet, which is the parent of this process, still has it open. Where that cannot be told (another version of Ray, no such
rights), nothing is shared, and neighbours get bytes.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import pyarrow as pa

from raycache.client.neighbour.neighbour_calls import SharedSegment
from raycache.client.reading.leases import Leases, MappedSegment
from raycache.types import Tier, VersionId

_DELETED = " (deleted)"


class SegmentShares:
    """Says where segments lie.

    Args:
        leases: of this process.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        #: (start, end, offset in the file, inode, path to open) of mappings of the object store.
        self._stores: list[tuple[int, int, int, int, str]] = []
        self._unknown: set[int] = set()
        #: (until when, memory) of what was shared: what is mapped here stays, also when its worker dies.
        self._kept: deque[tuple[float, pa.Buffer]] = deque()

    def of(self, version: VersionId, block_index: int, now_s: float) -> SharedSegment | None:
        """The segment that a block is mapped in, if it lies on this node and can be shared."""
        view = self._leases.get(version, block_index, now_s)
        # What was in another node's memory has come into this one's.
        if view is None or not (view.mapped.local or view.mapped.tier is Tier.MEMORY):
            return None
        mapped = view.mapped
        place = self._place(mapped)
        if place is None:
            return None
        path, offset, inode = place
        while self._kept and self._kept[0][0] < now_s:
            self._kept.popleft()
        self._kept.append((mapped.expires_at_s, mapped.buffer))
        views = [self._leases.get(*key, now_s) for key in mapped.keys]
        entries = [
            (*key, view.offset, view.length)
            for key, view in zip(mapped.keys, views, strict=True)
            if view is not None and view.mapped is mapped
        ]
        return SharedSegment(
            mapped.actor_name,
            mapped.segment,
            int(mapped.tier),
            path,
            offset,
            mapped.buffer.size,
            inode,
            mapped.expires_at_s,
            entries,
        )

    def _place(self, mapped: MappedSegment) -> tuple[str, int, int] | None:
        """(path, offset in it, inode) of a segment's memory."""
        address = mapped.buffer.address
        if mapped.tier is Tier.MEMORY:
            for start, end, offset, inode, path in self._stores:
                if start <= address and address + mapped.buffer.size <= end:
                    return path, address - start + offset, inode
        found = _mapping_of(address, mapped.buffer.size)
        if found is None:
            return None
        start, end, offset, inode, name = found
        if mapped.tier is Tier.DISK:
            return name, address - start + offset, inode
        if inode in self._unknown:
            return None
        reopened = _open_elsewhere(os.getppid(), inode)
        if reopened is None:
            self._unknown.add(inode)
            return None
        self._stores.append((start, end, offset, inode, reopened))
        return reopened, address - start + offset, inode


def _mapping_of(address: int, size_bytes: int) -> tuple[int, int, int, int, str] | None:
    """(start, end, offset in the file, inode, name) of the mapping of a file that holds a range of memory."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            start, end = (int(text, 16) for text in fields[0].split("-"))
            if start <= address < end:
                inode = int(fields[4])
                if address + size_bytes > end or not inode or len(fields) < 6:
                    return None
                return start, end, int(fields[2], 16), inode, fields[5].strip().removesuffix(_DELETED)
    return None


def _open_elsewhere(pid: int, inode: int) -> str | None:
    """How to open a file without a name that another process of this user has open."""
    try:
        for place in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if place.stat().st_ino == inode:
                    os.close(os.open(place, os.O_RDONLY))
                    return str(place)
            except OSError:
                continue
    except OSError:
        return None
    return None
