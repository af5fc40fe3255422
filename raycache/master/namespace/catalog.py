"""Answers `resolve` and `list`: mounts, what is known of each store, and what must be asked first.

Theory of operation. A question goes through three steps, all of them pure: `resolve_needs` or `list_needs` say what to
ask the lake (nothing, when all is known and fresh enough for the mount's TTL); `fetched` takes each answer in;
`resolve` or `listing` then answer from what is known, of whatever age. So an answer always comes from the lake as it was at
most one TTL ago, and a TTL of 0 asks every time. Only when the lake cannot be reached is older knowledge used, rather
than failing a job whose data is cached.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from raycache import paths
from raycache.errors import (
    InvalidRequestError,
    NotADirectoryRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.master.namespace import entries
from raycache.master.namespace.comparison import Sync
from raycache.master.namespace.forgetting import ClockHand
from raycache.master.namespace.keyspace import Coverage, Keyspace, Replaced
from raycache.master.namespace.lookups import HeadNeed, ListNeed, Need, NeedResult
from raycache.master.namespace.mount_table import Mounts
from raycache.messages import (
    FileColumns,
    ListReply,
    ListRequest,
    MountInfo,
    ResolveReply,
    ResolveRequest,
    SyncRequest,
)
from raycache.rules import Pattern
from raycache.types import FileKind, VersionId, WorkerId

#: So many unknown paths in one directory are looked up by one listing of it.
LIST_INSTEAD_OF_HEADS_MIN = 8
#: Entries, look-ups and listings remembered in all; beyond, directories are forgotten, see `forgetting`.
REMEMBERED_MAX = 5_000_000
#: Keys that the hands go over in one call; some 30 ms.
_STEPS_PER_CALL = 20_000
#: How long an answer may be used that is older than its TTL because the lake does not answer.
_STALE_EXPIRES_IN_S = 1.0


class _MountedKey(NamedTuple):
    """The key of a mounted store that a path leads to."""

    mount: MountInfo
    uri: str
    root_uri: str
    key: str
    #: A mounted URI is a directory whatever the lake says.
    is_mount_point: bool

    @property
    def prefix(self) -> str:
        """Of what is below it."""
        return self.key + "/" if self.key else ""


class Catalog:
    """The namespace of a cache.

    Args:
        mounts: shared with the service, which changes them.
        holders: tells which workers hold blocks of a version.
        remembered_max: see `REMEMBERED_MAX`.
    """

    def __init__(
        self,
        mounts: Mounts,
        holders: Callable[[VersionId], tuple[tuple[WorkerId, int], ...]],
        remembered_max: int = REMEMBERED_MAX,
    ) -> None:
        self._mounts = mounts
        self._holders = holders
        self.remembered_max = remembered_max
        self._stores: dict[str, Keyspace] = {}
        self._hands: dict[str, ClockHand] = {}
        #: What they compare with must not be forgotten meanwhile.
        self._syncs: weakref.WeakSet[Sync] = weakref.WeakSet()
        #: Grows with every change and every fresh question; see `namespace`.
        self._generation = 0

    @property
    def entries_count(self) -> int:
        """Files and directories known."""
        return sum(store.entries_count for store in self._stores.values())

    # --- resolve ------------------------------------------------------------------------------------------------------

    def resolve_needs(self, request: ResolveRequest, now_s: float) -> list[Need]:
        """What to ask before `resolve`."""
        generation = self._generation_for(fresh=request.fresh)
        unknown: dict[tuple[str, str, str], dict[str, _MountedKey]] = {}
        for path in request.paths:
            place = self._place(path)
            if place is None or place.is_mount_point:
                continue
            since_s = None if request.fresh else self._store(place.root_uri).known_since_s(place.key)
            if since_s is None or since_s + place.mount.metadata_ttl_s <= now_s:
                parent = place.key[: place.key.rfind("/") + 1]
                unknown.setdefault((place.mount.path, place.root_uri, parent), {})[place.key] = place
        needs: list[Need] = []
        for (mount_path, root_uri, parent), places in unknown.items():
            mount = next(iter(places.values())).mount
            if len(places) >= LIST_INSTEAD_OF_HEADS_MIN:
                needs.append(ListNeed(mount, mount_path, root_uri, parent, False, generation, now_s, tuple(places)))
            else:
                needs += [HeadNeed(mount, mount_path, root_uri, key, generation, now_s) for key in places]
        return needs

    def resolve(self, request: ResolveRequest, errors: Mapping[Need, RaycacheError], now_s: float) -> ResolveReply:
        """Answer from what is known.

        Args:
            request: the question.
            errors: needs that failed.
            now_s: the time.

        Returns:
            The reply, without view and mounts.
        """
        kinds: list[int] = []
        files = FileColumns([], [], [], [])
        expires_in_s: list[float] = []
        holders: list[tuple[tuple[WorkerId, int], ...]] = []
        problems: dict[int, RaycacheError] = {}
        failed = _by_key(errors)
        neighbours = self._neighbours(request.paths[0], request.neighbours_max, now_s) if request.paths else []
        for position, path in enumerate((*request.paths, *neighbours)):
            kind, uri, entry, expires_s = FileKind.MISSING, "", entries.DIRECTORY, 0.0
            place = self._place(path)
            if place is None:
                if self._is_virtual(path):
                    kind = FileKind.DIRECTORY
                elif not path.startswith("/"):
                    problems[position] = NotFoundError(f"{path} is under no mount of this cache; connect again")
            elif place.is_mount_point:
                kind, uri, expires_s = FileKind.DIRECTORY, place.uri, place.mount.metadata_ttl_s
            else:
                try:
                    kind, entry, expires_s = self._look(place, failed, fresh=request.fresh, now_s=now_s)
                    if kind is FileKind.MISSING and self._is_virtual(path):
                        kind = FileKind.DIRECTORY
                except RaycacheError as error:
                    problems[position] = error
                uri = place.uri if kind is not FileKind.MISSING else ""
            size_bytes, etag, mtime_ns = entries.unpack(entry) if kind is FileKind.FILE else (0, "", 0)
            kinds.append(int(kind))
            files.uris.append(uri)
            files.sizes_bytes.append(size_bytes)
            files.etags.append(etag)
            files.mtimes_ns.append(mtime_ns)
            expires_in_s.append(expires_s)
            holders.append(
                self._holders(entries.version(place.root_uri, place.key, entry).id())
                if kind is FileKind.FILE and place is not None
                else ()
            )
        return ResolveReply(kinds, files, expires_in_s, holders, problems, None, None, neighbours)

    def _neighbours(self, path: str, limit: int, now_s: float) -> list[str]:
        """The files behind one in its directory that are known and may still be used; at most `limit` are looked at."""
        place = self._place(path) if limit else None
        if place is None or place.is_mount_point:
            return []
        store = self._store(place.root_uri)
        parent = place.key[: place.key.rfind("/") + 1]
        directory = path[: path.rfind("/") + 1]
        found: list[str] = []
        behind = store.entries.irange(place.key, inclusive=(False, False))
        for key in itertools.islice(behind, limit):
            if not key.startswith(parent):
                break
            since_s = store.known_since_s(key)
            if "/" not in key[len(parent) :] and since_s is not None and since_s + place.mount.metadata_ttl_s > now_s:
                found.append(directory + key[len(parent) :])
        return found

    def _look(
        self,
        place: _MountedKey,
        failed: Mapping[tuple[str, str, str], tuple[RaycacheError, float]],
        *,
        fresh: bool,
        now_s: float,
    ) -> tuple[FileKind, bytes, float]:
        """What stands at a place, and for how long that may be used."""
        store = self._store(place.root_uri)
        parent = place.key[: place.key.rfind("/") + 1]
        self._hands[place.root_uri].touch(parent)
        since_s = store.known_since_s(place.key)
        failure = failed.get((place.mount.path, place.root_uri, place.key)) or failed.get(
            (place.mount.path, place.root_uri, parent + "/")
        )
        if failure is not None and (since_s is None or since_s < failure[1]):  # else it is another key's
            error = failure[0]
            if fresh or since_s is None or not isinstance(error, UnavailableError):
                raise error
            return *store.stat(place.key), _STALE_EXPIRES_IN_S
        if not store.seen(place.key):
            raise UnavailableError(f"{place.uri} was forgotten while it was looked up; try again")
        left_s = 0.0 if since_s is None else max(0.0, since_s + place.mount.metadata_ttl_s - now_s)
        return *store.stat(place.key), left_s

    # --- list ---------------------------------------------------------------------------------------------------------

    def list_needs(self, request: ListRequest, now_s: float) -> list[Need]:
        """What to ask before `listing`."""
        place = self._place(request.path)
        if place is None or (request.recursive and self._mounts.is_above_any(request.path)):
            return []
        store = self._store(place.root_uri)
        since_s = None if request.fresh else store.listed_since_s(place.prefix, recursive=request.recursive)
        if since_s is not None and since_s + place.mount.metadata_ttl_s > now_s:
            return []
        generation = self._generation_for(fresh=request.fresh)
        return [
            ListNeed(place.mount, place.mount.path, place.root_uri, place.prefix, request.recursive, generation, now_s)
        ]

    def listing(self, request: ListRequest, errors: Mapping[Need, RaycacheError], now_s: float) -> ListReply:
        """Answer from what is known.

        Raises:
            NotFoundError: nothing is there.
            NotADirectoryRequestError: it is a file.
            InvalidRequestError: everything below several mounts at once.
            UnavailableError, DeniedError: the lake cannot be asked.
        """
        nested = self._mounts.nested_in(request.path)
        if request.recursive and nested:
            raise InvalidRequestError(
                f"{request.path} has other mounts below it ({', '.join(nested[:5])}); list each mount by itself",
                path=request.path,
            )
        place = self._place(request.path)
        rows: list[tuple[str, bytes]] = []
        expires_in_s = 0.0
        if place is None:
            if not self._is_virtual(request.path):
                raise NotFoundError(f"{request.path} is under no mount; see `raycache mounts`", path=request.path)
        else:
            rows, expires_in_s = self._rows(place, request, errors, now_s, exists=bool(nested))
        if nested:
            mounted = self._mounts.names_below(request.path)
            rows = [row for row in rows if row[0] not in mounted] + [(name, entries.DIRECTORY) for name in mounted]
        if not request.recursive or any(not entry for _, entry in rows):
            rows.sort(key=lambda row: row[0])
        facts = [entries.unpack(entry) if entry else (0, "", 0) for _, entry in rows]
        return ListReply(
            names=[name for name, _ in rows],
            kinds=[int(FileKind.FILE if entry else FileKind.DIRECTORY) for _, entry in rows],
            sizes_bytes=[fact[0] for fact in facts],
            etags=[fact[1] for fact in facts],
            mtimes_ns=[fact[2] for fact in facts],
            base_uri=place.uri if place is not None else "",
            expires_in_s=expires_in_s,
        )

    def _rows(
        self,
        place: _MountedKey,
        request: ListRequest,
        errors: Mapping[Need, RaycacheError],
        now_s: float,
        *,
        exists: bool,
    ) -> tuple[list[tuple[str, bytes]], float]:
        """(name, entry) of what is below a place, and for how long that may be used."""
        store = self._store(place.root_uri)
        prefix = place.prefix
        self._hands[place.root_uri].touch(prefix, recursive=request.recursive)
        since_s = store.listed_since_s(prefix, recursive=request.recursive)
        left_s = 0.0 if since_s is None else max(0.0, since_s + place.mount.metadata_ttl_s - now_s)
        for error in errors.values():
            if request.fresh or since_s is None or not isinstance(error, UnavailableError):
                raise error
            left_s = _STALE_EXPIRES_IN_S
        if not store.listed(prefix, recursive=request.recursive):
            raise UnavailableError(f"{place.uri} was forgotten while it was listed; try again")
        rows: list[tuple[str, bytes]]
        if request.recursive:
            rows = [row for row in store.names_below(prefix) if paths.has_path(row[0])]
        else:
            rows = [
                child
                for child in store.children(prefix)
                if paths.has_path(child.name) and not store.only_marks(prefix + child.name, child.entry)
            ]
        if not rows and not exists and not place.is_mount_point and place.key:
            kind, _ = store.stat(place.key)
            if kind is FileKind.FILE:
                raise NotADirectoryRequestError(f"{request.path} is a file; name its directory", path=request.path)
            if kind is FileKind.MISSING:
                raise NotFoundError(f"{request.path} does not exist; check the path", path=request.path)
        return rows, left_s

    # --- learning -----------------------------------------------------------------------------------------------------

    def fetched(self, need: Need, result: NeedResult) -> list[VersionId]:
        """Take an answer of the lake in.

        Returns:
            Versions that are no longer what stands at their keys.
        """
        if result.error is not None and result.each is None:
            return []
        self.keep_bound()
        store = self._store(need.root_uri)
        self._touch(need)
        asked = Coverage(need.generation, need.asked_s)
        if isinstance(need, HeadNeed):
            replaced = store.learn_head(need.key, result.head, is_directory=result.is_directory, asked=asked)
        elif result.each is not None:
            replaced = [
                gone
                for key, one in result.each.items()
                if one.error is None
                for gone in store.learn_head(key, one.head, is_directory=one.is_directory, asked=asked)
            ]
        else:
            replaced = self._listed(store, need, result, asked)
        return self._versions(need.root_uri, replaced)

    @property
    def is_full(self) -> bool:
        """Whether more is remembered than is meant to."""
        return sum(len(store) for store in self._stores.values()) > self.remembered_max

    def keep_bound(self, steps: int = _STEPS_PER_CALL) -> None:
        """Forget what was not used for long while too much is remembered: a bounded part of it in one call."""
        while steps > 0 and self.is_full:
            root_uri = max(self._stores, key=lambda root_uri: len(self._stores[root_uri]))
            store, part = self._stores[root_uri], min(steps, _STEPS_PER_CALL // 10)
            store.forget_look_ups(part // 10)
            kept = [sync.prefix for sync in self._syncs if sync.root_uri == root_uri]
            self._hands[root_uri].turn(part, kept)
            steps -= part

    def _touch(self, need: Need) -> None:
        if isinstance(need, HeadNeed):
            self._hands[need.root_uri].touch(need.key[: need.key.rfind("/") + 1])
        else:
            self._hands[need.root_uri].touch(need.prefix, recursive=need.recursive)

    def _listed(self, store: Keyspace, need: ListNeed, result: NeedResult, asked: Coverage) -> list[Replaced]:
        if need.recursive:
            replaced = store.learn_tree(need.prefix, result.found, asked)
        else:
            replaced = store.learn_level(need.prefix, result.found, result.directories, asked)
        if not result.is_directory and need.prefix:
            key = need.prefix.removesuffix("/")
            replaced += store.learn_head(key, result.head, is_directory=False, asked=asked)
        return replaced

    def invalidate(self, changed: Sequence[str]) -> list[VersionId]:
        """These paths, or something below them, were written: ask the lake when they are next asked for.

        Returns:
            The versions that were known there.
        """
        self._generation += 1
        versions: list[VersionId] = []
        for path in changed:
            place = self._place(paths.normalise(path))
            if place is not None:
                store = self._store(place.root_uri)
                versions += self._versions(place.root_uri, store.change(place.key, self._generation))
        return versions

    def begin_sync(self, pattern: Pattern, request: SyncRequest, now_s: float) -> Sync:
        """Begin to compare what a pattern names with the lake.

        Raises:
            NotFoundError: no mount is above it.
        """
        mount, uri = self._mounts.resolve(pattern.base)
        store = self._store(paths.split_uri(uri)[0])
        asked = Coverage(self._generation_for(fresh=True), now_s)
        sync = Sync(pattern, mount, store, asked, self._may_learn, dry_run=request.dry_run, files_max=request.files_max)
        self._syncs.add(sync)
        return sync

    def _may_learn(self) -> bool:
        """Whether a sync may have more remembered."""
        self.keep_bound()
        return not self.is_full

    # --- inside -------------------------------------------------------------------------------------------------------

    def _place(self, path: str) -> _MountedKey | None:
        try:
            mount, uri = self._mounts.resolve(path)
        except NotFoundError:
            return None
        return _MountedKey(
            mount, uri, *paths.split_uri(uri), is_mount_point=path == mount.path and path.startswith("/")
        )

    def _is_virtual(self, path: str) -> bool:
        """Whether a path is a directory because of mounts below it."""
        return path == "/" or self._mounts.is_above_any(path)

    def _store(self, root_uri: str) -> Keyspace:
        store = self._stores.get(root_uri)
        if store is None:
            # What is on the way was asked before: it counts as changed, since changes may have been forgotten.
            store = self._stores[root_uri] = Keyspace(self._generation)
            self._hands[root_uri] = ClockHand(store)
        return store

    def _generation_for(self, *, fresh: bool) -> int:
        """A fresh question must not share the answer to one asked before."""
        if fresh:
            self._generation += 1
        return self._generation

    @staticmethod
    def _versions(root_uri: str, replaced: Sequence[Replaced]) -> list[VersionId]:
        return [entries.version(root_uri, key, entry).id() for key, entry in replaced]


def _by_key(errors: Mapping[Need, RaycacheError]) -> dict[tuple[str, str, str], tuple[RaycacheError, float]]:
    """Errors, and when was asked, by (mount path, root, key); for a listing, by its prefix with one more slash, which no key is."""
    return {
        (need.mount_path, need.root_uri, need.key if isinstance(need, HeadNeed) else need.prefix + "/"): (
            error,
            need.asked_s,
        )
        for need, error in errors.items()
    }
