"""Writing through to the lake, on mounts with `readonly=False`.

A file becomes visible whole, when it is closed, after it is in the lake; then the master is told, which forgets what it
knew of the path, so that the next reader asks the lake and older blocks are never found again. The cache itself is never
written: the next read loads. When the master cannot be told, the write stands all the same, and other processes see it
when the mount's metadata TTL has passed, as they see any change made past the cache.

Directories are what the store makes of them: real ones on disks and HDFS, where they must exist or be made, nothing but
key prefixes on S3, where making one does nothing.

Two names may mean one object: `/lake/x` and `s3://bucket/x`, a file and a link to it, two mounts of one directory. So what
must not meet is compared by what stands there (`ufs/identity.py`): a move onto itself, or of a directory into itself, would
lose data. Some names cannot be compared (`viewfs:///x` and `hdfs://host/x`), and somebody else may write meanwhile; so a move
deletes its sources only while they are still what was copied, looked at again when every copy stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import Buffer

from raycache import paths as names
from raycache.client.lake_places import (
    LakePlace,
    PlacePair,
    apart,
    changed_meanwhile,
    copy_one,
    copy_to_move,
    own_part,
    refuse_leading_back,
)
from raycache.client.locator import Locator
from raycache.client.writing.whole_file import CacheWriter
from raycache.errors import (
    AlreadyExistsError,
    DeniedError,
    InvalidRequestError,
    NotADirectoryRequestError,
    NotFoundError,
    UnavailableError,
)
from raycache.messages import MountInfo
from raycache.types import FileKind
from raycache.ufs.base import UnderStorage
from raycache.ufs.identity import Way, lies_in, rest_below
from raycache.ufs.open import store_of
from raycache.ufs.trees import Described, holds_anything, tree, what_stands

if TYPE_CHECKING:
    from raycache.client.ports import ActorCalls

T = TypeVar("T")

_COPIES_INFLIGHT = 16
#: The master waits for nodes that do not answer until their readers trust nothing any more.
_TOLD_TIMEOUT_S = 60.0


class Writes:
    """Changes to the lake, each followed by telling the master."""

    def __init__(self, locator: Locator, calls: ActorCalls) -> None:
        self._locator = locator
        self._calls = calls
        #: (version of the mounts, by store its mounts and the ways to them).
        self._mount_ways: tuple[int, dict[str, list[tuple[MountInfo, Way]]]] = (0, {})

    # --- files --------------------------------------------------------------------------------------------------------

    def open(self, path: str, *, exclusive: bool = False) -> CacheWriter:
        """Open a file for writing; see `CacheWriter`.

        Args:
            path: of the file.
            exclusive: refuse a path where something stands already. Looked at now, not again at `close`.

        Raises:
            DeniedError: the mount is read-only.
            AlreadyExistsError: with `exclusive`.
        """
        place = self._target(path)
        if exclusive:
            self._require_free(place)
        return CacheWriter(place.path, place.storage.open_writer(place.key), lambda _: self._changed([place]))

    def put(self, path: str, data: Buffer, *, exclusive: bool = False) -> None:
        """Write a whole file, replacing an older one unless `exclusive`."""
        place = self._target(path)
        if exclusive:
            self._require_free(place)
        place.storage.put(place.key, data)
        self._changed([place])

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, in batches; missing ones are not an error."""
        places = [self._target(path) for path in paths]
        try:
            for storage, group in _by_storage(places):
                storage.delete([place.key for place in group])
        finally:
            self._changed(places)

    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy files, many at once; server-side inside one store. A file onto itself is left alone.

        Args:
            pairs: (source, target) files. Each target appears whole; after an error some may stand, others not.

        Raises:
            NotFoundError: a source is missing, or a directory.
        """
        self._copy(apart((self._source(source), self._target(target)) for source, target in pairs), copy_one)

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Move files: copied first, deleted when every copy stands. A file onto itself stays, by whatever name.

        Raises:
            InvalidRequestError: a target is also a source; move them one after the other.
            ConflictError: a source was changed meanwhile. Nothing is deleted.
        """
        places = apart((self._target(source), self._target(target)) for source, target in pairs)
        sources = {source.identity: source.uri for source, _ in places}
        both = [sources[target.identity] for _, target in places if target.identity in sources]
        if both:
            raise InvalidRequestError(f"{min(both)} is both source and target of one move; move them one by one")
        moved = self._copy(places, copy_to_move)
        self.delete([source.path for (source, _), done in zip(places, moved, strict=True) if done])

    def behind_links(self, above: str, paths: Iterable[str]) -> frozenset[str]:
        """Of paths below a directory, those that lead through a link in it: what deletes what it has found must leave them.

        Args:
            above: the directory; a link on the way to it, or to itself, does not count.
            paths: normalised, below it.
        """
        base = self._source(above)
        if not base.storage.has_directories:
            return frozenset()
        start = len(names.below(base.path))
        parents = {path: path[start:].rpartition("/")[0] for path in paths}
        way = base.way
        straight = {name for name in set(parents.values()) if rest_below(base.below(name).way, way) == name}
        return frozenset(path for path, parent in parents.items() if parent not in straight)

    # --- directories --------------------------------------------------------------------------------------------------

    def has_directories(self, path: str) -> bool:
        """Whether the store of a path can hold an empty directory."""
        return self._target(path).storage.has_directories

    def make_directory(self, path: str, *, parents: bool = True, exist_ok: bool = True, marked: bool = False) -> None:
        """Make a directory where the store has them. Where they are only prefixes, none is needed to write.

        Args:
            path: of the directory.
            parents: make those above it, too.
            exist_ok: one that is there already will do.
            marked: where directories are prefixes, put a marker object there if nothing is, so that it can be seen and removed.

        Raises:
            AlreadyExistsError: a file stands there; without `exist_ok` also a directory.
            NotFoundError: without `parents`, the directory above is missing.
        """
        place = self._target(path)
        if not place.storage.has_directories:
            if marked and place.key and not holds_anything(place.storage, place.prefix):
                place.storage.put(place.prefix, b"")
                self._changed([], [place])
            return
        kind = what_stands(place.storage, place.key).kind
        if kind is FileKind.FILE or (kind is FileKind.DIRECTORY and not exist_ok):
            raise AlreadyExistsError(f"{place.path} exists; choose another name", path=place.path)
        if kind is FileKind.DIRECTORY:
            return
        above = place.key.rpartition("/")[0]
        if not parents and what_stands(place.storage, above).kind is not FileKind.DIRECTORY:
            raise NotFoundError(f"the directory above {place.path} does not exist; make it first", path=place.path)
        place.storage.make_directory(place.key)
        self._changed([place])

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            NotFoundError, NotADirectoryRequestError: no directory is there.
            InvalidRequestError: it is not empty.
        """
        place = self._target(path)
        self._require_directory(place)
        place.storage.remove_directory(place.key)
        self._changed([], [place])

    def delete_directory(self, path: str, *, contents_only: bool = False) -> None:
        """Delete everything below a directory, and itself; the root of a mount itself stays.

        Links in it are deleted, not what they lead to; and of a link to a directory, the link alone.

        Raises:
            NotFoundError, NotADirectoryRequestError: no directory is there.
            DeniedError: it, or a mount of something below it, is read-only.
        """
        place = self._target(path)
        self._require_deletable(place)
        self._require_directory(place)
        self._delete_directory(place, contents_only=contents_only)

    def copy_directory(self, source: str, target: str) -> None:
        """Copy everything below a directory, empty directories included where the store has them; links are followed.

        Raises:
            NotFoundError, NotADirectoryRequestError: the source is no directory.
            InvalidRequestError: the target lies in the source, or a directory in it does.
        """
        start, end = self._source(source), self._target(target)
        if start.identity != end.identity:
            self._require_directory(start)
            self._copy_tree(start, end, tree(start.storage, start.prefix))

    def move_directory(self, source: str, target: str) -> None:
        """Move a directory: copied first, deleted when every copy stands. One onto itself stays, by whatever name.

        Raises:
            NotFoundError, NotADirectoryRequestError, InvalidRequestError, DeniedError: see `copy_directory` and
                `delete_directory`.
            ConflictError: something in the source was changed meanwhile. Nothing is deleted.
        """
        start, end = self._target(source), self._target(target)
        if start.identity == end.identity:
            return
        self._require_deletable(start)
        self._require_directory(start)
        before = tree(start.storage, start.prefix)
        self._copy_tree(start, end, before)
        after = tree(start.storage, start.prefix)
        if own_part(start, after) == own_part(start, before):
            self._delete_directory(start)
        elif after != tree(end.storage, end.prefix):  # else both are one
            raise changed_meanwhile(start, end)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _target(self, path: str) -> LakePlace:
        """Where a path that is to be changed lies. What this process knows of mounts may be old: asked again first."""
        path = names.normalise(path)
        mount = self._locator.mounts.of_path(path)
        if mount is None or mount.readonly:
            self._locator.resolve([path], fresh=True)
            mount = self._locator.mounts.of_path(path)
        if mount is None:
            uri = self._locator.uri_of(path)
            raise DeniedError(f"{uri} is under no mount; mount it with readonly=False to write", path=path)
        if mount.readonly:
            raise DeniedError(f"{mount.path} is mounted read-only; mount it with readonly=False to write", path=path)
        uri = self._locator.uri_of(path)
        return LakePlace(path, uri, *self._locator.storage(uri))

    def _source(self, path: str) -> LakePlace:
        """Where a path that is only read lies."""
        path = names.normalise(path)
        if self._locator.mounts.of_path(path) is None:
            self._locator.resolve([path], fresh=True)
        uri = self._locator.uri_of(path)
        return LakePlace(path, uri, *self._locator.storage(uri))

    def _require_free(self, place: LakePlace) -> None:
        if what_stands(place.storage, place.key).kind is not FileKind.MISSING:
            raise AlreadyExistsError(f"{place.path} exists; choose another name, or overwrite", path=place.path)

    def _require_directory(self, place: LakePlace) -> None:
        kind = what_stands(place.storage, place.key).kind
        if kind is FileKind.MISSING:
            raise NotFoundError(f"{place.path} does not exist; check the path", path=place.path)
        # On object stores a path may be both an object and a prefix.
        if kind is FileKind.FILE and not holds_anything(place.storage, place.prefix):
            raise NotADirectoryRequestError(f"{place.path} is a file; name a directory", path=place.path)

    def _require_deletable(self, place: LakePlace) -> None:
        way = place.way
        for mount, mount_way in self._mounts_of(place):
            below = mount.uri.startswith(names.below(place.uri)) or lies_in(mount_way, way)
            if mount.readonly and below:
                raise DeniedError(f"{mount.path} lies in {place.path} and is mounted read-only", path=place.path)

    def _delete_directory(self, place: LakePlace, *, contents_only: bool = False) -> None:
        mount = self._locator.mounts.of_path(place.path)
        directory_names = self._names([place])  # afterwards nobody could tell
        try:
            if mount is not None and place.uri == mount.uri:
                # What is mounted may be a link, and then it is what that leads to.
                place.storage.remove_tree(place.prefix, contents_only=True)
            else:
                place.storage.remove_tree(place.key, contents_only=contents_only)
        finally:
            self._forget({}, directory_names)

    def _copy_tree(self, start: LakePlace, end: LakePlace, found: Mapping[str, Described]) -> None:
        """Copy what `trees.tree` has found below a directory."""
        refuse_leading_back(start, end, found)
        files = [name for name in found if not name.endswith("/")]
        empty = [name for name in found if name.endswith("/")]
        if end.storage.has_directories:
            for name in ("", *empty):
                if key := (end.prefix + name).rstrip("/"):
                    end.storage.make_directory(key)
        elif not start.storage.has_directories:
            files += empty  # markers are objects there
        self._copy([(start.below(name), end.below(name)) for name in files], copy_one)
        self._changed([], [end])

    def _copy(self, places: Sequence[PlacePair], copy: Callable[[PlacePair], T]) -> list[T]:
        """Copy files, many at once; what `copy` says of each."""
        try:
            if len(places) < 2:
                return [copy(pair) for pair in places]
            with ThreadPoolExecutor(_COPIES_INFLIGHT, thread_name_prefix="raycache-copy") as pool:
                return list(pool.map(copy, places))
        finally:
            self._changed([target for _, target in places])

    def _changed(self, files: Sequence[LakePlace], directories: Sequence[LakePlace] = ()) -> None:
        """Forget, here and at the master, what was known of these places, by all their names."""
        if files or directories:
            self._forget(self._names(files), self._names(directories))

    def _forget(self, file_names: Collection[str], directory_names: Collection[str]) -> None:
        self._locator.forget_files(file_names)
        if directory_names:
            self._locator.forget(directory_names)
        # A name that starts with a slash is that of a mount; its URI is there, too.
        changed = [(name, False) for name in file_names if not name.startswith("/")]
        changed += [(name, True) for name in directory_names if not name.startswith("/")]
        with contextlib.suppress(UnavailableError):  # the write stands; see the module's text
            self._calls.master("invalidate", changed, timeout_s=_TOLD_TIMEOUT_S)

    def _names(self, places: Iterable[LakePlace]) -> dict[str, None]:
        """What places are called: as given, by URI, below every mount that reaches them, and every mount below them."""
        found: dict[str, None] = {}
        for place in places:
            found[place.path] = found[place.uri] = None
            way = place.way
            for mount, mount_way in self._mounts_of(place):
                rest = "" if lies_in(mount_way, way) else rest_below(way, mount_way)
                if rest is not None:
                    found[names.join(mount.path, rest)] = found[names.join(mount.uri, rest)] = None
        return found

    def _mounts_of(self, place: LakePlace) -> list[tuple[MountInfo, Way]]:
        """The mounts of a place's store, by whatever authority, with the ways to them."""
        table = self._locator.mounts
        version, ways = self._mount_ways
        if version != table.version:
            ways = {}
            self._mount_ways = table.version, ways
        own_root = place.storage.root_uri
        if own_root not in ways:
            store = store_of(own_root, self._locator.options(place.uri))
            split = [(mount, *names.split_uri(mount.uri)) for mount in table.mounts]
            ways[own_root] = [
                (mount, place.storage.way(key))
                for mount, root_uri, key in split
                if root_uri == own_root or store_of(root_uri, mount.options) == store
            ]
        return ways[own_root]


def _by_storage(places: Iterable[LakePlace]) -> Iterator[tuple[UnderStorage, list[LakePlace]]]:
    groups: dict[int, tuple[UnderStorage, list[LakePlace]]] = {}
    for place in places:
        groups.setdefault(id(place.storage), (place.storage, []))[1].append(place)
    return iter(groups.values())
