"""Open requests: what each still waits for, and the reply once it waits for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from raycache.errors import InvalidRequestError, RaycacheError
from raycache.messages import BlockRequest, BlockState, GrantKind, MissReason, Terms
from raycache.ranges import Grid
from raycache.types import BlockId, FileVersion, SegmentId, Tier, VersionId, WorkerId
from raycache.workers.answer_table import ANSWERS, Answer
from raycache.workers.effects import Reply, SegmentGrant
from raycache.workers.tiers.entry_table import Columns
from raycache.workers.tiers.segment import Segment

#: For this one read: the actor needs a moment to copy INLINE parts out, the reader to map a segment that has to go soon.
SHORT_LEASE_S = 1.0
#: Files that a first grant of a segment names besides those asked for; with every use of the segment twice as many.
ENTRIES_AROUND = 32


@dataclass(slots=True)
class Ticket:
    """One `BlockRequest` that has not been answered."""

    number: int
    request: BlockRequest
    #: Shape (F,).
    versions: list[FileVersion]
    #: Shape (B,).
    blocks: list[BlockId]
    #: Shape (B,); None = still open.
    states: list[BlockState | None]
    #: How many states are None.
    open_count: int
    #: What the purpose of the request means.
    terms: Terms
    #: By `Presence`, what is done with a block; see `answer_table.py`.
    answers: tuple[Answer | None, ...]
    #: Segments that the reply will be made from; they stay until then.
    held: dict[SegmentId, Segment] = field(default_factory=dict)
    #: Shape (B,): which of `held` serves the block.
    segments: list[Segment | None] = field(default_factory=list)
    #: Segments whose check this request has asked for; see `Answer.RECHECK`.
    rechecked: dict[SegmentId, None] = field(default_factory=dict)
    errors: dict[int, RaycacheError] = field(default_factory=dict)
    #: By position, for a page that is served from its block: where it starts there.
    shifts: dict[int, int] = field(default_factory=dict)
    #: By position: why a block had to be waited for.
    reasons: dict[int, MissReason] = field(default_factory=dict)
    #: By position: the worker that has claimed a block that is ELSEWHERE.
    claimants: dict[int, WorkerId] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, request: BlockRequest) -> Ticket:
        """A ticket with everything open."""
        versions = request.files.versions()
        ids = [version.id() for version in versions]
        blocks = [
            BlockId(ids[file_index], block_index)
            for file_index, block_index in zip(request.file_index, request.block_index, strict=True)
        ]
        count = len(blocks)
        terms, answers = request.terms, ANSWERS[request.purpose]
        return cls(number, request, versions, blocks, [None] * count, count, terms, answers, segments=[None] * count)

    def version_of(self, position: int) -> FileVersion:
        """The file version that the block at `position` is of."""
        return self.versions[self.request.file_index[position]]

    def serve_by(self, position: int, whole: BlockId, grid: Grid) -> BlockId:
        """A page is served from the block around it; returns that block."""
        page = self.blocks[position]
        self.shifts[position] = grid.offset(page.block_index) - grid.offset(whole.block_index)
        self.blocks[position] = whole
        return whole

    def refusal(self, position: int, grid: Grid) -> RaycacheError | None:
        """Why a part cannot be asked for."""
        version, block_index = self.version_of(position), self.request.block_index[position]
        if not grid.exists(block_index, version.size_bytes):
            return InvalidRequestError(f"{version.uri} has no block {block_index}; it has {version.size_bytes} bytes")
        offset, length = self.request.offsets[position], self.request.lengths[position]
        if offset < 0 or length < 0 or offset + length > grid.length(block_index, version.size_bytes):
            return InvalidRequestError(
                f"{length} bytes at {offset} are not within block {block_index} of {version.uri}; ask again with its size"
            )
        return None

    def recheck(self, segment: Segment) -> bool:
        """Have a copy on disk checked before its use, once, but not while it is being copied; False: it waits for that."""
        if segment.id not in self.rechecked:
            self.rechecked[segment.id] = None
            segment.verified = segment.verified and (not segment.on_disk or segment.operation is not None)
        return segment.verified

    def settle(
        self, position: int, state: BlockState, segment: Segment | None = None, error: RaycacheError | None = None
    ) -> bool:
        """One block is decided; True when it was the last. A segment is held until the reply."""
        assert self.states[position] is None, f"ticket {self.number}: position {position} is decided twice"
        self.states[position] = state
        self.open_count -= 1
        self.segments[position] = segment
        if error is not None:
            self.errors[position] = error
        if segment is not None and segment.id not in self.held:
            self.held[segment.id] = segment
            segment.holds += 1
        return self.open_count == 0


def final_states(ticket: Ticket) -> list[BlockState]:
    """The states to reply with: a block that was discarded after it was found here is not served any more.

    When the reason is that its version is gone (another block of this request found out), it says so; else it was freed,
    and has to be read through.
    """
    stale: dict[VersionId, BlockState] = {}
    for block, state in zip(ticket.blocks, ticket.states, strict=True):
        if state in (BlockState.CHANGED, BlockState.GONE):
            stale[block.version] = state
    states: list[BlockState] = []
    for block, state, segment in zip(ticket.blocks, ticket.states, ticket.segments, strict=True):
        assert state is not None
        if segment is not None and block not in segment.entries:
            states.append(stale.get(block.version, BlockState.NO_SPACE))
        else:
            states.append(state)
    return states


def reasons_of(ticket: Ticket, states: list[BlockState]) -> dict[int, int]:
    """By position, why a block is not a hit, a `MissReason`.

    A block for which there was no room, and one that could not be read, say that, whatever the reason they were missing.
    """
    reasons: dict[int, int] = {}
    for position, state in enumerate(states):
        if state is BlockState.NO_SPACE:
            over_quota = ticket.reasons.get(position) is MissReason.QUOTA
            reasons[position] = int(MissReason.QUOTA if over_quota else MissReason.ADMISSION)
        elif state is BlockState.FAILED:
            reasons[position] = int(MissReason.FAILED)
        elif state is BlockState.LOADED:
            reasons[position] = int(ticket.reasons.get(position, MissReason.COLD))
    return reasons


def reply_of(ticket: Ticket, states: list[BlockState], *, local: bool, leases_s: Mapping[Tier, float]) -> Reply:
    """Make the reply, without side effects.

    Args:
        ticket: with nothing open.
        states: of `final_states`.
        local: the reader is on this node, so segments are handed out in place; from elsewhere only when it wants at
            least half of one that is in the object store.
        leases_s: of a segment handed out, by the tier it is read from.
    """
    request = ticket.request
    count = len(ticket.blocks)
    if not ticket.terms.hands_out:
        states_only = Reply(ticket.number, states, [], [-1] * count, [0] * count, ticket.errors)
        return replace(states_only, reasons=reasons_of(ticket, states), claimants=ticket.claimants)
    positions: dict[SegmentId, list[int]] = {}
    for position, segment in enumerate(ticket.segments):
        if segment is not None and states[position].served:
            positions.setdefault(segment.id, []).append(position)
    grants: list[SegmentGrant] = []
    grant_index = [-1] * count
    grant_offsets = [0] * count
    for name, chosen in positions.items():
        segment = ticket.held[name]
        wanted_bytes = sum(request.lengths[position] for position in chosen)
        tier = Tier.MEMORY if segment.in_memory else Tier.DISK
        if local:
            kind = GrantKind.PLASMA if tier is Tier.MEMORY else GrantKind.FILE
        elif tier is Tier.MEMORY and 2 * wanted_bytes >= segment.size_bytes:
            kind = GrantKind.PLASMA
        else:
            kind = GrantKind.INLINE
        parts: list[tuple[int, int]] = []
        joined_bytes = 0
        for position in chosen:
            grant_index[position] = len(grants)
            offset = segment.entries.place(ticket.blocks[position])[0] + ticket.shifts.get(position, 0)
            if kind is GrantKind.INLINE:
                grant_offsets[position] = joined_bytes
                parts.append((offset + request.offsets[position], request.lengths[position]))
                joined_bytes += request.lengths[position]
            else:
                grant_offsets[position] = offset
        inline = kind is GrantKind.INLINE
        entries = (
            Columns([], [], [], []) if inline else _told(segment, [ticket.blocks[position] for position in chosen])
        )
        grants.append(
            SegmentGrant(
                segment=name,
                tier=tier,
                kind=kind,
                length_bytes=joined_bytes if inline else segment.size_bytes,
                lease_s=0.0 if inline else leases_s[tier],
                entry_versions=entries.versions,
                entry_blocks=entries.blocks,
                entry_offsets=entries.offsets,
                entry_lengths=entries.lengths,
                parts=parts,
            )
        )
    reasons = reasons_of(ticket, states)
    return Reply(ticket.number, states, grants, grant_index, grant_offsets, ticket.errors, reasons, ticket.claimants)


def _told(segment: Segment, wanted: list[BlockId]) -> Columns:
    """What a grant says of a segment: what was asked for and a little around it; all, once it is used often or if it is short."""
    around = ENTRIES_AROUND << min(segment.hits, 16)
    entries = segment.entries
    return entries.columns() if len(entries) <= around else entries.near(wanted, around)


def refused(number: int, request: BlockRequest, error: RaycacheError) -> Reply:
    """The reply to a request that no worker can serve."""
    count = len(request.block_index)
    positions = range(count)
    reasons = dict.fromkeys(positions, int(MissReason.FAILED))
    states = [BlockState.FAILED] * count
    return Reply(number, states, [], [-1] * count, [0] * count, dict.fromkeys(positions, error), reasons)


class TicketTable:
    """All requests that have not been answered, and which of them can be."""

    def __init__(self) -> None:
        self._open: dict[int, Ticket] = {}
        #: With nothing open, to be answered before the event ends.
        self._decided: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, number: int) -> Ticket:
        return self._open[number]

    def open(self, number: int, request: BlockRequest) -> Ticket:
        """A new ticket; numbers are never used twice."""
        assert number not in self._open, f"ticket {number} is open already"
        ticket = self._open[number] = Ticket.of(number, request)
        if not ticket.blocks:
            self._decided.append(ticket)
        return ticket

    def settle(
        self,
        ticket: Ticket,
        position: int,
        state: BlockState,
        segment: Segment | None = None,
        error: RaycacheError | None = None,
    ) -> None:
        """One block is decided; see `Ticket.settle`."""
        if ticket.settle(position, state, segment, error):
            self._decided.append(ticket)

    def unsettled(self) -> list[tuple[Ticket, int]]:
        """Every position that is open."""
        return [
            (ticket, position)
            for ticket in self._open.values()
            for position, state in enumerate(ticket.states)
            if state is None
        ]

    def unanswered(self) -> list[Ticket]:
        """Tickets with nothing open whose answer could not be made."""
        return [ticket for ticket in self._open.values() if not ticket.open_count and ticket not in self._decided]

    def take_decided(self) -> list[Ticket]:
        """The tickets that were decided since the last call, each to be answered and closed."""
        decided, self._decided = self._decided, []
        return decided

    def close(self, ticket: Ticket) -> None:
        """The ticket is being answered."""
        del self._open[ticket.number]

    def validate(self, waiting: Iterable[tuple[int, int]], segments: Mapping[SegmentId, Segment]) -> None:
        """Check that open tickets wait for what they must, and that segments are held by exactly those that need them.

        Args:
            waiting: every (ticket, position) that a flight or a check will decide.
            segments: all that are here.
        """
        assert not self._decided, "a ticket with nothing open was not answered"
        still_open: list[tuple[int, int]] = []
        holds: dict[SegmentId, int] = {}
        for number, ticket in self._open.items():
            positions = [position for position, state in enumerate(ticket.states) if state is None]
            assert positions, f"ticket {number} waits for nothing"
            assert len(positions) == ticket.open_count, f"ticket {number}: {positions}, {ticket.open_count} counted"
            still_open.extend((number, position) for position in positions)
            for name in ticket.held:
                holds[name] = holds.get(name, 0) + 1
        assert sorted(waiting) == sorted(still_open), f"waiters {sorted(waiting)}, open positions {sorted(still_open)}"
        for name, segment in segments.items():
            assert segment.holds == holds.pop(name, 0), f"{name} has {segment.holds} holds, tickets say otherwise"
        assert not holds, f"tickets hold {sorted(holds)}, which are gone"
