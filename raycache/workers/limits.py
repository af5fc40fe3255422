"""The numbers a worker lives by."""

from __future__ import annotations

from dataclasses import dataclass

from raycache.ranges import Grid


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """The numbers a worker lives by; see `Settings` for most of them."""

    block_size_bytes: int
    segment_size_bytes: int
    memory_bytes: int
    #: 0 = no disk tier.
    disk_bytes: int
    lease_s: float
    loads_inflight_max: int
    load_bytes_inflight_max: int
    memory_high_watermark: float
    memory_low_watermark: float
    promote_after_hits: int
    #: The block size: no pages.
    page_size_bytes: int
    #: What is placed, and claimed, together.
    extent_size_bytes: int

    @property
    def grid(self) -> Grid:
        """How files are cut."""
        return Grid(self.block_size_bytes, self.page_size_bytes)
