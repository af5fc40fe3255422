"""Reading parts of blocks: mapped segments first, then one call per worker, then the under storage.

Theory of operation. `in_place` ends most reads: the range lies in one mapped segment, and a slice of it is the answer. For the
others, `read` cuts ranges into parts of blocks or pages, takes what is mapped, and lets a `ReadOperation` plan the calls for
the rest, all ranges of a batch together. Granted segments are mapped and kept in `Leases`, so that what lies beside the
wanted parts costs no call later. Every part is counted once, where it was found.

Nothing here waits without bound: worker calls and object transfers have timeouts, the number of rounds is limited by
`ReadOperation`, and the under storage bounds its own retries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from raycache.client.counters import Counters
from raycache.client.file_meta import FileMeta
from raycache.client.locator import Locator
from raycache.client.ports import WorkerCall, WorkerCalls
from raycache.client.reading.bypass import Bypass
from raycache.client.reading.leases import Leases
from raycache.client.reading.pages import by_pages
from raycache.client.reading.read_operation import FileTarget, Part, ReadOperation, Round
from raycache.client.reading.spans import Span, joined
from raycache.client.topology import Topology
from raycache.clock import Clock
from raycache.errors import ConflictError, NoCacheError, RaycacheError, SilentPeerError
from raycache.messages import (
    BlockReply,
    BlockRequest,
    BlockState,
    Grant,
    GrantKind,
    MissReason,
    decode,
    encode,
)
from raycache.ranges import BlockRange, block_ranges, is_page
from raycache.types import Tier, WorkerView

#: How long nothing is claimed after the own worker had no free memory for what was.
_DECLINED_S = 5.0
_NOTHING = pa.py_buffer(b"")


class Request(NamedTuple):
    """A byte range of one file, already clipped to it."""

    meta: FileMeta
    offset: int
    length: int
    #: The reader goes through the file from front to back.
    in_order: bool = False


class Reader:
    """Reads byte ranges of resolved files through the cache.

    Args:
        calls: to the workers.
        locator: knows the under storages, and hears of files that were replaced.
        leases: segments mapped here.
        counters: where reads are counted.
        clock: monotonic time.
        topology: tells where blocks go, as it is known now.
        on_read: called after every read; it makes counters and lease renewals go out soon.
        claims: whether the reading is done where the work is, so that this node should have what is read.
        map_file: (path, length in bytes) -> the disk segment there, None when it is gone; see `mapped_file`.
    """

    def __init__(
        self,
        calls: WorkerCalls,
        locator: Locator,
        leases: Leases,
        counters: Counters,
        clock: Clock,
        topology: Callable[[], Topology],
        *,
        on_read: Callable[[], None],
        map_file: Callable[[str, int], pa.Buffer | None] | None = None,
        claims: Callable[[], bool] = lambda: False,
    ) -> None:
        self._calls = calls
        self._locator = locator
        self._leases = leases
        self._counters = counters
        self._clock = clock
        self._topology = topology
        # These two never change.
        self._node = topology().node
        self._grid = topology().grid
        self._block_size_bytes = self._grid.block_size_bytes
        self._bypass = Bypass(locator, counters, self._grid)
        self._on_read = on_read
        self._map_file = map_file or mapped_file
        self._claims = claims
        self._claims_again_s = 0.0

    def in_place(self, meta: FileMeta, offset: int, length: int, now_s: float) -> pa.Buffer | None:
        """Find a range in one piece of a mapped segment, and count it; None when some of it is not mapped, or lies elsewhere.

        Every read tries this first, and most end here: no call, nothing waited for, about 1.5 us.

        Args:
            meta: of a file.
            offset, length: within it; length >= 1.
            now_s: monotonic time.
        """
        size, leases = self._block_size_bytes, self._leases
        # Most files are small, and read whole: two divisions less.
        first, last = (0, 0) if offset + length <= size else (offset // size, (offset + length - 1) // size)
        view = leases.get(meta.version, first, now_s) if first == last else leases.run(meta.version, first, last, now_s)
        if view is None:
            return None
        mapped = view.mapped
        trace = meta.trace
        if trace.tally is None:
            trace.tally = self._counters.notes[meta.dataset]
        tally = trace.tally[mapped.tier]
        tally.append(length)
        if first != last:
            tally.extend([0] * (last - first))  # one for each block
        self._on_read()
        return mapped.buffer.slice(view.offset + offset - first * size, length)

    def read(self, requests: Sequence[Request]) -> list[pa.Buffer]:
        """Read ranges of files, all of them in one round trip per worker.

        Args:
            requests: shape (R,).

        Returns:
            Shape (R,): one buffer each, zero-copy where a range lies contiguously in one segment.

        Raises:
            ConflictError: a file is no longer the version asked for; `fields["paths"]` names them. Resolve again.
            NotFoundError, DeniedError, UnavailableError: the under storage itself fails.
            NoCacheError: this process can call the cache no more.
        """
        now_s = self._clock.now_s()
        buffers: list[pa.Buffer | None] = []
        spans: list[list[Span | None]] = []
        targets: list[FileTarget] = []
        parts: list[Part] = []
        places: list[tuple[int, int]] = []
        metas: list[FileMeta] = []
        for request_index, request in enumerate(requests):
            meta = request.meta
            row: list[Span | None] = []
            spans.append(row)
            buffers.append(self.in_place(meta, request.offset, request.length, now_s) if request.length else _NOTHING)
            if buffers[-1] is not None:
                continue
            target_index = -1
            for part in block_ranges(request.offset, request.length, self._block_size_bytes):
                view = self._leases.get(meta.version, part.block_index, now_s)
                if view is not None:
                    self._counters.hit(view.mapped.tier, part.length, meta.dataset)
                    row.append(Span(view.mapped.buffer, view.offset + part.offset, part.length))
                    continue
                blocks = 1
                for piece, span in self._pieces(request, part, now_s):
                    if span is None:
                        if target_index < 0:
                            target_index = len(targets)
                            targets.append(
                                FileTarget(meta.file, meta.version, meta.places.holders, meta.places.claimants)
                            )
                            metas.append(meta)
                        places.append((request_index, len(row)))
                        parts.append(Part(target_index, *piece, blocks))
                        blocks = 0
                    row.append(span)
                if blocks:
                    self._counters.hit(Tier.MEMORY, 0, meta.dataset, blocks=blocks)
        if parts:
            found = self._fetch(targets, parts, metas)
            self._counters.took(self._clock.now_s() - now_s)
            for (request_index, position), span in zip(places, found, strict=True):
                spans[request_index][position] = span
        self._on_read()
        return [
            joined([span for span in row if span is not None]) if buffer is None else buffer
            for buffer, row in zip(buffers, spans, strict=True)
        ]

    def _pieces(self, request: Request, part: BlockRange, now_s: float) -> Iterator[tuple[BlockRange, Span | None]]:
        """Cut a part of a block that is not mapped into what it is read by, itself or its pages, and find those that are mapped."""
        meta = request.meta
        if self._by_pages(request, part, now_s):
            yield from self._pages(meta, part, now_s)
        else:
            yield part, None

    def _pages(self, meta: FileMeta, part: BlockRange, now_s: float) -> Iterator[tuple[BlockRange, Span | None]]:
        for page in self._grid.pages(part):
            view = self._leases.get(meta.version, page.block_index, now_s)
            if view is None:
                yield page, None
            else:
                self._counters.hit(view.mapped.tier, page.length, meta.dataset, blocks=0)
                yield page, Span(view.mapped.buffer, view.offset + page.offset, page.length)

    def _by_pages(self, request: Request, part: BlockRange, now_s: float) -> bool:
        """Whether a part that is not mapped is read by pages; asked again for the same, the answer is the same."""
        meta, block = request.meta, part.block_index
        begins = request.offset == block * self._block_size_bytes + part.offset
        # What was read in place was never asked for, and has left no other trace.
        behind = begins and part.offset == 0 and block > 0
        came_from = behind and self._leases.get(meta.version, block - 1, now_s) is not None
        return by_pages(meta, part, self._grid, goes_on=request.in_order or came_from, begins=begins)

    def picks(self, request: Request) -> bool:
        """Whether the end of a range is going to be read by pages: the reader picks here and there."""
        now_s = self._clock.now_s()
        picked = False
        for part in block_ranges(request.offset, request.length, self._block_size_bytes):
            mapped = self._leases.get(request.meta.version, part.block_index, now_s) is not None
            picked = not mapped and self._by_pages(request, part, now_s)
        return picked

    def map_held(self, meta: FileMeta) -> None:
        """Map the segment that this node's worker holds the file's first block in, if it does; nothing is loaded."""
        worker = next((w for w in self._topology().view.workers if w.worker == self._node), None)
        if worker is None:
            return
        request = BlockRequest.held(self._node, meta.file, {0: 0}, self._block_size_bytes)
        sent_s = self._clock.now_s()
        (answer,) = self._calls.workers([WorkerCall(worker.actor_name, "read", (encode(request),))])
        if not isinstance(answer, RaycacheError):
            reply: BlockReply = decode(answer[0])
            self._map(reply.grants, answer[1], worker, sent_s)

    def _fetch(self, targets: list[FileTarget], parts: list[Part], metas: list[FileMeta]) -> list[Span]:
        operation = ReadOperation(
            targets,
            parts,
            self._topology(),
            claims=self._claims() and self._clock.now_s() >= self._claims_again_s,
        )
        spans: list[Span | None] = [None] * len(parts)
        #: Why workers did not serve a part.
        reasons: dict[int, MissReason] = {}
        while rounds := operation.next_calls():
            # Leases count from before the call: the slowest worker may answer long after the first one granted.
            sent_s = self._clock.now_s()
            replies = self._calls.workers([call.to_call() for call in rounds])
            for call, answer in zip(rounds, replies, strict=True):
                if isinstance(answer, NoCacheError):
                    raise answer  # no worker will ever answer by these handles
                if isinstance(answer, RaycacheError):
                    self._silent(call.worker, answer)
                    operation.failed(call.part_indices)
                else:
                    self._take(operation, call, answer, spans, metas, reasons, sent_s)
        for (target_index, extent), claimant in operation.claimants.items():
            metas[target_index].places.learn_claimant(extent, claimant)
        if operation.is_declined:
            self._claims_again_s = self._clock.now_s() + _DECLINED_S
        if operation.bypass:
            for part_index, span in self._bypass.read(operation, metas, reasons):
                spans[part_index] = span
        if operation.stale:
            stale = sorted({metas[parts[i].target_index].path for i in operation.stale})
            for i in operation.stale:
                self._leases.forget_version(targets[parts[i].target_index].version)
            self._locator.outdated(stale)
            raise ConflictError(f"{stale[0]} was replaced in the lake while being read; read it again", paths=stale)
        return [span for span in spans if span is not None]

    def _silent(self, worker: WorkerView, error: RaycacheError) -> None:
        """Tell the own worker of another one that shows no sign of life, so that it makes no copies from there, and says so."""
        if isinstance(error, SilentPeerError) and error.fields and worker.worker != self._node:
            own = next((w for w in self._topology().view.workers if w.worker == self._node), None)
            if own is not None:
                self._calls.tell_workers([WorkerCall(own.actor_name, "heed_silent", (worker.actor_name,))])

    def _take(
        self,
        operation: ReadOperation,
        call: Round,
        answer: tuple[bytes, list[Any]],
        spans: list[Span | None],
        metas: list[FileMeta],
        reasons: dict[int, MissReason],
        sent_s: float,
    ) -> None:
        blob, payloads = answer
        reply: BlockReply = decode(blob)
        buffers = self._map(reply.grants, payloads, call.worker, sent_s)
        lost: list[int] = []
        remote = call.worker.worker != self._node
        states = dict(zip(call.part_indices, reply.states, strict=True))
        reasons.update((call.part_indices[position], MissReason(why)) for position, why in reply.reasons.items())
        for part_index, grant_index, start in operation.replied(call, reply):
            buffer = buffers[grant_index]
            if buffer is None:
                lost.append(part_index)
                continue
            part = operation.parts[part_index]
            meta, length = metas[part.target_index], part.length
            spans[part_index] = Span(buffer, start, length)
            state = states[part_index]
            remotely = remote or state == BlockState.COPIED
            if state != BlockState.LOADED and not is_page(part.block_index):
                meta.places.learn_holder(call.worker.worker, part.block_index)
            if state == BlockState.LOADED or part_index in operation.loaded:
                reason = reasons.get(part_index, MissReason.COLD)
                self._counters.miss(length, meta.dataset, reason, remote=remotely, blocks=part.blocks)
            else:
                tier = Tier.DISK if state == BlockState.HIT_DISK else Tier.MEMORY
                self._counters.hit(tier, length, meta.dataset, remote=remotely, blocks=part.blocks)
        if lost:
            for part_index in lost:
                reasons.pop(part_index, None)
            operation.failed(lost)

    def _map(
        self, grants: list[Grant], payloads: list[Any], worker: WorkerView, sent_s: float
    ) -> list[pa.Buffer | None]:
        """Turn grants into buffers; None where the segment was lost on the way."""
        local = worker.worker == self._node
        buffers: list[pa.Buffer | None] = [None] * len(grants)
        plasma = [g for g, grant in enumerate(grants) if grant.kind == GrantKind.PLASMA]
        peer = "" if local else worker.actor_name
        arrays = self._calls.objects([payloads[g] for g in plasma], peer) if plasma else []
        for g, array in zip(plasma, arrays, strict=True):
            if isinstance(array, RaycacheError):
                self._silent(worker, array)
            else:
                buffers[g] = pa.py_buffer(array)
        for g, grant in enumerate(grants):
            if grant.kind == GrantKind.INLINE:
                buffers[g] = None if payloads[g] is None else pa.py_buffer(payloads[g])
                continue
            if grant.kind == GrantKind.FILE:
                buffers[g] = self._map_file(grant.path, grant.length_bytes)
            buffer = buffers[g]
            if buffer is not None:
                self._leases.add(grant, worker.actor_name, buffer, local=local, now_s=sent_s)
        return buffers


def mapped_file(path: str, length_bytes: int) -> pa.Buffer | None:
    """Map a disk segment; None when it is gone or too short."""
    try:
        with pa.memory_map(path, "r") as source:
            buffer = source.read_buffer(length_bytes)
    except OSError:
        return None
    return buffer if buffer.size == length_bytes else None
