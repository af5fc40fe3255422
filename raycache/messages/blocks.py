"""Client to worker: requests for blocks, to drop blocks, and to say which blocks are held."""

from __future__ import annotations

import enum
from typing import NamedTuple

from raycache.errors import InvalidRequestError, RaycacheError
from raycache.messages.encoding import FileColumns
from raycache.messages.purposes import PREFETCHING, TERMS, Purpose, Terms
from raycache.ranges import block_count
from raycache.rules import Pattern
from raycache.types import FileVersion, SegmentId, Tier, VersionId, WorkerId


class BlockRequest(NamedTuple):
    """Ask a worker for parts of blocks; the purpose says what it does with those that it does not hold."""

    #: The reader's node: on the worker's own node segments are handed out in place.
    node: WorkerId
    view_id: int
    mounts_version: int
    #: Shape (F,).
    files: FileColumns
    #: Shape (B,): which file of `files`.
    file_index: list[int]
    #: Shape (B,): which block of the file.
    block_index: list[int]
    #: Shape (B,): the part wanted, within the block.
    offsets: list[int]
    lengths: list[int]
    #: As the asker knows it; a worker of another cache generation refuses.
    block_size_bytes: int
    #: A `Purpose`, as a plain number: an enum would travel with its name.
    purpose: int
    #: Of `Claim`; shape (B,), or (1,) where it is the same for all blocks. See `claim_column`.
    claims: bytes = b"\0"
    #: The actor name of a worker that holds the blocks, for purposes that fetch what is missing from one.
    source_actor: str = ""
    #: For purposes of load jobs: the job evicts nothing that was loaded or used within this many seconds, so that it never
    #: evicts what it has just brought.
    job_age_s: float | None = None
    #: For purposes of prefetching: only what was read within this many seconds makes room, since the reader has still to
    #: read the rest; None: whatever is coldest.
    epoch_age_s: float | None = None

    @classmethod
    def held(cls, node: WorkerId, file: FileVersion, lengths: dict[int, int], block_size_bytes: int) -> BlockRequest:
        """Ask for what a worker holds of one file.

        Args:
            node: the asker's.
            file: the file.
            lengths: bytes wanted, from its start, of each block.
            block_size_bytes: of the cache.
        """
        files, count = FileColumns.of([file]), len(lengths)
        columns = ([0] * count, list(lengths), [0] * count, list(lengths.values()))
        return cls(node, 0, 0, files, *columns, block_size_bytes, int(Purpose.READ_HELD))

    @classmethod
    def whole(cls, node: WorkerId, file: FileVersion, block_size_bytes: int, purpose: Purpose) -> BlockRequest:
        """Ask for all blocks of one file, whoever has claimed them."""
        count = block_count(file.size_bytes, block_size_bytes)
        lengths = [min(block_size_bytes, file.size_bytes - block * block_size_bytes) for block in range(count)]
        columns = ([0] * count, list(range(count)), [0] * count, lengths)
        return cls(node, 0, 0, FileColumns.of([file]), *columns, block_size_bytes, int(purpose))

    @property
    def terms(self) -> Terms:
        """What the purpose means."""
        return TERMS[self.purpose]

    @property
    def loads(self) -> bool:
        """Whether a worker loads what it does not hold."""
        terms = TERMS.get(self.purpose)
        return terms is not None and terms.need is not None

    def claim(self, position: int) -> int:
        """The `Claim` of one block."""
        return self.claims[position if len(self.claims) > 1 else 0]

    def keep_since_s(self, now_s: float) -> float:
        """What was loaded or used since then is not evicted for it; infinity: whatever is coldest is."""
        return float("inf") if self.job_age_s is None else now_s - self.job_age_s

    def read_since_s(self, now_s: float) -> float:
        """Only what was read since then is evicted for it; minus infinity: that does not matter."""
        return float("-inf") if self.epoch_age_s is None else now_s - self.epoch_age_s

    def refusal(self) -> InvalidRequestError | None:
        """Why no worker can serve such a request."""
        terms = TERMS.get(self.purpose)
        if terms is None:
            return InvalidRequestError(f"blocks are asked for with purpose {self.purpose}, which does not exist")
        said = None
        columns = (self.file_index, self.block_index, self.offsets, self.lengths, self.files.sizes_bytes)
        if any(set(map(type, column)) - {int} for column in columns):
            said = "numbers that are no plain integers"
        elif len(self.claims) not in (1, len(self.block_index)):
            said = f"{len(self.claims)} claims for {len(self.block_index)} blocks"
        elif max(self.claims, default=0) > terms.claims:
            said = f"claim {max(self.claims)}, where {int(terms.claims)} is the most"
        elif bool(self.source_actor) != terms.has_source:
            said = f"source {self.source_actor!r}"
        elif (self.job_age_s is not None) != terms.of_job:
            said = f"job age {self.job_age_s}"
        elif self.epoch_age_s is not None and self.purpose not in PREFETCHING.values():
            said = f"epoch age {self.epoch_age_s}"
        if said is None:
            return None
        return InvalidRequestError(
            f"blocks are asked for with purpose {Purpose(self.purpose).name} and {said}; see TERMS"
        )


class BlockState(enum.IntEnum):
    """What became of one block asked for. A miss or a refusal is a value, not an error."""

    HIT_MEMORY = 0
    HIT_DISK = 1
    #: Was missing; has been fetched from the under storage for this request.
    LOADED = 2
    #: Was missing here; has been fetched from another worker for this request.
    COPIED = 3
    #: Nothing could make room: read through.
    NO_SPACE = 4
    #: The object is no longer this version (412, or another size or mtime).
    CHANGED = 5
    #: The object is gone (404).
    GONE = 6
    #: The under storage failed; see `errors`.
    FAILED = 7
    #: Not here, and another worker has claimed it; see `BlockReply.claimants`.
    ELSEWHERE = 8

    @property
    def served(self) -> bool:
        """Whether a grant carries the bytes."""
        return self <= BlockState.COPIED


class GrantKind(enum.IntEnum):
    """How a segment is handed to the reader."""

    #: payload = object reference of a numpy uint8 array holding the whole segment.
    PLASMA = 0
    #: `path` = a file on the reader's own machine to map; the segment's bytes start at offset 0.
    FILE = 1
    #: payload = numpy uint8 array holding just the wanted parts, one after the other.
    INLINE = 2


class Grant(NamedTuple):
    """A lease on one segment: the right to read it in place for a while."""

    segment: SegmentId
    tier: Tier
    kind: GrantKind
    length_bytes: int
    path: str
    lease_s: float
    #: Shape (E,): all blocks in the segment, so that further files of it cost no call. Empty for INLINE.
    entry_versions: list[VersionId]
    entry_blocks: list[int]
    entry_offsets: list[int]
    entry_lengths: list[int]


class BlockReply(NamedTuple):
    """The answer to a `BlockRequest`; travels as (encode(reply), payloads), payloads[g] belonging to grants[g]."""

    worker: WorkerId
    epoch: int
    view_id: int
    #: Shape (B,), of `BlockState`.
    states: list[int]
    #: Shape (B,): index into `grants`, -1 when not served.
    grant_index: list[int]
    #: Shape (B,): where in the grant's bytes the block starts; for INLINE, where the wanted part starts.
    grant_offsets: list[int]
    grants: list[Grant]
    #: By position.
    errors: dict[int, RaycacheError]
    #: By position: why a block that is not a hit was not here, a `MissReason`; COLD when it is not said.
    reasons: dict[int, int] = {}  # noqa: RUF012  # never changed; a NamedTuple knows no factories
    #: How often the lake has told this worker to slow down (503, 429), since its start.
    slow_downs: int = 0
    #: By position: the worker to ask for what is ELSEWHERE.
    claimants: dict[int, WorkerId] = {}  # noqa: RUF012

    @classmethod
    def refusing(cls, request: BlockRequest, worker: WorkerId, epoch: int, view_id: int) -> BlockReply:
        """No room for any of it."""
        count = len(request.block_index)
        return cls(worker, epoch, view_id, [int(BlockState.NO_SPACE)] * count, [-1] * count, [0] * count, [], {})


class Selector(NamedTuple):
    """Which blocks to free: those of the versions, and those of files that a pattern names and that are old enough."""

    patterns: list[Pattern]
    versions: list[VersionId] = []  # noqa: RUF012  # a NamedTuple's default, never changed
    #: Only blocks loaded at least this long ago.
    older_than_s: float = 0.0
    #: The versions stay for now, and are the first to go when room is needed, unless they are read again.
    superseded: bool = False


class FreeReply(NamedTuple):
    """What one worker dropped; leased bytes are counted, too: they go when the lease ends."""

    #: Blocks and pages.
    blocks: int
    bytes: int
    #: What was named, but is pinned, and so was left.
    pinned_blocks: int = 0
    pinned_bytes: int = 0


class ResidencyReply(NamedTuple):
    """What one worker holds of F files, exactly: bit masks of blocks, per tier (a block may be in both)."""

    memory_masks: list[int]
    disk_masks: list[int]
    #: Heat of each, see `FileHeat.hits`.
    hits: list[int]
