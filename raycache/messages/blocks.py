"""Client to worker: give me blocks, drop blocks, say what you hold."""

from __future__ import annotations

import enum
from typing import NamedTuple

from raycache.errors import RaycacheError
from raycache.messages.encoding import FileColumns
from raycache.rules import Pattern
from raycache.types import SegmentId, Tier, VersionId, WorkerId


class BlockRequest(NamedTuple):
    """Give me these parts of blocks; load what you do not hold."""

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
    #: False: a load; make the blocks resident and say so, hand nothing out.
    hand_out: bool = True
    #: The actor name of a worker that holds the blocks: fetch what is missing from it, not from the lake.
    source_actor: str = ""
    #: Serve what is here, load nothing: the asker is another worker, which can ask the lake itself. Were its blocks loaded
    #: for it, workers could wait for each other in a circle.
    held_only: bool = False
    #: With `source_actor`: a copy for readers on this node, which is welcome but not needed. Only into free memory, never
    #: evicting, never from the lake, and the first to be evicted: the asker goes to the source itself where this is refused.
    passive: bool = False
    #: A load job's: room is made only by evicting what was neither loaded nor used in so many seconds, the age of the job,
    #: so that it never evicts what it has just brought. None: as a reader, whatever is coldest.
    spare_s: float | None = None
    #: To the worker that the hash names: where another has claimed the extent, say so (ELSEWHERE) instead of loading.
    #: Otherwise this one loads, and the claim is forgotten.
    follows_claims: bool = False
    #: Positions that this is not said of: asked because of a hint, of a worker that the hash does not name for them.
    hinted: frozenset[int] = frozenset()
    #: With that: what nobody has or has claimed is claimed for the worker on the reader's node.
    claims: bool = False
    #: Positions that this is not said of: this worker is hinted to hold them, or expected to load them; so it does.
    unclaimed: frozenset[int] = frozenset()
    #: To the worker that has the claim: load into free memory only, evicting nothing; else the extent stays where the hash
    #: puts it.
    free_memory_only: bool = False
    #: Check the checksum of what is on disk first; a bad block counts as missing.
    recheck: bool = False

    def spares_since_s(self, now_s: float) -> float:
        """See `spare_s`; infinity when nothing is spared."""
        return float("inf") if self.spare_s is None else now_s - self.spare_s


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
    #: By position: who is to be asked for what is ELSEWHERE.
    claimants: dict[int, WorkerId] = {}  # noqa: RUF012


class Selector(NamedTuple):
    """Which blocks to free: those of the versions, and those of files that a pattern names and that are old enough."""

    patterns: list[Pattern]
    versions: list[VersionId] = []  # noqa: RUF012  # a NamedTuple's default, never changed
    #: Only blocks loaded at least so long ago.
    older_than_s: float = 0.0


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
    #: Heat of each, see `FileHeat.uses`.
    uses: list[int]
