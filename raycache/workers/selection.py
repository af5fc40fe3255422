"""Choosing among what is here: what a `Selector` means, and what lists, maps and heat show. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from raycache.messages import FileColumns, FileHeat, InventoryReply, InventoryRequest, ResidencyReply, Selector
from raycache.ranges import is_page
from raycache.types import BlockId, VersionId
from raycache.workers.tiers.segments import SegmentTable


def choose(
    selector: Selector, table: SegmentTable, now_s: float, *, force: bool
) -> tuple[list[BlockId], list[BlockId]]:
    """The blocks that a selector means: (to be dropped, pinned and therefore left)."""
    chosen: list[BlockId] = []
    pinned: list[BlockId] = []
    named = [(version, 0.0) for version in selector.versions if version in table]
    named += [(version, selector.older_than_s) for version in table.named(selector.patterns)]
    for version, older_than_s in dict(reversed(named)).items():
        blocks = table.blocks_of(version)
        if older_than_s > 0:
            blocks = [block for block in blocks if _age_s(block, table, now_s) >= older_than_s]
        (chosen if force or not table.rule_books.of(table.file(version).uri).pinned else pinned).extend(blocks)
    return chosen, pinned


def inventory(request: InventoryRequest, table: SegmentTable, now_s: float) -> InventoryReply:
    """The next page of the files of which blocks are here."""
    after = request.after or ("", b"")
    versions = list(itertools.islice(table.named(request.patterns, after), request.limit))
    files = [table.file(version) for version in versions]
    uses: list[int] = []
    idle_s: list[float] = []
    for version in versions:
        segments = table.segments_of(version)
        used_at_s = max(segment.used_at_s for segment in segments)
        uses.append(sum(segment.uses for segment in segments))
        idle_s.append(now_s - used_at_s if used_at_s > float("-inf") else -1.0)
    return InventoryReply(
        files=FileColumns.of(files),
        masks=[table.mask(version) for version in versions],
        uses=uses,
        idle_s=idle_s,
        pinned=[table.rule_books.of(file.uri).pinned for file in files],
        after=(files[-1].uri, versions[-1]) if len(versions) == request.limit else None,
    )


def residency(versions: Iterable[VersionId], table: SegmentTable) -> ResidencyReply:
    """Which blocks of these versions are here, in which tier, and the heat of each; pages are no blocks."""
    reply = ResidencyReply([], [], [])
    for version in versions:
        memory_mask = disk_mask = 0
        for block in table.blocks_of(version):
            if is_page(block.block_index):
                continue
            segment = table.of_block(block)
            assert segment is not None
            memory_mask |= segment.in_memory << block.block_index
            disk_mask |= segment.on_disk << block.block_index
        reply.memory_masks.append(memory_mask)
        reply.disk_masks.append(disk_mask)
        reply.hits.append(max((segment.hits for segment in table.segments_of(version)), default=0))
    return reply


def hottest_and_coldest(table: SegmentTable, limit: int) -> list[FileHeat]:
    """The `limit` hottest files, and the `limit` coldest, each once, hottest first; costs one pass over all segments.

    Small files that share a segment share its heat: leases are granted and renewed per segment.
    """
    heats: dict[VersionId, FileHeat] = {}
    for segment in table.segments.values():
        for block, entry in segment.entries.items():
            known = heats.get(block.version) or FileHeat(entry.version.uri, 0, 0, 0)
            heats[block.version] = FileHeat(
                known.uri,
                max(known.hits, segment.hits),
                known.memory_bytes + entry.length * segment.in_memory,
                known.disk_bytes + entry.length * segment.on_disk,
            )
    rows = list(heats.values())
    hottest = heapq.nlargest(limit, rows, key=_heat_order)
    coldest = heapq.nsmallest(limit, rows, key=_heat_order) if len(rows) > limit else []
    return sorted(dict.fromkeys([*hottest, *coldest]), key=_heat_order, reverse=True)


def _age_s(block: BlockId, table: SegmentTable, now_s: float) -> float:
    segment = table.of_block(block)
    return now_s - segment.loaded_at_s if segment is not None else 0.0


def _heat_order(row: FileHeat) -> tuple[int, str]:
    return row.hits, row.uri
