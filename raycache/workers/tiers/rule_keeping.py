"""Carrying the rules out on what is held: blocks that have expired go, quotas are kept. Pure, like `tiers`.

What a reader has mapped or waits for is left until that has ended: blocks that expire leave the index and drain, and a
quota that was lowered is kept to as soon as the leases allow. Pinned blocks stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raycache.messages import MissReason, Shares
from raycache.rules import RuleTable
from raycache.workers.effects import Effect, Load
from raycache.workers.tiers.rule_books import Policies
from raycache.workers.tiers.tiers import Tiers, is_idle


class Upkeep:
    """Keeps a worker's tiers to the rules."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self.policies: Policies = tiers.segments.policies

    def set_rules(self, table: RuleTable, loads: Iterable[Load], now_s: float, effects: list[Effect]) -> None:
        """Take newer rules over; older ones are ignored."""
        if table.version > self.policies.version:
            self.policies.set_rules(table, self._tiers.segments.segments.values(), loads)
            self.tick(now_s, effects)

    def set_shares(self, shares: Shares, now_s: float, effects: list[Effect]) -> None:
        """Take over what this worker may use of each quota; shares of older rules are ignored."""
        if shares.rules_version == self.policies.version:
            self.policies.fair, self.policies.limits = dict(shares.fair), dict(shares.limits)
            self.tick(now_s, effects)

    def tick(self, now_s: float, effects: list[Effect]) -> None:
        """Drop what has expired, and what is over a quota; to be called every second or so."""
        if self.policies.next_expiry_s <= now_s:
            blocks = self.policies.expired(self._tiers.segments.segments, now_s)
            self._tiers.discard_blocks(blocks, now_s, effects, MissReason.EXPIRED)
        for base, fair_bytes in self.policies.fair.items():
            self._give_up(base, self.policies.taken(base) - fair_bytes, now_s, effects)

    def room_bytes(self, quotas: Sequence[str], wanted_bytes: int, now_s: float, *, spare: bool) -> int:
        """How many of these bytes the quotas allow, when they give up their own oldest blocks for it.

        Args:
            quotas: all that the files count against.
            wanted_bytes: the answer is at most that.
            now_s: the time.
            spare: give nothing up.
        """
        found = wanted_bytes
        for base in quotas:
            room_bytes = self.policies.free_bytes(base)
            if room_bytes < wanted_bytes and not spare and self.policies.limits.get(base, 0) > 0:
                for segment, _, size_bytes in self.policies.oldest(base, self._tiers.segments.segments):
                    if room_bytes >= wanted_bytes:
                        break
                    room_bytes += size_bytes if is_idle(segment, now_s) else 0
            found = min(found, max(0, room_bytes))
        return found

    def make_room(self, quotas: Sequence[str], wanted_bytes: int, now_s: float, effects: list[Effect]) -> None:
        """Give up the oldest blocks of each quota until so much is free, as `room_bytes` has promised."""
        for base in quotas:
            self._give_up(base, wanted_bytes - self.policies.free_bytes(base), now_s, effects)

    def _give_up(self, base: str, excess_bytes: int, now_s: float, effects: list[Effect]) -> None:
        """Drop a quota's oldest blocks, as far as nobody uses them."""
        for segment, blocks, size_bytes in self.policies.oldest(base, self._tiers.segments.segments):
            if excess_bytes <= 0:
                return
            if is_idle(segment, now_s):
                self._tiers.discard_blocks(blocks, now_s, effects, MissReason.QUOTA)
                excess_bytes -= size_bytes
