"""Writing through to the lake, on mounts with `readonly=False`.

A file becomes visible whole, when it is closed, after it is in the lake; then the master is told, which drops what it
knew of the path, and the workers drop older versions. The cache itself is never written: the next read loads.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from typing_extensions import Buffer

from raycache import paths as names
from raycache.client.calls import Calls
from raycache.client.locator import Locator
from raycache.errors import DeniedError, InvalidRequestError, NotFoundError
from raycache.types import FileKind
from raycache.ufs.base import UfsWriter, UnderStorage

_COPIES_INFLIGHT = 16
_COPY_CHUNK_BYTES = 16 << 20


class CacheWriter(io.RawIOBase):
    """A binary file opened for writing; it appears in the lake at `close`, or not at all after an error."""

    def __init__(self, path: str, writer: UfsWriter, done: Any) -> None:
        super().__init__()
        self.name = path
        self.mode = "wb"
        self._writer = writer
        self._done = done
        self._position = 0

    def write(self, data: Buffer) -> int:
        if self.closed:
            raise InvalidRequestError(f"{self.name} is closed")
        taken = self._writer.write(data)
        self._position += taken
        return taken

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def abort(self) -> None:
        """Give up: nothing appears in the lake."""
        if not self.closed:
            self._writer.abort()
            super().close()

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._writer.close()
        finally:
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


class Writes:
    """Changes to the lake, each followed by telling the master."""

    def __init__(self, locator: Locator, calls: Calls) -> None:
        self._locator = locator
        self._calls = calls

    def open(self, path: str) -> CacheWriter:
        """Open a file for writing; see `CacheWriter`.

        Raises:
            DeniedError: the mount is read-only.
        """
        path = names.normalise(path)
        storage, key = self._target(path)
        return CacheWriter(path, storage.open_writer(key), lambda name: self._changed([name]))

    def put(self, path: str, data: Buffer) -> None:
        """Write a whole file, replacing an older one."""
        path = names.normalise(path)
        storage, key = self._target(path)
        storage.put(key, data)
        self._changed([path])

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; missing ones are not an error."""
        paths = [names.normalise(path) for path in paths]
        by_storage: dict[int, tuple[UnderStorage, list[str]]] = {}
        for path in paths:
            storage, key = self._target(path)
            by_storage.setdefault(id(storage), (storage, []))[1].append(key)
        for storage, keys in by_storage.values():
            storage.delete(keys)
        self._changed(paths)

    def delete_directory(self, path: str, *, contents_only: bool = False) -> None:
        """Delete everything below a directory, and itself."""
        path = names.normalise(path)
        storage, key = self._target(path)
        prefix = key.rstrip("/") + "/" if key else ""
        token = None
        keys: list[str] = []
        while True:
            page = storage.list(prefix, token=token)
            keys.extend(item.key for item in page.objects)
            token = page.next_token
            if token is None:
                break
        files = [item for item in keys if not item.endswith("/")]
        markers = sorted((item for item in keys if item.endswith("/")), key=len, reverse=True)
        storage.delete(files)
        if storage.has_directories:
            self._delete_directories(storage, prefix, files, markers, contents_only=contents_only)
        else:
            storage.delete([marker for marker in markers if not (contents_only and marker == prefix)])
        self._changed([path])

    def copy(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy files, many at once; server-side inside one store.

        Args:
            pairs: (source, target) files.
        """
        pairs = [(names.normalise(source), names.normalise(target)) for source, target in pairs]
        for _, target in pairs:
            self._target(target)
        if len(pairs) == 1:
            self._copy_one(pairs[0])
        else:
            with ThreadPoolExecutor(_COPIES_INFLIGHT, thread_name_prefix="raycache-copy") as pool:
                list(pool.map(self._copy_one, pairs))
        self._changed([target for _, target in pairs])

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Move files: copied first, deleted when every copy stands."""
        for source, _ in pairs:
            self._target(names.normalise(source))
        self.copy(pairs)
        self.delete([source for source, target in pairs if names.normalise(source) != names.normalise(target)])

    def make_directory(self, path: str) -> None:
        """Make a directory where the store has them."""
        path = names.normalise(path)
        storage, key = self._target(path)
        storage.make_directory(key)
        self._changed([path])

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        path = names.normalise(path)
        storage, key = self._target(path)
        storage.remove_directory(key)
        self._changed([path])

    def _target(self, path: str) -> tuple[UnderStorage, str]:
        mount = self._locator.mounts.of_path(path)
        if mount is None or mount.readonly:
            where = mount.path if mount is not None else path
            raise DeniedError(f"{where} is mounted read-only; mount it with readonly=False to write", path=path)
        return self._locator.storage(self._locator.uri_of(path))

    def _copy_one(self, pair: tuple[str, str]) -> None:
        source, target = pair
        meta = self._locator.resolve([source], fresh=True)[0]
        if meta.kind is not FileKind.FILE:
            raise NotFoundError(f"{source} does not exist or is a directory; name a file", path=source)
        target_storage, target_key = self._target(target)
        source_storage, source_key = self._locator.storage(meta.file.uri)
        if source_storage is target_storage:
            source_storage.copy(source_key, target_key)
            return
        writer = target_storage.open_writer(target_key)
        try:
            for offset in range(0, meta.file.size_bytes, _COPY_CHUNK_BYTES):
                length = min(_COPY_CHUNK_BYTES, meta.file.size_bytes - offset)
                writer.write(source_storage.read(source_key, offset, length, meta.file))
        except BaseException:
            writer.abort()
            raise
        writer.close()

    @staticmethod
    def _delete_directories(
        storage: UnderStorage, prefix: str, files: list[str], markers: list[str], *, contents_only: bool
    ) -> None:
        """Remove directories from the deepest up."""
        directories = {marker.rstrip("/") for marker in markers}
        for key in files:
            parent = key.rpartition("/")[0]
            while len(parent) >= len(prefix.rstrip("/")) and parent:
                directories.add(parent)
                parent = parent.rpartition("/")[0]
        if not contents_only and prefix:
            directories.add(prefix.rstrip("/"))
        else:
            directories.discard(prefix.rstrip("/"))
        for directory in sorted(directories, key=len, reverse=True):
            storage.remove_directory(directory)

    def _changed(self, paths: Sequence[str]) -> None:
        self._locator.forget(paths)
        self._calls.master("invalidate", list(paths))
