"""What a load job is cut into, and the states it goes through; see `job`."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from raycache.master.loads.files import Page
from raycache.messages import NO_ROOM, BlockRequest, BlockState, Claim, FileColumns, Purpose, claim_column
from raycache.ranges import block_length, extents_of, runs_of
from raycache.types import FileVersion, WorkerId, WorkerView

#: Why a block is not resident, where there is no error that says more.
REASONS = {
    BlockState.NO_SPACE: NO_ROOM,
    BlockState.CHANGED: "replaced in the lake during the load; load it again",
    BlockState.GONE: "removed from the lake during the load",
    BlockState.FAILED: "the lake did not deliver it",
}
#: What one call asks for.
BATCH_BYTES_MAX = 64 << 20
BATCH_BLOCKS_MAX = 2_000
BATCH_FULLNESS_MIN = 1 / 16
REPLACED = "replaced or removed in the lake since it was loaded; load it again"


class JobState(enum.StrEnum):
    """See `job`."""

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


_PURPOSES = {
    Aim.LOAD: Purpose.LOAD,
    Aim.COPY: Purpose.REPLICATE,
    Aim.CHECK: Purpose.CHECK,
    Aim.REPAIR: Purpose.LOAD,
}


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
    #: The worker of the hash has sent it on, to one that a reader has chosen.
    sent_on: bool = False

    @property
    def kind(self) -> tuple[Aim, str, bool]:
        """What all pieces of one call have in common."""
        return self.aim, self.source_actor, self.follows_claims

    @property
    def follows_claims(self) -> bool:
        """Whether the worker may send it on; once."""
        return self.aim in (Aim.LOAD, Aim.REPAIR) and not (self.attempts or self.sent_on)

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

    @property
    def fullness(self) -> float:
        """1.0 is as much as a batch may hold; never so little that there could be very many of them."""
        return max(
            BATCH_FULLNESS_MIN, self.size_bytes / BATCH_BYTES_MAX, len(self.request.block_index) / BATCH_BLOCKS_MAX
        )


def pieces_of(
    page: Page, index: int, rows: Iterable[int], aim: Aim, block_size_bytes: int, blocks_per_extent: int
) -> Iterator[Piece]:
    """Some files of a page, cut: each piece is a run of wanted blocks of one extent."""
    for row in rows:
        for _, part in extents_of(page.wanted(row, block_size_bytes), blocks_per_extent):
            for first, count in runs_of(part):
                yield Piece(index, row, first, count, aim)


def by_holder(
    piece: Piece, holders: Sequence[tuple[WorkerId, int]], live: Container[WorkerId]
) -> list[tuple[Piece, WorkerId | None]]:
    """A piece, cut by which worker says it holds the blocks, the same one for all of it if possible; None: none does."""
    live_holders = [(worker, mask) for worker, mask in holders if worker in live]
    if not live_holders:
        return [(piece, None)]
    wanted = ((1 << piece.block_count) - 1) << piece.first_block
    live_holders.sort(key=lambda holder: -(holder[1] & wanted).bit_count())
    found = {block: next((w for w, mask in live_holders if mask >> block & 1), None) for block in piece.blocks}
    parts: list[tuple[Piece, WorkerId | None]] = []
    for worker, blocks in itertools.groupby(piece.blocks, key=lambda block: found[block]):
        first, *more = blocks
        parts.append((piece._replace(first_block=first, block_count=1 + len(more)), worker))
    return parts


def request_of(
    pieces: Sequence[tuple[Piece, Page]],
    block_size_bytes: int,
    *,
    view_id: int,
    mounts_version: int,
    verifying: bool,
    job_age_s: float,
) -> BlockRequest:
    """Ask for pieces, each with its page; all have one aim and come from one source."""
    columns: dict[tuple[int, int], FileVersion] = {}
    numbers: dict[tuple[int, int], int] = {}
    file_index: list[int] = []
    block_index: list[int] = []
    lengths: list[int] = []
    for piece, page in pieces:
        place = (piece.page, piece.row)
        version = columns.setdefault(place, page.versions[piece.row])
        number = numbers.setdefault(place, len(numbers))
        for block in piece.blocks:
            file_index.append(number)
            block_index.append(block)
            lengths.append(block_length(block, version.size_bytes, block_size_bytes))
    first = pieces[0][0]
    return BlockRequest(
        node="",
        view_id=view_id,
        mounts_version=mounts_version,
        files=FileColumns.of(columns.values()),
        file_index=file_index,
        block_index=block_index,
        offsets=[0] * len(lengths),
        lengths=lengths,
        block_size_bytes=block_size_bytes,
        purpose=int(Purpose.VERIFY if verifying and first.aim is Aim.CHECK else _PURPOSES[first.aim]),
        claims=claim_column([Claim.FOLLOW if first.follows_claims else Claim.IGNORE]),
        source_actor=first.source_actor,
        job_age_s=job_age_s,
    )
