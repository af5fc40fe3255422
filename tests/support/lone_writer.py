"""Writes without a cluster: a client's own parts over real stores, and a master that answers look-ups for ever."""

from __future__ import annotations

from typing import Any

from raycache import paths as names
from raycache.client.locator import Locator
from raycache.client.writes import Writes
from raycache.clock import ManualClock
from raycache.errors import NotADirectoryRequestError, NotFoundError
from raycache.invalidations import InvalidationFeed, InvalidationLog, Words
from raycache.messages import (
    FileColumns,
    ListReply,
    ListRequest,
    MountInfo,
    MountTable,
    ResolveReply,
    ResolveRequest,
    decode,
)
from raycache.types import FileKind
from raycache.ufs.base import UnderStorage
from raycache.ufs.local import LocalStorage
from raycache.ufs.trees import tree, what_stands


class LoneWriter:
    """A process that writes.

    Args:
        mounts: path -> URI; those whose path begins with "/ro" are read-only.
        storages: by root URI; `file://` is this machine's.
    """

    def __init__(self, mounts: dict[str, str], storages: dict[str, UnderStorage] | None = None) -> None:
        self.storages = {"file://": LocalStorage(), **(storages or {})}
        infos = (MountInfo(path, uri, {}, 60.0, path.startswith("/ro")) for path, uri in mounts.items())
        #: URIs that the master was told of.
        self.invalidated: list[str] = []
        log = Words.in_memory()
        InvalidationLog(log).trust_until(1e9)
        self.locator = Locator(
            self,
            lambda root, options: self.storages[root],
            lambda root: {},
            ManualClock(0.0),
            1000,
            InvalidationFeed(lambda: log),
        )
        self._table = MountTable(1, tuple(infos))
        self.locator.learn(None, self._table)
        calls: Any = self
        self.writes = Writes(self.locator, calls)

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        del timeout_s
        if method == "invalidate":
            self.invalidated += [uri for uri, _ in arguments[0]]
            return None
        if method == "auto_mount":
            own = MountInfo(arguments[0], arguments[0], {}, 60.0, readonly=False)
            self._table = MountTable(self._table.version + 1, (*self._table.mounts, own))
            return self._table
        if method == "list_directory":
            return self._listed(decode(arguments[0]))
        assert method == "resolve"
        request: ResolveRequest = decode(arguments[0])
        files, kinds = FileColumns([], [], [], []), []
        for path in request.paths:
            uri = self.locator.uri_of(path)
            kind, info = what_stands(*self.locator.storage(uri))
            kinds.append(int(kind))
            for column, value in zip(files, (uri, *(info[1:] if info else (0, "", 0))), strict=True):
                column.append(value)
        count = len(kinds)
        return ResolveReply(kinds, files, [3600.0] * count, [()] * count, {}, None, None)

    def _listed(self, request: ListRequest) -> ListReply:
        uri = self.locator.uri_of(request.path)
        storage, key = self.locator.storage(uri)
        kind = what_stands(storage, key).kind
        if kind is FileKind.MISSING:
            raise NotFoundError(f"{request.path} does not exist", path=request.path)
        if kind is FileKind.FILE:
            raise NotADirectoryRequestError(f"{request.path} is a file", path=request.path)
        found: dict[str, tuple[FileKind, int, str, int | None]] = {}
        for name, described in tree(storage, f"{key}/" if key else "").items():
            if not names.has_path(name):  # as the master's lister
                continue
            top = name.rstrip("/") if request.recursive else name.partition("/")[0]
            found[top] = (FileKind.FILE, *described) if top == name else (FileKind.DIRECTORY, 0, "", None)
        rows = [(name, *found[name]) for name in sorted(found)]
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
        return ListReply(*columns, uri, 3600.0)  # type: ignore[arg-type]  # five columns

    def knows(self, *paths: str) -> list[bool]:
        """Whether what stands at these paths is remembered."""
        return [self.locator.cached(path, 0.0) is not None for path in paths]

    def look(self, *paths: str) -> None:
        """Look files up, so that they are remembered."""
        assert all(meta.kind is FileKind.FILE for meta in self.locator.resolve(paths))
        assert all(self.knows(*paths))
