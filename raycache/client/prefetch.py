"""Asking workers to load files that will be read soon, without waiting for them."""

from __future__ import annotations

from collections.abc import Iterable

from raycache.client.calls import WorkerCall
from raycache.client.locator import FileMeta
from raycache.client.operation import FileTarget, Part, ReadOperation
from raycache.messages import encode
from raycache.ranges import block_length
from raycache.types import FileKind, MembershipView, WorkerId


def prefetch_calls(
    wanted: Iterable[tuple[FileMeta, Iterable[int]]],
    bytes_max: int,
    view: MembershipView,
    node: WorkerId,
    mounts_version: int,
    *,
    block_size_bytes: int,
    extent_size_bytes: int,
) -> list[WorkerCall]:
    """The calls that make blocks resident where they belong: one per worker, for what no worker is hinted to hold.

    Args:
        wanted: files and which of their blocks, in the order they will be read; what is not a file is left out.
        bytes_max: blocks after the one that reaches it are left out.
        view, node, mounts_version, block_size_bytes, extent_size_bytes: as `ReadOperation` takes them.
    """
    targets: list[FileTarget] = []
    parts: list[Part] = []
    size_bytes = 0
    live = {worker.worker for worker in view.workers}
    for meta, blocks in wanted:
        if meta.kind is not FileKind.FILE:
            continue
        held = 0
        for worker, mask in meta.holders:
            held |= mask if worker in live else 0
        for index in blocks:
            if not held >> index & 1 and size_bytes < bytes_max:
                length = block_length(index, meta.file.size_bytes, block_size_bytes)
                parts.append(Part(len(targets), index, 0, length))
                size_bytes += length
        targets.append(FileTarget(meta.file, meta.version, ()))
    if not parts:
        return []
    operation = ReadOperation(
        targets,
        parts,
        view,
        node,
        mounts_version,
        block_size_bytes=block_size_bytes,
        extent_size_bytes=extent_size_bytes,
    )
    return [
        WorkerCall(call.worker.actor_name, "read", (encode(call.request._replace(hand_out=False)),))
        for call in operation.next_calls()
    ]
