"""From the paths of a load to its files, page by page.

Theory of operation. All paths are looked up at once, freshly: files are rows at once, directories and globs become
*targets*, each of which is one listing of the lake; what a glob matches of directories is listed after it. A glob that
matches nothing is an error, at once where little stands beside it. A listing is handed on as it comes. A file that an earlier target
names already is left out, so that each is there once. A listing that is small enough is given to the namespace, too, so
that readers after the load need not ask the lake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, TypeAlias

from raycache import paths as names
from raycache.clock import Clock
from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.master.loads.files import Origin, Row
from raycache.master.namespace.bulkheads import unless_stalled
from raycache.master.namespace.entries import DIRECTORY, pack
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import ListNeed, Need, NeedResult
from raycache.master.service import MasterService
from raycache.messages import FileColumns, ListRequest, MountInfo, ResolveRequest
from raycache.types import FileKind
from raycache.ufs.base import ObjectInfo

#: Takes some files whose keys begin with the origin's prefix; called on the event loop.
TakeRows: TypeAlias = Callable[[Origin, list[Row]], None]
#: Asks the lake; returns the needs that failed.
Ask: TypeAlias = Callable[[list[Need]], Awaitable[Mapping[Need, RaycacheError]]]

#: Entries of a listing that are kept in the namespace.
KEPT_MAX = 20_000
#: Directories that a glob matches.
_LISTED_AT_ONCE = 4
#: Entries that a glob does not match, before it is taken for one that matches something.
_LOOKED_AT_MAX = 20_000
#: How long a page waits for the event loop before the listing is given up.
_HAND_OVER_TIMEOUT_S = 120.0


class NotWantedError(Exception):
    """The listing was ended by its asker."""


class Target(NamedTuple):
    """One listing."""

    mount: MountInfo
    origin: Origin
    recursive: bool
    #: What of the rest of a path is meant, see `paths.glob_regex`; "" is all.
    glob: str

    def names(self, path: str) -> bool:
        """Whether a file or directory is meant."""
        base = self.origin.path.rstrip("/")
        if not path.startswith(f"{base}/"):
            return False
        return not self.glob or names.glob_regex(self.glob).match(path[len(base) + 1 :]) is not None

    def path_of(self, key: str) -> str:
        """The path of a key; of a directory's prefix, too."""
        return self.origin.path_of(key.rstrip("/"))

    def names_any(self, keys: Iterable[str]) -> bool:
        """Whether one of these keys is meant."""
        return any(self.names(self.path_of(key)) for key in keys)


#: Files by their origin, and what is to be listed.
LookedUp: TypeAlias = tuple[dict[Origin, list[Row]], list[Target]]


class LoadListing:
    """Lists what loads want.

    Args:
        service: knows mounts and metadata.
        lister_of: lists the store of a mount.
        ask: carries needs out.
        threads_of: where listings of a mount's store wait.
        clock: the time.
    """

    def __init__(
        self,
        service: MasterService,
        lister_of: Callable[[MountInfo], Lister],
        ask: Ask,
        threads_of: Callable[[MountInfo], Executor],
        clock: Clock,
    ) -> None:
        self._service = service
        self._lister_of = lister_of
        self._ask = ask
        self._threads_of = threads_of
        self._clock = clock

    async def look_up(self, paths: Sequence[str]) -> LookedUp:
        """Say what normalised paths mean: files by their origin, and what is to be listed.

        Raises:
            NotFoundError: nothing stands at a path, or a glob matches nothing.
            RaycacheError: the lake cannot be asked, or several mounts are below one path.
        """
        files, targets = await self._looked_up(paths)
        for target in targets:
            path = target.origin.path
            nested = self._service.mounts.nested_in(path)
            if nested and target.recursive:
                raise InvalidRequestError(
                    f"{path} has other mounts below it ({', '.join(nested[:5])}); load each mount by itself", path=path
                )
        return files, targets

    async def require(self, paths: Sequence[str]) -> None:
        """Raise unless there is something that normalised paths mean.

        Raises:
            NotFoundError: nothing stands at a path, or a glob matches nothing.
            RaycacheError: the lake cannot be asked.
        """
        await self._looked_up(paths)

    async def _looked_up(self, paths: Sequence[str]) -> LookedUp:
        found = await self._resolve(paths)
        globs = [path for path, (kind, _) in found.items() if kind is FileKind.MISSING and names.is_glob(path)]
        bases = await self._resolve([base for path in globs for base in names.glob_bases(path)])
        files: dict[Origin, list[Row]] = {}
        targets: list[Target] = []
        for path, (kind, row) in found.items():
            if kind is FileKind.FILE:
                mount, uri = self._service.mounts.resolve(path)
                origin = _origin(mount.uri, mount.path)
                files.setdefault(origin, []).append((names.split_uri(uri)[1], row))
            elif kind is FileKind.DIRECTORY:
                targets.append(self._target(path, ""))
            elif path in globs and (above := [b for b in names.glob_bases(path) if bases[b][0] is FileKind.DIRECTORY]):
                targets.append(self._target(above[0], path[len(above[0]) :].lstrip("/")))
                await self._require_match(targets[-1])
            else:
                raise NotFoundError(f"{path} does not exist; check the path", path=path)
        return files, targets

    async def stream(
        self,
        paths: Sequence[str],
        take: TakeRows,
        *,
        wanted: Callable[[], bool] = lambda: True,
        keep_all: bool = False,
        found: LookedUp | None = None,
    ) -> None:
        """Hand the files that paths mean to `take`, each once.

        Args:
            paths: normalised.
            take: see `TakeRows`.
            wanted: asked before each page; False ends the listing.
            keep_all: give listings of any size to the namespace.
            found: what `look_up` has just said of the paths.

        Raises:
            NotWantedError: it was ended.
            RaycacheError: see `look_up`.
        """
        files, targets = found or await self.look_up(paths)
        named = {origin.path_of(key): None for origin, rows in files.items() for key, _ in rows}
        for origin, rows in files.items():
            take(origin, rows)
        for number, target in enumerate(targets):
            await self._list(target, targets[:number], named, take, wanted, keep_all=keep_all)

    async def _list(
        self,
        target: Target,
        earlier: Sequence[Target],
        named: Mapping[str, None],
        take: TakeRows,
        wanted: Callable[[], bool],
        *,
        keep_all: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        request = ListRequest(target.origin.path, target.recursive, fresh=True)
        needs = self._service.catalog.list_needs(request, self._clock.now_s())
        kept: dict[str, bytes] | None = {}
        path_of = target.origin.path_of
        select = bool(target.glob or earlier or named)
        matched = not target.glob
        moved = 0

        async def on_loop(found: dict[str, bytes]) -> None:
            nonlocal kept, matched, moved
            moved += 1
            if not wanted():
                raise NotWantedError
            if kept is not None:
                kept.update(found)
                if len(kept) > KEPT_MAX and not keep_all:
                    kept = None
            matched = matched or target.names_any(found)
            rows = [row for row in found.items() if row[1] != DIRECTORY and names.has_path(row[0])]
            if select:
                rows = [row for row in rows if self._is_meant(path_of(row[0]), target, earlier, named)]
            take(target.origin, rows)

        def hand_over(found: dict[str, bytes]) -> None:
            asyncio.run_coroutine_threadsafe(on_loop(found), loop).result(_HAND_OVER_TIMEOUT_S)

        call = loop.run_in_executor(self._threads_of(target.mount), self._pages, target, hand_over)
        directories = await unless_stalled(call, lambda: moved)
        for need in needs:
            if kept is not None and isinstance(need, ListNeed):
                result = NeedResult(is_directory=True, found=kept, directories=directories)
                self._service.fetched(need, result)
        if not matched and not target.names_any(directories):
            raise _nothing_matches(target)
        if target.glob:
            below = [self._target(path, "") for path in map(target.path_of, directories) if target.names(path)]
            for start in range(0, len(below), _LISTED_AT_ONCE):
                some = below[start : start + _LISTED_AT_ONCE]
                await asyncio.gather(
                    *(self._list(one, earlier, named, take, wanted, keep_all=keep_all) for one in some)
                )

    async def _require_match(self, target: Target) -> None:
        """Raise NotFoundError when a glob matches nothing. Of much that it does not match, only the beginning is looked at."""
        seen = 0

        def look(found: dict[str, bytes]) -> None:
            nonlocal seen
            seen += len(found)
            if seen > _LOOKED_AT_MAX or target.names_any(found):
                raise NotWantedError

        threads = self._threads_of(target.mount)
        call = asyncio.get_running_loop().run_in_executor(threads, self._pages, target, look)
        try:
            directories = await unless_stalled(call, lambda: seen)
        except NotWantedError:
            return
        if not target.names_any(directories):
            raise _nothing_matches(target)

    def _pages(self, target: Target, hand_over: Callable[[dict[str, bytes]], None]) -> list[str]:
        """List a target in this thread; returns the directories of the level, where it is one."""
        if not target.recursive:
            return self._lister_of(target.mount).level(target.mount, target.origin.prefix, hand_over)
        lister = self._lister_of(target.mount)
        lister.pages(target.mount, target.origin.prefix, lambda part: hand_over(part.found))
        return []

    @staticmethod
    def _is_meant(path: str, target: Target, earlier: Sequence[Target], named: Mapping[str, None]) -> bool:
        return target.names(path) and path not in named and not any(other.names(path) for other in earlier)

    async def _resolve(self, paths: Sequence[str]) -> dict[str, tuple[FileKind, bytes]]:
        """By path: what stands there, and the entry of a file."""
        request = ResolveRequest(list(dict.fromkeys(paths)), 0, 0, fresh=True)
        if not request.paths:
            return {}
        errors = await self._ask(self._service.catalog.resolve_needs(request, self._clock.now_s()))
        reply = self._service.resolve(request, errors, self._clock.now_s())
        for error in reply.errors.values():
            raise error
        rows = zip(*FileColumns(*reply.files), strict=True)
        return {
            path: (FileKind(kind), pack(ObjectInfo(uri, size, etag, mtime_ns)))
            for path, kind, (uri, size, etag, mtime_ns) in zip(request.paths, reply.kinds, rows, strict=True)
        }

    def _target(self, path: str, glob: str) -> Target:
        mount, uri = self._service.mounts.resolve(path)
        return Target(mount, _origin(uri, path), not glob or "/" in glob or "**" in glob, glob)


def _nothing_matches(target: Target) -> NotFoundError:
    pattern = names.join(target.origin.path, target.glob)
    return NotFoundError(f"nothing matches {pattern}; check the pattern", path=pattern)


def _origin(uri: str, path: str) -> Origin:
    root_uri, key = names.split_uri(uri)
    return Origin(root_uri, f"{key}/" if key else "", path)
