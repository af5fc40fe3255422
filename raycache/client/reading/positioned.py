"""A file object over reads by position: what `open(path, "rb")` gives, except that reads may give buffers without a copy.

A subclass gives `name`, `size` and `read_at`; everything else is derived from these. Lines are cut from a chunk that is kept
for them. Whatever is wrong is said as Python's own files say it: a closed file and a negative position are `ValueError`s, an
offset that is no integer a `TypeError`, writing an `io.UnsupportedOperation`.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from operator import index
from typing import Any, SupportsIndex

import pyarrow as pa
from typing_extensions import Buffer

from raycache.client.reading.to_bytes import bytes_of
from raycache.errors import InvalidRequestError

#: Read ahead of a line: a read of mapped memory costs some microseconds, a short line less.
_LINE_CHUNK_BYTES = 64 << 10


class PositionedFile(io.BufferedIOBase):
    """See the module's text.

    Args:
        name: how the file is called.
        size: bytes of the whole file.
    """

    mode = "rb"

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.name = name
        #: Bytes of the whole file.
        self.size = size
        #: As `closed`, which costs more to ask.
        self._is_open = True
        self._position = 0
        self._chunk = b""
        self._chunk_start = 0

    @abstractmethod
    def read_at(self, offset: SupportsIndex, size: SupportsIndex | None = None) -> pa.Buffer:
        """Read without moving; clipped to the file. Without a copy where the range lies in one segment.

        Raises:
            InvalidRequestError: a negative offset or size, or a closed file.
        """

    # --- reading ------------------------------------------------------------------------------------------------------

    def read_buffer(self, size: int | None = -1) -> pa.Buffer:
        """Read from the current position; as `read`, without its copy. pyarrow finds it by its name."""
        buffer = self.read_at(self._position, None if size is None or size < 0 else size)
        self._position += buffer.size
        return buffer

    def read(self, size: int | None = -1) -> bytes:
        return bytes_of(self.read_buffer(size))

    def read1(self, size: int = -1) -> bytes:
        wanted = index(size)
        return self.read(wanted if wanted >= 0 else _LINE_CHUNK_BYTES)

    def readall(self) -> bytes:
        """The rest of the file."""
        return self.read()

    def readinto(self, target: Buffer) -> int:
        view = memoryview(target)
        if view.readonly:
            raise TypeError(f"readinto needs memory that can be written, not {type(target).__name__}")
        # Zeros in a shape cannot be cast.
        flat = view.cast("B") if view.nbytes else memoryview(bytearray())
        buffer = self.read_buffer(len(flat))
        flat[: buffer.size] = memoryview(buffer).cast("B")
        return int(buffer.size)

    def readinto1(self, target: Buffer) -> int:
        return self.readinto(target)

    def peek(self, size: int = 0) -> bytes:
        """Bytes ahead, without moving; at least one unless the file ends here."""
        ahead: bytes = self.read_at(self._position, max(size, _LINE_CHUNK_BYTES)).to_pybytes()
        return ahead

    def readline(self, size: int | None = -1) -> bytes:
        limit = None if size is None or (limit := index(size)) < 0 else limit
        self._require_open()
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
        """Read up to and with the next `char`, or to the end of the file.

        Args:
            char: one byte or several.
            blocks: how many bytes to look at a time.

        Raises:
            InvalidRequestError: `char` is empty.
        """
        if not char:
            raise InvalidRequestError("an empty mark is found nowhere; give at least one byte")
        # The mark may lie across the border of two chunks; each look must reach beyond the part that is looked at again.
        chunk_bytes = max(blocks or _LINE_CHUNK_BYTES, 2 * len(char))
        start = self._position
        end = looked = start
        while end < self.size:
            piece = self.read_at(looked, chunk_bytes).to_pybytes()
            found = piece.find(char)
            end = looked + (len(piece) if found < 0 else found + len(char))
            if found >= 0:
                break
            looked = max(looked + 1, end - len(char) + 1) if end < self.size else end
        self._require_open()
        return self.read(end - start)

    # --- moving -------------------------------------------------------------------------------------------------------

    def seek(self, offset: SupportsIndex, whence: int = io.SEEK_SET) -> int:
        if not self._is_open:
            self._require_open()
        if type(offset) is not int:
            offset = index(offset)
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
        self._require_open()
        return self._position

    def readable(self) -> bool:
        self._require_open()
        return True

    def seekable(self) -> bool:
        self._require_open()
        return True

    def writable(self) -> bool:
        self._require_open()
        return False

    def close(self) -> None:
        self._is_open = False
        self._chunk = b""
        super().close()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _line_piece(self, limit: int | None) -> bytes:
        """The rest of the line as far as one chunk has it."""
        start = self._position - self._chunk_start
        if not 0 <= start < len(self._chunk):
            self._chunk = self.read_at(self._position, _LINE_CHUNK_BYTES).to_pybytes()
            self._chunk_start = self._position
            start = 0
        end = self._chunk.find(b"\n", start) + 1 or len(self._chunk)
        return self._chunk[start : end if limit is None else min(end, start + limit)]

    def _require_open(self) -> None:
        if not self._is_open:
            raise InvalidRequestError(f"{self.name} is closed; open it again")

    def __getstate__(self) -> Any:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")
