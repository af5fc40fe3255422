"""A store of results, `cached://results`: what stands in it is in the cache, and nowhere else.

It is the under storage of the mount `/cached`, so that results are listed, read, pinned, freed and counted as files of a lake
are. Each process has its own view of it. In the master it knows what results there are. In a worker it offers, for a moment,
the bytes of a result that was just handed in, for the worker to load. Whoever asks for anything else is told that it is
gone: then it was evicted, and is made again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import Buffer

from raycache.errors import DeniedError, NotFoundError
from raycache.types import FileVersion
from raycache.ufs.base import ObjectInfo, UfsWriter
from raycache.ufs.memory import MemoryStorage

ROOT_URI = "cached://results"


@functools.cache
def kept_storage() -> KeptStorage:
    """The one of this process."""
    return KeptStorage()


class KeptStorage(MemoryStorage):
    """See the module's text. Thread-safe."""

    #: What is read of it does not come from a lake; see `loader.BlockSource`.
    is_lake = False

    def __init__(self) -> None:
        super().__init__(ROOT_URI)
        self._offered: dict[tuple[str, str], memoryview] = {}

    def __repr__(self) -> str:
        return f"KeptStorage({self.root_uri!r})"

    # --- what the master and the workers say --------------------------------------------------------------------------

    def note(self, info: ObjectInfo) -> None:
        """There is such a result."""
        with self._lock:
            self._objects[info.key] = (info, b"")

    def forget(self, key: str) -> None:
        """There is none any more."""
        with self._lock:
            self._objects.pop(key, None)

    def offer(self, key: str, etag: str, content: Buffer) -> None:
        """Have this read as that version, until `withdraw`."""
        with self._lock:
            self._offered[key, etag] = memoryview(content).cast("B")

    def withdraw(self, key: str, etag: str) -> None:
        """End an offer."""
        with self._lock:
            self._offered.pop((key, etag), None)

    # --- as a store ---------------------------------------------------------------------------------------------------

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        with self._lock:
            if key not in self._objects:
                raise self._gone(key)
            return super().head(key)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`; only what is offered can be read."""
        with self._lock:
            content = self._offered.get((key, "" if version is None else version.etag))
        if content is None:
            raise self._gone(key)
        return content[offset : offset + length]

    def put(self, key: str, data: Buffer) -> ObjectInfo:  # noqa: ARG002
        """Refused, as is all that writes."""
        self._refuse()

    def create(self, key: str, data: Buffer) -> ObjectInfo:  # noqa: ARG002
        self._refuse()

    def open_writer(self, key: str) -> UfsWriter:  # noqa: ARG002
        self._refuse()

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:  # noqa: ARG002
        self._refuse()

    def delete(self, keys: Sequence[str]) -> None:  # noqa: ARG002
        self._refuse()

    def make_directory(self, key: str) -> None:  # noqa: ARG002
        self._refuse()

    def remove_directory(self, key: str) -> None:  # noqa: ARG002
        self._refuse()

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:  # noqa: ARG002
        self._refuse()

    def _gone(self, key: str) -> NotFoundError:
        uri = f"{self.root_uri}/{key}"
        return NotFoundError(f"the result {uri} is not kept any more; it is made again when it is asked for", uri=uri)

    def _refuse(self) -> NoReturn:
        raise DeniedError(
            f"{self.root_uri} holds results only; raycache.cached and memoize write there, cached rm drops"
        )
