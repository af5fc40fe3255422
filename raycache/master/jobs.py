"""A load job as plain state: files in, batches for workers out, replies back in. No Ray, no I/O, time as an argument.

Theory of operation. Every extent of every file is queued at the worker that should hold it by the hash. A worker has a
few batches in flight; the next is cut from its queue when one comes back. With replicas, a block that its first owner
holds is queued at its next owners, which fetch it from the first: each byte leaves the lake once. What a lost worker
had in flight or queued is planned anew over the workers that are left; after `ATTEMPTS_MAX` tries a piece fails.
A repeated load moves only what is missing, since workers answer HIT for what they hold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from raycache.errors import RaycacheError
from raycache.hashing import extent_key, place_many
from raycache.messages import BlockReply, BlockRequest, BlockState, FileColumns, JobProgress, LoadRequest
from raycache.ranges import block_count, block_length
from raycache.types import MembershipView, WorkerId, WorkerView

BATCH_BYTES_MAX = 64 << 20
BATCH_BLOCKS_MAX = 2_000
BATCHES_INFLIGHT_MAX = 3
ATTEMPTS_MAX = 5
FAILURES_SHOWN_MAX = 1_000

_REASONS = {
    BlockState.NO_SPACE: "no room in the cache; free something, or give it more memory or disk",
    BlockState.CHANGED: "replaced in the lake during the load; load it again",
    BlockState.GONE: "removed from the lake during the load",
    BlockState.FAILED: "the lake did not deliver it",
}


class Piece(NamedTuple):
    """Consecutive blocks of one file, for one worker."""

    file_index: int
    first_block: int
    block_count: int
    #: 0: from the lake; r > 0: the r-th further replica, from a worker that holds it.
    replica: int
    attempts: int
    #: Actor name of the worker to fetch from; empty for the lake.
    source_actor: str


class Batch(NamedTuple):
    """One call to one worker."""

    batch_id: int
    worker: WorkerView
    request: BlockRequest


class LoadJob:
    """One load job.

    Args:
        job_id: its name.
        request: what to load.
        block_size_bytes, extent_size_bytes: of the cache.
        now_s: when it starts.
    """

    def __init__(
        self, job_id: str, request: LoadRequest, block_size_bytes: int, extent_size_bytes: int, now_s: float
    ) -> None:
        self.job_id = job_id
        self._files = request.files.versions()
        self._paths = request.paths
        self._replicas = request.replicas
        self._block_size_bytes = block_size_bytes
        self._blocks_per_extent = extent_size_bytes // block_size_bytes
        self._started_s = now_s
        self._ended_s: float | None = None
        self._state = "RUNNING"
        self._view: MembershipView | None = None
        self._queues: dict[WorkerId, deque[Piece]] = {}
        self._inflight: dict[int, tuple[Batch, list[Piece]]] = {}
        self._next_batch_id = 0
        counts = [block_count(file.size_bytes, block_size_bytes) for file in self._files]
        #: First copies still to come, per file.
        self._blocks_left = list(counts)
        self._blocks_total = sum(counts)
        self._bytes_total = sum(file.size_bytes for file in self._files)
        self._files_done = sum(1 for count in counts if count == 0)
        self._blocks_done = self._bytes_done = self._bytes_already = 0
        self._blocks_failed = self._bytes_failed = 0
        self._failures: dict[int, str] = {}
        #: Pieces without a worker yet: before the first view, and while no worker is alive.
        self._homeless: deque[Piece] = deque()
        for file_index, count in enumerate(counts):
            for first in range(0, count, self._blocks_per_extent):
                length = min(self._blocks_per_extent, count - first)
                self._homeless.append(Piece(file_index, first, length, 0, 0, ""))
        self._settle(now_s)

    # --- driving ------------------------------------------------------------------------------------------------------

    def next_batches(self, view: MembershipView, mounts_version: int, now_s: float) -> list[Batch]:
        """Batches to send now, given who is alive. Empty while every worker is busy, or when the job has ended."""
        if self.finished:
            return []
        self._adopt(view)
        batches: list[Batch] = []
        busy: dict[WorkerId, int] = {}
        for batch, _ in self._inflight.values():
            busy[batch.worker.worker] = busy.get(batch.worker.worker, 0) + 1
        for worker in view.workers:
            queue = self._queues.get(worker.worker)
            while queue and busy.get(worker.worker, 0) < BATCHES_INFLIGHT_MAX:
                pieces = self._cut(queue)
                batch = Batch(self._next_batch_id, worker, self._request(pieces, view, mounts_version))
                self._next_batch_id += 1
                self._inflight[batch.batch_id] = (batch, pieces)
                busy[worker.worker] = busy.get(worker.worker, 0) + 1
                batches.append(batch)
        self._settle(now_s)
        return batches

    def replied(self, batch_id: int, reply: BlockReply, now_s: float) -> None:
        """Take in a worker's answer; a late or repeated one is ignored."""
        batch, pieces = self._inflight.pop(batch_id, (None, []))
        if batch is None:
            return
        position = 0
        for piece in pieces:
            copies: list[int] = []
            for block in range(piece.first_block, piece.first_block + piece.block_count):
                state = BlockState(reply.states[position])
                error = reply.errors.get(position)
                position += 1
                if piece.replica > 0:
                    continue  # a further copy is a wish: its failure fails nothing
                if state.served:
                    self._count(piece.file_index, block, already=state is not BlockState.LOADED)
                    copies.append(block)
                else:
                    self._fail(piece.file_index, block, str(error) if error is not None else _REASONS[state])
            if copies and self._replicas > 1:
                self._queue_copies(piece, copies, batch.worker)
        self._settle(now_s)

    def failed(self, batch_id: int, error: RaycacheError, now_s: float) -> None:
        """The worker did not answer: plan its pieces again."""
        batch, pieces = self._inflight.pop(batch_id, (None, []))
        if batch is None:
            return
        for piece in pieces:
            if piece.replica > 0:
                continue
            if piece.attempts + 1 >= ATTEMPTS_MAX:
                for block in range(piece.first_block, piece.first_block + piece.block_count):
                    self._fail(piece.file_index, block, str(error))
            else:
                self._homeless.append(piece._replace(attempts=piece.attempts + 1))
        self._settle(now_s)

    def stop(self, now_s: float) -> None:
        """End it; batches in flight are not waited for."""
        if not self.finished:
            self._state = "STOPPED"
            self._ended_s = now_s
            self._drop_plan()

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._state != "RUNNING"

    def reads_below(self, uri: str) -> bool:
        """Whether it still loads something below a URI."""
        return not self.finished and any(file.uri.startswith(uri) for file in self._files)

    def progress(self, now_s: float) -> JobProgress:
        """How far it is."""
        elapsed_s = (self._ended_s if self._ended_s is not None else now_s) - self._started_s
        moved = self._bytes_done - self._bytes_already
        rate = moved / elapsed_s if elapsed_s > 0 else 0.0
        left = self._bytes_total - self._bytes_done - self._bytes_failed
        eta_s = None if self.finished or rate <= 0 else left / rate
        shown = list(self._failures.items())[:FAILURES_SHOWN_MAX]
        return JobProgress(
            state=self._state,
            files_total=len(self._files),
            files_done=self._files_done,
            files_failed=len(self._failures),
            blocks_total=self._blocks_total,
            blocks_done=self._blocks_done,
            blocks_failed=self._blocks_failed,
            bytes_total=self._bytes_total,
            bytes_done=self._bytes_done,
            bytes_failed=self._bytes_failed,
            bytes_already=self._bytes_already,
            elapsed_s=elapsed_s,
            rate_bytes_s=rate,
            eta_s=eta_s,
            failures=[(self._paths[index], reason) for index, reason in shown],
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _adopt(self, view: MembershipView) -> None:
        """Give every piece that has no live worker a new one."""
        if self._view is not None and self._view.view_id != view.view_id:
            live = {worker.worker for worker in view.workers}
            for lost in [worker for worker in self._queues if worker not in live]:
                self._homeless.extend(piece for piece in self._queues.pop(lost) if piece.replica == 0)
        self._view = view
        if not self._homeless or not view.workers:
            return
        pieces = list(self._homeless)
        self._homeless.clear()
        for piece, ranked in zip(pieces, self._ranked(pieces, view.workers, 1), strict=True):
            self._queues.setdefault(ranked[0].worker, deque()).append(piece)

    def _ranked(self, pieces: Sequence[Piece], workers: Sequence[WorkerView], copies: int) -> list[list[WorkerView]]:
        versions: dict[int, bytes] = {}
        for piece in pieces:
            if piece.file_index not in versions:
                versions[piece.file_index] = self._files[piece.file_index].id()
        keys = np.array(
            [extent_key(versions[p.file_index], p.first_block // self._blocks_per_extent) for p in pieces],
            dtype=np.uint64,
        )
        return [[workers[i] for i in row] for row in place_many(keys, workers, copies).tolist()]

    def _queue_copies(self, piece: Piece, blocks: list[int], holder: WorkerView) -> None:
        if self._view is None:
            return
        ranked = self._ranked([piece], self._view.workers, self._replicas)[0]
        targets = [worker for worker in ranked if worker.worker != holder.worker][: self._replicas - 1]
        for replica, worker in enumerate(targets, 1):
            for first, count in _runs(blocks):
                copy = Piece(piece.file_index, first, count, replica, 0, holder.actor_name)
                self._queues.setdefault(worker.worker, deque()).append(copy)

    def _cut(self, queue: deque[Piece]) -> list[Piece]:
        """Take pieces for one batch; a long piece is split. All of a batch come from one source."""
        pieces: list[Piece] = []
        size = blocks = 0
        source = queue[0].source_actor
        while queue and queue[0].source_actor == source and blocks < BATCH_BLOCKS_MAX and size < BATCH_BYTES_MAX:
            piece = queue.popleft()
            file_size = self._files[piece.file_index].size_bytes
            taken = 0
            while taken < piece.block_count and blocks < BATCH_BLOCKS_MAX:
                length = block_length(piece.first_block + taken, file_size, self._block_size_bytes)
                if size and size + length > BATCH_BYTES_MAX:
                    break
                size += length
                blocks += 1
                taken += 1
            if taken:
                pieces.append(piece._replace(block_count=taken))
            if taken < piece.block_count:
                rest = piece._replace(first_block=piece.first_block + taken, block_count=piece.block_count - taken)
                queue.appendleft(rest)
                break
        return pieces

    def _request(self, pieces: list[Piece], view: MembershipView, mounts_version: int) -> BlockRequest:
        columns: dict[int, int] = {}
        file_index: list[int] = []
        block_index: list[int] = []
        lengths: list[int] = []
        for piece in pieces:
            column = columns.setdefault(piece.file_index, len(columns))
            size = self._files[piece.file_index].size_bytes
            for block in range(piece.first_block, piece.first_block + piece.block_count):
                file_index.append(column)
                block_index.append(block)
                lengths.append(block_length(block, size, self._block_size_bytes))
        return BlockRequest(
            node="",
            view_id=view.view_id,
            mounts_version=mounts_version,
            files=FileColumns.of(self._files[index] for index in columns),
            file_index=file_index,
            block_index=block_index,
            offsets=[0] * len(lengths),
            lengths=lengths,
            block_size_bytes=self._block_size_bytes,
            hand_out=False,
            source_actor=pieces[0].source_actor,
        )

    def _count(self, file_index: int, block: int, *, already: bool) -> None:
        length = block_length(block, self._files[file_index].size_bytes, self._block_size_bytes)
        self._blocks_done += 1
        self._bytes_done += length
        if already:
            self._bytes_already += length
        self._block_ended(file_index)

    def _fail(self, file_index: int, block: int, reason: str) -> None:
        self._blocks_failed += 1
        self._bytes_failed += block_length(block, self._files[file_index].size_bytes, self._block_size_bytes)
        self._failures.setdefault(file_index, reason)
        self._block_ended(file_index)

    def _block_ended(self, file_index: int) -> None:
        self._blocks_left[file_index] -= 1
        if self._blocks_left[file_index] == 0 and file_index not in self._failures:
            self._files_done += 1

    def _settle(self, now_s: float) -> None:
        if self.finished or self._inflight or self._homeless or any(self._queues.values()):
            return
        self._state = "FAILED" if self._failures else "SUCCEEDED"
        self._ended_s = now_s
        self._drop_plan()

    def _drop_plan(self) -> None:
        """An ended job keeps its figures and failures only."""
        self._homeless.clear()
        self._queues.clear()
        self._inflight.clear()


def _runs(blocks: list[int]) -> list[tuple[int, int]]:
    """Consecutive runs of sorted block indices, as (first, count)."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and runs[-1][0] + runs[-1][1] == block:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return runs
