"""The master's memory over restarts: a list of records, each safe before its effect is confirmed.

A record is one line: the xxh3 of its JSON, and the JSON. A line that does not fit its hash was being written when the
master died, and counts as never written. Records hold what mounts hold, so secrets too: files are readable by their
owner only; a journal in a bucket gives the readers of that bucket these secrets.

`FileJournal` appends to one file and syncs it. `UfsJournal` writes one object per record, since objects cannot be
appended to. Both are made small again by `compact`, which replaces all records by others with the same meaning, at once.
Beside the journal one record is kept that a newer one replaces: counters, which are worth a write now and then, not one each.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import xxhash

from raycache import paths
from raycache.errors import InvalidRequestError, NoSpaceError, NotFoundError, RaycacheError, UnavailableError
from raycache.ufs.base import UnderStorage
from raycache.ufs.trees import pages

Record: TypeAlias = dict[str, Any]

FILE_NAME = "raycache-journal"
#: Ends the name of what is kept beside the journal.
_KEPT = "-kept"
_HASH_DIGITS = 16


class Journal(Protocol):
    """What all journals promise. Not safe for two writers at once."""

    def append(self, record: Record) -> None:
        """Add one record of JSON values; it is durable on return.

        Raises:
            UnavailableError, NoSpaceError, DeniedError: it is not written.
        """
        ...

    def replay(self) -> list[Record]:
        """All whole records, in order."""
        ...

    def compact(self, records: list[Record]) -> None:
        """Replace everything by these records: after a crash either the old or the new ones are there, whole."""
        ...

    def keep(self, record: Record) -> None:
        """Keep one record beside the others, in place of the one kept before; it need not survive the machine.

        Raises:
            UnavailableError, NoSpaceError, DeniedError: the one before is still there.
        """
        ...

    def kept(self) -> Record | None:
        """The record kept last; None when there is none that is whole."""
        ...


def open_journal(location: str, cache_id: str = "", *, now_ns: Callable[[], int] = time.time_ns) -> Journal:
    """Open the journal of a cache, or begin one, and record this start of its master.

    Args:
        location: a directory of this machine, or a UFS URI to put objects below; credentials are the environment's.
        cache_id: one incarnation of the cache; tells a restarted master from the first of another cache.
        now_ns: the time.

    Raises:
        InvalidRequestError: no location.
        UnavailableError, DeniedError, NoSpaceError: it cannot be written.
    """
    journal: Journal
    if not location:
        raise InvalidRequestError("setting journal is empty; give a directory of the head node, or a URI")
    if "://" in location:
        from raycache.ufs.open import open_storage

        root_uri, key = paths.split_uri(paths.normalise(location))
        journal = UfsJournal(open_storage(root_uri, {}), key)
    else:
        journal = FileJournal(Path(location).expanduser() / FILE_NAME)
    journal.append({"op": "start", "start_ns": now_ns(), "cache_id": cache_id})
    return journal


class FileJournal:
    """One file on the head node's disk.

    Args:
        path: the file; its directory is made when the first record is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checked = False

    def append(self, record: Record) -> None:
        """See `Journal.append`."""
        if not self._checked:
            self.replay()  # a torn line at the end would swallow the new one
        try:
            new = not self._path.exists()
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    _write(descriptor, _line(record))
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
            if new:
                _sync_directory(self._path.parent)
        except OSError as error:
            raise self._mapped(error) from error

    def replay(self) -> list[Record]:
        """See `Journal.replay`. Lines that are not whole are removed from the file."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise self._mapped(error) from error
        records, clean = _parse(data)
        if not clean:
            self.compact(records)
        self._checked = True
        return records

    def compact(self, records: list[Record]) -> None:
        """See `Journal.compact`."""
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write(descriptor, b"".join(_line(record) for record in records))
            finally:
                os.close(descriptor)
            temporary.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise self._mapped(error) from error

    def keep(self, record: Record) -> None:
        """See `Journal.keep`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._aside.with_name(self._aside.name + ".new")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_line(record))
            temporary.replace(self._aside)
        except OSError as error:
            raise self._mapped(error) from error

    def kept(self) -> Record | None:
        """See `Journal.kept`."""
        try:
            records, _ = _parse(self._aside.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._mapped(error) from error
        return records[-1] if records else None

    @property
    def _aside(self) -> Path:
        return self._path.with_name(self._path.name + _KEPT)

    def _mapped(self, error: OSError) -> RaycacheError:
        reason = error.strerror or type(error).__name__
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpaceError(f"the journal {self._path} cannot be written: {reason}; make room there")
        return UnavailableError(f"the journal {self._path} cannot be used: {reason}; check the setting journal")


class UfsJournal:
    """Objects below a prefix: `<number>.record` each, and `<number>.snapshot`, which stands for all numbers up to its own.

    Args:
        storage: where.
        prefix: a directory's key in it; "" for its root.
    """

    def __init__(self, storage: UnderStorage, prefix: str) -> None:
        self._storage = storage
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self._next: int | None = None

    def append(self, record: Record) -> None:
        """See `Journal.append`."""
        number = self._number()
        self._storage.put(self._key(number, "record"), _line(record))
        self._next = number + 1

    def replay(self) -> list[Record]:
        """See `Journal.replay`. An object that is not whole is passed over."""
        numbers = self._numbers()
        records: list[Record] = []
        first = 0
        for number in sorted(numbers["snapshot"], reverse=True):
            found, clean = self._read(number, "snapshot")
            if clean:
                records, first = found, number + 1
                break
        for number in sorted(numbers["record"]):
            if number >= first:
                records += self._read(number, "record")[0]
        return records

    def compact(self, records: list[Record]) -> None:
        """See `Journal.compact`."""
        old = self._numbers()
        number = self._number()
        self._storage.put(self._key(number, "snapshot"), b"".join(_line(record) for record in records))
        self._next = number + 1
        self._storage.delete([self._key(one, kind) for kind, found in old.items() for one in sorted(found)])

    def keep(self, record: Record) -> None:
        """See `Journal.keep`."""
        self._storage.put(self._prefix + FILE_NAME + _KEPT, _line(record))

    def kept(self) -> Record | None:
        """See `Journal.kept`."""
        key = self._prefix + FILE_NAME + _KEPT
        try:
            data = bytes(self._storage.read(key, 0, self._storage.head(key).size_bytes))
        except NotFoundError:
            return None
        records, _ = _parse(data)
        return records[-1] if records else None

    def _number(self) -> int:
        if self._next is None:
            self._next = max((number for found in self._numbers().values() for number in found), default=-1) + 1
        return self._next

    def _key(self, number: int, kind: str) -> str:
        return f"{self._prefix}{number:020d}.{kind}"

    def _numbers(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {"record": [], "snapshot": []}
        for page in pages(self._storage, self._prefix):
            for info in page.objects:
                name, _, kind = info.key[len(self._prefix) :].partition(".")
                if kind in found and name.isdecimal():
                    found[kind].append(int(name))
        return found

    def _read(self, number: int, kind: str) -> tuple[list[Record], bool]:
        key = self._key(number, kind)
        size = self._storage.head(key).size_bytes
        return _parse(bytes(self._storage.read(key, 0, size)) if size else b"")


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode()
    return f"{xxhash.xxh3_64_intdigest(text):0{_HASH_DIGITS}x} ".encode() + text + b"\n"


def _parse(data: bytes) -> tuple[list[Record], bool]:
    """The whole records of some lines, and whether all were whole."""
    records: list[Record] = []
    *lines, tail = data.split(b"\n")
    clean = not tail
    for line in lines:
        digest, _, text = line.partition(b" ")
        if digest.decode("ascii", "replace") == f"{xxhash.xxh3_64_intdigest(text):0{_HASH_DIGITS}x}":
            records.append(json.loads(text))
        else:
            clean = False
    return records, clean


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
