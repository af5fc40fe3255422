"""The words of the field as types: file version, block, tier, worker. No Ray, no I/O."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

import xxhash

#: 16 bytes, the hash of a file version: what blocks hang on.
VersionId: TypeAlias = bytes
#: Ray's node id, hex. A worker is known by the node it is pinned to.
WorkerId: TypeAlias = str
#: Unique in one worker incarnation, and in its disk directory.
SegmentId: TypeAlias = str


class FileVersion(NamedTuple):
    """One immutable content of one object: the identity blocks hang on.

    A changed object has another etag (or mtime, where the store has no etags), so it is another version. Where a store has
    neither, objects of one size cannot be told apart.
    """

    #: The object in the under storage, `scheme://authority/key`; the key is not percent-encoded.
    uri: str
    size_bytes: int
    #: As the store gave it, quotes included; empty when the store has none.
    etag: str
    #: Nanoseconds since the epoch, within 64 bits (`clamp_ns`); None when the store does not say.
    mtime_ns: int | None

    def id(self) -> VersionId:
        """16 bytes. The mtime counts only without an etag: copies between stores keep one and not the other."""
        tag = self.etag or str(self.mtime_ns)
        text = f"{self.uri}\0{self.size_bytes}\0{tag}"
        return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


#: How packed records say that a time is not known: no file has it.
NO_MTIME_NS = -(1 << 63)


def clamp_ns(time_ns: int) -> int:
    """A time of a file, within what 64 bits can say: disks and stores know times before 1678 and after 2262."""
    return min(max(time_ns, NO_MTIME_NS + 1), (1 << 63) - 1)


class BlockId(NamedTuple):
    """A fixed-size range of one file version."""

    version: VersionId
    #: From 0; the byte offset in the file is `block_index * block_size_bytes`.
    block_index: int


class Tier(enum.IntEnum):
    """Where a worker keeps a segment."""

    MEMORY = 0
    DISK = 1


class FileKind(enum.IntEnum):
    """What stands at a path."""

    MISSING = 0
    FILE = 1
    DIRECTORY = 2


class WorkerView(NamedTuple):
    """What everyone needs to know of a worker to place blocks and to call it."""

    worker: WorkerId
    #: One incarnation of the worker; a later one is larger.
    epoch: int
    #: Capacity of all tiers; the share of blocks is proportional to it. >= 1.
    weight_bytes: int
    #: The name of the worker's actor.
    actor_name: str


class MembershipView(NamedTuple):
    """The live workers, sorted by id. Two processes with the same `view_id` place every block alike."""

    #: Grows with every change.
    view_id: int
    workers: tuple[WorkerView, ...]
