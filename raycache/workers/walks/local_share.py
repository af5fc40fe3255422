"""The share of the disk tier's quota that whole local files take: the tier's own capacity is what they leave. Pure."""

from __future__ import annotations

from collections.abc import Callable

from raycache.types import Tier
from raycache.workers.effects import Effect, Outbox
from raycache.workers.tiers.tiers import Tiers


class LocalShare:
    """What local files take.

    Args:
        tiers: of the worker.
        out: of its service.
        conclude: ends an event of the service.
    """

    def __init__(self, tiers: Tiers, out: Outbox, conclude: Callable[[], list[Effect]]) -> None:
        self._tiers = tiers
        self._out = out
        self._conclude = conclude
        self.bytes = 0

    def set(self, wanted_bytes: int, now_s: float) -> tuple[bool, list[Effect]]:
        """Leave local files so much, evicting segments; False where these cannot go, and then nothing has changed."""
        self._out.now_s = now_s
        disk = self._tiers.ledgers[Tier.DISK]
        more_bytes = wanted_bytes - self.bytes
        if more_bytes > 0:
            if more_bytes > disk.capacity_bytes or not self._tiers.reserve_beside(Tier.DISK, more_bytes):
                return False, self._conclude()
            self._tiers.cancel(more_bytes, Tier.DISK)
        disk.resize(disk.capacity_bytes - more_bytes)
        self.bytes = wanted_bytes
        return True, self._conclude()
