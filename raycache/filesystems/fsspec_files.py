"""File objects as fsspec users expect them, over the cache's own.

Reading: every read is one positional read of one file version; `read` gives bytes, with the one copy bytes need, while
`readinto` and `read_buffer` copy into the caller's memory or not at all. pyarrow finds `read_buffer` by its name and
takes buffers of the cache in place. Lines are cut from a chunk kept for that.

Writing: the file appears whole at `close`, or at the end of its transaction; a `with` block that fails, and an object
that is dropped unclosed, leave nothing, in text mode too.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fsspec.spec import AbstractFileSystem
from typing_extensions import Buffer

from raycache.client.reading.to_bytes import bytes_of
from raycache.errors import InvalidRequestError

if TYPE_CHECKING:
    from raycache.client.reading.file import CacheFile
    from raycache.client.writes import CacheWriter

#: Read ahead of a line: a read of mapped memory costs some microseconds, a short line less.
_LINE_CHUNK_BYTES = 64 << 10


class ReadFile(io.BufferedIOBase):
    """A file opened with mode "rb".

    Args:
        fs: that opened it.
        path: as `fs` spells it.
        file: one version of the file.
    """

    def __init__(self, fs: AbstractFileSystem, path: str, file: CacheFile) -> None:
        super().__init__()
        self.fs = fs
        self.path = path
        self.name = path
        self.mode = "rb"
        #: Bytes of the whole file.
        self.size = file.size
        self.blocksize = fs.blocksize
        self._file = file
        self._position = 0
        self._chunk = b""
        self._chunk_start = 0

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

    def read_at(self, offset: int, size: int | None = None) -> pa.Buffer:
        """Read without moving, without a copy where the range lies in one segment; clipped to the file."""
        self._require_open()
        return self._file.read_at(offset, size)

    def read_buffer(self, size: int | None = -1) -> pa.Buffer:
        """Read from the current position; as `read`, without its copy."""
        self._require_open()
        buffer = self._file.read_at(self._position, None if size is None or size < 0 else size)
        self._position += buffer.size
        return buffer

    def read(self, size: int | None = -1) -> bytes:
        return bytes_of(self.read_buffer(size))

    def read1(self, size: int = -1) -> bytes:
        return self.read(size if size >= 0 else _LINE_CHUNK_BYTES)

    def readinto(self, target: Buffer) -> int:
        view = memoryview(target).cast("B")
        buffer = self.read_buffer(len(view))
        view[: buffer.size] = memoryview(buffer).cast("B")
        return int(buffer.size)

    def readinto1(self, target: Buffer) -> int:
        return self.readinto(target)

    def peek(self, size: int = 0) -> bytes:
        """Bytes ahead, without moving; at least one unless the file ends here."""
        self._require_open()
        return bytes(self._file.read_at(self._position, max(size, _LINE_CHUNK_BYTES)).to_pybytes())

    def readline(self, size: int | None = -1) -> bytes:
        limit = None if size is None or size < 0 else size
        pieces: list[bytes] = []
        while limit is None or limit > 0:
            piece = self._line_piece(limit)
            pieces.append(piece)
            self._position += len(piece)
            if not piece or piece.endswith(b"\n"):
                break
            if limit is not None:
                limit -= len(piece)
        return b"".join(pieces)

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Read up to and with the next `char`, or to the end of the file."""
        pieces: list[bytes] = []
        chunk_bytes = blocks or _LINE_CHUNK_BYTES
        while True:
            start = self._position
            piece = self.read(chunk_bytes)
            found = piece.find(char)
            if found >= 0:
                self._position = start + found + len(char)
                return b"".join([*pieces, piece[: found + len(char)]])
            pieces.append(piece)
            if len(piece) < chunk_bytes:
                return b"".join(pieces)
            # The mark may lie across the border of two chunks.
            overlap = len(char) - 1
            if overlap:
                self._position -= overlap
                pieces[-1] = piece[:-overlap]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._require_open()
        if whence == io.SEEK_SET and offset >= 0:
            self._position = offset
            return offset
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}.get(whence)
        if base is None:
            raise InvalidRequestError(f"whence {whence} is unknown; give 0, 1 or 2")
        if base + offset < 0:
            raise InvalidRequestError(f"position {base + offset} is negative; give 0 or more")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._chunk = b""
        self._file.close()
        super().close()

    def _line_piece(self, limit: int | None) -> bytes:
        """The rest of the line as far as one chunk has it."""
        start = self._position - self._chunk_start
        if not 0 <= start < len(self._chunk):
            self._require_open()
            self._chunk = self._file.read_at(self._position, _LINE_CHUNK_BYTES).to_pybytes()
            self._chunk_start = self._position
            start = 0
        end = self._chunk.find(b"\n", start) + 1 or len(self._chunk)
        return self._chunk[start : end if limit is None else min(end, start + limit)]

    def _require_open(self) -> None:
        if self.closed:
            raise InvalidRequestError(f"{self.path} is closed; open it again")


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
