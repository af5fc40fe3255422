"""File objects as fsspec users expect them, over the cache's own.

Reading: every read is one positional read of one file version; see `PositionedFile`.

Writing: the file appears whole at `close`, or at the end of its transaction, as text and compressed too; see `WholeFile`.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, SupportsIndex

import pyarrow as pa
from fsspec.compression import compr
from fsspec.spec import AbstractFileSystem
from typing_extensions import Buffer

from raycache.client.reading.positioned import PositionedFile
from raycache.client.reading.to_bytes import bytes_of
from raycache.client.writing.whole_file import AbortUnlessClosed, WholeFile
from raycache.ranges import clip
from raycache.ufs.checks import as_bytes_view

if TYPE_CHECKING:
    from raycache.client.reading.file import CacheFile
    from raycache.client.writing.whole_file import CacheWriter


class ReadFile(PositionedFile):
    """A file opened with mode "rb".

    Args:
        fs: that opened it.
        path: as `fs` spells it.
        file: one version of the file.
    """

    def __init__(self, fs: AbstractFileSystem, path: str, file: CacheFile) -> None:
        super().__init__(path, file.size)
        self.fs = fs
        self.path = path
        self.blocksize = fs.blocksize
        self._file = file
        self._cache: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.fs, self.path, self._position))

    @property
    def details(self) -> dict[str, Any]:
        """As `fs.info` gives it."""
        described: dict[str, Any] = self.fs.info(self.path)
        return described

    def info(self) -> dict[str, Any]:
        """As `fs.info` gives it."""
        return self.details

    def read_at(self, offset: SupportsIndex, size: SupportsIndex | None = None) -> pa.Buffer:
        """See `PositionedFile`."""
        if self._cache is None:
            return self._file.read_at(offset, size)
        self._require_open()
        start, length = clip(offset, size, self.size)
        return pa.py_buffer(self._cache._fetch(start, start + length))  # noqa: SLF001  # fsspec's protocol

    @property
    def cache(self) -> Any:
        """A cache of fsspec's, as its `blockcache` puts one before the file: then it is asked for the bytes."""
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        # It would get several ranges by path, of whichever version stands there then.
        cache.multi_fetcher = None
        self._cache = cache

    def _fetch_range(self, start: int, end: int) -> bytes:
        """What such a cache calls for what it lacks; of this version."""
        return bytes_of(self._file.read_at(start, end - start))

    @property
    def closed(self) -> bool:
        return super().closed

    @closed.setter
    def closed(self, closed: bool) -> None:
        """The `blockcache` of fsspec sets it behind `close`, which has done so."""

    def close(self) -> None:
        self._file.close()
        super().close()


def _reopen(fs: AbstractFileSystem, path: str, position: int) -> ReadFile:
    file: ReadFile = fs.open(path, "rb")
    file.seek(position)
    return file


class WriteFile(WholeFile):
    """A file opened with mode "wb" or "xb".

    Args:
        fs: that opened it.
        path: as `fs` spells it.
        writer: to the lake.
        autocommit: False inside a transaction: `close` leaves the file invisible until `commit`.
    """

    def __init__(self, fs: AbstractFileSystem, path: str, writer: CacheWriter, *, autocommit: bool) -> None:
        super().__init__(path)
        self.fs = fs
        self.path = path
        self.autocommit = autocommit
        self.blocksize = fs.blocksize
        self._writer = writer

    def _append(self, view: memoryview) -> None:
        self._writer.write(view)

    def _publish(self) -> None:
        if self.autocommit:
            self._writer.close()

    def _drop(self) -> None:
        self._writer.abort()

    def commit(self) -> None:
        """The transaction ends well: the file appears."""
        self.close()
        self._writer.close()

    def discard(self) -> None:
        """The transaction failed: nothing appears."""
        self.abort()
        self._writer.abort()


class CompressedWriteFile(WholeFile):
    """Compression over a file that writes. One of fsspec's compressors alone would not close what lies below it.

    Args:
        file: takes the compressed bytes.
        compression: as fsspec names it: "gzip", "bz2", "xz", "zip", "zstd", ...
    """

    def __init__(self, file: WholeFile, compression: str) -> None:
        super().__init__(file.name)
        self._file = file
        self._pipe = _Pipe(file)
        self._compressor = compr[compression](self._pipe, mode="w")

    def _append(self, view: memoryview) -> None:
        self._compressor.write(view)

    def _publish(self) -> None:
        self._compressor.close()
        self._file.close()

    def _drop(self) -> None:
        self._file.abort()
        self._pipe.dropped = True
        with contextlib.suppress(OSError, ValueError):  # it may have failed already
            self._compressor.close()


class _Pipe(io.RawIOBase):
    """What a compressor writes to. One that is given up still wants to write its last bytes; they go nowhere."""

    def __init__(self, file: WholeFile) -> None:
        super().__init__()
        self.name = file.name
        self.dropped = False
        self._file = file

    def write(self, data: Buffer) -> int:
        return len(as_bytes_view(data)) if self.dropped else self._file.write(data)

    def writable(self) -> bool:
        return True


class TextWriteFile(AbortUnlessClosed, io.TextIOWrapper):
    """Text over a `WholeFile`: unlike its base class it does not finish a file whose `with` block failed."""

    def abort(self) -> None:
        file: Any = self.buffer
        file.abort()
