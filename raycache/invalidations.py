"""What was written through the cache, as told to all processes of a node: a log in shared memory.

Theory of operation. Whoever opens a file after a writer has closed it, anywhere in the cluster, must see what was written;
and a file that is known here must cost no call. So a writer's close ends when every worker has appended the file's URI to
the log of its node. Readers map the log, and look at one number before they use what they remember: when it has changed, they
read what was appended, and forget that. One process appends (`InvalidationLog`), any number follow (`InvalidationFeed`).

    word 0  sequence: changes with every append, and when the log is closed
    word 1  head: bytes ever appended; the last `RING_BYTES` of them are in the ring
    word 2  1: closed, another log stands, or will stand, at this path
    word 3  until when the log may be trusted, in microseconds of the machine's monotonic clock
    bytes 64.. the ring: entries of (length, flags, URI as UTF-8)

A follower that is too far behind, or finds the log closed, forgets everything. A log is trusted for `LEASE_S` after each
word of the master; a worker that is cut off stops extending it, so that its node's readers ask the master themselves, and the
master, which knows when it heard the worker last, lets a writer wait no longer than that.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

LEASE_S = 10.0
RING_BYTES = 256 << 10
_HEADER_BYTES = 64
_ENTRY = struct.Struct("<IB")
_SEQUENCE, _HEAD, _CLOSED, _TRUSTED_US = range(4)
_BELOW = 1


class Invalidation(NamedTuple):
    """Something was written here."""

    uri: str
    #: Also everything below it.
    below: bool = False

    def concerns(self, uri: str) -> bool:
        """Whether what is known of a URI may be wrong now."""
        return uri == self.uri or (self.below and uri.startswith(self.uri.rstrip("/") + "/" if self.uri else ""))


#: Everything may have changed.
EVERYTHING = Invalidation("", below=True)


def log_path(cache_id: str, node: str) -> Path:
    """Where the log of a node stands. Several nodes may share a machine, in tests."""
    return log_folder() / f"raycache-{cache_id}-{node[:32]}.log"


def log_folder() -> Path:
    """Where processes of a machine share memory."""
    shared = Path("/dev/shm")  # noqa: S108  # the place for it
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


class Words:
    """The bytes of a log, as both sides see them."""

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self.view = memoryview(memory)
        self.words = self.view[:_HEADER_BYTES].cast("Q")
        self.ring = self.view[_HEADER_BYTES : _HEADER_BYTES + RING_BYTES]

    @classmethod
    def in_memory(cls) -> Words:
        """Of one process, for the simulator and tests."""
        return cls(bytearray(_HEADER_BYTES + RING_BYTES))


class InvalidationLog:
    """The appending side. One at a time for each path; a new one closes its forerunner."""

    def __init__(self, words: Words, file: int | None = None, path: Path | None = None) -> None:
        self._words = words
        self._file = file
        self._path = path

    @classmethod
    def create(cls, path: Path) -> InvalidationLog:
        """Start a log; followers of an earlier one at this path forget everything, and come here.

        Raises:
            OSError: there is no room for it.
        """
        with contextlib.suppress(OSError):
            cls(_mapped(path)).close()
        temporary = path.with_suffix(f".{os.getpid()}.new")
        temporary.unlink(missing_ok=True)
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Without its room, the first write into a full file system would kill the process.
        os.posix_fallocate(file, 0, _HEADER_BYTES + RING_BYTES)
        # Held for as long as this process lives; see `remove_leftovers`.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log = cls(Words(mmap.mmap(file, _HEADER_BYTES + RING_BYTES)), file, path)
        temporary.replace(path)
        return log

    def append(self, found: Iterable[Invalidation]) -> None:
        """Tell all followers; they know when this returns."""
        words = self._words.words
        for one in found:
            name = one.uri.encode("utf-8", "surrogateescape")
            entry = _ENTRY.pack(len(name), _BELOW if one.below else 0) + name
            self._write(words[_HEAD], entry)
            words[_HEAD] += len(entry)
        words[_SEQUENCE] += 1

    def trust_until(self, monotonic_s: float) -> None:
        """The master has heard of this node: nothing is missing until then."""
        self._words.words[_TRUSTED_US] = max(0, int(monotonic_s * 1e6))

    def close(self) -> None:
        """No more will be appended: followers forget everything, and look for another log."""
        words = self._words.words
        words[_TRUSTED_US] = 0
        words[_CLOSED] = 1
        words[_SEQUENCE] += 1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            # The mapping has the file open, too.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = None

    def _write(self, head: int, entry: bytes) -> None:
        start = head % RING_BYTES
        first = min(len(entry), RING_BYTES - start)
        self._words.ring[start : start + first] = entry[:first]
        self._words.ring[: len(entry) - first] = entry[first:]


class InvalidationFeed:
    """The following side.

    Args:
        find: the log that stands now; an OSError when there is none.
    """

    def __init__(self, find: Callable[[], Words]) -> None:
        self._find = find
        self._words = Words.in_memory()
        self._taken = 0
        #: Read at every look-up, so it is the log's own words, and no method of this class.
        self.words = self._words.words
        self._open()

    @classmethod
    def at(cls, path: Path) -> InvalidationFeed:
        """Of the log at a path; it may come into being later."""
        return cls(lambda: _mapped(path))

    @classmethod
    def of_nothing(cls) -> InvalidationFeed:
        """Where there is no log, nor will be."""
        return cls(Words.in_memory)

    @property
    def sequence(self) -> int:
        """Changes when there is something to take, or the log was closed."""
        return self.words[_SEQUENCE]

    def take(self) -> list[Invalidation]:
        """What was appended since the last time; `EVERYTHING` where that cannot be told."""
        if self.words[_CLOSED]:
            self._open()
            return [EVERYTHING]
        head = self.words[_HEAD]
        size = head - self._taken
        if not size:
            return []
        data = self._read(self._taken, size) if size <= RING_BYTES else b""
        behind = self.words[_HEAD] - self._taken > RING_BYTES
        self._taken = head
        return [EVERYTHING] if behind else list(_entries(data))

    def trusted_until_s(self) -> float:
        """Until when nothing is missing, by the machine's monotonic clock; 0: not at all."""
        if not self.words[_TRUSTED_US]:
            self._open()
        return self.words[_TRUSTED_US] / 1e6

    def _open(self) -> None:
        """Follow the log that stands now, from its present end."""
        try:
            self._words = self._find()
        except OSError:
            self._words = Words.in_memory()
        self.words = self._words.words
        self._taken = self.words[_HEAD]

    def _read(self, start: int, size: int) -> bytes:
        at = start % RING_BYTES
        first = min(size, RING_BYTES - at)
        return bytes(self._words.ring[at : at + first]) + bytes(self._words.ring[: size - first])


def remove_leftovers(folder: Path) -> None:
    """Remove the logs whose writers have died."""
    for path in folder.glob("raycache-*.log"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _mapped(path: Path) -> Words:
    with path.open("r+b") as file:
        return Words(mmap.mmap(file.fileno(), _HEADER_BYTES + RING_BYTES))


def _entries(data: bytes) -> Iterable[Invalidation]:
    start = 0
    while start < len(data):
        length, flags = _ENTRY.unpack_from(data, start)
        start += _ENTRY.size
        yield Invalidation(data[start : start + length].decode("utf-8", "surrogateescape"), bool(flags & _BELOW))
        start += length
