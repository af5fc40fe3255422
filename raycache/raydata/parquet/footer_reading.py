"""Footers of the files of a plan: kept by the cache, or else read here, and kept for whoever plans next.

A footer is parsed once for each version of a file in the whole cluster. The master keeps what was made of it; when it is away,
or has let it go, the files are looked at again: a plan never fails because of that.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raycache.client.client import Client
from raycache.errors import RaycacheError
from raycache.filesystems.pyarrow import CacheHandler
from raycache.raydata.parquet.footers import FooterTable, RowGroups, Wanted, tables_of

logger = logging.getLogger("raycache")

#: Files looked at together, by one call for each worker: parsed footers take memory. The first time fewer, so that the first
#: task starts soon.
_FILES = 200
_FIRST_FILES = 128
#: So often at once, ahead of whoever asks.
_AHEAD = 2
#: Read of the end of a file before it is known how long footers are here.
_TAIL_BYTES = 64 << 10
#: Behind a footer: its length in 4 bytes, and the magic.
_END_BYTES = 8


class FooterReader:
    """Knows the row groups of files.

    Args:
        handler: of the filesystem that the files are read through.
        wanted: what is read of them.
    """

    def __init__(self, handler: CacheHandler, wanted: Wanted) -> None:
        self._handler = handler
        self._wanted = wanted
        self._tail_bytes = _TAIL_BYTES
        #: Footers that had to be read.
        self.parsed = 0

    def row_groups(self, names: Sequence[str], files_at_once: int | None = None) -> Iterator[tuple[int, RowGroups]]:
        """What is to be read of files, in their order. Those behind are looked at while whoever asks is busy.

        Args:
            names: of files.
            files_at_once: how many to look at together; None: as many as are good.

        Yields:
            How many files have been looked at by now, and the row groups of those behind the last ones.

        Raises:
            ArrowInvalid: a file that is no parquet.
            RaycacheError: a file that cannot be read.
        """
        threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="raycache-footer")
        try:
            ahead: deque[tuple[int, Future[RowGroups]]] = deque()
            for start, some in _cut(names, files_at_once):
                ahead.append((start + len(some), threads.submit(self._of, start, some)))
                if len(ahead) == _AHEAD:
                    end, found = ahead.popleft()
                    yield end, found.result()
            while ahead:
                end, found = ahead.popleft()
                yield end, found.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _of(self, start: int, names: Sequence[str]) -> RowGroups:
        client = self._handler.fs.client
        paths = [self._handler.path_of(name) for name in names]
        positions: dict[bytes, list[int]] = {}
        for position, meta in enumerate(client.locator.resolve(paths)):
            positions.setdefault(meta.version, []).append(position)
        parts = []
        for table in _kept(client, list(positions)):
            # A file may be listed twice; and tables speak of other files, too.
            pairs = [(at, position) for at, key in enumerate(table.keys) for position in positions.pop(key, ())]
            if pairs:
                parts.append(table.row_groups(self._wanted).of_files(*zip(*pairs, strict=True)))
        missing = sorted(position for some in positions.values() for position in some)
        if missing:
            found = self._read(client, [paths[i] for i in missing], [names[i] for i in missing])
            parts.append(found._replace(files=np.asarray(missing)[found.files]))
        return _in_order(parts, start)

    def _read(self, client: Client, paths: list[str], names: list[str]) -> RowGroups:
        """Parse footers, have them kept, and answer."""
        before = client.locator.resolve(paths)
        footers = []
        for name, end in zip(names, self._ends(client, paths, [m.file.size_bytes for m in before]), strict=True):
            try:
                footers.append(pq.read_metadata(pa.BufferReader(end)))
            except pa.ArrowException as error:
                raise type(error)(f"Could not open Parquet input source '{name}': {error}") from error
        self.parsed += len(footers)
        after = client.locator.resolve(paths)
        parts = []
        kept = []
        for table, positions in tables_of([meta.version for meta in after], footers):
            found = table.row_groups(self._wanted)
            parts.append(found._replace(files=np.asarray(positions)[found.files]))
            # Of a file that was replaced meanwhile it is not known which version was read.
            if all(before[i].version == after[i].version for i in positions):
                kept.append(table)
        _keep(client, kept)
        return _in_order(parts)

    def _ends(self, client: Client, paths: list[str], sizes_bytes: list[int]) -> list[pa.Buffer]:
        """The ends of files, each with the whole footer."""
        tail_bytes = self._tail_bytes
        ends = client.read_ranges(paths, [(max(0, size - tail_bytes), None) for size in sizes_bytes])
        lengths = [_footer_bytes(end) for end in ends]
        cut = [i for i, end in enumerate(ends) if len(end) < min(lengths[i], sizes_bytes[i])]
        starts = [(max(0, sizes_bytes[i] - lengths[i]), None) for i in cut]
        for i, end in zip(cut, client.read_ranges([paths[i] for i in cut], starts) if cut else (), strict=True):
            ends[i] = end
        self._tail_bytes = min(_TAIL_BYTES, max(lengths) * 5 // 4)
        return ends


def _footer_bytes(end: pa.Buffer) -> int:
    """How much a footer takes, by the end of its file; nonsense where that is no parquet."""
    return _END_BYTES + int.from_bytes(end[-_END_BYTES:-4].to_pybytes() if len(end) >= _END_BYTES else b"", "little")


def _in_order(parts: Sequence[RowGroups], start: int = 0) -> RowGroups:
    """All of them, file by file, with the positions counted from `start`."""
    found = RowGroups.together(parts)
    # Tables have an order of files of their own.
    found = found.take(np.argsort(found.files, kind="stable"))
    return found._replace(files=found.files + start)


def _cut(names: Sequence[str], files_at_once: int | None) -> Iterator[tuple[int, Sequence[str]]]:
    start, size = 0, files_at_once or _FIRST_FILES
    while start < len(names):
        yield start, names[start : start + size]
        start += size
        size = files_at_once or _FILES


def _kept(client: Client, keys: Sequence[bytes]) -> list[FooterTable]:
    """What the master keeps of some versions, and of others that came with them."""
    try:
        return [FooterTable.from_bytes(content) for content in client.calls.master("footers", b"".join(keys))]
    except RaycacheError as error:
        logger.debug("no footers are known: %s", error)
        return []


def _keep(client: Client, tables: Sequence[FooterTable]) -> None:
    try:
        client.calls.master("keep_footers", [(b"".join(t.keys), t.to_bytes().to_pybytes()) for t in tables])
    except RaycacheError as error:
        logger.debug("footers cannot be kept: %s", error)
