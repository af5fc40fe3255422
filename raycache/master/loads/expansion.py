"""From the paths of a load to its files, page by page.

Theory of operation. All paths are looked up at once, freshly: files are rows at once, directories and globs become
*targets*, each of which is one listing of the lake. A listing is handed on as it comes. A file that an earlier target
names already is left out, so that each is there once. A listing that is small enough is given to the namespace, too, so
that readers who come after the load need not ask the lake.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, TypeAlias

from fsspec.utils import glob_translate

from raycache import paths as names
from raycache.clock import Clock
from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.master.loads.files import Origin, Row
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
#: A page waits so long for the event loop before the listing is given up.
_HAND_OVER_TIMEOUT_S = 120.0


class NotWantedError(Exception):
    """The listing was ended by its asker."""


class Target(NamedTuple):
    """One listing."""

    mount: MountInfo
    origin: Origin
    recursive: bool
    #: What of it is meant, as a glob of whole paths; "" is all.
    glob: str

    def names(self, path: str) -> bool:
        """Whether a file is meant."""
        rest = path[len(self.origin.path.rstrip("/")) :]
        if not path.startswith(self.origin.path.rstrip("/")) or not rest.startswith("/"):
            return False
        return not self.glob or _matcher(self.glob).match(path) is not None


#: Files by their origin, and what is to be listed.
LookedUp: TypeAlias = tuple[dict[Origin, list[Row]], list[Target]]


class LoadListing:
    """Lists what loads want.

    Args:
        service: knows mounts and metadata.
        lister: asks the lake.
        ask: carries needs out.
        threads: where listings wait.
        clock: the time.
    """

    def __init__(self, service: MasterService, lister: Lister, ask: Ask, threads: Executor, clock: Clock) -> None:
        self._service = service
        self._lister = lister
        self._ask = ask
        self._threads = threads
        self._clock = clock

    async def look_up(self, paths: Sequence[str]) -> LookedUp:
        """Say what normalised paths mean: files by their origin, and what is to be listed.

        Raises:
            NotFoundError: nothing stands at a path, or at the directory of a glob.
            RaycacheError: the lake cannot be asked, or several mounts are below one path.
        """
        found = await self._resolve(paths)
        globs = [path for path, (kind, _) in found.items() if kind is FileKind.MISSING and names.is_glob(path)]
        bases = await self._resolve([names.glob_base(path) for path in globs])
        files: dict[Origin, list[Row]] = {}
        targets: list[Target] = []
        for path, (kind, row) in found.items():
            if kind is FileKind.FILE:
                mount, uri = self._service.mounts.resolve(path)
                origin = _origin(mount.uri, mount.path)
                files.setdefault(origin, []).append((names.split_uri(uri)[1], row))
            elif kind is FileKind.DIRECTORY:
                targets.append(self._target(path, "", recursive=True))
            elif path in globs and bases[names.glob_base(path)][0] is FileKind.DIRECTORY:
                base = names.glob_base(path)
                recursive = "/" in path[len(base) :].lstrip("/") or "**" in path
                targets.append(self._target(base, path, recursive=recursive))
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

        async def on_loop(found: dict[str, bytes]) -> None:
            nonlocal kept
            if not wanted():
                raise NotWantedError
            if kept is not None:
                kept.update(found)
                if len(kept) > KEPT_MAX and not keep_all:
                    kept = None
            rows = [row for row in found.items() if row[1] != DIRECTORY]
            if select:
                rows = [row for row in rows if self._is_meant(path_of(row[0]), target, earlier, named)]
            take(target.origin, rows)

        def hand_over(found: dict[str, bytes]) -> None:
            asyncio.run_coroutine_threadsafe(on_loop(found), loop).result(_HAND_OVER_TIMEOUT_S)

        def in_thread() -> list[str]:
            if not target.recursive:
                return self._lister.level(target.mount, target.origin.prefix, hand_over)
            self._lister.pages(target.mount, target.origin.prefix, lambda part: hand_over(part.found))
            return []

        directories = await loop.run_in_executor(self._threads, in_thread)
        for need in needs:
            if kept is not None and isinstance(need, ListNeed):
                result = NeedResult(is_directory=True, found=kept, directories=directories)
                self._service.fetched(need, result)

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

    def _target(self, path: str, glob: str, *, recursive: bool) -> Target:
        nested = self._service.mounts.nested_in(path)
        if nested and recursive:
            raise InvalidRequestError(
                f"{path} has other mounts below it ({', '.join(nested[:5])}); load each mount by itself", path=path
            )
        mount, uri = self._service.mounts.resolve(path)
        return Target(mount, _origin(uri, path), recursive, glob)


def _origin(uri: str, path: str) -> Origin:
    root_uri, key = names.split_uri(uri)
    return Origin(root_uri, f"{key}/" if key else "", path)


@functools.lru_cache(maxsize=1_000)
def _matcher(glob: str) -> re.Pattern[str]:
    return re.compile(glob_translate(glob))
