"""The fsspec filesystem without a cluster: over a `LoneWriter`, and a client that reads past a cache that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import pyarrow as pa

from raycache.client.file_meta import FileMeta
from raycache.client.reading.positioned import PositionedFile
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.ranges import clip
from tests.support.lone_writer import LoneWriter


class BytesFile(PositionedFile):
    """A file in memory."""

    def __init__(self, content: bytes) -> None:
        super().__init__("memory", len(content))
        self._content = pa.py_buffer(content)

    def read_at(self, offset: SupportsIndex, size: SupportsIndex | None = None) -> pa.Buffer:
        self._require_open()
        start, length = clip(offset, size, self.size)
        return self._content.slice(start, length)


class LoneClient:
    """What the filesystems ask of a client."""

    id = "lone"

    def __init__(self, writer: LoneWriter) -> None:
        self.writes = writer.writes
        self.locator = writer.locator

    def read(self, path: str, offset: int = 0, size: int | None = None) -> pa.Buffer:
        return self.open_meta(self.locator.file(path)).read_at(offset, size)

    def read_ranges(self, paths: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[pa.Buffer]:
        return [self.read(path, *span) for path, span in zip(paths, spans, strict=True)]

    def open_meta(self, meta: FileMeta, *, read_ahead: bool = False) -> BytesFile:
        del read_ahead
        storage, key = self.locator.storage(meta.file.uri)
        size = meta.file.size_bytes
        return BytesFile(bytes(storage.read(key, 0, size)) if size else b"")

    def whole(self, meta: FileMeta) -> None:
        del meta


class LoneFileSystem(RaycacheFileSystem):
    """Takes the paths that the writer's mounts have."""

    cachable = False

    def __init__(self, writer: LoneWriter) -> None:
        super().__init__()
        self._lone_client: Any = LoneClient(writer)

    @property
    def client(self) -> Any:
        return self._lone_client
