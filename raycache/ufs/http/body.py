"""Bodies of requests."""

from __future__ import annotations

import io

from typing_extensions import Buffer


class Body(io.RawIOBase):
    """Bytes to send, as a file: a buffer would have to be sent whole within the time-out, a file only goes on being sent.

    Args:
        data: not copied.
    """

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: to be signed, and sent again."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """See `io.RawIOBase`."""
        target = memoryview(buffer).cast("B")
        part = self._view[self._position : self._position + len(target)]
        target[: len(part)] = part
        self._position += len(part)
        return len(part)
