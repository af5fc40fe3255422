"""Looking around in the namespace: what stands at a path, how much of it is cached, where, and how hot it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from raycache import paths as names
from raycache.admin import residency
from raycache.admin.patterns import path_of
from raycache.client.client import Client
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.ports import WorkerCall
from raycache.clock import moment_of
from raycache.errors import DeniedError, NotADirectoryRequestError, RaycacheError
from raycache.messages import FileHeat, ListReply, decode
from raycache.ranges import mask_bytes, union
from raycache.results import Entry, Result
from raycache.rules import Matcher
from raycache.types import FileKind, FileVersion

_HEAT_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class CachedEntry(Result):
    """What stands at a path, and what of it is cached now, exactly. Of a directory nothing is said of the client."""

    entry: Entry
    #: Bytes that some node holds, and of these in memory and on disk (a block may be in both); None for a directory.
    bytes_cached: int | None
    bytes_memory: int | None
    bytes_disk: int | None
    #: Bytes held, by node id.
    nodes: dict[str, int]
    #: Whether a rule pins it: a file, or a directory and what comes into it.
    pinned: bool = False
    #: As in `HeatRow`. None for a directory.
    hits: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class HeatRow(Result):
    """How much one file is used, on all nodes together."""

    path: str
    #: Reads of its busiest segment since that came to its present tier. A cache map's `uses` are all there ever were.
    hits: int
    bytes_memory: int
    bytes_disk: int


def ls(client: Client, path: str, *, detail: bool, recursive: bool) -> list[str] | list[Entry]:
    """List a directory, or name a file; see `Cache.ls`."""
    meta = client.locator.resolve([path])[0]
    if meta.kind is FileKind.MISSING:
        require_file(meta, path)
    try:
        entries = entries_of(meta.path, client.locator.listing(path, recursive=recursive))
    except (NotADirectoryRequestError, DeniedError):
        if meta.kind is not FileKind.FILE:
            raise
        entries = [entry_of(meta)]
    return entries if detail else list(dict.fromkeys(entry.path for entry in entries))


def stat(client: Client, path: str) -> Entry:
    """Describe a file or a directory; see `Cache.stat`."""
    meta = client.locator.resolve([path])[0]
    return entry_of(meta if meta.kind is FileKind.DIRECTORY else require_file(meta, path))


def exists(client: Client, path: str) -> bool:
    """Whether a file or a directory stands at a path; see `Cache.exists`."""
    return client.locator.kind(path) is not FileKind.MISSING


def list_directory(client: Client, path: str) -> list[Entry]:
    """What stands in a directory, sorted by path.

    Raises:
        NotFoundError, NotADirectoryRequestError, InvalidRequestError: see `Cache.ls`.
    """
    meta = client.locator.resolve([path])[0]
    reply = client.locator.listing(meta.path, recursive=False)
    return entries_of(meta.path, reply)


def with_residency(client: Client, entries: Sequence[Entry]) -> list[CachedEntry]:
    """Ask the workers what they hold of these entries; one call per worker."""
    size = client.settings.block_size_bytes
    metas = client.locator.resolve([entry.path for entry in entries])
    files: dict[str, FileVersion] = {m.path: m.file for m in metas if m.kind is FileKind.FILE}
    held = residency.ask(client.calls, client.locator.view, list(files.values()))
    rows = {path: position for position, path in enumerate(files)}
    pins = Matcher(client.calls.master("rules"))
    found: list[CachedEntry] = []
    for entry, meta in zip(entries, metas, strict=True):
        position = rows.get(meta.path)
        if position is None:
            found.append(CachedEntry(entry, None, None, None, {}, pins.of(entry.uri).pinned))
            continue
        cached, memory, disk = (
            mask_bytes(union(masks[position].values()), meta.file.size_bytes, size)
            for masks in (held.masks, held.memory, held.disk)
        )
        nodes = {worker: mask_bytes(mask, meta.file.size_bytes, size) for worker, mask in held.masks[position].items()}
        found.append(CachedEntry(entry, cached, memory, disk, nodes, pins.of(entry.uri).pinned, held.hits[position]))
    return found


def heat(client: Client, limit: int) -> tuple[list[HeatRow], list[HeatRow]]:
    """The hottest and the coldest files of those held.

    Returns:
        (hottest first, coldest first), at most `limit` each, no file in both.
    """
    workers = client.refresh_view().workers
    replies = client.calls.workers([WorkerCall(w.actor_name, "heat", (limit,)) for w in workers], _HEAT_TIMEOUT_S)
    sums: dict[str, HeatRow] = {}
    for reply in replies:
        if isinstance(reply, RaycacheError):
            continue
        rows: list[FileHeat] = decode(reply)
        for row in rows:
            known = sums.get(row.uri, HeatRow("", 0, 0, 0))
            sums[row.uri] = HeatRow(
                path_of(client.locator.mounts, row.uri),
                known.hits + row.hits,
                known.bytes_memory + row.memory_bytes,
                known.bytes_disk + row.disk_bytes,
            )
    ordered = sorted(sums.values(), key=lambda row: (-row.hits, row.path))
    hottest = ordered[:limit]
    return hottest, ordered[len(hottest) :][::-1][:limit]


def entry_of(meta: FileMeta) -> Entry:
    """The public form of a resolved path."""
    name = meta.path.rstrip("/").rpartition("/")[2] or "/"
    if meta.kind is FileKind.DIRECTORY:
        return Entry(meta.path, name, "directory", 0, None, "", meta.file.uri)
    return Entry(
        meta.path, name, "file", meta.file.size_bytes, moment_of(meta.file.mtime_ns), meta.file.etag, meta.file.uri
    )


def entries_of(path: str, reply: ListReply) -> list[Entry]:
    """The public form of a listing of `path`."""
    return [
        Entry(
            names.join(path, row.name),
            row.name.rpartition("/")[2],
            "file" if row.kind == FileKind.FILE else "directory",
            row.size_bytes,
            moment_of(row.mtime_ns) if row.kind == FileKind.FILE else None,
            row.etag,
            reply.uri(row.name),
        )
        for row in reply.rows()
    ]
