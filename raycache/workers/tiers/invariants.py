"""What is always true of a worker's tiers; for tests and the simulator."""

from __future__ import annotations

from raycache.types import Tier
from raycache.workers.tiers.segment import Operation
from raycache.workers.tiers.tiers import Tiers


def validate_tiers(tiers: Tiers, reserved_bytes: dict[Tier, int]) -> None:
    """Check every invariant of the tiers.

    Args:
        tiers: idle, between two events.
        reserved_bytes: what running loads and compactions have set aside.
    """
    table = tiers.segments
    indexed = 0
    for block, name in table.indexed():
        indexed += 1
        segment = table.segments[name]
        assert block in segment.entries, f"{block} is indexed in {name}, which does not list it"
        assert not segment.draining, f"{block} is indexed in {name}, which drains"
    listed = sum(len(segment.entries) for segment in table.segments.values())
    assert table.block_count == listed == indexed, "blocks outside the index"
    for name, segment in table.segments.items():
        copies = segment.in_memory + segment.on_disk
        assert copies, f"{name} has no copy"
        assert segment.draining == (name in tiers.draining), f"{name} is draining and forgotten"
        assert segment.draining == (not segment.entries), f"{name} has entries {segment.entries}, and drains or not"
        assert segment.holds >= 0, f"{name} has {segment.holds} holds"
        end = 0
        for entry in sorted(segment.entries.values(), key=lambda entry: entry.offset):
            assert end <= entry.offset, f"{name}: {entry} overlaps the block before it"
            end = entry.offset + entry.length
        assert end <= segment.size_bytes, f"{name}: entries end at {end} of {segment.size_bytes}"
    demoting = tiers.copying.bytes_under(Operation.DEMOTE)
    promoting = tiers.copying.bytes_under(Operation.PROMOTE)
    for tier, copying in ((Tier.MEMORY, promoting), (Tier.DISK, demoting)):
        ledger = tiers.ledgers[tier]
        present = [s for s in table.segments.values() if (s.in_memory if tier is Tier.MEMORY else s.on_disk)]
        used = sum(segment.size_bytes for segment in present)
        assert used == ledger.used_bytes, f"{tier.name}: {used} bytes held, {ledger.used_bytes} in the book"
        reserved = reserved_bytes.get(tier, 0) + copying
        assert reserved == ledger.reserved_bytes, f"{tier.name}: {reserved} reserved, {ledger.reserved_bytes} in book"
        known = sorted(tiers.orders.victims(tier))
        names = sorted(segment.id for segment in present if not segment.draining)
        assert known == names, f"{tier.name}: the order of eviction has {known}, not {names}"
    for name in tiers.wasteful:
        assert name in table.segments, f"{name} is to be rewritten and gone"
        assert name not in tiers.draining, f"{name} is to be rewritten and drains"
    tiers.copying.validate(table.segments)
