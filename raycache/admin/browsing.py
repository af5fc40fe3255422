"""Looking around in the namespace: what stands in a directory, how much of it is cached, where, and how hot it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from raycache.admin import residency
from raycache.admin.mounts import entries_of
from raycache.admin.patterns import path_of
from raycache.cache import Cache
from raycache.client.ports import WorkerCall
from raycache.errors import RaycacheError
from raycache.messages import FileHeat, decode
from raycache.ranges import union
from raycache.results import Entry, Result
from raycache.rules import Matcher
from raycache.types import FileKind, FileVersion

_HEAT_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class CachedEntry(Result):
    """What stands at a path, and what of it is cached now, exactly. Of a directory nothing is said of the cache."""

    entry: Entry
    #: Bytes that some node holds, and of these in memory and on disk (a block may be in both); None for a directory.
    bytes_cached: int | None
    bytes_memory: int | None
    bytes_disk: int | None
    #: Bytes held, by node id.
    nodes: dict[str, int]
    #: Whether a rule pins it: a file, or a directory and what comes into it.
    pinned: bool = False
    #: Uses of the file's segments, on all nodes together; see `HeatRow`. None for a directory.
    uses: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class HeatRow(Result):
    """How much one file is used, on all nodes together."""

    path: str
    uses: int
    bytes_memory: int
    bytes_disk: int


def list_directory(cache: Cache, path: str) -> list[Entry]:
    """What stands in a directory, sorted by path.

    Raises:
        NotFoundError, NotADirectoryRequestError, InvalidRequestError: see `Cache.ls`.
    """
    meta = cache.locator.resolve([path])[0]
    reply = cache.locator.listing(meta.path, recursive=False)
    return entries_of(meta.path, reply)


def with_residency(cache: Cache, entries: Sequence[Entry]) -> list[CachedEntry]:
    """Ask the workers what they hold of these entries; one call per worker."""
    size = cache.block_size_bytes
    metas = cache.locator.resolve([entry.path for entry in entries])
    files: dict[str, FileVersion] = {m.path: m.file for m in metas if m.kind is FileKind.FILE}
    held = residency.ask(cache.calls, cache.locator.view, list(files.values()))
    rows = {path: position for position, path in enumerate(files)}
    pins = Matcher(cache.calls.master("rules"))
    found: list[CachedEntry] = []
    for entry, meta in zip(entries, metas, strict=True):
        position = rows.get(meta.path)
        if position is None:
            found.append(CachedEntry(entry, None, None, None, {}, pins.of(entry.uri).pinned))
            continue
        cached, memory, disk = (
            residency.bytes_of(union(masks[position].values()), meta.file, size)
            for masks in (held.masks, held.memory, held.disk)
        )
        nodes = {worker: residency.bytes_of(mask, meta.file, size) for worker, mask in held.masks[position].items()}
        found.append(CachedEntry(entry, cached, memory, disk, nodes, pins.of(entry.uri).pinned, held.uses[position]))
    return found


def heat(cache: Cache, limit: int) -> tuple[list[HeatRow], list[HeatRow]]:
    """The hottest and the coldest files of those held.

    Returns:
        (hottest first, coldest first), at most `limit` each, no file in both.
    """
    workers = cache.refresh_view().workers
    replies = cache.calls.workers([WorkerCall(w.actor_name, "heat", (limit,)) for w in workers], _HEAT_TIMEOUT_S)
    sums: dict[str, HeatRow] = {}
    for reply in replies:
        if isinstance(reply, RaycacheError):
            continue
        rows: list[FileHeat] = decode(reply)
        for row in rows:
            known = sums.get(row.uri, HeatRow("", 0, 0, 0))
            sums[row.uri] = HeatRow(
                path_of(cache.locator.mounts, row.uri),
                known.uses + row.uses,
                known.bytes_memory + row.memory_bytes,
                known.bytes_disk + row.disk_bytes,
            )
    ordered = sorted(sums.values(), key=lambda row: (-row.uses, row.path))
    hottest = ordered[:limit]
    return hottest, ordered[len(hottest) :][::-1][:limit]
