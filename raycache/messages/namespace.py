"""Client to master: what is at these paths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from raycache import paths
from raycache.errors import RaycacheError
from raycache.messages.encoding import FileColumns, MountTable
from raycache.types import FileKind, FileVersion, MembershipView, WorkerId


class ResolveRequest(NamedTuple):
    """Which file versions stand at these paths, and where are their blocks?"""

    #: Shape (F,), normalised: absolute in the namespace, or a UFS URI.
    paths: list[str]
    #: What the client knows; newer ones come back with the reply.
    view_id: int
    mounts_version: int
    #: Ask the under storage again even where the metadata TTL has not passed.
    fresh: bool = False
    #: Of a single path: answer also for this many of those behind it in its directory, as far as they are known.
    neighbours_max: int = 0


class ResolveReply(NamedTuple):
    """Answers in the order of the request's paths, then of the neighbours."""

    #: Shape (F,), of `FileKind`.
    kinds: list[int]
    #: Shape (F,). For a directory only `uris` means something (no trailing slash); for MISSING nothing does.
    files: FileColumns
    #: Shape (F,): seconds the client may keep the answer.
    expires_in_s: list[float]
    #: Shape (F,): per file a tuple of (worker, block bit mask): hints.
    holders: list[tuple[tuple[WorkerId, int], ...]]
    #: By position: why a path could not be resolved (denied, unavailable); its kind is MISSING.
    errors: dict[int, RaycacheError]
    #: None when the client's is current.
    view: MembershipView | None
    mounts: MountTable | None
    #: Shape (N,): paths answered for that were not asked for.
    neighbours: list[str] = []  # noqa: RUF012  # never changed; a NamedTuple knows no factories


class HoldersReply(NamedTuple):
    """The workers that hold blocks of these versions, as far as they have said; most files have the same few answers."""

    #: The different answers: (worker, block bit mask) of each that holds some.
    said: list[tuple[tuple[WorkerId, int], ...]]
    #: Shape (F,): which of them.
    numbers: list[int]


class DirectRequest(NamedTuple):
    """These files, as long as nobody holds them, are to be loaded by these workers; shape (F,) each."""

    files: FileColumns
    workers: list[WorkerId]


class ListRequest(NamedTuple):
    """What is below a directory?"""

    path: str
    #: Everything below, not only the direct children.
    recursive: bool
    fresh: bool = False


class ListedRow(NamedTuple):
    """One entry of a listing."""

    name: str
    kind: int
    size_bytes: int
    etag: str
    #: None when the store does not say.
    mtime_ns: int | None


class ListReply(NamedTuple):
    """Entries sorted by name; shape (E,) each."""

    #: Relative to the directory asked for; directories have no trailing slash. "" is a child of keys such as `a//b`.
    names: list[str]
    #: Of `FileKind`: FILE or DIRECTORY; of a recursive listing only directories in which there is nothing.
    kinds: list[int]
    sizes_bytes: list[int]
    etags: list[str]
    mtimes_ns: list[int | None]
    #: The URI the names are relative to, no trailing slash.
    base_uri: str
    expires_in_s: float

    def rows(self, *, implied: bool = False, nameless: bool = False) -> Iterator[ListedRow]:
        """The entries one by one.

        Args:
            implied: begin with the directories that names only imply, which a recursive listing leaves out.
            nameless: with the child that has no name, of keys such as `a//b`.
        """
        rows = map(ListedRow, self.names, self.kinds, self.sizes_bytes, self.etags, self.mtimes_ns)
        if not implied:
            return rows if nameless or "" not in self.names[:1] else (row for row in rows if row.name)
        named = frozenset(self.names)
        above = [name for name in paths.implied_directories(self.names) if name not in named]
        return itertools.chain((ListedRow(name, FileKind.DIRECTORY, 0, "", 0) for name in above), rows)

    def uri(self, name: str) -> str:
        """The URI of an entry."""
        return paths.join(self.base_uri, name)

    def version(self, row: ListedRow) -> FileVersion:
        """The file version that an entry stands for."""
        return FileVersion(self.uri(row.name), row.size_bytes, row.etag, row.mtime_ns)
