"""A journal in one file of the head node's disk: appended to, and synced.

Theory of operation. Records hold what mounts hold, so secrets too: the files are readable by their owner only. Who writes
holds a lock on a file beside it for as long as its process lives, so two caches never write one journal; a restarted master
gets the lock when the process before it has ended. Damaged lines are left out, said, and kept in a copy (`.damaged`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from raycache.errors import ConflictError, NoSpaceError, RaycacheError, UnavailableError
from raycache.master.journal.records import NOBODY, Found, Record, line_of, parse

FILE_NAME = "raycache-journal"
#: Ends the name of what is kept beside the journal.
KEPT = "-kept"
_LOCK = "-lock"
_DAMAGED = ".damaged"
_NEW = ".new"
#: A journal is compacted when so many records were appended since the last time, and as many as that left.
_COMPACT_MIN = 1_000


class FileJournal:
    """One file.

    Args:
        path: the file; its directory is made when the first record is.
        owner: the incarnation of the master that writes.
    """

    def __init__(self, path: Path, owner: str = NOBODY) -> None:
        self.place = str(path)
        self.damage: list[str] = []
        self._path = path
        self._owner = owner
        self._checked = False
        #: Lines in the file.
        self._lines = 0
        self._compacted_lines = 0
        self._lock: int | None = None

    @property
    def wants_compaction(self) -> bool:
        """See `Journal`."""
        return self._lines - self._compacted_lines > max(_COMPACT_MIN, self._compacted_lines)

    def append(self, *records: Record) -> None:
        """See `Journal.append`."""
        if not self._checked:
            self._clean(self._read())  # a torn line at the end would swallow the new one
        data = b"".join(line_of(one, self._lines + at, self._owner) for at, one in enumerate(records))
        try:
            new = not self._path.exists()
            self._make_directory()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    _write(descriptor, data)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
            if new:
                _sync_directory(self._path.parent)
        except OSError as error:
            raise self._mapped(error) from error
        self._lines += len(records)

    def look(self) -> Found:
        """See `Journal.look`."""
        return parse(self._read(), self.place)

    def replay(self) -> list[Record]:
        """See `Journal.replay`. Lines that are not whole are removed from the file; `damage` says which were not the last.

        A file that can be read, but not cleaned, is read all the same; it is cleaned before the first append.
        """
        data = self._read()
        with contextlib.suppress(RaycacheError):
            self._clean(data)
        return parse(data, self.place).records

    def _clean(self, data: bytes) -> None:
        found = parse(data, self.place)
        self.damage = found.damage
        if found.damage:
            with contextlib.suppress(OSError):  # it is for people to look at; the cache does without
                self._replace(self._beside(_DAMAGED), data)
        if found.damage or found.torn:
            self.compact(found.records)
        self._lines, self._compacted_lines = len(found.records), 0
        self._checked = True

    def compact(self, records: Sequence[Record]) -> None:
        """See `Journal.compact`."""
        try:
            self._replace(self._path, b"".join(line_of(one, at, self._owner) for at, one in enumerate(records)))
        except OSError as error:
            raise self._mapped(error) from error
        self._lines = self._compacted_lines = len(records)

    def clear(self) -> None:
        """See `Journal.clear`."""
        names = (self._path, *(self._beside(end) for end in (KEPT, _DAMAGED, _LOCK, _NEW, KEPT + _NEW)))
        try:
            for name in names:
                name.unlink(missing_ok=True)
            self.release()
            with contextlib.suppress(OSError):  # somebody else's, or not empty
                self._path.parent.rmdir()
        except OSError as error:
            raise self._mapped(error) from error
        self._checked, self._lines, self._compacted_lines = False, 0, 0

    def keep(self, record: Record) -> None:
        """See `Journal.keep`."""
        try:
            self._replace(self._beside(KEPT), line_of(record, 0, self._owner), sync=False)
        except OSError as error:
            raise self._mapped(error) from error

    def kept(self) -> Record | None:
        """See `Journal.kept`."""
        try:
            found = parse(self._beside(KEPT).read_bytes(), self.place)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._mapped(error) from error
        return found.records[-1] if found.records else None

    def claim(self) -> None:
        """See `Journal.claim`."""
        if self._lock is not None:
            return
        try:
            self._make_directory()
            descriptor = os.open(self._beside(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._mapped(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConflictError(
                f"the journal {self._path} belongs to a cache that runs; give each cache its own (setting journal)"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise self._mapped(error) from error
        self._lock = descriptor

    def release(self) -> None:
        """See `Journal.release`."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _beside(self, end: str) -> Path:
        return self._path.with_name(self._path.name + end)

    def _make_directory(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._mapped(error) from error

    def _replace(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        """Put a file in the place of another, whole."""
        self._make_directory()
        temporary = path.with_name(path.name + _NEW)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write(descriptor, data, sync=sync)
        except OSError:
            temporary.unlink(missing_ok=True)  # of a full disk, all that there is left
            raise
        finally:
            os.close(descriptor)
        temporary.replace(path)
        if sync:
            _sync_directory(path.parent)

    def _mapped(self, error: OSError) -> RaycacheError:
        reason = error.strerror or type(error).__name__
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpaceError(f"the journal {self._path} cannot be written: {reason}; make room there")
        return UnavailableError(f"the journal {self._path} cannot be used: {reason}; check the setting journal")


def _write(descriptor: int, data: bytes, *, sync: bool = True) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    if sync:
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
