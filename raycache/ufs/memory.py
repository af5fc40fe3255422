"""A lake in this process's memory, `memory://name`: for tests and the simulator.

It behaves as S3 does: flat keys, any text is a key, an etag that is a hash of the content, replacement is atomic.
`memory_storage` gives the one instance of a name, so that all parts of a process see the same lake.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import xxhash
from sortedcontainers import SortedDict
from typing_extensions import Buffer

from raycache.errors import ConflictError, InvalidRequestError, NotFoundError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import as_bytes_view, check_file_key, check_limit, check_range, check_version, past_end
from raycache.ufs.errors import shown
from raycache.ufs.identity import Way, key_way
from raycache.ufs.trees import delete_keys

_named: dict[str, MemoryStorage] = {}
_named_lock = threading.Lock()


def memory_storage(root_uri: str) -> MemoryStorage:
    """The lake of this name in this process; made when first asked for."""
    with _named_lock:
        if root_uri not in _named:
            _named[root_uri] = MemoryStorage(root_uri)
        return _named[root_uri]


class MemoryStorage:
    """A dictionary that speaks the protocol. Thread-safe.

    Args:
        root_uri: `memory://name`.
        now_ns: tells the time of writes.
    """

    has_directories = False

    def __init__(self, root_uri: str = "memory://lake", *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.root_uri = root_uri
        self._now_ns = now_ns
        self._lock = threading.RLock()
        #: Key -> (description, content), in key order: code points sort as UTF-8 does.
        self._objects: SortedDict[str, tuple[ObjectInfo, bytes]] = SortedDict()

    def __repr__(self) -> str:
        return f"MemoryStorage({self.root_uri!r})"

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`. The token is the last entry; a prefix ends in "/"."""
        check_limit(limit)
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        last = start_after if token is None else token
        skip = token if token is not None and delimiter and token.endswith("/") and token != prefix else None
        with self._lock:
            for found in self._find(prefix, last, skip, delimiter=delimiter):
                if len(objects) + len(prefixes) == limit:
                    return ListPage(objects, prefixes, last)
                if isinstance(found, str):
                    prefixes.append(found)
                    last = found
                else:
                    objects.append(found)
                    last = found.key
        return ListPage(objects, prefixes, None)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        return self._get(key)[0]

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        check_range(self._uri(key), offset, length)
        info, content = self._get(key)
        check_version(self._uri(key), info, version)
        if offset + length > info.size_bytes:
            raise past_end(self._uri(key), offset, length, info.size_bytes)
        return memoryview(content)[offset : offset + length]

    def create(self, key: str, data: Buffer) -> ObjectInfo:
        """See `CreatingStorage`."""
        with self._lock:
            if key in self._objects:
                raise ConflictError(f"{self._uri(key)} is there already")
            return self.put(key, data)

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`."""
        check_file_key(self.root_uri, key)
        content = bytes(as_bytes_view(data))
        info = ObjectInfo(key, len(content), f'"{xxhash.xxh3_128_hexdigest(content)}"', self._now_ns())
        with self._lock:
            self._objects[key] = (info, content)
        return info

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        check_file_key(self.root_uri, key)
        return _MemoryWriter(self, key)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`."""
        info, content = self._get(source_key)
        return info if source_key == target_key else self.put(target_key, content)

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`."""
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)

    def make_directory(self, key: str) -> None:
        """Nothing to do: directories are only prefixes."""

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`."""
        marker = key.rstrip("/") + "/"
        if any(found.key != marker for found in self.list(marker, limit=2).objects):
            uri = self._uri(marker)
            raise InvalidRequestError(f"directory {uri} is not empty; remove what is in it first", uri=uri)
        self.delete([marker])

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """See `UnderStorage.remove_tree`."""
        delete_keys(self, key, contents_only=contents_only)

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`."""
        return key_way(self.root_uri, key)

    def close(self) -> None:
        """Nothing to let go of; the content stays."""

    def _uri(self, key: str) -> str:
        return f"{self.root_uri}/{key}"

    def _get(self, key: str) -> tuple[ObjectInfo, bytes]:
        with self._lock:
            found: tuple[ObjectInfo, bytes] | None = self._objects.get(key)
        if found is None:
            raise NotFoundError(f"{shown(self._uri(key))} does not exist; check the path", uri=self._uri(key))
        return found

    def _find(self, prefix: str, after: str, skip: str | None, *, delimiter: bool) -> Iterator[ObjectInfo | str]:
        """What lies behind `after`, and behind everything in `skip`; the lock is held."""
        minimum, inclusive = (after, False) if after >= prefix else (prefix, True)
        if skip is not None:
            minimum, inclusive = _behind(skip), True
        while True:
            for key in self._objects.irange(minimum, inclusive=(inclusive, True)):
                if not key.startswith(prefix):
                    return
                end = key.find("/", len(prefix)) if delimiter else -1
                if end >= 0:
                    yield key[: end + 1]
                    minimum, inclusive = _behind(key[: end + 1]), True
                    break
                yield self._objects[key][0]
            else:
                return


class _MemoryWriter:
    """The `UfsWriter` of memory."""

    def __init__(self, storage: MemoryStorage, key: str) -> None:
        self._storage = storage
        self._key = key
        self._content: bytearray | None = bytearray()
        self._info: ObjectInfo | None = None

    def write(self, data: Buffer) -> int:
        """See `UfsWriter.write`."""
        if self._content is None:
            raise InvalidRequestError(f"the writer of {self._key!r} is closed; open another")
        view = as_bytes_view(data)
        self._content += view
        return len(view)

    def close(self) -> ObjectInfo:
        """See `UfsWriter.close`."""
        if self._info is None:
            if self._content is None:
                raise InvalidRequestError(f"the writer of {self._key!r} was given up; open another")
            self._info = self._storage.put(self._key, self._content)
            self._content = None
        return self._info

    def abort(self) -> None:
        """See `UfsWriter.abort`."""
        self._content = None


def _behind(prefix: str) -> str:
    """The least text greater than all that start with `prefix`, which ends in "/"."""
    return prefix[:-1] + chr(ord("/") + 1)
