"""Keeping the rules: blocks that have expired go, quotas are not exceeded. Pure, like `tiers`.

What a reader has mapped or waits for is left until that has ended: blocks that expire leave the index and drain, and a
quota that was lowered is kept to as soon as the leases allow. Pinned blocks stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raycache.messages import MissReason, Shares
from raycache.rules import RuleTable
from raycache.workers.effects import Load, Outbox
from raycache.workers.tiers.rule_books import RuleBooks
from raycache.workers.tiers.tiers import Tiers


class RuleKeeping:
    """Keeps a worker's tiers to the rules."""

    def __init__(self, tiers: Tiers, out: Outbox) -> None:
        self._out = out
        self._tiers = tiers
        self.rule_books: RuleBooks = tiers.segments.rule_books

    def set_rules(self, table: RuleTable, loads: Iterable[Load]) -> None:
        """Take newer rules over; older ones are ignored."""
        if table.version > self.rule_books.version:
            self.rule_books.set_rules(table, self._tiers.segments.segments.values(), loads)
            self.tick()

    def set_shares(self, shares: Shares) -> None:
        """Take over what this worker may use of each quota; shares of older rules are ignored."""
        if shares.rules_version == self.rule_books.version:
            self.rule_books.fair, self.rule_books.limits = dict(shares.fair), dict(shares.limits)
            self.tick()

    def tick(self) -> None:
        """Drop what has expired, and what is over a quota; to be called every second or so."""
        if self.rule_books.next_expiry_s <= self._out.now_s:
            blocks = self.rule_books.expired(self._tiers.segments.segments, self._out.now_s)
            self._tiers.discard_blocks(blocks, MissReason.EXPIRED)
        for base, fair_bytes in self.rule_books.fair.items():
            self._give_up(base, self.rule_books.taken(base) - fair_bytes)

    def room_bytes(self, quotas: Sequence[str], wanted_bytes: int, *, evict: bool) -> int:
        """How many of these bytes the quotas allow, when they give up their own oldest blocks for it.

        Args:
            quotas: all that the files count against.
            wanted_bytes: the answer is at most that.
            evict: whether they may give anything up.
        """
        found = wanted_bytes
        for base in quotas:
            room_bytes = self.rule_books.free_bytes(base)
            if room_bytes < wanted_bytes and evict and self.rule_books.limits.get(base, 0) > 0:
                for segment, _, size_bytes in self.rule_books.oldest(base, self._tiers.segments.segments):
                    if room_bytes >= wanted_bytes:
                        break
                    room_bytes += size_bytes if segment.is_idle(self._out.now_s) else 0
            found = min(found, max(0, room_bytes))
        return found

    def make_room(self, quotas: Sequence[str], wanted_bytes: int) -> None:
        """Give up the oldest blocks of each quota until so much is free, as `room_bytes` has promised."""
        for base in quotas:
            self._give_up(base, wanted_bytes - self.rule_books.free_bytes(base))

    def _give_up(self, base: str, excess_bytes: int) -> None:
        """Drop a quota's oldest blocks that are not in use."""
        for segment, blocks, size_bytes in self.rule_books.oldest(base, self._tiers.segments.segments):
            if excess_bytes <= 0:
                return
            if segment.is_idle(self._out.now_s):
                self._tiers.discard_blocks(blocks, MissReason.QUOTA)
                excess_bytes -= size_bytes
