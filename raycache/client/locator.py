"""From paths to file versions and block hints: this process's memory of the namespace.

A path is asked of the master once, in a batch with others, and remembered for as long as the answer says (the rest of
the mount's metadata TTL). When the master does not answer, the under storage itself is asked: a read never fails
because of the cache. All methods are safe to call from several threads.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raycache import paths as names
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.freshness import Freshness
from raycache.client.ports import MasterCalls
from raycache.clock import Clock
from raycache.errors import NoCacheError, NotFoundError, RaycacheError, UnavailableError
from raycache.invalidations import InvalidationFeed
from raycache.messages import (
    HoldersReply,
    ListReply,
    ListRequest,
    MountTable,
    ResolveReply,
    ResolveRequest,
    encode,
)
from raycache.types import FileKind, FileVersion, MembershipView
from raycache.ufs.base import UnderStorage
from raycache.ufs.trees import what_stands

#: Files that a look-up of one brings along, when those before it in the directory were looked up one by one.
NEIGHBOURS_MAX = 1024
_NEIGHBOURS_MIN = 32
#: Files whose holders are asked for in one call: the master answers others in between.
_LOCATE_BATCH = 50_000
#: How long an answer that came from the under storage, past a silent master, may be used.
_UNATTENDED_TTL_S = 2.0
_DISK = "file://"


class Locator:
    """Resolves paths.

    Args:
        calls: to the master.
        open_storage: (root_uri, options) -> UnderStorage, cached by the callee.
        clock: monotonic time.
        paths_max: bound on remembered paths.
        feed: of what is written through the cache; None: nothing is heard of it.
    """

    def __init__(
        self,
        calls: MasterCalls,
        open_storage: Callable[[str, dict[str, Any]], UnderStorage],
        environment_options: Callable[[str], dict[str, Any]],
        clock: Clock,
        paths_max: int,
        feed: InvalidationFeed | None = None,
    ) -> None:
        self._calls = calls
        self._open_storage = open_storage
        self._environment_options = environment_options
        self._clock = clock
        self._paths_max = paths_max
        self._metas: dict[str, FileMeta] = {}
        self._lock = threading.Lock()
        self._freshness = Freshness(feed or InvalidationFeed.of_nothing())
        #: Paths of which a reader found another version than was known; the lake is asked for them next.
        self._outdated: set[str] = set()
        #: Where the last look-up of a single path was, and how many neighbours it asked for.
        self._directory = ""
        self._neighbours = 0
        #: The last file that it brought.
        self._tail: FileMeta | None = None
        self.view = MembershipView(0, ())
        self.mounts = MountTable(0, ())
        self._deep: frozenset[str] = frozenset()
        #: Of all mounts of disks, once a file of one was opened.
        self._disk: UnderStorage | None = None
        #: False in a process that only looks: it mounts nothing, and opens no store that is not mounted.
        self.mounts_by_itself = True

    # --- metadata -----------------------------------------------------------------------------------------------------

    def cached(self, path: str, now_s: float) -> FileMeta | None:
        """What is remembered of a path (as given, normalised or not), if it may still be used."""
        # As `Freshness.is_due`, which costs a call; this is asked at every read.
        freshness = self._freshness
        if freshness.words[0] != freshness.sequence or now_s > freshness.again_at_s:
            self._catch_up(now_s)
        meta = self._metas.get(path)
        return meta if meta is not None and meta.expires_at_s > now_s else None

    def resolve(self, paths: Sequence[str], *, fresh: bool = False) -> list[FileMeta]:
        """Resolve paths in at most one call to the master.

        Args:
            paths: shape (F,).
            fresh: ask the under storage again.

        Returns:
            Shape (F,). MISSING is an answer; a path that could not be looked up has `error` set.

        Raises:
            InvalidRequestError: a path is not one.
        """
        now_s = self._clock.now_s()
        known: dict[str, FileMeta] = {}
        wanted: dict[str, None] = {}
        order: list[str] = []
        for path in paths:
            meta = None if fresh else self.cached(path, now_s)
            name = meta.path if meta is not None else names.normalise(path)
            order.append(name)
            meta = meta or (None if fresh else self.cached(name, now_s))
            if meta is not None:
                known[name] = meta
            else:
                wanted[name] = None
        if wanted:
            for meta in self._ask(list(wanted), fresh=fresh):
                known[meta.path] = meta
        return [known[name] for name in order]

    def file(self, path: str, *, fresh: bool = False) -> FileMeta:
        """Resolve one path that must be a file.

        Raises:
            NotFoundError, IsADirectoryRequestError, or what the look-up failed with.
        """
        return require_file(self.resolve([path], fresh=fresh)[0], path)

    def opened(self, path: str) -> FileMeta:
        """Resolve a file that is about to be opened. On a disk a look costs microseconds: it is taken, whatever the TTL.

        Raises:
            As `file`.
        """
        meta = self.file(path)
        if meta.file.uri.startswith(_DISK):
            # Asked for at every opening: a disk takes no options, so there is one for all mounts.
            disk = self._disk = self._disk or self.storage(meta.file.uri)[0]
            try:
                found = disk.head(names.split_uri(meta.file.uri)[1])
                same = meta.file[1:] == (found.size_bytes, found.etag, found.mtime_ns)
            except NotFoundError:
                same = False  # removed, or not to be seen from this host: the master is asked
            except RaycacheError:
                same = True
            if not same:
                self.outdated([meta.path])
                meta = self.file(path)
        return meta

    def kind(self, path: str) -> FileKind:
        """What stands at a path; MISSING when nothing does.

        Raises:
            UnavailableError, DeniedError: it cannot be told.
        """
        meta = self.resolve([path])[0]
        if meta.error is not None and not isinstance(meta.error, NotFoundError):
            raise meta.error
        return meta.kind

    def listing(self, path: str, *, recursive: bool, fresh: bool = False) -> ListReply:
        """List a directory through the master; files found are remembered.

        Raises:
            NotFoundError: nothing is there.
            NotADirectoryRequestError: it is a file.
        """
        path = names.normalise(path)
        self.announce_paths([path])
        mark = self._mark()
        reply: ListReply = self._calls.master("list_directory", encode(ListRequest(path, recursive, fresh)))
        if len(reply.names) <= self._paths_max // 4:
            self._remember_listing(path, reply, mark)
        return reply

    def locate(self, metas: Iterable[FileMeta]) -> None:
        """Ask the master anew who holds these files; when it does not answer, what is known of them stays.

        What was listed came without holders, and what was looked up may have been loaded since.
        """
        files = [meta for meta in metas if meta.kind is FileKind.FILE]
        for start in range(0, len(files), _LOCATE_BATCH):
            batch = files[start : start + _LOCATE_BATCH]
            try:
                reply: HoldersReply = self._calls.master("holders", encode([meta.version for meta in batch]))
            except UnavailableError:
                return
            for meta, number in zip(batch, reply.numbers, strict=True):
                meta.places.holders = reply.said[number]

    def outdated(self, paths: Iterable[str]) -> None:
        """These paths are no longer what is known of them: the lake itself is asked when they are next looked up."""
        paths = [names.normalise(path) for path in paths]
        self.forget_files(paths)
        with self._lock:
            self._outdated.update(paths)

    def forget(self, paths: Iterable[str]) -> None:
        """Drop what is known of these paths and everything below them."""
        dropped = tuple(names.normalise(path) for path in paths)
        below = tuple(names.below(path) for path in dropped)
        with self._lock:
            for name, meta in list(self._metas.items()):
                if meta.path in dropped or meta.path.startswith(below):
                    del self._metas[name]

    def forget_files(self, paths: Iterable[str]) -> None:
        """Drop what is known of exactly these paths; much cheaper than `forget`."""
        with self._lock:
            for path in paths:
                self._metas.pop(names.normalise(path), None)

    def forget_all(self) -> None:
        """Drop everything known of paths."""
        with self._lock:
            self._metas.clear()

    # --- under storage ------------------------------------------------------------------------------------------------

    def storage(self, uri: str) -> tuple[UnderStorage, str]:
        """The under storage that holds a URI, and the key in it.

        Raises:
            NotFoundError: it is under no mount, and this process mounts nothing by itself.
        """
        root_uri, key = names.split_uri(uri)
        return self._open_storage(root_uri, self.options(uri)), key

    def options(self, uri: str) -> dict[str, Any]:
        """What opens the under storage that holds a URI.

        Raises:
            NotFoundError: see `storage`.
        """
        mount = self.mounts.of_uri(uri)
        if mount is None and not self.mounts_by_itself:
            raise NotFoundError(f"{uri} is under no mount; see `raycache mounts`", path=uri)
        return mount.options if mount is not None else self._environment_options(names.split_uri(uri)[0])

    def uri_of(self, path: str) -> str:
        """The URI a namespace path stands for, by the mounts known here.

        Raises:
            NotFoundError: no mount is above it.
        """
        path = names.normalise(path)
        if not path.startswith("/"):
            return path
        best = self.mounts.of_path(path)
        if best is None:
            raise NotFoundError(
                f"{path} is under no mount; see `raycache mounts`, or give a URI such as s3://bucket/key"
            )
        return names.moved(path, best.path, best.uri)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _ask(self, paths: list[str], *, fresh: bool) -> list[FileMeta]:
        self.announce_paths(paths)
        if self._outdated:
            with self._lock:
                fresh = fresh or not self._outdated.isdisjoint(paths)
                self._outdated.difference_update(paths)
        neighbours_max = 0 if fresh else self._neighbours_max(paths)
        mark = self._mark()
        request = ResolveRequest(paths, self.view.view_id, self.mounts.version, fresh, neighbours_max)
        try:
            reply: ResolveReply = self._calls.master("resolve", encode(request))
        except NoCacheError:
            raise  # what the mounts were says nothing any more
        except UnavailableError:
            return [self._unattended(path) for path in paths]
        self.learn(reply.view, reply.mounts)
        now_s = self._clock.now_s()
        answered = (*paths, *reply.neighbours)
        metas = [
            FileMeta(path, FileKind(kind), file, holders, now_s + expires_in_s, reply.errors.get(position), self._deep)
            for position, (path, kind, file, expires_in_s, holders) in enumerate(
                zip(answered, reply.kinds, reply.files.versions(), reply.expires_in_s, reply.holders, strict=True)
            )
            if position < len(paths) or (kind == FileKind.FILE and self.cached(path, now_s) is None)
        ]
        if len(paths) == 1:
            if self._tail is not None and neighbours_max:
                self._tail.trace.next_path = paths[0]
            _chain(metas)
            self._tail = metas[-1]
        if neighbours_max and len(metas) == len(paths):
            # They are known, or there are none: no more of them.
            self._directory = ""
        self._remember(metas, mark)
        return metas[: len(paths)]

    def _neighbours_max(self, paths: list[str]) -> int:
        """How many files behind a path to ask for, too: more and more while a directory is gone through one by one."""
        if len(paths) > 1:
            return 0
        directory = paths[0].rpartition("/")[0]
        if directory != self._directory:
            self._directory, self._neighbours = directory, 0
        else:
            self._neighbours = min(NEIGHBOURS_MAX, self._paths_max // 4, max(_NEIGHBOURS_MIN, 2 * self._neighbours))
        return self._neighbours

    def learn(self, view: MembershipView | None, mounts: MountTable | None) -> None:
        """Take over newer knowledge of the cluster."""
        # An answer that was long on its way may bring older knowledge.
        if view is not None and view.view_id >= self.view.view_id:
            self.view = view
        if mounts is not None and mounts.version > self.mounts.version:
            changed = {m[:2] for m in self.mounts.mounts} - {m[:2] for m in mounts.mounts}
            self.mounts = mounts
            deep, self._deep = self._deep, mounts.deep()
            if changed or deep != self._deep:
                # A path may stand for something else now, or be counted with another dataset.
                self.forget_all()

    def announce(self, root_uri: str, options: dict[str, Any]) -> None:
        """Self-mount a UFS authority with these options; nothing to do where it is mounted.

        Raises:
            InvalidRequestError: an option that cannot be.
            UnavailableError: the master does not answer.
        """
        if self.mounts_by_itself and self.mounts.of_uri(root_uri) is None:
            self.learn(None, self._calls.master("auto_mount", root_uri, encode(options)))

    def announce_paths(self, paths: list[str]) -> None:
        """Self-mount UFS authorities that nobody has mounted yet, with this process's own environment."""
        for root_uri in dict.fromkeys(names.split_uri(path)[0] for path in paths if not path.startswith("/")):
            if self.mounts.of_uri(root_uri) is None:
                # Without an answer, reads go on with the same options, past the master.
                with contextlib.suppress(UnavailableError):
                    self.announce(root_uri, self._environment_options(root_uri))

    def _unattended(self, path: str) -> FileMeta:
        """Look a path up in the under storage itself, since the master does not answer."""
        nothing = FileVersion("", 0, "", None)
        expires_at_s = self._clock.now_s() + _UNATTENDED_TTL_S
        try:
            uri = self.uri_of(path)
            storage, key = self.storage(uri)
            kind, found = what_stands(storage, key)
            if found is None:
                return FileMeta(path, kind, nothing._replace(uri=uri), (), expires_at_s)
            file = FileVersion(uri, found.size_bytes, found.etag, found.mtime_ns)
            return FileMeta(path, kind, file, (), expires_at_s, deep_mounts=self._deep)
        except RaycacheError as error:
            return FileMeta(path, FileKind.MISSING, nothing, (), expires_at_s, error)

    def _mark(self) -> int:
        """To be taken before the master is asked; see `Freshness.mark`."""
        now_s = self._clock.now_s()
        if self._freshness.is_due(now_s):
            self._catch_up(now_s)
        return self._freshness.mark()

    def _catch_up(self, now_s: float) -> None:
        """Forget what was written since the last time, by whomever."""
        was_trusted = self._freshness.trusted
        for found in self._freshness.catch_up(now_s):
            if found.below:
                self._forget_where(found.concerns)
            else:
                self.forget_files(self.mounts.paths_of(found.uri))
        if was_trusted and not self._freshness.trusted:
            self._forget_where(self.mounts.is_writable)

    def _forget_where(self, concerns: Callable[[str], bool]) -> None:
        with self._lock:
            for name, meta in list(self._metas.items()):
                if concerns(meta.file.uri):
                    del self._metas[name]

    def _may_be_kept(self, mark: int) -> Callable[[FileMeta], bool]:
        """Of answers to what was asked after a mark."""
        now_s = self._clock.now_s()
        if self._freshness.is_due(now_s):
            self._catch_up(now_s)
        written, trusted = self._freshness.since(mark), self._freshness.trusted

        def may_be_kept(meta: FileMeta) -> bool:
            uri = meta.file.uri
            return (trusted or not self.mounts.is_writable(uri)) and not any(w.concerns(uri) for w in written)

        return may_be_kept

    def _remember(self, metas: Iterable[FileMeta], mark: int) -> None:
        may_be_kept = self._may_be_kept(mark)
        with self._lock:
            for meta in metas:
                if meta.error is None and meta.kind is FileKind.FILE and may_be_kept(meta):
                    old = self._metas.get(meta.path)
                    if old is not None and old.version == meta.version:
                        meta.places.claimants = old.places.claimants
                        old.trace.next_path = meta.trace.next_path or old.trace.next_path
                        meta.trace = old.trace
                    self._metas[meta.path] = meta
            while len(self._metas) > self._paths_max:
                del self._metas[next(iter(self._metas))]

    def _remember_listing(self, path: str, reply: ListReply, mark: int) -> None:
        expires_at_s = self._clock.now_s() + reply.expires_in_s
        found: list[FileMeta] = []
        unknown: list[FileMeta] = []
        for row in reply.rows():
            if row.kind != FileKind.FILE:
                continue
            name_path, file = names.join(path, row.name), reply.version(row)
            meta = self._metas.get(name_path)
            if meta is not None and meta.file == file:
                meta.expires_at_s = expires_at_s
            else:
                meta = FileMeta(name_path, FileKind.FILE, file, (), expires_at_s, deep_mounts=self._deep)
                unknown.append(meta)
            found.append(meta)
        _chain(found)
        self._remember(unknown, mark)


def _chain(metas: Sequence[FileMeta]) -> None:
    """Files as a directory lists them know which is next."""
    for meta, following in itertools.pairwise(metas):
        meta.trace.next_path = following.path
