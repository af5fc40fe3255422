"""What the `WorkerService` wants done, as values, and what becomes of a load.

The actor (or the simulator) carries an effect out and calls back: `Load` -> `loaded`, `Demote` -> `demoted`, `Promote`
-> `promoted`, `Verify` -> `verified`, `Compact` -> `compacted`. `Reply`, `DropMemory`, `DropDisk` and `Forget` have no
answer. Effects are carried out in the order given; the slow ones may overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from raycache.errors import RaycacheError
from raycache.messages import BlockState, GrantKind
from raycache.paths import store_of
from raycache.types import BlockId, FileVersion, SegmentId, Tier, VersionId, WorkerId


class SegmentEntry(NamedTuple):
    """Where one block lies in a segment."""

    version: FileVersion
    block_index: int
    #: Within the segment.
    offset: int
    length: int


class CachedPart(NamedTuple):
    """A part of a file that a segment here holds."""

    file_offset: int
    length: int
    segment: SegmentId
    tier: Tier
    #: Within the segment.
    offset: int

    def is_before(self, other: CachedPart) -> bool:
        """Whether the other part begins where this one ends, in the file and in the segment."""
        here = self.file_offset + self.length, self.segment, self.tier, self.offset + self.length
        return here == (other.file_offset, other.segment, other.tier, other.offset)


class LoadItem(NamedTuple):
    """One block to fetch from the under storage."""

    #: Of `version` and `block_index`.
    block: BlockId
    version: FileVersion
    block_index: int
    #: Where the block starts in the file.
    file_offset: int
    #: Where its bytes go in the segment.
    offset_in_segment: int
    length: int
    #: The actor name of another worker to fetch it from; empty: the under storage.
    source_actor: str = ""
    #: A copy that is not needed: when the other worker does not have the block, the load fails and leaves the lake alone.
    passive: bool = False
    #: Of the block, what was here when the load began; it may be gone by now.
    cached: tuple[CachedPart, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """What became of a `Load`."""

    #: Shape (I,), one per item: LOADED, COPIED, CHANGED, GONE, FAILED, or NO_SPACE (fetched, but the tier could not store it).
    states: tuple[BlockState, ...]
    #: By item: why it failed.
    errors: dict[int, RaycacheError]

    @classmethod
    def failed(cls, items: Sequence[LoadItem], error: RaycacheError) -> LoadOutcome:
        """Nothing came."""
        return cls((BlockState.FAILED,) * len(items), dict.fromkeys(range(len(items)), error))

    def not_stored(self) -> LoadOutcome:
        """The same, when the tier could not take the buffer: what was good has no space."""
        return LoadOutcome(tuple(BlockState.NO_SPACE if state.served else state for state in self.states), self.errors)


@dataclass(frozen=True, slots=True)
class Load:
    """Fetch the items into one buffer of `size_bytes`, store it in `tier` as `segment`, and report."""

    load_id: int
    segment: SegmentId
    tier: Tier
    size_bytes: int
    #: In the order of their offsets in the segment, without holes.
    items: tuple[LoadItem, ...]
    #: The segment is the first to be evicted; see `Need.WELCOME`.
    passive: bool = False

    @property
    def store(self) -> str:
        """Where all items come from: the root of the under storage, or another worker."""
        return self.items[0].source_actor or store_of(self.items[0].version.uri)

    def entries(self, outcome: LoadOutcome) -> list[SegmentEntry]:
        """The segment's table: what to write into a disk segment's footer.

        Args:
            outcome: leaves out the items that failed: a footer that names a block which was never fetched would be
                believed after a restart.
        """
        return [
            SegmentEntry(item.version, item.block_index, item.offset_in_segment, item.length)
            for number, item in enumerate(self.items)
            if outcome.states[number].served
        ]


@dataclass(frozen=True, slots=True)
class SegmentGrant:
    """A segment to hand to the reader; the actor adds the payload. See `messages.Grant`."""

    segment: SegmentId
    tier: Tier
    kind: GrantKind
    #: Of the whole segment; for INLINE, of the parts.
    length_bytes: int
    lease_s: float
    #: Shape (E,) each; empty for INLINE.
    entry_versions: list[VersionId]
    entry_blocks: list[int]
    entry_offsets: list[int]
    entry_lengths: list[int]
    #: Only for INLINE: (offset in the segment, length) of the parts wanted, in the order they are to be joined.
    parts: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one ticket."""

    ticket: int
    #: Shape (B,).
    states: list[BlockState]
    grants: list[SegmentGrant]
    #: Shape (B,): index into `grants`; -1 when not served, or when nothing was to be handed out.
    grant_index: list[int]
    #: Shape (B,): where the block starts in the segment; for INLINE, where the wanted part starts in the joined parts.
    grant_offsets: list[int]
    #: By position.
    errors: dict[int, RaycacheError]
    #: By position: why a block was not a hit, a `MissReason`.
    reasons: dict[int, int] = field(default_factory=dict)
    #: By position: the worker that has claimed what is ELSEWHERE.
    claimants: dict[int, WorkerId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demote:
    """Copy the segment from memory to disk."""

    segment: SegmentId


@dataclass(frozen=True, slots=True)
class Promote:
    """Copy the segment from disk to memory."""

    segment: SegmentId


@dataclass(frozen=True, slots=True)
class Verify:
    """Check the disk segment against its checksum."""

    segment: SegmentId


@dataclass(frozen=True, slots=True)
class DropMemory:
    """Let go of the copy in memory."""

    segment: SegmentId


@dataclass(frozen=True, slots=True)
class DropDisk:
    """Delete the copy on disk."""

    segment: SegmentId


@dataclass(frozen=True, slots=True)
class Compact:
    """Copy parts of a segment into a new one in the same tier."""

    segment: SegmentId
    target: SegmentId
    tier: Tier
    #: Shape (P,): (offset in the old segment, length); in the new one they follow each other.
    parts: list[tuple[int, int]]
    #: The new segment's table.
    entries: list[SegmentEntry]


@dataclass(frozen=True, slots=True)
class Forget:
    """Blocks of a segment on disk that must not be taken over after a restart."""

    segment: SegmentId
    blocks: list[BlockId]


Effect: TypeAlias = Reply | Load | Demote | Promote | Verify | DropMemory | DropDisk | Compact | Forget


class Outbox:
    """The event that a service is dealing with: its time, and what has been decided in it so far.

    All parts of one service share it, so that neither the time nor the effects are handed from one to the next.
    """

    def __init__(self) -> None:
        #: Set at the start of every event.
        self.now_s = 0.0
        self._effects: list[Effect] = []

    def put(self, effect: Effect) -> None:
        """Have something done when the event is over, after all that was decided before."""
        self._effects.append(effect)

    def drain(self) -> list[Effect]:
        """End the event: everything that is to be done, in order."""
        effects, self._effects = self._effects, []
        return effects
