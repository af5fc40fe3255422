"""Mounting, and turning messages into results: what `Cache` does that is not reading."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Sequence
from typing import Any

from raycache import paths as names
from raycache.client.file_meta import FileMeta
from raycache.client.ports import ActorCalls
from raycache.messages import (
    ListReply,
    MountInfo,
    MountTable,
    NodeFigures,
    ReadCounters,
    StatusReply,
    WorkerStats,
    encode,
)
from raycache.results import Entry, NodeStats, Stats, Status, WorkerStatus
from raycache.types import FileKind
from raycache.ufs.s3.storage import options_from_environment

#: Options that say who the caller is: with one of them the environment's keys must not be mixed in.
_IDENTITY_OPTIONS = frozenset({"access_key_id", "secret_access_key", "session_token", "anonymous", "profile"})
_MOUNT_TIMEOUT_S = 60.0


def environment_options(root_uri: str) -> dict[str, Any]:
    """What this process's environment says about a store; empty for other than S3."""
    return options_from_environment(dict(os.environ)) if root_uri.startswith("s3://") else {}


def with_environment(root_uri: str, options: dict[str, Any]) -> dict[str, Any]:
    """A caller's options, completed by this process's environment; identities are not mixed."""
    found = environment_options(root_uri)
    if _IDENTITY_OPTIONS & set(options):
        found = {key: value for key, value in found.items() if key not in _IDENTITY_OPTIONS}
    return {**found, **options}


def mount(
    calls: ActorCalls, path: str, uri: str, options: dict[str, Any], metadata_ttl_s: float, *, readonly: bool
) -> MountTable:
    """Ask the master to mount; the store is tried first."""
    uri = names.normalise(uri)
    options = with_environment(names.split_uri(uri)[0], options)
    info = MountInfo(names.normalise(path), uri, options, metadata_ttl_s, readonly)
    table: MountTable = calls.master("mount", uuid.uuid4().hex, encode(info), timeout_s=_MOUNT_TIMEOUT_S)
    return table


def unmount(calls: ActorCalls, path: str, *, force: bool) -> tuple[str, MountTable]:
    """Ask the master to unmount.

    Returns:
        The URI that was mounted, and the mounts left.
    """
    reply: tuple[str, MountTable] = calls.master("unmount", uuid.uuid4().hex, names.normalise(path), force)
    return reply


def entry_of(meta: FileMeta) -> Entry:
    """The public form of a resolved path."""
    name = meta.path.rstrip("/").rpartition("/")[2] or "/"
    if meta.kind is FileKind.DIRECTORY:
        return Entry(meta.path, name, "directory", 0, None, "", meta.file.uri)
    return Entry(
        meta.path, name, "file", meta.file.size_bytes, _time(meta.file.mtime_ns), meta.file.etag, meta.file.uri
    )


def entries_of(path: str, reply: ListReply) -> list[Entry]:
    """The public form of a listing of `path`."""
    base_path = path.rstrip("/")
    return [
        Entry(
            f"{base_path}/{row.name}",
            row.name.rpartition("/")[2],
            "file" if row.kind == FileKind.FILE else "directory",
            row.size_bytes,
            _time(row.mtime_ns) if row.kind == FileKind.FILE else None,
            row.etag,
            reply.uri(row.name),
        )
        for row in reply.rows()
    ]


def stats_of(figures: Sequence[NodeFigures]) -> Stats:
    """Per node and in total."""
    counters, stats = ReadCounters(), WorkerStats()
    nodes: dict[str, NodeStats] = {}
    for node in figures:
        nodes[node.node] = NodeStats.of(node.counters, node.stats, alive=node.alive)
        counters = counters.plus(node.counters)
        stats = WorkerStats(*(a + b for a, b in zip(stats, node.stats, strict=True)))
    return Stats(NodeStats.of(counters, stats, alive=any(node.alive for node in figures)), nodes)


def status_of(reply: StatusReply, figures: Sequence[NodeFigures]) -> Status:
    """The public form of the master's status."""
    sizes = {node.node: node.stats for node in figures}
    workers = []
    for node, epoch, state, age_s in reply.workers:
        size = sizes.get(node, WorkerStats())
        workers.append(
            WorkerStatus(
                node_id=node,
                epoch=epoch,
                state=state,
                memory_used_bytes=size.memory_used_bytes,
                memory_capacity_bytes=size.memory_capacity_bytes,
                disk_used_bytes=size.disk_used_bytes,
                disk_capacity_bytes=size.disk_capacity_bytes,
                heartbeat_age_s=age_s,
            )
        )
    return Status("alive", reply.uptime_s, reply.mounts, reply.files_known, tuple(workers))


def _time(mtime_ns: int) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(mtime_ns / 1e9, tz=dt.UTC) if mtime_ns else None
