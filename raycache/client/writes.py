"""Writing through to the lake, on mounts with `readonly=False`.

A file becomes visible whole, when it is closed, after it is in the lake; then the master is told, which forgets what it
knew of the path, so that the next reader asks the lake and older blocks are never found again. The cache itself is never
written: the next read loads. When the master cannot be told, the write stands all the same, and other processes see it
when the mount's metadata TTL has passed, as they see any change made past the cache.

Directories are what the store makes of them: real ones on disks and HDFS, where they must exist or be made, nothing but
key prefixes on S3, where making one does nothing.

Two names may mean one object (`/lake/x` and `s3://bucket/x`), so what must not meet is compared by URI: a move onto
itself, or of a directory below itself, would lose data.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import Buffer

from raycache import paths as names
from raycache.client.locator import Locator
from raycache.errors import (
    AlreadyExistsError,
    DeniedError,
    InvalidRequestError,
    NotADirectoryRequestError,
    NotFoundError,
    UnavailableError,
)
from raycache.types import FileKind, FileVersion
from raycache.ufs.base import UfsWriter, UnderStorage
from raycache.ufs.trees import delete_keys, delete_tree, holds_anything, tree, what_stands

if TYPE_CHECKING:
    from raycache.client.ports import ActorCalls

_COPIES_INFLIGHT = 16
#: A copy between two stores holds this much of a file in memory at a time.
_COPY_CHUNK_BYTES = 16 << 20


class CacheWriter(io.RawIOBase):
    """A binary file opened for writing; it appears in the lake at `close`, or not at all after an error.

    Args:
        path: as the namespace has it.
        writer: of the under storage.
        done: called once with the path, after the file is in the lake.
    """

    def __init__(self, path: str, writer: UfsWriter, done: Callable[[str], None]) -> None:
        super().__init__()
        self.name = path
        self.mode = "wb"
        self._writer = writer
        self._done = done
        self._position = 0

    def write(self, data: Buffer) -> int:
        """Append; all of it is taken. A failed writer is given up: nothing appears."""
        if self.closed:
            raise InvalidRequestError(f"{self.name} is closed; open it again")
        try:
            taken = self._writer.write(data)
        except BaseException:
            self.abort()
            raise
        self._position += taken
        return taken

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def abort(self) -> None:
        """Give up: nothing appears in the lake. After `close` it does nothing."""
        if not self.closed:
            try:
                self._writer.abort()
            finally:
                super().close()

    def close(self) -> None:
        """Make the file visible. Twice is harmless."""
        if self.closed:
            return
        try:
            self._writer.close()
        except BaseException:
            self.abort()
            raise
        super().close()
        self._done(self.name)

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            self.abort()
        else:
            self.close()

    def __del__(self) -> None:
        # Never closed: an unfinished file must not appear.
        if not self.closed:
            self.abort()


class _Place(NamedTuple):
    """A path, taken apart for its store."""

    path: str
    uri: str
    storage: UnderStorage
    key: str

    @property
    def prefix(self) -> str:
        """What the keys below begin with."""
        return self.key.rstrip("/") + "/" if self.key else ""


class Writes:
    """Changes to the lake, each followed by telling the master."""

    def __init__(self, locator: Locator, calls: ActorCalls) -> None:
        self._locator = locator
        self._calls = calls

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
        return CacheWriter(place.path, place.storage.open_writer(place.key), lambda name: self._changed([name]))

    def put(self, path: str, data: Buffer, *, exclusive: bool = False) -> None:
        """Write a whole file, replacing an older one unless `exclusive`."""
        place = self._target(path)
        if exclusive:
            self._require_free(place)
        place.storage.put(place.key, data)
        self._changed([place.path])

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, in batches; missing ones are not an error."""
        places = [self._target(path) for path in paths]
        try:
            for storage, group in _by_storage(places):
                storage.delete([place.key for place in group])
        finally:
            self._changed([place.path for place in places])

    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy files, many at once; server-side inside one store. A file onto itself is left alone.

        Args:
            pairs: (source, target) files. Each target appears whole; after an error some may stand, others not.

        Raises:
            NotFoundError: a source is missing, or a directory.
        """
        self._copy([(self._source(source), self._target(target)) for source, target in pairs])

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Move files: copied first, deleted when every copy stands. A file onto itself stays.

        Raises:
            InvalidRequestError: a target is also a source; move them one after the other.
        """
        places = [(self._target(source), self._target(target)) for source, target in pairs]
        places = [(source, target) for source, target in places if source.uri != target.uri]
        both = {source.uri for source, _ in places} & {target.uri for _, target in places}
        if both:
            raise InvalidRequestError(f"{min(both)} is both source and target of one move; move them one by one")
        self._copy(places)
        self.delete([source.path for source, _ in places])

    # --- directories --------------------------------------------------------------------------------------------------

    def has_directories(self, path: str) -> bool:
        """Whether the store of a path can hold an empty directory."""
        return self._target(path).storage.has_directories

    def make_directory(self, path: str, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Make a directory where the store has them; nothing to do where they are only prefixes.

        Raises:
            AlreadyExistsError: a file stands there; without `exist_ok` also a directory.
            NotFoundError: without `parents`, the directory above is missing.
        """
        place = self._target(path)
        if not place.storage.has_directories:
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
        self._changed([place.path])

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            NotFoundError, NotADirectoryRequestError: no directory is there.
            InvalidRequestError: it is not empty.
        """
        place = self._target(path)
        self._require_directory(place)
        place.storage.remove_directory(place.key)
        self._changed([], [place.path])

    def delete_directory(self, path: str, *, contents_only: bool = False) -> None:
        """Delete everything below a directory, and itself; the root of a mount itself stays.

        Raises:
            NotFoundError, NotADirectoryRequestError: no directory is there.
            DeniedError: it, or a mount of something below it, is read-only.
        """
        place = self._target(path)
        mount = self._locator.mounts.of_path(place.path)
        contents_only = contents_only or (mount is not None and place.uri == mount.uri)
        for other in self._locator.mounts.mounts:
            if other.readonly and other.uri.startswith(place.uri.rstrip("/") + "/"):
                raise DeniedError(f"{other.path} lies in {place.path} and is mounted read-only", path=place.path)
        self._require_directory(place)
        try:
            if place.storage.has_directories:
                delete_tree(place.storage, place.prefix, contents_only=contents_only)
            else:
                delete_keys(place.storage, place.prefix, contents_only=contents_only)
        finally:
            self._changed([], [place.path])

    def copy_directory(self, source: str, target: str) -> None:
        """Copy everything below a directory, empty directories included where the store has them.

        Raises:
            NotFoundError, NotADirectoryRequestError: the source is no directory.
            InvalidRequestError: the target lies in the source.
        """
        start, end = self._source(source), self._target(target)
        if end.uri == start.uri:
            return
        if end.uri.startswith(start.uri.rstrip("/") + "/"):
            raise InvalidRequestError(f"{end.path} lies in {start.path}; choose a target outside of it")
        self._require_directory(start)
        files, directories = tree(start.storage, start.prefix)
        if end.storage.has_directories:
            end.storage.make_directory(end.key)
            for name in directories:
                end.storage.make_directory(end.prefix + name)
        self._copy([(_below(start, name), _below(end, name)) for name in files])
        self._changed([], [end.path])

    def move_directory(self, source: str, target: str) -> None:
        """Move a directory: copied first, deleted when every copy stands."""
        start, end = self._target(source), self._target(target)
        if start.uri != end.uri:
            self.copy_directory(source, target)
            self.delete_directory(source)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _target(self, path: str) -> _Place:
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
        return _Place(path, uri, *self._locator.storage(uri))

    def _source(self, path: str) -> _Place:
        """Where a path that is only read lies."""
        path = names.normalise(path)
        if self._locator.mounts.of_path(path) is None:
            self._locator.resolve([path], fresh=True)
        uri = self._locator.uri_of(path)
        return _Place(path, uri, *self._locator.storage(uri))

    def _require_free(self, place: _Place) -> None:
        if what_stands(place.storage, place.key).kind is not FileKind.MISSING:
            raise AlreadyExistsError(f"{place.path} exists; choose another name, or overwrite", path=place.path)

    def _require_directory(self, place: _Place) -> None:
        kind = what_stands(place.storage, place.key).kind
        if kind is FileKind.MISSING:
            raise NotFoundError(f"{place.path} does not exist; check the path", path=place.path)
        # On object stores a path may be both an object and a prefix.
        if kind is FileKind.FILE and not holds_anything(place.storage, place.prefix):
            raise NotADirectoryRequestError(f"{place.path} is a file; name a directory", path=place.path)

    def _copy(self, places: Sequence[tuple[_Place, _Place]]) -> None:
        places = [(source, target) for source, target in places if source.uri != target.uri]
        try:
            if len(places) == 1:
                _copy_one(places[0])
            elif places:
                with ThreadPoolExecutor(_COPIES_INFLIGHT, thread_name_prefix="raycache-copy") as pool:
                    list(pool.map(_copy_one, places))
        finally:
            self._changed([target.path for _, target in places])

    def _changed(self, files: Sequence[str], directories: Sequence[str] = ()) -> None:
        """Forget, here and at the master, what was known of these paths."""
        if not files and not directories:
            return
        self._locator.forget_files([*files, *(self._locator.uri_of(path) for path in files)])
        if directories:
            self._locator.forget([*directories, *(self._locator.uri_of(path) for path in directories)])
        with contextlib.suppress(UnavailableError):  # the write stands; see the module's text
            self._calls.master("invalidate", [*files, *directories])


def _below(place: _Place, name: str) -> _Place:
    return _Place(names.join(place.path, name), names.join(place.uri, name), place.storage, place.prefix + name)


def _by_storage(places: Iterable[_Place]) -> Iterator[tuple[UnderStorage, list[_Place]]]:
    groups: dict[int, tuple[UnderStorage, list[_Place]]] = {}
    for place in places:
        groups.setdefault(id(place.storage), (place.storage, []))[1].append(place)
    return iter(groups.values())


def _copy_one(pair: tuple[_Place, _Place]) -> None:
    source, target = pair
    if source.storage is target.storage:
        source.storage.copy(source.key, target.key)
        return
    found = source.storage.head(source.key)
    version = FileVersion(source.uri, found.size_bytes, found.etag, found.mtime_ns)
    writer = target.storage.open_writer(target.key)
    try:
        for offset in range(0, found.size_bytes, _COPY_CHUNK_BYTES):
            length = min(_COPY_CHUNK_BYTES, found.size_bytes - offset)
            writer.write(source.storage.read(source.key, offset, length, version))
    except BaseException:
        writer.abort()
        raise
    writer.close()
