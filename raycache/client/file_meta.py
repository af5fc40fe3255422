"""What this process knows of the file at one path: what stands there, where its blocks are, and what was read of it here.

The three change at different times. What stands at a path is one answer of the master, valid until it expires. `Places` are
hints, which every reply of a worker corrects. A `Trace` belongs to this process alone, and goes over to the next answer as
long as the version is the same.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType

from raycache import paths as names
from raycache.client.counters import Tally
from raycache.errors import IsADirectoryRequestError, NotFoundError, RaycacheError
from raycache.ranges import union
from raycache.types import FileKind, FileVersion, VersionId, WorkerId

_NOBODY: Mapping[int, WorkerId] = MappingProxyType({})


class Places:
    """Which workers hold a file's blocks, and which load them; hints."""

    __slots__ = ("claimants", "holders")

    def __init__(self, holders: tuple[tuple[WorkerId, int], ...] = ()) -> None:
        #: (worker, bit mask of the blocks it holds).
        self.holders = holders
        #: By extent, the worker that loads it, where the hash names another.
        self.claimants: Mapping[int, WorkerId] = _NOBODY

    def is_held(self, block_index: int) -> bool:
        """Whether some worker is known to hold a block."""
        return any(mask >> block_index & 1 for _, mask in self.holders)

    def held_mask(self, live: Container[WorkerId]) -> int:
        """A bit for each block that one of these workers is known to hold."""
        return union(mask for worker, mask in self.holders if worker in live)

    def mask_of(self, worker: WorkerId) -> int:
        """A bit for each block that this worker is known to hold."""
        return next((mask for holder, mask in self.holders if holder == worker), 0)

    def learn_holder(self, worker: WorkerId, block_index: int) -> None:
        """A worker held this block when it was asked: a hint for the next read of it."""
        bit = 1 << block_index
        known = dict(self.holders)
        if not known.get(worker, 0) & bit:
            known[worker] = known.get(worker, 0) | bit
            self.holders = tuple(known.items())

    def learn_claimant(self, extent: int, worker: WorkerId | None) -> None:
        """Remember the worker that loads an extent; None: the one that the hash names."""
        if self.claimants.get(extent) != worker:
            others = {e: w for e, w in self.claimants.items() if e != extent}
            self.claimants = others if worker is None else others | {extent: worker}


class Trace:
    """What this process has read of one file version, and which file it may read next."""

    __slots__ = ("next_path", "pages_wanted", "tally")

    def __init__(self) -> None:
        #: The file behind this one in its directory, or the one that was looked up behind it; empty: not known.
        self.next_path = ""
        #: By block, which pages of it were ever wanted here, a bit mask; see `reading.pages`.
        self.pages_wanted: dict[int, int] = {}
        #: `Counters.notes[dataset]`, once the file was read in place.
        self.tally: Tally | None = None


class FileMeta:
    """What stands at one path, as the master or the lake has answered."""

    __slots__ = ("dataset", "error", "expires_at_s", "file", "kind", "path", "places", "trace", "version")

    def __init__(
        self,
        path: str,
        kind: FileKind,
        file: FileVersion,
        holders: tuple[tuple[WorkerId, int], ...],
        expires_at_s: float,
        error: RaycacheError | None = None,
        deep_mounts: frozenset[str] = frozenset(),
    ) -> None:
        self.path = path
        self.kind = kind
        #: Of a directory only the URI means something.
        self.file = file
        self.version: VersionId = file.id() if kind is FileKind.FILE else b""
        #: Reads of the same dataset are counted together; see `paths.dataset_of`.
        self.dataset = names.dataset_of(path, deep_mounts)
        self.expires_at_s = expires_at_s
        #: Why the path could not be resolved.
        self.error = error
        self.places = Places(holders)
        self.trace = Trace()


def require_file(meta: FileMeta, path: str) -> FileMeta:
    """The meta itself when it is a file; the right error otherwise."""
    if meta.kind is FileKind.FILE:
        return meta
    if meta.error is not None:
        raise meta.error
    if meta.kind is FileKind.DIRECTORY:
        raise IsADirectoryRequestError(f"{path} is a directory; name a file below it", path=path)
    raise NotFoundError(f"{path} does not exist; check the path, or list its directory", path=path)
