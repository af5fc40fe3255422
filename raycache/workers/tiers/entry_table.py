"""The blocks of one segment, packed: some hundred bytes for a small file, where objects take ten times as much.

Theory of operation. A row for each block, sorted by (version, block index), so that one is found by bisection; and a
description for each file, in the order of versions: size, mtime, etag, and what its URI has beyond the beginning that
all of them share. `_by_uri` is the order of the files by URI. Nothing moves when a block is taken out: its row is marked
as gone, and a file all of whose rows are gone is not named any more.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from raycache.ranges import FIRST_PAGE, Grid
from raycache.rules import Pattern
from raycache.types import NO_MTIME_NS, BlockId, FileVersion, VersionId
from raycache.workers.effects import SegmentEntry

_VERSION_BYTES = 16
_KEY_BYTES = _VERSION_BYTES + 4
#: Size, mtime, length of the etag; the etag and the rest of the URI follow.
_FILE = struct.Struct("<QqH")
#: Of a whole table: blocks, files, bytes of the beginning of all URIs, bytes of the files' descriptions.
_PACKED = struct.Struct("<IIIQ")
#: S3 keys and etags may hold what is no valid text.
_TEXT = ("utf-8", "surrogatepass")


class Columns(NamedTuple):
    """Blocks as a reader's table of a segment has them; shape (E,) each."""

    versions: list[VersionId]
    blocks: list[int]
    offsets: list[int]
    lengths: list[int]


def spans_of(patterns: Iterable[Pattern]) -> list[tuple[str, str | None]]:
    """Where the bases of patterns and what is below them stand among sorted URIs: from one up to another, not overlapping."""
    found: list[tuple[str, str | None]] = []
    for base in sorted({pattern.base for pattern in patterns}):
        for start, end in [(base, base + "\0"), (base + "/", base + "0")] if base else [("", None)]:
            inside = found and (found[-1][1] is None or start < found[-1][1])
            if not inside:
                found.append((start, end))
    return found


class EntryTable:
    """What can be read from a segment. Iterates over block ids, by (version, block index)."""

    __slots__ = (
        "_by_uri",
        "_file_of",
        "_files",
        "_here",
        "_keys",
        "_lengths",
        "_live_bytes",
        "_offsets",
        "_prefix",
        "_starts",
        "_taken",
    )

    def __init__(self, entries: Iterable[tuple[BlockId, SegmentEntry]]) -> None:
        """Pack blocks, none of them twice; versions have 16 bytes."""
        rows = sorted(entries, key=lambda row: row[0])
        files: dict[VersionId, FileVersion] = {block.version: entry.version for block, entry in rows}
        uris = [file.uri for file in files.values()]
        numbers = {version: number for number, version in enumerate(files)}
        self._keys = b"".join(_row_key(block) for block, _ in rows)
        self._offsets = array("Q", [entry.offset for _, entry in rows])
        self._lengths = array("Q", [entry.length for _, entry in rows])
        self._file_of = array("I", [numbers[block.version] for block, _ in rows])
        #: By row: 1 while the block can be read.
        self._here = bytearray(b"\1" * len(rows))
        self._taken = 0
        self._live_bytes = sum(self._lengths)
        # Of characters, not of directories.
        self._prefix = os.path.commonprefix(uris)  # noqa: RUF071
        packed = [_pack(file, len(self._prefix)) for file in files.values()]
        self._files = b"".join(packed)
        #: By file number, and the end.
        self._starts = array("I", [0])
        for part in packed:
            self._starts.append(self._starts[-1] + len(part))
        self._by_uri = array("I", sorted(range(len(uris)), key=uris.__getitem__))

    def __len__(self) -> int:
        return len(self._here) - self._taken

    def __contains__(self, block: BlockId) -> bool:
        return self._row(block) is not None

    def __getitem__(self, block: BlockId) -> SegmentEntry:
        return self._entry(self._require(block))

    def __iter__(self) -> Iterator[BlockId]:
        return (self._block(row) for row in self._rows())

    def __repr__(self) -> str:
        return f"EntryTable({dict(self.items())})"

    def values(self) -> Iterator[SegmentEntry]:
        """The entries, in the order of their ids."""
        return (self._entry(row) for row in self._rows())

    def items(self) -> Iterator[tuple[BlockId, SegmentEntry]]:
        """Blocks and their entries, in that order."""
        return ((self._block(row), self._entry(row)) for row in self._rows())

    def single_versions(self) -> list[VersionId] | None:
        """The versions, if of each file the first block is all there is; else None."""
        if self._taken or len(self._starts) != len(self._file_of) + 1 or any(self._indices()):
            return None
        keys = self._keys
        return [keys[start : start + _VERSION_BYTES] for start in range(0, len(keys), _KEY_BYTES)]

    def misfits(self, grid: Grid) -> list[BlockId]:
        """Blocks that are none where files are cut so."""
        if not self._here:
            return []
        indices = self._indices().astype(np.int64)
        starts = np.frombuffer(self._starts, dtype=np.uint32)[:-1].astype(np.int64)
        files = np.frombuffer(self._files, dtype=np.uint8)
        sizes = files[starts[:, None] + np.arange(8)].copy().view("<u8")[:, 0].astype(np.int64)
        sizes = sizes[np.frombuffer(self._file_of, dtype=np.uint32)]
        pages = indices >= FIRST_PAGE
        units = np.where(pages, grid.page_size_bytes, grid.block_size_bytes)
        offsets = np.where(pages, indices - FIRST_PAGE, indices) * units
        lengths = np.minimum(units, sizes - offsets)
        good = (
            (offsets < sizes) & (lengths == np.frombuffer(self._lengths, dtype=np.uint64)) & (grid.has_pages | ~pages)
        )
        return [self._block(row) for row in np.flatnonzero(~good).tolist() if self._here[row]]

    def _indices(self) -> npt.NDArray[np.uint32]:
        keys = np.frombuffer(self._keys, dtype=np.uint8).reshape(-1, _KEY_BYTES)
        return keys[:, _VERSION_BYTES:].copy().view(">u4")[:, 0]

    def pack(self) -> bytes:
        """All there is, as `unpack` takes it."""
        if self._taken:
            return EntryTable(self.items()).pack()
        prefix = self._prefix.encode(*_TEXT)
        head = _PACKED.pack(len(self._here), len(self._starts) - 1, len(prefix), len(self._files))
        columns = (self._offsets, self._lengths, self._file_of, self._starts, self._by_uri)
        return b"".join((head, prefix, self._files, self._keys, *(column.tobytes() for column in columns)))

    @classmethod
    def unpack(cls, packed: bytes) -> EntryTable:
        """What `pack` gave on this machine; costs little, however many blocks there are.

        Raises:
            ValueError: it is something else.
        """
        if len(packed) < _PACKED.size:
            raise ValueError(f"{len(packed)} bytes are no packed table")
        rows, files, prefix_bytes, files_bytes = _PACKED.unpack_from(packed)
        table = cls(())
        place = _PACKED.size

        def take(size: int) -> bytes:
            nonlocal place
            place += size
            return packed[place - size : place]

        table._prefix = take(prefix_bytes).decode(*_TEXT)
        table._files, table._keys = take(files_bytes), take(rows * _KEY_BYTES)
        for column, count in (
            (table._offsets, rows),
            (table._lengths, rows),
            (table._file_of, rows),
            (table._starts, files + 1),
            (table._by_uri, files),
        ):
            del column[:]
            column.frombytes(take(count * column.itemsize))
        if place != len(packed) or len(table._by_uri) != files:
            raise ValueError(f"{len(packed)} bytes are no packed table of {rows} blocks")
        table._here = bytearray(b"\1") * rows
        table._live_bytes = sum(table._lengths)
        return table

    def place(self, block: BlockId) -> tuple[int, int]:
        """(offset, length) of a block that is here; cheaper than its entry."""
        row = self._require(block)
        return self._offsets[row], self._lengths[row]

    def columns(self) -> Columns:
        """All blocks, without their files."""
        return self._columns(self._rows())

    def near(self, blocks: Sequence[BlockId], around: int) -> Columns:
        """Blocks that are here, and those of some `around` files whose names are nearest to that of the first one."""
        rows = dict.fromkeys(self._require(block) for block in blocks)
        order = self._by_uri
        place = bisect_left(order, self._uri(self._file_of[next(iter(rows))]), key=self._uri)
        # What follows is more likely to be wanted than what comes before.
        for number in order[max(0, place - around // 4) : place + around]:
            rows.update(dict.fromkeys(row for row in self._rows_of(number) if self._here[row]))
        return self._columns(rows)

    def _columns(self, rows: Iterable[int]) -> Columns:
        rows, keys, end = list(rows), self._keys, _VERSION_BYTES
        return Columns(
            [keys[row * _KEY_BYTES : row * _KEY_BYTES + end] for row in rows],
            [int.from_bytes(keys[row * _KEY_BYTES + end : (row + 1) * _KEY_BYTES], "big") for row in rows],
            [self._offsets[row] for row in rows],
            [self._lengths[row] for row in rows],
        )

    @property
    def live_bytes(self) -> int:
        """Bytes of the blocks that can be read."""
        return self._live_bytes

    def file(self, version: VersionId) -> FileVersion:
        """The file of a version of which a block is or was here."""
        return self._file(self._file_of[self._first_row(version)])

    def pop(self, block: BlockId) -> SegmentEntry:
        """Take a block out."""
        row = self._require(block)
        self._here[row] = 0
        self._taken += 1
        self._live_bytes -= self._lengths[row]
        return self._entry(row)

    def named(self, spans: Sequence[tuple[str, str | None]]) -> Iterator[tuple[str, list[BlockId]]]:
        """(uri, its blocks here) of files from one URI up to another (None: to the last), a span after the other.

        Blocks may be taken out meanwhile. A file in two spans is given twice.
        """
        for start, end in spans:
            if not self._may_have(start, end):
                continue
            order = self._by_uri
            for place in range(bisect_left(order, start, key=self._uri), len(order)):
                uri = self._uri(order[place])
                if end is not None and uri >= end:
                    break
                blocks = [self._block(row) for row in self._rows_of(order[place]) if self._here[row]]
                if blocks:
                    yield uri, blocks

    def has_named(self, spans: Sequence[tuple[str, str | None]]) -> bool:
        """Whether any file in a span is or was here; cheaper than asking for the first one."""
        order = self._by_uri
        for start, end in spans:
            if self._may_have(start, end):
                place = bisect_left(order, start, key=self._uri)
                if place < len(order) and (end is None or self._uri(order[place]) < end):
                    return True
        return False

    def _may_have(self, start: str, end: str | None) -> bool:
        prefix = self._prefix
        return (end is None or prefix < end) and (prefix >= start or start.startswith(prefix))

    # --- rows and files -----------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[int]:
        here = self._here
        return (row for row in range(len(here)) if here[row]) if self._taken else iter(range(len(here)))

    def _row(self, block: BlockId) -> int | None:
        key, keys = _row_key(block), self._keys
        row = bisect_left(range(len(self._here)), key, key=lambda row: keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES])
        found = row < len(self._here) and keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES] == key
        return row if found and self._here[row] else None

    def _require(self, block: BlockId) -> int:
        row = self._row(block)
        if row is None:
            raise KeyError(block)
        return row

    def _first_row(self, version: VersionId) -> int:
        keys = self._keys
        row = bisect_left(
            range(len(self._here)), version, key=lambda row: keys[row * _KEY_BYTES : row * _KEY_BYTES + _VERSION_BYTES]
        )
        if not keys.startswith(version, row * _KEY_BYTES):
            raise KeyError(version)
        return row

    def _rows_of(self, number: int) -> range:
        if len(self._starts) > len(self._file_of):
            # Every file has one block.
            return range(number, number + 1)
        return range(bisect_left(self._file_of, number), bisect_left(self._file_of, number + 1))

    def _block(self, row: int) -> BlockId:
        key = self._keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]
        return BlockId(key[:_VERSION_BYTES], int.from_bytes(key[_VERSION_BYTES:], "big"))

    def _entry(self, row: int) -> SegmentEntry:
        block = self._block(row)
        return SegmentEntry(self._file(self._file_of[row]), block.block_index, self._offsets[row], self._lengths[row])

    def _version(self, number: int) -> VersionId:
        return self._block(bisect_left(self._file_of, number)).version

    def _file(self, number: int) -> FileVersion:
        start, end = self._starts[number], self._starts[number + 1]
        size_bytes, mtime_ns, etag_bytes = _FILE.unpack_from(self._files, start)
        start += _FILE.size
        etag = self._files[start : start + etag_bytes].decode(*_TEXT)
        return FileVersion(
            self._prefix + self._files[start + etag_bytes : end].decode(*_TEXT),
            size_bytes,
            etag,
            None if mtime_ns == NO_MTIME_NS else mtime_ns,
        )

    def _uri(self, number: int) -> str:
        start, end = self._starts[number], self._starts[number + 1]
        start += _FILE.size + _FILE.unpack_from(self._files, start)[2]
        return self._prefix + self._files[start:end].decode(*_TEXT)


def _row_key(block: BlockId) -> bytes:
    return block.version + block.block_index.to_bytes(_KEY_BYTES - _VERSION_BYTES, "big")


def _pack(file: FileVersion, prefix_chars: int) -> bytes:
    etag = file.etag.encode(*_TEXT)
    mtime_ns = NO_MTIME_NS if file.mtime_ns is None else file.mtime_ns
    return _FILE.pack(file.size_bytes, mtime_ns, len(etag)) + etag + file.uri[prefix_chars:].encode(*_TEXT)
