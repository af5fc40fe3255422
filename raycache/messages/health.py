"""Client to worker: how do things look from your node?"""

from __future__ import annotations

from typing import NamedTuple

from raycache.types import SegmentId, WorkerId


class MountHealth(NamedTuple):
    """One mount, asked for one key."""

    path: str
    latency_s: float
    #: Empty when it answered.
    error: str


class Health(NamedTuple):
    """One worker's node."""

    node: WorkerId
    #: Its wall clock when it answered, seconds since 1970.
    wall_s: float
    #: Of the file system that holds the disk tier; empty and 0 without one.
    disk_path: str
    disk_total_bytes: int
    disk_free_bytes: int
    #: (directory, bytes) of what dead workers and other caches have left there.
    leftovers: list[tuple[str, int]]
    #: The first `mounts_max` of them.
    mounts: list[MountHealth]
    #: Of `leftovers`, those that were asked to be removed, and were.
    removed: list[tuple[str, int]] = []  # noqa: RUF012  # a NamedTuple's default, never changed
    #: (kind, how many were slow, the longest in seconds) of the turns of its event loop, since it started.
    turns: list[tuple[str, int, float]] = []  # noqa: RUF012  # a NamedTuple's default, never changed
    #: Segments on its disk that it has not taken over yet.
    adopting: int = 0
    #: (name of a worker, for how long still in seconds, how often in a row) of those that were silent, and are left alone.
    left_alone: list[tuple[str, float, int]] = []  # noqa: RUF012  # a NamedTuple's default, never changed


class DiskCheck(NamedTuple):
    """One worker's disk, read as a whole."""

    node: WorkerId
    #: On disk, and in its tables.
    segments: int
    #: Of these, whose bytes are not what was written; and some of them.
    bad: int
    bad_names: list[SegmentId]
    #: Files that belong to nothing in its tables, and their bytes.
    orphans: int
    orphan_bytes: int
