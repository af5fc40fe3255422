"""Segments as files: crash-safe to write, checked before use, found again after a restart.

A file is  data | footer | trailer.  The data stands at offset 0, so that a reader can map the file knowing nothing of
the rest. The footer is the table of blocks, packed as the worker keeps it (`EntryTable`), so that a restart takes thousands of
blocks over with one read; the trailer, of fixed size, holds the lengths of both, their xxh3_64
hashes and a magic number. A file is written under a temporary name and renamed when whole. So after a crash a name
either stands for a whole file or for none; with `fsync` that holds for a crash of the machine too, without it a file
may then be torn, which the trailer (lengths, footer hash) or `verify` (data hash) shows.

The worker reads with `pread`: a bad sector, or a file that was cut short, is an error then, where a mapping would end the
process. Readers map only what was checked since the worker took it over. A file in whose check a process has ended twice is
not checked again: it counts as damaged.

Blocks that are freed later are noted in a second file beside it, a record each with a checksum of its own, appended:
after a restart they are not taken over. A record that a crash has torn counts as not written.

Directories: workers on one machine must not share one, and a restarted worker should find a dead one's segments. So
each locks (`flock`) the first free `slot-N` under a base directory for as long as its process lives.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from raycache.errors import CorruptBlockError, NoSpaceError, NotFoundError, RaycacheError, UnavailableError
from raycache.types import BlockId, SegmentId
from raycache.workers.capacity import Capacity
from raycache.workers.effects import SegmentEntry
from raycache.workers.stores.assembly import Bytes
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.walks.adoption import DiskSegment, FoundFile

_SUFFIX = ".segment"
_TEMPORARY_SUFFIX = ".partial"
_FREED_SUFFIX = ".freed"
#: Beside a segment while it is checked: a byte for each time.
_CHECKING_SUFFIX = ".checking"
_ATTEMPTS_MAX = 2
#: Read at a time by a check.
_CHECKED_BYTES = 4 << 20
#: Version, block index, the xxh3_64 of both.
_FREED = struct.Struct("<16sIQ")
_MAGIC = b"RAYCSEG2"
#: data bytes, data hash, footer bytes, footer hash, magic; little endian.
_TRAILER = struct.Struct("<QQQQ8s")
_SLOTS_MAX = 1024
#: Locked slot directories: the descriptors stay open until the process ends.
_locked_slots: list[int] = []


class _Trailer(NamedTuple):
    data_bytes: int
    data_hash: int
    footer_bytes: int
    footer_hash: int
    magic: bytes


class DiskStore:
    """Segment files in one directory. Safe to call from several threads, for different segments.

    Args:
        directory: for this store alone; made if it is missing.
        fsync: whether a segment must survive a crash of the machine.
    """

    def __init__(self, directory: Path, fsync: bool) -> None:
        self._directory = directory
        self._fsync = fsync
        #: Segments of which blocks were freed before this process began.
        self._freed_names: dict[SegmentId, None] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _mapped(error, directory) from error

    def path(self, segment: SegmentId) -> Path:
        """The segment's file; the data is at its start."""
        return self._directory / f"{segment}{_SUFFIX}"

    def write(self, segment: SegmentId, pieces: Sequence[Bytes], entries: Sequence[SegmentEntry]) -> None:
        """Store a segment, atomically; an older one of that name is replaced.

        Args:
            segment: names the file.
            pieces: its data, one behind the other; shape (bytes,), uint8, each.
            entries: the blocks in it.

        Raises:
            NoSpaceError: the disk is full.
            UnavailableError: it fails otherwise.
        """
        footer = EntryTable((BlockId(entry.version.id(), entry.block_index), entry) for entry in entries).pack()
        data = [piece.data for piece in pieces]
        hashed = xxhash.xxh3_64()
        for part in data:
            hashed.update(part)
        size_bytes = sum(part.nbytes for part in data)
        trailer = _Trailer(size_bytes, hashed.intdigest(), len(footer), xxhash.xxh3_64_intdigest(footer), _MAGIC)
        temporary = self._directory / f"{segment}{_TEMPORARY_SUFFIX}"
        try:
            try:
                with temporary.open("wb", buffering=0) as file:
                    for part in (*data, memoryview(footer), memoryview(_TRAILER.pack(*trailer))):
                        while part:
                            part = part[file.write(part) :]  # noqa: PLW2901  # a raw write may be short
                    if self._fsync:
                        os.fsync(file.fileno())
                self._freed_path(segment).unlink(missing_ok=True)
                temporary.replace(self.path(segment))
                if self._fsync:
                    _sync_directory(self._directory)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise
        except OSError as error:
            raise _mapped(error, temporary) from error

    def read(self, segment: SegmentId, parts: Sequence[tuple[int, int]]) -> Bytes:
        """Read (offset, length) parts of the data, joined. A bad sector is an error then, where a mapping ends the process.

        Raises:
            NotFoundError: no such segment.
            CorruptBlockError: the file is torn, or shorter than it was.
            UnavailableError: the disk fails.
        """
        path = self.path(segment)
        joined = np.empty(sum(length for _, length in parts), dtype=np.uint8)
        try:
            with _opened(path) as descriptor:
                _read_trailer(descriptor, path)
                done = 0
                for offset, length in parts:
                    _pread(descriptor, joined[done : done + length], offset, path)
                    done += length
        except OSError as error:
            raise _mapped(error, path) from error
        return joined

    def read_all(self, segment: SegmentId) -> Bytes:
        """Read all data; see `read`."""
        path = self.path(segment)
        try:
            with _opened(path) as descriptor:
                size_bytes = _read_trailer(descriptor, path).data_bytes
        except OSError as error:
            raise _mapped(error, path) from error
        return self.read(segment, [(0, size_bytes)])

    def verify(self, segment: SegmentId) -> bool:
        """Whether the data is what was written; reads all of it. One during which processes have ended twice is not."""
        path, attempts = self.path(segment), self._directory / f"{segment}{_CHECKING_SUFFIX}"
        try:
            with attempts.open("ab", buffering=0) as file:
                if file.tell() >= _ATTEMPTS_MAX:
                    return False
                file.write(b"?")
            with _opened(path) as descriptor:
                trailer = _read_trailer(descriptor, path)
                hashed = xxhash.xxh3_64()
                buffer = np.empty(min(_CHECKED_BYTES, max(1, trailer.data_bytes)), dtype=np.uint8)
                for offset in range(0, trailer.data_bytes, len(buffer)):
                    part = buffer[: min(len(buffer), trailer.data_bytes - offset)]
                    _pread(descriptor, part, offset, path)
                    hashed.update(part.data)
            attempts.unlink()
        except (OSError, RaycacheError):
            return False
        return bool(hashed.intdigest() == trailer.data_hash)

    def drop(self, segment: SegmentId) -> None:
        """Delete a segment. One that is missing, or that the disk will not delete, is not an error."""
        with suppress(OSError):
            self.path(segment).unlink()
        for suffix in (_FREED_SUFFIX, _CHECKING_SUFFIX):
            with suppress(OSError):
                (self._directory / f"{segment}{suffix}").unlink(missing_ok=True)

    def forget(self, segment: SegmentId, blocks: Sequence[BlockId]) -> None:
        """Note blocks that `scan` is not to find. When the disk does not take it, they may come back after a restart."""
        with suppress(OSError), self._freed_path(segment).open("ab", buffering=0) as file:
            file.write(b"".join(_freed_record(block) for block in blocks))

    def find(self) -> list[FoundFile]:
        """The segment files an earlier process left, oldest first, none of them read; deletes what a crash has left half."""
        found: list[tuple[int, FoundFile]] = []
        now_ns = time.time_ns()
        try:
            with os.scandir(self._directory) as entries:
                files = {entry.name: entry for entry in entries}
        except OSError as error:
            raise _mapped(error, self._directory) from error
        for name, entry in files.items():
            with suppress(OSError):
                if name.endswith(_SUFFIX):
                    stat = entry.stat(follow_symlinks=False)
                    age_s = max(0.0, (now_ns - stat.st_mtime_ns) / 1e9)
                    found.append((stat.st_mtime_ns, FoundFile(name.removesuffix(_SUFFIX), stat.st_size, age_s)))
                elif name.endswith((_FREED_SUFFIX, _CHECKING_SUFFIX)):
                    segment, _, suffix = name.rpartition(".")
                    if segment + _SUFFIX not in files:
                        Path(entry.path).unlink()
                    elif "." + suffix == _FREED_SUFFIX:
                        self._freed_names[segment] = None
                elif name.endswith(_TEMPORARY_SUFFIX):
                    Path(entry.path).unlink()
        return [file for _, file in sorted(found)]

    def files(self) -> list[FoundFile]:
        """The segment files there now; changes nothing."""
        found: list[FoundFile] = []
        now_s = time.time()
        with suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    with suppress(OSError):
                        stat = entry.stat(follow_symlinks=False)
                        age_s = max(0.0, now_s - stat.st_mtime)
                        found.append(FoundFile(entry.name.removesuffix(_SUFFIX), stat.st_size, age_s))
        return found

    def describe(self, file: FoundFile) -> DiskSegment | None:
        """What a file that was found holds, without what was freed of it; None when it is torn. Reads its footer only."""
        path = self.path(file.segment)
        try:
            with _opened(path) as descriptor:
                trailer = _read_trailer(descriptor, path)
                footer = os.pread(descriptor, trailer.footer_bytes, trailer.data_bytes)
            if xxhash.xxh3_64_intdigest(footer) != trailer.footer_hash:
                return None
            found = EntryTable.unpack(footer)
            if file.segment in self._freed_names:
                self._take_freed(file.segment, found)
        except (OSError, ValueError, RaycacheError):
            return None
        return DiskSegment(file.segment, trailer.data_bytes, found, file.age_s)

    def probe(self) -> None:
        """Return when the disk has taken a byte: not before, if it hangs. What it answers does not matter."""
        with suppress(OSError), (self._directory / f"probe{_TEMPORARY_SUFFIX}").open("wb", buffering=0) as file:
            file.write(b"?")
            os.fsync(file.fileno())

    def clear(self) -> None:
        """The end of the store: delete all its files, the directory too, and the base when that is empty then."""
        shutil.rmtree(self._directory, ignore_errors=True)
        with suppress(OSError):
            self._directory.parent.rmdir()

    def _freed_path(self, segment: SegmentId) -> Path:
        return self._directory / f"{segment}{_FREED_SUFFIX}"

    def _take_freed(self, segment: SegmentId, found: EntryTable) -> None:
        records = self._freed_path(segment).read_bytes()
        for start in range(0, len(records) - _FREED.size + 1, _FREED.size):
            version, block_index, _ = _FREED.unpack_from(records, start)
            block = BlockId(version, block_index)
            if _freed_record(block) == records[start : start + _FREED.size] and block in found:
                found.pop(block)


def open_disk(capacity: Capacity, cache_id: str, *, fsync: bool) -> DiskStore | None:
    """The store of a node's disk tier; None where there is none, or its folder cannot be made."""
    if capacity.disk_path is None or not capacity.disk_bytes:
        return None
    try:
        return DiskStore(open_slot(capacity.disk_path / f"raycache-{cache_id}"), fsync=fsync)
    except OSError:
        return None


def open_slot(base: Path) -> Path:
    """Lock the first free `slot-N` directory under `base` until this process ends.

    Raises:
        UnavailableError: the file system has no locks, or all slots are taken.
    """
    for number in range(_SLOTS_MAX):
        slot = base / f"slot-{number}"
        try:
            slot.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(slot, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            # Its last owner has just cleared it; the next one will do.
            continue
        except OSError as error:
            raise _mapped(error, slot) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), slot.stat()):
                _locked_slots.append(descriptor)
                return slot
            # Between open and lock its last owner deleted it, and another worker made a new one: what is locked has no name.
            os.close(descriptor)
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise _mapped(error, slot) from error
    raise UnavailableError(f"all {_SLOTS_MAX} slots under {base} are taken; give the disk tier another path")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _pread(descriptor: int, buffer: Bytes, offset: int, path: Path) -> None:
    """Fill a buffer from a file."""
    view = buffer.data.cast("B")
    while view:
        count = os.preadv(descriptor, [view], offset)
        if not count:
            raise CorruptBlockError(f"{path} is shorter than it was; load it again")
        view, offset = view[count:], offset + count


def _read_trailer(descriptor: int, path: Path) -> _Trailer:
    size_bytes = os.fstat(descriptor).st_size
    raw = os.pread(descriptor, _TRAILER.size, max(0, size_bytes - _TRAILER.size))
    if len(raw) == _TRAILER.size:
        trailer = _Trailer(*_TRAILER.unpack(raw))
        if trailer.magic == _MAGIC and trailer.data_bytes + trailer.footer_bytes + _TRAILER.size == size_bytes:
            return trailer
    raise CorruptBlockError(f"{path} is torn; delete it")


def _freed_record(block: BlockId) -> bytes:
    index = block.block_index.to_bytes(4, "little")
    return _FREED.pack(block.version, block.block_index, xxhash.xxh3_64_intdigest(block.version + index))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mapped(error: OSError, path: Path) -> RaycacheError:
    """The one place where the disk's errors become ours."""
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{path} does not exist; load it again")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpaceError(f"no space for {path}; free some, or give the disk tier another path")
    return UnavailableError(f"{path}: {error.strerror or error}; check the disk")
