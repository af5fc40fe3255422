"""One segment: a buffer with a table of blocks.

A segment has a copy in memory, on disk, or both. A *draining* segment has left the index (no new grants) but its bytes
are still charged, because a reader's lease, an open request or a running copy still needs them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from raycache.types import SegmentId
from raycache.workers.tiers.entry_table import EntryTable


class Operation(enum.Enum):
    """What is being done to a segment by a thread; while it is, no copy may be dropped."""

    DEMOTE = "demote"
    PROMOTE = "promote"
    VERIFY = "verify"
    COMPACT = "compact"


@dataclass(slots=True)
class Segment:
    """One segment of this worker."""

    id: SegmentId
    size_bytes: int
    #: The blocks that can be read from it; blocks freed singly, or whose load failed, are not here.
    entries: EntryTable
    in_memory: bool = False
    on_disk: bool = False
    #: False: found on disk after a restart, to be checked before first use.
    verified: bool = True
    operation: Operation | None = None
    #: A reader may read it in place until then.
    leased_until_s: float = float("-inf")
    #: Open requests that will be answered from it.
    holds: int = 0
    #: Reads since it came to its present tier.
    hits: int = 0
    draining: bool = False
    #: A copy of what another worker holds, made because there was room: the first to be evicted, never demoted.
    passive: bool = False
    #: Something newer stands for all that is in it: it goes before all others, and is never demoted, unless it is read again.
    superseded: bool = False
    loaded_at_s: float = 0.0
    #: Reads ever, in whatever tier, and when the last one was.
    uses: int = 0
    used_at_s: float = float("-inf")
    #: By the rules, see `rule_books`: how many blocks are pinned, when some are to go, and which rules that is by.
    pinned_blocks: int = 0
    rules_version: int = -1
    expires_at_s: float = float("inf")
    #: Grows from each segment that comes to the next.
    number: int = -1

    @property
    def is_last_pinned(self) -> bool:
        """Whether what the rules pin would be gone with any copy of this segment.

        A passive copy is a further one: the worker that it was made from keeps the pinned blocks.
        """
        return self.pinned_blocks > 0 and not self.passive and not (self.in_memory and self.on_disk)

    @property
    def goes_first(self) -> bool:
        """Whether it makes room before others do, and without a copy on disk."""
        return self.passive or self.superseded

    def is_idle(self, now_s: float) -> bool:
        """Whether no reader has it mapped, no request waits for it, and no thread copies it."""
        return self.holds == 0 and self.operation is None and self.leased_until_s <= now_s

    def lease(self, until_s: float) -> None:
        """Promise a reader that the bytes stay."""
        self.leased_until_s = max(self.leased_until_s, until_s)

    def is_kept(self, since_s: float) -> bool:
        """Whether a load job that began then must not evict it: the job or a reader has brought or used it since."""
        only_copy = not (self.in_memory and self.on_disk)
        return max(self.loaded_at_s, self.used_at_s) >= since_s and only_copy and not self.goes_first
