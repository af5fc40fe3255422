"""One batched read as a state machine: parts of blocks in, calls out. No Ray, no I/O, no clock.

Theory of operation. A part is a piece of one block of one file version. Each part walks through its candidates: the workers
that are hinted to hold the block (the reader's own node first), then the worker that the hash names, and at last the under
storage itself. `next_calls` groups what is due into one call per worker and purpose. `replied` and `failed` take in what
came of a call; the table in `next_steps.py` says what happens to each part then.

*Claims.* The worker that the hash names may send the reader on to the worker that has claimed the block's extent, because it
was the first to read it (`workers/claims.py`). From a claimant that is gone or has no free memory, the part comes back.

*Copies.* What another worker is hinted to hold is first asked of the reader's own worker, as a copy. That worker has one by
now, or makes one from the holder while there is room. So nodes that read the same data again and again, wherever their tasks
happen to run, end up with it, and the readers of a hot block spread over its copies. A refusal does not count as an attempt.
A holder may turn out not to have the block: it was only expected to, or has lost it. Then it is first asked to load it
without handing it out, and the copy is asked for again: so the bytes cross between the two nodes once, for all readers of
this one.

    WAITING --call--> ASKED --served--> DONE
                        |---claimed elsewhere / worker failed / lost segment---> WAITING (next candidate) ... BYPASS
                        |---copy refused, holder has loaded it---> WAITING (the copy again)
                        |---no space---> BYPASS
                        `---changed / gone---> STALE: the caller resolves the path again and starts over

At most `WORKER_ATTEMPTS_MAX` workers are asked to serve a part, besides one that sends it on and one for a copy, so the
number of rounds is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from raycache.client.ports import WorkerCall
from raycache.client.reading.next_steps import NextStep, steps_of
from raycache.client.topology import Topology
from raycache.errors import SilentPeerError
from raycache.hashing import extent_key, place_many
from raycache.messages import (
    PREFETCHING,
    BlockReply,
    BlockRequest,
    BlockState,
    Claim,
    FileColumns,
    GrantKind,
    Purpose,
    claim_column,
    encode,
)
from raycache.ranges import is_page
from raycache.types import FileVersion, VersionId, WorkerId, WorkerView

#: After this many workers a part goes to the under storage.
WORKER_ATTEMPTS_MAX = 2


class FileTarget(NamedTuple):
    """One file of a read."""

    file: FileVersion
    version: VersionId
    #: Hints: (worker, bit mask of blocks).
    holders: tuple[tuple[WorkerId, int], ...]
    #: Hints: by extent, the worker that has claimed it.
    claimants: Mapping[int, WorkerId] = MappingProxyType({})


class Part(NamedTuple):
    """A piece of one block, or of one page."""

    #: Index into the operation's targets.
    target_index: int
    block_index: int
    #: Within the block.
    offset: int
    length: int
    #: How many it is counted as: pages of one block are counted together.
    blocks: int = 1


class Round(NamedTuple):
    """One call to one worker: shape (B,) parts, in the order of the request's columns."""

    worker: WorkerView
    request: BlockRequest
    part_indices: list[int]

    def prefetching(self) -> Round:
        """The same, with nothing handed out."""
        return self._replace(request=self.request._replace(purpose=int(PREFETCHING[self.request.purpose])))

    def to_call(self) -> WorkerCall:
        """What to send."""
        return WorkerCall(self.worker.actor_name, "read", (encode(self.request),))


class _Route(NamedTuple):
    """A worker and what to ask it for; for a copy, also the worker to make it from."""

    worker: WorkerId
    purpose: Purpose = Purpose.READ
    source: WorkerId | None = None


class ReadOperation:
    """A batched read in progress.

    Args:
        targets: shape (F,).
        parts: shape (P,).
        topology: where blocks go.
        claims: what nobody has is to be loaded by the reader's own worker.
        follows_claims: what another worker has claimed is asked of that one; False: it is loaded where the hash puts it.
    """

    def __init__(
        self,
        targets: Sequence[FileTarget],
        parts: Sequence[Part],
        topology: Topology,
        *,
        claims: bool = False,
        follows_claims: bool = True,
    ) -> None:
        self.targets = targets
        self.parts = parts
        self._topology = topology
        self._node = topology.node
        self._grid = topology.grid
        self._by_id = {worker.worker: worker for worker in topology.view.workers}
        self._waiting: list[int] = list(range(len(parts)))
        self._tried: dict[int, list[WorkerId]] = {}
        #: Parts that the worker of the hash has sent on to another, or that a claimant was asked for at once.
        self._sent_on: set[int] = set()
        #: Parts that were asked for as passive copies.
        self._copies_asked: set[int] = set()
        #: Parts that their holder did not have when a copy was asked for: those that it has to load first, and all that ever were.
        self._to_fill: set[int] = set()
        self._filled: set[int] = set()
        #: Parts that a holder has loaded for a copy: they do not count as hits.
        self.loaded: set[int] = set()
        self._blocks_per_extent = topology.blocks_per_extent
        self._owners = self._place()
        self._claims = claims and topology.node in self._by_id
        self._follows_claims = follows_claims
        #: By (index of the target, extent), the worker that has claimed it, as far as is known; None: none that helps.
        self.claimants: dict[tuple[int, int], WorkerId | None] = {
            (index, extent): worker
            for index, target in enumerate(targets)
            for extent, worker in target.claimants.items()
        }
        #: Whether the reader's own worker had no room for what it was to load.
        self.is_declined = False
        #: Parts that only the under storage can serve, in part order.
        self.bypass: list[int] = []
        #: Parts whose file version is no longer in the lake.
        self.stale: list[int] = []

    def next_calls(self) -> list[Round]:
        """Make the calls to send now, one per worker and purpose; none when every part is served, stale or due for a bypass."""
        groups: dict[_Route, list[int]] = {}
        for part_index in self._waiting:
            route = self._route(part_index)
            if route is None:
                self.bypass.append(part_index)
            elif self._copy_pays(part_index, route.worker):
                copy = _Route(self._node, Purpose.READ_COPY, route.worker)
                groups.setdefault(copy, []).append(part_index)
            elif part_index in self._to_fill:
                self._to_fill.remove(part_index)
                groups.setdefault(route._replace(purpose=Purpose.PREFETCH), []).append(part_index)
            else:
                groups.setdefault(route, []).append(part_index)
        self._waiting = []
        self.bypass.sort()
        for route, indices in groups.items():
            if route.purpose is Purpose.READ_COPY:
                self._copies_asked.update(indices)
            else:
                for part_index in indices:
                    self._tried.setdefault(part_index, []).append(route.worker)
        return [
            Round(self._by_id[route.worker], self._request(indices, route), indices)
            for route, indices in groups.items()
        ]

    def replied(self, call: Round, reply: BlockReply) -> list[tuple[int, int, int]]:
        """Take in a worker's answer.

        Returns:
            The served parts: (part index, grant index, offset in the grant's bytes where the wanted part starts).
        """
        served: list[tuple[int, int, int]] = []
        inline = [grant.kind == GrantKind.INLINE for grant in reply.grants]
        steps = steps_of(call.request.purpose)
        for position, part_index in enumerate(call.part_indices):
            match steps[reply.states[position]]:
                case NextStep.SERVE:
                    grant_index = reply.grant_index[position]
                    start = reply.grant_offsets[position]
                    if grant_index >= 0 and not inline[grant_index]:
                        start += self.parts[part_index].offset
                    served.append((part_index, grant_index, start))
                case NextStep.COPY:
                    self._is_filled(part_index, call.worker.worker, reply.states[position])
                case NextStep.FILL:
                    if isinstance(reply.errors.get(position), SilentPeerError):
                        # The own worker has waited for the holder: this reader does not do so once more.
                        source = next(w for w in self._by_id.values() if w.actor_name == call.request.source_actor)
                        self._tried.setdefault(part_index, []).append(source.worker)
                    elif part_index not in self._filled:
                        self._to_fill.add(part_index)
                        self._filled.add(part_index)
                    self._waiting.append(part_index)
                case NextStep.FOLLOW if call.request.claim(position) != Claim.IGNORE:
                    # It does not count as an attempt: the worker will load it if the reader comes back.
                    self.claimants[self._extent(part_index)] = reply.claimants.get(position)
                    self._tried[part_index].remove(call.worker.worker)
                    self._sent_on.add(part_index)
                    self._waiting.append(part_index)
                case NextStep.RETURN:
                    self.claimants[self._extent(part_index)] = None
                    self.is_declined = self.is_declined or call.worker.worker == self._node
                    self._waiting.append(part_index)
                case NextStep.NEXT:
                    self._waiting.append(part_index)
                case NextStep.RESOLVE:
                    self.stale.append(part_index)
                case _:
                    self.bypass.append(part_index)
        return served

    def _is_filled(self, part_index: int, worker: WorkerId, state: int) -> None:
        """A holder that was short of a part has it now: that did not count as an attempt, and a copy can be made."""
        if state == BlockState.LOADED:
            self.loaded.add(part_index)
        self._copies_asked.discard(part_index)
        self._tried[part_index].remove(worker)
        self._waiting.append(part_index)

    def failed(self, part_indices: Sequence[int]) -> None:
        """These parts were not served after all (worker or segment lost): try their next candidates."""
        self._waiting.extend(part_indices)

    def _copy_pays(self, part_index: int, worker: WorkerId) -> bool:
        """Whether to ask the reader's own worker for a copy of what `worker` is hinted to hold."""
        if worker == self._node or self._node not in self._by_id or part_index in self._copies_asked:
            return False
        part = self.parts[part_index]
        if is_page(part.block_index):
            return False
        holders = self._holders(part_index)
        length = self._grid.length(part.block_index, self.targets[part.target_index].file.size_bytes)
        return worker in holders and len(holders) < self._topology.replicas_max and 2 * part.length >= length

    def _route(self, part_index: int) -> _Route | None:
        """The worker to ask next; None: the under storage."""
        tried = self._tried.get(part_index, [])
        if len(tried) >= WORKER_ATTEMPTS_MAX:
            return None
        owner = self._owners[part_index]
        holders = [
            worker
            for worker in self._holders(part_index)
            # A worker that has sent the reader on does not hold it.
            if worker not in tried and not (worker == owner and part_index in self._sent_on)
        ]
        for preferred in (self._node, owner):
            if preferred in holders:
                return _Route(preferred)
        if holders:
            return _Route(holders[0])
        claimant = self.claimants.get(self._extent(part_index)) if self._follows_claims else None
        if claimant is not None and claimant != owner and claimant in self._by_id and claimant not in tried:
            self._sent_on.add(part_index)
            return _Route(claimant, Purpose.READ_CLAIMED)
        return None if owner is None or owner in tried else _Route(owner)

    def is_at_home(self, part_index: int) -> bool:
        """Whether a part is, or would be loaded, at the reader's own node, as far as is known."""
        holders = self._holders(part_index)
        if holders:
            return self._node in holders
        return self._node == (self.claimants.get(self._extent(part_index)) or self._owners[part_index])

    def _claim(self, part_index: int, route: _Route) -> Claim:
        """What a request says of claims: the worker of the hash may send a part on, once, also if it is said to hold it."""
        is_of_hash = route.worker == self._owners[part_index] and route.source is None
        if not (self._follows_claims and is_of_hash) or part_index in self._sent_on:
            return Claim.IGNORE
        return Claim.CLAIM if self._claims and route.worker not in self._holders(part_index) else Claim.FOLLOW

    def _holders(self, part_index: int) -> list[WorkerId]:
        """The live workers that are hinted to hold a part's block."""
        part = self.parts[part_index]
        bit = 1 << self._grid.block_of(part.block_index)
        return [name for name, mask in self.targets[part.target_index].holders if mask & bit and name in self._by_id]

    def _extent(self, part_index: int) -> tuple[int, int]:
        part = self.parts[part_index]
        return part.target_index, self._grid.block_of(part.block_index) // self._blocks_per_extent

    def _place(self) -> list[WorkerId | None]:
        workers = self._topology.view.workers
        if not workers or not self.parts:
            return [None] * len(self.parts)
        extents: dict[tuple[int, int], int] = {}
        part_extents = [extents.setdefault(self._extent(index), len(extents)) for index in range(len(self.parts))]
        keys = np.array([extent_key(self.targets[t].version, e) for t, e in extents], dtype=np.uint64)
        owners = [workers[i].worker for i in place_many(keys, workers)[:, 0].tolist()]
        return [owners[extent] for extent in part_extents]

    def _request(self, part_indices: list[int], route: _Route) -> BlockRequest:
        source = route.source
        files: dict[int, int] = {}
        file_index = [files.setdefault(self.parts[i].target_index, len(files)) for i in part_indices]
        return BlockRequest(
            node=self._node,
            view_id=self._topology.view.view_id,
            mounts_version=self._topology.mounts_version,
            files=FileColumns.of(self.targets[t].file for t in files),
            file_index=file_index,
            block_index=[self.parts[i].block_index for i in part_indices],
            offsets=[self.parts[i].offset for i in part_indices],
            lengths=[self.parts[i].length for i in part_indices],
            block_size_bytes=self._grid.block_size_bytes,
            purpose=int(route.purpose),
            claims=claim_column(self._claim(i, route) for i in part_indices),
            source_actor="" if source is None else self._by_id[source].actor_name,
        )
