"""What is cached, exactly: asks every worker, trusts no hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from raycache import paths as names
from raycache.admin.asking_all import absent, ask_all
from raycache.client.client import Client
from raycache.client.expanding import expand
from raycache.client.ports import ActorCalls
from raycache.messages import ResidencyReply, encode
from raycache.ranges import block_count, mask_bytes, union
from raycache.results import CheckResult, FileLocation, Held, Missing, Usage
from raycache.types import FileVersion, MembershipView, WorkerId

_TIMEOUT_S = 30.0
_BATCH = 50_000


class Residency(NamedTuple):
    """Shape (F,) each: per file, the mask of blocks each worker holds; workers with none are left out."""

    masks: list[dict[WorkerId, int]]
    #: Of these, the blocks in the memory tier.
    memory: list[dict[WorkerId, int]]
    #: And on disk; a block may be in both.
    disk: list[dict[WorkerId, int]]
    #: All workers together; see `FileHeat.hits`.
    hits: list[int]
    #: Workers that did not answer, sorted.
    silent: tuple[WorkerId, ...] = ()


def check(client: Client, paths: str | Sequence[str]) -> CheckResult:
    """Exact residency of files, directories and globs at this moment."""
    files, held = _resident(client, paths)
    return summed_up(files, held, client.settings.block_size_bytes)


def locate(client: Client, paths: str | Sequence[str]) -> list[FileLocation]:
    """Which node holds what of each file, as the workers say now."""
    files, held = _resident(client, paths)
    return locations(files, held, client.settings.block_size_bytes)


def du(client: Client, path: str) -> Usage:
    """Size of everything below a path, and how much of it is cached."""
    result = check(client, path)
    figures = (result.files, result.bytes_total, result.bytes_cached)
    return Usage(names.normalise(path), *figures, result.workers_silent)


def _resident(client: Client, paths: str | Sequence[str]) -> tuple[list[tuple[str, FileVersion]], Residency]:
    files = expand(client.locator, paths)
    held = ask(client.calls, client.refresh_view(), [file for _, file in files])
    return files, held._replace(silent=absent(client.calls, held.silent))


def ask(calls: ActorCalls, view: MembershipView, versions: Sequence[FileVersion]) -> Residency:
    """Ask all live workers what they hold of these versions; of one that does not answer nothing is known."""
    masks: list[dict[WorkerId, int]] = [{} for _ in versions]
    in_memory: list[dict[WorkerId, int]] = [{} for _ in versions]
    on_disk: list[dict[WorkerId, int]] = [{} for _ in versions]
    hits = [0] * len(versions)
    silent: set[WorkerId] = set()
    for start in range(0, len(versions), _BATCH):
        blob = encode([version.id() for version in versions[start : start + _BATCH]])
        said = ask_all(calls, view, "resident", (blob,), _TIMEOUT_S)
        silent.update(said.silent)
        replies: dict[WorkerId, ResidencyReply] = said.replies
        for worker, held in replies.items():
            pairs = zip(held.memory_masks, held.disk_masks, strict=True)
            for position, count in enumerate(held.hits, start):
                hits[position] += count
            for position, (memory, disk) in enumerate(pairs, start):
                if memory | disk:
                    masks[position][worker] = memory | disk
                if memory:
                    in_memory[position][worker] = memory
                if disk:
                    on_disk[position][worker] = disk
    return Residency(masks, in_memory, on_disk, hits, tuple(sorted(silent)))


def summed_up(files: Sequence[tuple[str, FileVersion]], residency: Residency, block_size_bytes: int) -> CheckResult:
    """Sum residency up over files; a block counts once however many replicas it has."""
    blocks = cached = bytes_total = bytes_cached = complete = 0
    missing: list[Missing] = []
    for (path, file), by_worker in zip(files, residency.masks, strict=True):
        held = union(by_worker.values())
        count = block_count(file.size_bytes, block_size_bytes)
        held_bytes = mask_bytes(held, file.size_bytes, block_size_bytes)
        blocks += count
        cached += held.bit_count()
        bytes_total += file.size_bytes
        bytes_cached += held_bytes
        if held.bit_count() == count:
            complete += 1
        else:
            missing.append(Missing(path, count - held.bit_count(), file.size_bytes - held_bytes))
    missing.sort(key=lambda item: item.path)
    figures = (len(files), complete, blocks, cached, bytes_total, bytes_cached)
    return CheckResult(*figures, tuple(missing), residency.silent)


def locations(
    files: Sequence[tuple[str, FileVersion]], residency: Residency, block_size_bytes: int
) -> list[FileLocation]:
    """Per file, what each node holds."""
    return [
        FileLocation(
            path,
            file.size_bytes,
            block_count(file.size_bytes, block_size_bytes),
            {
                worker: Held(mask.bit_count(), mask_bytes(mask, file.size_bytes, block_size_bytes))
                for worker, mask in sorted(by_worker.items())
            },
            residency.silent,
        )
        for (path, file), by_worker in zip(files, residency.masks, strict=True)
    ]
