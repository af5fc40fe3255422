"""The lake with its whole history: what stood at each key, and from when to when.

Contents are random bytes of their own for every revision, so that a slice of the wrong place, of another file, or of
another version does not look right. Only the scenario writes; whoever else tries breaks an invariant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from typing_extensions import Buffer

from raycache.errors import UnavailableError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.memory import MemoryStorage

from .engine import Engine, ViolationError

ROOT_URI = "memory://lake"


class Revision(NamedTuple):
    """What stands at a key from a time on."""

    from_s: float
    #: None: nothing.
    content: bytes | None


class Lake:
    """The under storage, as the world sees it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.storage = MemoryStorage(ROOT_URI, now_ns=lambda: 1 + int(engine.now_s * 1e9))
        self.history: dict[str, list[Revision]] = {}
        #: Writers that have closed: (when, how many revisions of the key there were when it was written).
        self.closed: dict[str, list[tuple[float, int]]] = {}
        #: False: no request fails any more.
        self.unlucky = True

    def write(self, key: str, size_bytes: int) -> None:
        """Put a new revision there."""
        content = self.engine.random.randbytes(size_bytes)
        self.storage.put(key, content)
        self.history.setdefault(key, []).append(Revision(self.engine.now_s, content))
        self.engine.note(f"lake: {key} has {size_bytes} bytes")

    def remove(self, key: str) -> None:
        """Take away what is there."""
        self.storage.delete([key])
        self.history.setdefault(key, []).append(Revision(self.engine.now_s, None))
        self.engine.note(f"lake: {key} is removed")

    def closed_at(self, key: str, count: int) -> None:
        """The writer of a key's revision, the last of so many, has closed: it was told that all have heard."""
        self.closed.setdefault(key, []).append((self.engine.now_s, count))

    def since_closed(self, key: str, now_s: float) -> list[bytes | None]:
        """What may be seen of a key by whoever opens it now: the last revision closed, and all later ones."""
        counts = [count for closed_s, count in self.closed.get(key, []) if closed_s <= now_s]
        history = self.history.get(key, [])
        return [revision.content for revision in history[max(counts, default=0) - 1 if counts else 0 :]]

    def content(self, key: str) -> bytes | None:
        """What is there now."""
        return self.history[key][-1].content if key in self.history else None

    def version(self, key: str) -> FileVersion:
        """Of what is there now."""
        found = self.storage.head(key)
        return FileVersion(f"{ROOT_URI}/{key}", found.size_bytes, found.etag, found.mtime_ns)

    def revisions(self, key: str, from_s: float, to_s: float) -> list[bytes | None]:
        """What stood at a key at some moment between two times, both included."""
        found: list[bytes | None] = []
        before: bytes | None = None
        for revision in self.history.get(key, []):
            if revision.from_s < from_s:
                before = revision.content
            elif revision.from_s <= to_s:
                found.append(revision.content)
        return [before, *found]

    def changes(self, key: str, from_s: float, to_s: float) -> int:
        """How often it changed between two times."""
        return sum(from_s <= revision.from_s <= to_s for revision in self.history.get(key, []))


class LakeDoor:
    """The lake as one part of the cache sees it: it may read, and it may be unlucky.

    Args:
        lake: behind it.
        owner: who uses the door; for the story.
        failing: share of requests that fail.
    """

    def __init__(self, lake: Lake, owner: str, failing: float) -> None:
        self._lake = lake
        self._owner = owner
        self._failing = failing
        self.root_uri = ROOT_URI
        self.has_directories = False
        #: Bytes of reads that were answered.
        self.bytes = 0

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`."""
        self._may_fail("list")
        return self._lake.storage.list(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        self._may_fail("head")
        return self._lake.storage.head(key)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        self._may_fail("read")
        body = self._lake.storage.read(key, offset, length, version)
        self.bytes += length
        return body

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """Never allowed."""
        raise self._violation("put", key)

    def open_writer(self, key: str) -> Any:
        """Never allowed."""
        raise self._violation("open_writer", key)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """Never allowed."""
        raise self._violation("copy to", target_key)

    def delete(self, keys: Sequence[str]) -> None:
        """Never allowed."""
        raise self._violation("delete", str(list(keys)))

    def make_directory(self, key: str) -> None:
        """Never allowed."""
        raise self._violation("make_directory", key)

    def remove_directory(self, key: str) -> None:
        """Never allowed."""
        raise self._violation("remove_directory", key)

    def close(self) -> None:
        """Nothing to let go of."""

    def _may_fail(self, operation: str) -> None:
        if self._failing and self._lake.unlucky and self._lake.engine.random.random() < self._failing:
            raise UnavailableError(f"the lake fails to {operation}; try again")

    def _violation(self, operation: str, key: str) -> ViolationError:
        return ViolationError("TheLakeIsNeverWritten", f"{self._owner} wants to {operation} {key}")
