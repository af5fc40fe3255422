"""Client to master and workers: results that the cache keeps, and who makes them.

A result is a file below the mount `/cached`. Its key names what it was made of, by fingerprint; its etag says what it holds,
so that all that is known of a result is in its file version, which workers keep on their disks.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from raycache.types import FileVersion, WorkerId

#: Where results are, in the namespace and as URIs.
MOUNT_PATH = "/cached"
MOUNT_URI = "cached://results"
#: A claim that is not renewed ends after this long; who makes a result renews it several times meanwhile.
CLAIM_S = 15.0


class KeptResult(NamedTuple):
    """One result."""

    #: `dataset/fingerprint`.
    key: str
    size_bytes: int
    #: See `etag_of`.
    etag: str

    @property
    def file(self) -> FileVersion:
        """As the cache knows it."""
        return FileVersion(f"{MOUNT_URI}/{self.key}", self.size_bytes, self.etag, None)

    @property
    def path(self) -> str:
        """In the namespace."""
        return f"{MOUNT_PATH}/{self.key}"

    @property
    def rows(self) -> int:
        """How many rows it has; 0 of what is no table."""
        return int(self.etag.split("-")[0])

    @property
    def cpu_s(self) -> float:
        """What it took to make it."""
        return int(self.etag.split("-")[1]) / 1000

    @property
    def origin(self) -> str:
        """What it stands for: of several results with the same one, the last that was made; empty: none other stands for it."""
        return "".join(self.etag.split("-")[3:4])


def etag_of(rows: int, cpu_s: float, content_hash: str, origin: str = "") -> str:
    """The etag of a result; `origin` is hexadecimal."""
    return f"{rows}-{round(cpu_s * 1000)}-{content_hash}" + (f"-{origin}" if origin else "")


class ClaimState(enum.IntEnum):
    """What the master says to who wants a result."""

    #: It is there.
    KEPT = 0
    #: It is not; the asker makes it.
    GRANTED = 1
    #: Somebody else is making it.
    TAKEN = 2


class ClaimReply(NamedTuple):
    """The answer to who wants a result."""

    state: int
    result: KeptResult | None = None
    #: (worker, mask of blocks) of each that holds some.
    holders: tuple[tuple[WorkerId, int], ...] = ()


class FindReply(NamedTuple):
    """Which results there are; shape (G,) each."""

    #: Bytes and etag; None: it has to be made.
    found: list[tuple[int, str] | None]
    holders: list[tuple[tuple[WorkerId, int], ...]]


class KeepRequest(NamedTuple):
    """Client to a worker: keep this; its bytes come as an object."""

    result: KeptResult
    mounts_version: int
    timeout_s: float


class KeptDataset(NamedTuple):
    """All results of one dataset, summed up."""

    name: str
    groups: int
    bytes: int
    rows: int
    #: What it took to make them, and what was saved by not making them again, since the master started.
    cpu_s: float
    saved_cpu_s: float
    #: How often a result was read, made, waited for, or taken over from who did not make it in time; and how many were lost.
    hits: int
    made: int
    waited: int
    taken_over: int
    lost: int
    #: Seconds since a result was last read or made; -1: not known.
    idle_s: float
