"""Claims: which worker loads an extent, as the worker that the hash names remembers it.

Theory of operation. Every reader that knows no holder asks the worker that the hash names, so this worker knows the first
reader of an extent. A reader that runs where the work is (a Ray task or actor) claims the extent for its own node's worker:
it is loaded where it is read, once, and never sent on. Later readers are sent to the claimant. A claim is a hint like any
other: a claimant that is gone or has no free memory is passed over, the reader comes back, and this worker loads and
forgets the claim. A lost claim (a restart, the bound) costs a second copy at worst. `free` ends all claims; what is
evicted comes back where it was.
"""

from __future__ import annotations

import xxhash

from raycache.digests import DigestTable
from raycache.messages import BlockRequest, Claim
from raycache.ranges import Grid
from raycache.types import BlockId, FileVersion, WorkerId
from raycache.workers.tiers.segments import SegmentTable

#: Of one of two generations, some 25 bytes each: claims that were not asked for during a whole generation are forgotten.
CLAIMS_MAX = 1 << 19


class Claims:
    """Claims on extents that the hash places here.

    Args:
        worker: this one.
        grid: how files are cut.
        extent_size_bytes: of the cache.
        claims_max: of one generation.
    """

    def __init__(self, worker: WorkerId, grid: Grid, extent_size_bytes: int, claims_max: int = CLAIMS_MAX) -> None:
        self._worker = worker
        self._grid = grid
        self._blocks_per_extent = extent_size_bytes // grid.block_size_bytes
        self._claims_max = claims_max
        self._young, self._old = DigestTable(), DigestTable()
        self._workers: list[WorkerId] = []
        self._numbers: dict[WorkerId, int] = {}

    def answer(
        self, request: BlockRequest, claim: int, block: BlockId, version: FileVersion, table: SegmentTable
    ) -> WorkerId | None:
        """Name the other worker that has claimed a block which is neither here nor on its way; None: this worker loads it.

        Args:
            request: for the block.
            claim: what the request says of claims on it, a `Claim`.
            block: the block, or page.
            version: of its file.
            table: what is here.
        """
        if claim == Claim.IGNORE:
            if not request.source_actor:
                # A copy of what the claimant has takes nothing from it.
                self.forget(block)
            return None
        claimant = self.claimant(block)
        if claimant is None and claim == Claim.CLAIM and block.version not in table:
            claimant = request.node
            if claimant != self._worker or version.size_bytes > self._grid.block_size_bytes:
                self.claim(block, claimant)
        return claimant if claimant != self._worker else None

    def claimant(self, block: BlockId) -> WorkerId | None:
        """The worker that has claimed the extent of a block or page."""
        key = self._key(block)
        number = self._young.get(key)
        if number is None:
            number = self._old.get(key)
            if number is not None:
                self._put(key, number)
        return None if number is None else self._workers[number]

    def claim(self, block: BlockId, worker: WorkerId) -> None:
        """The extent of a block or page is this worker's."""
        number = self._numbers.setdefault(worker, len(self._workers))
        if number == len(self._workers):
            self._workers.append(worker)
        self._put(self._key(block), number)

    def forget(self, block: BlockId) -> None:
        """Nobody has claimed the extent of a block or page."""
        key = self._key(block)
        self._young.remove(key)
        self._old.remove(key)

    def clear(self) -> None:
        """Nobody has claimed anything."""
        self._young, self._old = DigestTable(), DigestTable()

    def _put(self, key: bytes, number: int) -> None:
        if len(self._young) >= self._claims_max:
            self._young, self._old = DigestTable(), self._young
        self._young.put(key, number)

    def _key(self, block: BlockId) -> bytes:
        extent = self._grid.block_of(block.block_index) // self._blocks_per_extent
        return block.version if extent == 0 else xxhash.xxh3_64_digest(block.version, seed=extent)
