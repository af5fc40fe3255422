"""What a load job is cut into, and the states it goes through; see `jobs`."""

from __future__ import annotations

import enum
from typing import NamedTuple

from raycache.messages import BlockRequest, BlockState
from raycache.types import WorkerView

#: Why a block is not resident, where nobody says more.
REASONS = {
    BlockState.NO_SPACE: "did not fit: no room in the cache; free something, or give it more memory or disk",
    BlockState.CHANGED: "replaced in the lake during the load; load it again",
    BlockState.GONE: "removed from the lake during the load",
    BlockState.FAILED: "the lake did not deliver it",
}
REPLACED = "replaced or removed in the lake since it was loaded; load it again"


class JobState(enum.StrEnum):
    """See `jobs`."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    VERIFYING = "VERIFYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


class Aim(enum.Enum):
    """What a piece is for."""

    #: The first copy, from the lake.
    LOAD = "load"
    #: A further copy, from the worker that has the first.
    COPY = "copy"
    #: Is it still there, and right?
    CHECK = "check"
    #: It was not: from the lake again.
    REPAIR = "repair"


class Piece(NamedTuple):
    """Consecutive blocks of one file, for one worker."""

    page: int
    row: int
    first_block: int
    block_count: int
    aim: Aim
    attempts: int = 0
    #: Actor name of the worker to fetch from; empty for the lake.
    source_actor: str = ""

    @property
    def blocks(self) -> range:
        return range(self.first_block, self.first_block + self.block_count)


class Batch(NamedTuple):
    """One call to one worker."""

    batch_id: int
    worker: WorkerView
    request: BlockRequest
    pieces: list[Piece]
    size_bytes: int
    #: How many blocks may be asked of the lake for it.
    lake_blocks: int


def runs_of(blocks: list[int]) -> list[tuple[int, int]]:
    """Consecutive runs of sorted block indices, as (first, count)."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and runs[-1][0] + runs[-1][1] == block:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return runs
