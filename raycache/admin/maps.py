"""The cache map: what is cached, how hot it is and what is pinned, as one parquet file for the next cluster.

One row for each file version, by URI, since that is what the next cluster shares with this one:

| column | meaning |
|---|---|
| `uri`, `size_bytes`, `etag`, `mtime_ns` | the file version; the URI as `paths.sayable` spells it |
| `blocks` | which blocks were held, as a little-endian bit mask |
| `uses`, `idle_s` | how often its segments were used, in all workers, and seconds since the last use (-1: never) |
| `pinned` | whether the rules pinned it |

The size of a block and the pins are in the file's metadata. Rows are read and written by the tens of thousands; of an
export nothing else is held, of an import the map's columns.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raycache.client.topology import Topology
from raycache.errors import InvalidRequestError, UnavailableError
from raycache.hashing import extent_key, place_many
from raycache.messages import InventoryReply, Tally, WantedFile
from raycache.paths import exact, sayable
from raycache.ranges import block_count, mask_bytes, union
from raycache.rules import Pattern, Rule, RuleKind, RuleTable
from raycache.types import FileVersion, VersionId, WorkerId

ROWS_PER_GROUP = 50_000
_BLOCK_SIZE_KEY, _PINS_KEY = b"raycache.block_size_bytes", b"raycache.pins"
_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("mtime_ns", pa.int64()),
        ("blocks", pa.binary()),
        ("uses", pa.int64()),
        ("idle_s", pa.float64()),
        ("pinned", pa.bool_()),
    ]
)


class Row(NamedTuple):
    """One file version as some worker, or all of them, hold it."""

    file: FileVersion
    mask: int
    uses: int
    idle_s: float
    pinned: bool


# --- writing ----------------------------------------------------------------------------------------------------------


def rows_of(pages: Iterable[InventoryReply]) -> Iterator[tuple[tuple[str, VersionId], Row]]:
    """The rows of one worker, with their sort key."""
    for page in pages:
        columns = zip(page.files.versions(), page.masks, page.uses, page.idle_s, page.pinned, strict=True)
        for row in itertools.starmap(Row, columns):
            yield (row.file.uri, row.file.id()), row


def merge(workers: Sequence[Iterator[tuple[tuple[str, VersionId], Row]]]) -> Iterator[Row]:
    """One row for each file version, of the sorted rows of all workers."""
    ordered = heapq.merge(*workers, key=lambda item: item[0])
    for _, same in itertools.groupby(ordered, key=lambda item: item[0]):
        rows = [row for _, row in same]
        first = rows[0]
        uses, idle_s, pinned = first[2:]
        for row in rows[1:]:
            uses += row.uses
            idle_s = max(idle_s, row.idle_s) if min(idle_s, row.idle_s) < 0 else min(idle_s, row.idle_s)
            pinned = pinned or row.pinned
        yield Row(first.file, union(row.mask for row in rows), uses, idle_s, pinned)


def write(file: IO[bytes], rows: Iterable[Row], block_size_bytes: int, rules: RuleTable) -> tuple[int, int]:
    """Write a map.

    Returns:
        (files, bytes of the blocks held, each once).
    """
    pins = [[*rule.pattern, rule.value] for rule in rules.rules if rule.kind is RuleKind.PIN]
    metadata = {_BLOCK_SIZE_KEY: str(block_size_bytes).encode(), _PINS_KEY: json.dumps(pins).encode()}
    files = size_bytes = 0
    rows = iter(rows)
    with pq.ParquetWriter(file, _SCHEMA.with_metadata(metadata), compression="zstd") as writer:
        while chunk := list(itertools.islice(rows, ROWS_PER_GROUP)):
            files += len(chunk)
            size_bytes += sum(mask_bytes(row.mask, row.file.size_bytes, block_size_bytes) for row in chunk)
            columns = [list(column) for column in zip(*(_cells(row) for row in chunk), strict=True)]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA.with_metadata(metadata)))
    return files, size_bytes


def _cells(row: Row) -> tuple[Any, ...]:
    blocks = row.mask.to_bytes((row.mask.bit_length() + 7) // 8, "little")
    return (sayable(row.file.uri), *row.file[1:], blocks, row.uses, row.idle_s, row.pinned)


# --- reading ----------------------------------------------------------------------------------------------------------


class CacheMap:
    """A map that was read.

    Args:
        data: the parquet file.
        name: for errors.

    Raises:
        InvalidRequestError: it is no map.
    """

    def __init__(self, data: Any, name: str) -> None:
        try:
            self._table = pq.read_table(pa.BufferReader(data))
            metadata = self._table.schema.metadata or {}
            self._block_size_bytes = int(metadata[_BLOCK_SIZE_KEY])
            pins = json.loads(metadata[_PINS_KEY])
            if self._table.schema.names != _SCHEMA.names:
                raise KeyError("columns")
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise InvalidRequestError(f"{name} is no cache map; give one that export_map has written") from error
        #: The pins of the cluster that wrote it, the oldest first.
        self.pins = [Rule(RuleKind.PIN, Pattern(base, glob), value) for base, glob, value in pins]

    def __len__(self) -> int:
        """Files in it."""
        return int(self._table.num_rows)

    def hottest_first(self, block_size_bytes: int) -> Iterator[list[Row]]:
        """All rows in chunks: pinned files, then the most often used, of those the most recently used.

        Args:
            block_size_bytes: of the masks; where the map was written with another one they are converted.
        """
        idle = self._table["idle_s"].to_numpy()
        order = np.lexsort(
            (
                np.where(idle < 0, np.inf, idle),
                -self._table["uses"].to_numpy(),
                ~self._table["pinned"].to_numpy(),
            )
        )
        for start in range(0, len(order), ROWS_PER_GROUP):
            chunk = self._table.take(order[start : start + ROWS_PER_GROUP]).to_pydict()
            yield [
                Row(
                    file := FileVersion(exact(uri), size_bytes, etag, mtime_ns),
                    self._mask(int.from_bytes(blocks, "little"), file, block_size_bytes),
                    uses,
                    idle_s,
                    pinned,
                )
                for uri, size_bytes, etag, mtime_ns, blocks, uses, idle_s, pinned in zip(*chunk.values(), strict=True)
            ]

    def _mask(self, mask: int, file: FileVersion, block_size_bytes: int) -> int:
        old = self._block_size_bytes
        if old == block_size_bytes:
            return mask
        found = 0
        for index in range(block_count(file.size_bytes, old)):
            if mask >> index & 1:
                end = min(file.size_bytes, (index + 1) * old)
                first, last = index * old // block_size_bytes, (end - 1) // block_size_bytes
                found |= ((1 << (last - first + 1)) - 1) << first
        return found


class FreeSpace:
    """What still fits where: blocks have their places by the hash, so each worker is filled for itself.

    Loading more than fits would evict what was loaded first, the hottest.

    Args:
        free_bytes: by worker.
    """

    def __init__(self, free_bytes: dict[WorkerId, int]) -> None:
        self._free_bytes = dict(free_bytes)

    def fitting(self, rows: Sequence[Row], cluster: Topology) -> Iterator[tuple[Row, int]]:
        """Each row with the blocks of it that fit, as a mask; room is taken for them."""
        workers = cluster.view.workers
        if not workers:
            raise UnavailableError("no worker is alive; wait for one, then import the map again")
        per_extent = cluster.blocks_per_extent
        extents = [range(-(-row.mask.bit_length() // per_extent)) for row in rows]
        ids = [row.file.id() for row in rows]
        keys = [extent_key(version, extent) for version, found in zip(ids, extents, strict=True) for extent in found]
        owners = iter(place_many(np.array(keys, dtype=np.uint64), workers)[:, 0].tolist() if keys else [])
        for row, found in zip(rows, extents, strict=True):
            fits = 0
            for extent in found:
                part = row.mask & (((1 << per_extent) - 1) << extent * per_extent)
                size_bytes = mask_bytes(part, row.file.size_bytes, cluster.block_size_bytes)
                owner = workers[next(owners)].worker
                if size_bytes <= self._free_bytes.get(owner, 0):
                    self._free_bytes[owner] -= size_bytes
                    fits |= part
            yield row, fits


class LakeState(NamedTuple):
    """What stands at a URI of the map now."""

    #: None: nothing.
    file: FileVersion | None
    #: The blocks that this cluster holds already.
    held_mask: int


class ImportPlan:
    """What to load of a map, and what was found out on the way.

    Args:
        look_up: tells what stands at URIs now.
        room: what fits.
        cluster: tells where blocks go.
        shown_max: URIs of changed files that are kept.
    """

    def __init__(
        self,
        look_up: Callable[[list[str]], list[LakeState]],
        room: FreeSpace,
        cluster: Callable[[], Topology],
        shown_max: int,
    ) -> None:
        self._look_up = look_up
        self._room = room
        self._cluster = cluster
        self._shown_max = shown_max
        #: Files, and bytes of their blocks in the map: all of them; those that are another version now; those that are
        #: gone; those that find no room; and those that are cached here already.
        self.total = self.changed = self.removed = self.no_room = self.already = Tally()
        self.changed_uris: list[str] = []

    def wanted(self, chunks: Iterable[list[Row]]) -> Iterator[WantedFile]:
        """What is still the same in the lake, is not here, and fits."""
        for chunk in chunks:
            cluster = self._cluster()
            size = cluster.block_size_bytes
            same: list[Row] = []
            for row, now in zip(chunk, self._look_up([row.file.uri for row in chunk]), strict=True):
                tally = Tally(1, mask_bytes(row.mask, row.file.size_bytes, size))
                self.total = self.total.plus(tally)
                if now.file is None:
                    self.removed = self.removed.plus(tally)
                elif now.file.id() != row.file.id():
                    self.changed = self.changed.plus(tally)
                    if len(self.changed_uris) < self._shown_max:
                        self.changed_uris.append(row.file.uri)
                else:
                    missing = row.mask & ~now.held_mask
                    self.already = self.already.plus(
                        Tally(not missing, mask_bytes(row.mask & ~missing, row.file.size_bytes, size))
                    )
                    if missing:
                        same.append(row._replace(mask=missing))
            for row, fits in self._room.fitting(same, cluster):
                if fits != row.mask:
                    self.no_room = self.no_room.plus(Tally(1, mask_bytes(row.mask & ~fits, row.file.size_bytes, size)))
                if fits:
                    yield WantedFile(row.file, fits)
