"""What every message is made of: the blob, and file versions as columns."""

from __future__ import annotations

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


class MountTable(NamedTuple):
    """All mounts; the version grows with every change."""

    version: int
    mounts: tuple[MountInfo, ...]

    def deep(self) -> frozenset[str]:
        """Paths and URIs of mounts that are deeper than a dataset usually is: see `paths.dataset_of`."""
        names = {name for mount in self.mounts for name in (mount.path, mount.uri)}
        return frozenset(name for name in names if paths.dataset_of(paths.join(name, "file")) != name)

    def is_writable(self, uri: str) -> bool:
        """Whether some mount lets this URI be written."""
        return any(_is_above(m.uri, uri) for m in self.mounts if not m.readonly)

    def paths_of(self, uri: str) -> list[str]:
        """All names of a URI in the namespace: itself, and its path below each mount above it."""
        above = [m for m in self.mounts if m.path.startswith("/") and _is_above(m.uri, uri)]
        return [uri, *(paths.moved(uri, m.uri, m.path) for m in above)]

    def of_uri(self, uri: str) -> MountInfo | None:
        """The mount whose options open this URI: the longest mounted URI above it."""
        above = [m for m in self.mounts if _is_above(m.uri, uri)]
        return max(above, key=lambda mount: len(mount.uri), default=None)

    def of_path(self, path: str) -> MountInfo | None:
        """The mount a namespace path or a URI belongs to: the longest one above it."""
        if not path.startswith("/"):
            return self.of_uri(path)
        above = [m for m in self.mounts if _is_above(m.path, path)]
        return max(above, key=lambda mount: len(mount.path), default=None)


def _is_above(base: str, name: str) -> bool:
    return name == base or name.startswith(paths.below(base))


class Hello(NamedTuple):
    """What a client learns when it connects."""

    #: One incarnation of the cache, from start to stop.
    cache_id: str
    #: `Settings.as_dict()`, and the origin of each value.
    settings: dict[str, Any]
    origins: dict[str, str]
    view: MembershipView
    mounts: MountTable
