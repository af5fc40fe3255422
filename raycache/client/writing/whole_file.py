"""Files that appear whole, when they are closed, or not at all: what `open(path, "wb")` gives, as far as a lake can.

A subclass says how bytes are appended, how the file is published, and how it is dropped. Dropped is what fails to take bytes,
what a failing `with` block leaves (`leaving`), and what nobody has closed. There is no way back in a file: like a pipe, it
refuses `seek` with an `io.UnsupportedOperation`; `tell` counts what was written.
"""

from __future__ import annotations

import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

from raycache.client.writing.leaving import leaves_with_block
from raycache.errors import InvalidRequestError
from raycache.ufs.base import UfsWriter
from raycache.ufs.checks import as_bytes_view


class AbortUnlessClosed(ABC):
    """How every file object that writes ends: closed by its user, or given up."""

    closed: Any
    close: Callable[[], None]

    @abstractmethod
    def abort(self) -> None:
        """Give up: nothing appears. After `close` it does nothing."""

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            self.abort()
        else:
            self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.abort()


class WholeFile(AbortUnlessClosed, io.BufferedIOBase):
    """See the module's text.

    Args:
        name: how the file is called.
    """

    mode = "wb"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._position = 0
        self._opened_during = sys.exception()

    @abstractmethod
    def _append(self, view: memoryview) -> None:
        """Take all these bytes."""

    @abstractmethod
    def _publish(self) -> None:
        """Make the file visible."""

    @abstractmethod
    def _drop(self) -> None:
        """Nothing appears."""

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> int:
        """Append; all of it is taken. A file that failed to take bytes is given up."""
        self._require_open()
        view = as_bytes_view(data)
        try:
            self._append(view)
        except BaseException:
            self.abort()
            raise
        self._position += len(view)
        return len(view)

    def tell(self) -> int:
        self._require_open()
        return self._position

    def writable(self) -> bool:
        self._require_open()
        return True

    def seekable(self) -> bool:
        self._require_open()
        return False

    # --- ending -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Make the file visible, or give it up where a failed `with` block closes it. Twice is harmless."""
        if self.closed:
            return
        if leaves_with_block(self._opened_during):
            self.abort()
            return
        try:
            self._publish()
        except BaseException:
            self.abort()
            raise
        io.BufferedIOBase.close(self)

    def abort(self) -> None:
        if not self.closed:
            try:
                self._drop()
            finally:
                io.BufferedIOBase.close(self)

    def _require_open(self) -> None:
        if self.closed:
            raise InvalidRequestError(f"{self.name} is closed; open it again")


class CacheWriter(WholeFile):
    """A binary file opened for writing; it appears in the lake at `close`, or not at all after an error.

    Args:
        path: as the namespace has it.
        writer: of the under storage.
        done: called once with the path, after the file is in the lake.
    """

    def __init__(self, path: str, writer: UfsWriter, done: Callable[[str], None]) -> None:
        super().__init__(path)
        self._writer = writer
        self._done = done

    def _append(self, view: memoryview) -> None:
        self._writer.write(view)

    def _publish(self) -> None:
        self._writer.close()
        self._done(self.name)

    def _drop(self) -> None:
        self._writer.abort()
