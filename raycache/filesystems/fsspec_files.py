"""File objects as fsspec users expect them, over the cache's own.

Reading: every read is one positional read of one file version; see `PositionedFile`.

Writing: the file appears whole at `close`, or at the end of its transaction; a `with` block that fails, and an object
that is dropped unclosed, leave nothing, in text mode too.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, SupportsIndex

import pyarrow as pa
from fsspec.spec import AbstractFileSystem
from typing_extensions import Buffer

from raycache.client.reading.positioned import PositionedFile
from raycache.errors import InvalidRequestError

if TYPE_CHECKING:
    from raycache.client.reading.file import CacheFile
    from raycache.client.writes import CacheWriter


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
        return self._file.read_at(offset, size)

    def close(self) -> None:
        self._file.close()
        super().close()


def _reopen(fs: AbstractFileSystem, path: str, position: int) -> ReadFile:
    file: ReadFile = fs.open(path, "rb")
    file.seek(position)
    return file


class WriteFile(io.BufferedIOBase):
    """A file opened with mode "wb" or "xb".

    Args:
        fs: that opened it.
        path: as `fs` spells it.
        writer: to the lake.
        autocommit: False inside a transaction: `close` leaves the file invisible until `commit`.
    """

    def __init__(self, fs: AbstractFileSystem, path: str, writer: CacheWriter, *, autocommit: bool) -> None:
        super().__init__()
        self.fs = fs
        self.path = path
        self.name = path
        self.mode = "wb"
        self.autocommit = autocommit
        self.blocksize = fs.blocksize
        self._writer = writer

    def write(self, data: Buffer) -> int:
        if self.closed:
            raise InvalidRequestError(f"{self.path} is closed; open it again")
        return self._writer.write(data)

    def tell(self) -> int:
        return self._writer.tell()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self.autocommit:
                self._writer.close()
        finally:
            super().close()

    def commit(self) -> None:
        """The transaction ends well: the file appears."""
        super().close()
        self._writer.close()

    def discard(self) -> None:
        """The transaction failed: nothing appears."""
        self.abort()

    def abort(self) -> None:
        """Give up: nothing appears."""
        try:
            self._writer.abort()
        finally:
            super().close()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            self.abort()
        else:
            self.close()

    def __del__(self) -> None:
        # A file of a transaction lives in its list; one that was dropped unclosed must not appear.
        if not self.closed:
            self.abort()


class TextWriteFile(io.TextIOWrapper):
    """Text over a `WriteFile`: unlike its base class it does not finish a file whose `with` block failed."""

    def abort(self) -> None:
        """Give up: nothing appears."""
        file: Any = self.buffer
        file.abort()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            self.abort()
        else:
            self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.abort()
