"""The books of the tiers: how many bytes are used, reserved and free.

Bytes are first reserved (before a load, a demotion or a promotion starts), then become used when they have arrived, and
are released when the copy is gone. used + reserved never exceeds the capacity, with one exception: the capacity may be
set below it (another tenant needs the memory); from then on nothing can be reserved until enough has been released.
"""

from __future__ import annotations

from dataclasses import dataclass

from raycache.types import Tier


@dataclass(slots=True)
class TierCounts:
    """What has happened since this worker started."""

    evictions: int = 0
    #: Of `evictions`, those from disk.
    evictions_disk: int = 0
    #: To disk, whatever for.
    disk_written_bytes: int = 0
    demotions: int = 0
    promotions: int = 0
    disk_errors: int = 0
    corrupt_segments: int = 0


class TierLedger:
    """The book of one tier. A booking that cannot be is a bug, hence an AssertionError."""

    def __init__(self, tier: Tier, capacity_bytes: int) -> None:
        self._tier = tier
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.reserved_bytes = 0

    @property
    def charged_bytes(self) -> int:
        """Used and reserved."""
        return self.used_bytes + self.reserved_bytes

    @property
    def free_bytes(self) -> int:
        """What can still be reserved; negative while a lowered capacity is exceeded."""
        return self.capacity_bytes - self.charged_bytes

    def reserve(self, size_bytes: int) -> None:
        """Set bytes aside; they must be free."""
        assert 0 <= size_bytes <= self.free_bytes, self._story("reserve", size_bytes)
        self.reserved_bytes += size_bytes

    def commit(self, size_bytes: int) -> None:
        """Reserved bytes have arrived."""
        assert 0 <= size_bytes <= self.reserved_bytes, self._story("commit", size_bytes)
        self.reserved_bytes -= size_bytes
        self.used_bytes += size_bytes

    def cancel(self, size_bytes: int) -> None:
        """Reserved bytes will not arrive."""
        assert 0 <= size_bytes <= self.reserved_bytes, self._story("cancel", size_bytes)
        self.reserved_bytes -= size_bytes

    def release(self, size_bytes: int) -> None:
        """Used bytes are gone."""
        assert 0 <= size_bytes <= self.used_bytes, self._story("release", size_bytes)
        self.used_bytes -= size_bytes

    def resize(self, capacity_bytes: int) -> None:
        """Set another capacity, >= 0; it may be below what is used."""
        assert capacity_bytes >= 0, self._story("resize to", capacity_bytes)
        self.capacity_bytes = capacity_bytes

    def _story(self, verb: str, size_bytes: int) -> str:
        return (
            f"cannot {verb} {size_bytes} bytes in {self._tier.name}: capacity {self.capacity_bytes}, "
            f"used {self.used_bytes}, reserved {self.reserved_bytes}"
        )
