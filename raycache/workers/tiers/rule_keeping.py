"""Keeping the rules: blocks that have expired go, quotas are not exceeded. Pure, like `tiers`.

What a reader has mapped or waits for is left until that has ended: blocks that expire leave the index and drain, and a
quota that was lowered is kept to as soon as the leases allow. Pinned blocks stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from raycache.messages import MissReason, Shares
from raycache.rules import RuleTable
from raycache.workers.effects import Outbox
from raycache.workers.tiers.rule_books import RuleBooks
from raycache.workers.tiers.tiers import Tiers

#: Blocks that are looked at in one tick, up to the end of a segment; and those that a quota gives up.
_LOOKED_MAX = 512
_GIVEN_UP_BLOCKS_MAX = 512
_NO_BOUND = float("inf")


class RuleKeeping:
    """Keeps a worker's tiers to the rules."""

    def __init__(self, tiers: Tiers, out: Outbox) -> None:
        self._out = out
        self._tiers = tiers
        self.rule_books: RuleBooks = tiers.segments.rule_books
        #: The last tick left something of a quota's excess that can go.
        self._over_quota = False

    def set_rules(self, table: RuleTable) -> None:
        """Take newer rules over; older ones are ignored. `busy` until the books say what they mean."""
        if table.version > self.rule_books.version:
            self.rule_books.set_rules(table, self._tiers.segments.segments.values())
            self.tick()

    def set_shares(self, shares: Shares) -> None:
        """Take over what this worker may use of each quota; shares of older rules are ignored."""
        if shares.rules_version == self.rule_books.booked_version:
            self.rule_books.fair, self.rule_books.limits = dict(shares.fair), dict(shares.limits)
            self.tick()

    def tick(self) -> None:
        """Rewrite books, drop what has expired, and what is over a quota, for a bounded time; to be called every second or so."""
        looked = 0
        while looked < _LOOKED_MAX and (more := self.rule_books.rewrite()):
            looked += more
        while looked < _LOOKED_MAX and self.rule_books.next_expiry_s <= self._out.now_s:
            blocks = self.rule_books.expired(self._tiers.segments.segments, self._out.now_s)
            self._tiers.discard_blocks(blocks, MissReason.EXPIRED)
            looked += len(blocks) + 1
        self._over_quota = False
        for base, fair_bytes in self.rule_books.fair.items():
            left_bytes = self._give_up(base, self.rule_books.taken(base) - fair_bytes, _GIVEN_UP_BLOCKS_MAX)
            self._over_quota = self._over_quota or left_bytes > 0

    @property
    def busy(self) -> bool:
        """Whether the next tick goes on with something."""
        books = self.rule_books
        return books.booked_version != books.version or books.next_expiry_s <= self._out.now_s or self._over_quota

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

    def _give_up(self, base: str, excess_bytes: int, blocks_max: float = _NO_BOUND) -> int:
        """Drop a quota's oldest blocks that are not in use; the bytes left to drop, 0 if nothing more can go."""
        if excess_bytes <= 0:
            return 0
        given_up = 0
        for segment, blocks, size_bytes in self.rule_books.oldest(base, self._tiers.segments.segments):
            if excess_bytes <= 0:
                return 0
            if segment.is_idle(self._out.now_s):
                if given_up >= blocks_max:
                    return excess_bytes
                self._tiers.discard_blocks(blocks, MissReason.QUOTA)
                given_up += len(blocks)
                excess_bytes -= size_bytes
        return 0
