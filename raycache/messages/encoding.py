"""What every message is made of: the blob, and file versions as columns."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple

from raycache import paths
from raycache.types import FileVersion, MembershipView

#: The Ray namespace and the name of the master actor.
RAY_NAMESPACE = "raycache"
MASTER_NAME = "raycache-master"
#: Begins the name of every worker's actor.
WORKER_NAME_PREFIX = "raycache-worker-"

VERSION_ID_BYTES = 16


def encode(message: Any) -> bytes:
    """Pickle one message into a blob for an actor call."""
    return pickle.dumps(message, protocol=5)


def decode(blob: bytes) -> Any:
    """The message of `encode`. Only for blobs from this cluster's own actors and clients."""
    return pickle.loads(blob)


class FileColumns(NamedTuple):
    """F file versions, as columns."""

    uris: list[str]
    sizes_bytes: list[int]
    etags: list[str]
    mtimes_ns: list[int | None]

    @classmethod
    def of(cls, versions: Iterable[FileVersion]) -> FileColumns:
        """Turn rows into columns."""
        rows = list(versions)
        if not rows:
            return cls([], [], [], [])
        return cls(*(list(column) for column in zip(*rows, strict=True)))

    def versions(self) -> list[FileVersion]:
        """Turn columns into rows."""
        return [FileVersion(*row) for row in zip(*self, strict=True)]


class MountInfo(NamedTuple):
    """One mount, secrets included: travels between our own processes only. `repr` and `redacted` hide the options."""

    #: Absolute path in the namespace without a trailing slash ("/" for the root), or, for a self-mounted UFS
    #: authority, its URI root (`s3://bucket`).
    path: str
    #: What is mounted, without a trailing slash: `s3://bucket/prefix`, `file:///data`.
    uri: str
    #: Of the under storage: endpoint, keys, region, ...; may hold secrets.
    options: dict[str, Any]
    metadata_ttl_s: float
    readonly: bool

    def __repr__(self) -> str:
        return f"MountInfo(path={self.path!r}, uri={self.uri!r}, readonly={self.readonly}, options=...)"


@dataclasses.dataclass(frozen=True)
class MountTable:
    """All mounts, explicit ones first; the version grows with every change.

    Look-ups walk up from what is asked for, so they cost its depth, however many mounts there are.
    """

    version: int
    mounts: tuple[MountInfo, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return MountTable, (self.version, self.mounts)

    def deep(self) -> frozenset[str]:
        """Paths and URIs of mounts that are deeper than a dataset usually is: see `paths.dataset_of`."""
        return self._deep

    def is_writable(self, uri: str) -> bool:
        """Whether some mount lets this URI be written."""
        return any(not m.readonly for above in paths.self_and_above(uri) for m in self._by_uri.get(above, ()))

    def paths_of(self, uri: str) -> list[str]:
        """All names of a URI in the namespace: itself, and its path below each mount above it."""
        above = [m for name in paths.self_and_above(uri) for m in self._by_uri.get(name, ()) if m.path.startswith("/")]
        return [uri, *(paths.moved(uri, m.uri, m.path) for m in sorted(above, key=lambda mount: mount.path))]

    def of_uri(self, uri: str) -> MountInfo | None:
        """The mount whose options open this URI: the longest mounted URI above it."""
        return next((self._by_uri[above][0] for above in paths.self_and_above(uri) if above in self._by_uri), None)

    def of_path(self, path: str) -> MountInfo | None:
        """The mount a namespace path or a URI belongs to: the longest one above it."""
        if not path.startswith("/"):
            return self.of_uri(path)
        return next((self._by_path[above] for above in paths.self_and_above(path) if above in self._by_path), None)

    @functools.cached_property
    def _by_uri(self) -> dict[str, list[MountInfo]]:
        found: dict[str, list[MountInfo]] = {}
        for mount in self.mounts:
            found.setdefault(mount.uri, []).append(mount)
        return found

    @functools.cached_property
    def _by_path(self) -> dict[str, MountInfo]:
        return {mount.path: mount for mount in self.mounts}

    @functools.cached_property
    def _deep(self) -> frozenset[str]:
        names = {name for mount in self.mounts for name in (mount.path, mount.uri)}
        return frozenset(name for name in names if paths.dataset_of(paths.join(name, "file")) != name)


class Hello(NamedTuple):
    """What a client learns when it connects."""

    #: One incarnation of the cache, from start to stop.
    cache_id: str
    #: `Settings.as_dict()`, and the origin of each value.
    settings: dict[str, Any]
    origins: dict[str, str]
    view: MembershipView
    mounts: MountTable
