"""Targets: ways to read the same files, all with one interface. Each is as its users would write it, at its best."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import xxhash

from benchmarks.reading.data import digest
from raycache.cache import Cache

_CHUNK_BYTES = 1 << 20


class ReadsBatches(Protocol):
    """One way to read many small files by name."""

    name: str

    def read_many(self, names: Sequence[str]) -> Sequence[Any]:
        """The bytes of a batch of small files."""
        ...


class ReadTarget(ReadsBatches, Protocol):
    """One way to read files by name."""

    def hash_file(self, name: str) -> int:
        """xxh3 of a whole file, read front to back."""
        ...

    def read(self, name: str) -> Any:
        """The bytes of one small file, as a buffer."""
        ...

    def open(self, name: str) -> Any:
        """A file object with `seek`, `read` and `close`."""
        ...


class LocalFiles:
    """A directory: on a local disk, or a mount."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._root = f"{directory}/"
        self._chunk = bytearray(_CHUNK_BYTES)

    def hash_file(self, name: str) -> int:
        """Through one buffer that stays in the processor's cache: the fastest of the plain ways."""
        total = xxhash.xxh3_64()
        whole = memoryview(self._chunk)
        with open(self._root + name, "rb", buffering=0) as source:  # noqa: PTH123  # a Path costs as much as the open
            while length := source.readinto(whole):
                total.update(whole[:length])
        return total.intdigest()

    def read(self, name: str) -> bytes:
        with open(self._root + name, "rb", buffering=0) as source:  # noqa: PTH123
            return source.read()

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        return [self.read(name) for name in names]

    def open(self, name: str) -> Any:
        return open(self._root + name, "rb", buffering=0)  # noqa: PTH123  # the caller closes it


class MappedFiles(LocalFiles):
    """Local files through mmap: no copy, but page faults."""

    def hash_file(self, name: str) -> int:
        return digest(self.read(name))

    def read(self, name: str) -> mmap.mmap:
        descriptor = os.open(self._root + name, os.O_RDONLY)
        try:
            return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)

    def read_many(self, names: Sequence[str]) -> list[Any]:
        return [self.read(name) for name in names]


class MemoryReads:
    """What the process has in its own memory, in batches: the least that reading can cost."""

    def __init__(self, name: str, contents: dict[str, bytes]) -> None:
        self.name = name
        self._contents = contents

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        return [self._contents[name] for name in names]


class CacheReads:
    """raycache by its own calls."""

    def __init__(self, name: str, cache: Cache, root: str = "/lake") -> None:
        self.name = name
        self._cache = cache
        self._root = f"{root}/"

    def hash_file(self, name: str) -> int:
        return digest(self._cache.read(self._root + name))

    def read(self, name: str) -> Any:
        return self._cache.read(self._root + name)

    def read_many(self, names: Sequence[str]) -> list[Any]:
        root = self._root
        return self._cache.read_many([root + name for name in names])

    def open(self, name: str) -> Any:
        return self._cache.open(self._root + name)


class FsspecReads:
    """Any fsspec filesystem: raycache's, or the caching ones of fsspec itself."""

    def __init__(self, name: str, filesystem: Any, root: str) -> None:
        self.name = name
        self._filesystem = filesystem
        self._root = f"{root}/" if root else ""

    def hash_file(self, name: str) -> int:
        total = xxhash.xxh3_64()
        with self._filesystem.open(self._root + name, "rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                total.update(chunk)
        return total.intdigest()

    def read(self, name: str) -> Any:
        return self._filesystem.cat_file(self._root + name)

    def read_many(self, names: Sequence[str]) -> list[Any]:
        found: dict[str, Any] = self._filesystem.cat([self._root + name for name in names])
        return list(found.values())

    def open(self, name: str) -> Any:
        return self._filesystem.open(self._root + name, "rb")


#: Makes a target anew in another process.
MakeTarget = Callable[[], ReadTarget]
