"""Choosing among blocks: what a `Selector` means here, and which files may share a segment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raycache.messages import ResidencyReply, Selector
from raycache.rules import Policy
from raycache.types import BlockId, VersionId
from raycache.workers.flight import Flight
from raycache.workers.segments import SegmentTable


def choose(
    selector: Selector, table: SegmentTable, now_s: float, *, force: bool
) -> tuple[list[BlockId], list[BlockId]]:
    """The blocks that a selector means: (to be dropped, pinned and therefore left)."""
    versions = dict.fromkeys(selector.versions)
    chosen: list[BlockId] = []
    pinned: list[BlockId] = []
    for version, file in table.files.items():
        named = version in versions
        if not named and not any(pattern.names(file.uri) for pattern in selector.patterns):
            continue
        blocks = table.blocks_of(version)
        if not named and selector.older_than_s > 0:
            blocks = [block for block in blocks if _age_s(block, table, now_s) >= selector.older_than_s]
        (chosen if force or not table.policies.of(file.uri).pinned else pinned).extend(blocks)
    return chosen, pinned


def residency(versions: Iterable[VersionId], table: SegmentTable) -> ResidencyReply:
    """Which blocks of these versions are here, in which tier."""
    reply = ResidencyReply([], [])
    for version in versions:
        memory_mask = disk_mask = 0
        for block in table.blocks_of(version):
            segment = table.of_block(block)
            assert segment is not None
            memory_mask |= segment.in_memory << block.block_index
            disk_mask |= segment.on_disk << block.block_index
        reply.memory_masks.append(memory_mask)
        reply.disk_masks.append(disk_mask)
    return reply


def by_policy(flights: Iterable[Flight], policy_of: Callable[[str], Policy]) -> list[list[Flight]]:
    """Flights in groups that the same rules hold for: these may share segments, so that each goes as a whole."""
    groups: dict[Policy, list[Flight]] = {}
    for flight in flights:
        groups.setdefault(policy_of(flight.version.uri), []).append(flight)
    return list(groups.values())


def _age_s(block: BlockId, table: SegmentTable, now_s: float) -> float:
    segment = table.of_block(block)
    return now_s - segment.loaded_at_s if segment is not None else 0.0
