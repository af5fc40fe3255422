"""A load job as plain state: files in, batches for workers out, replies back in. No Ray, no I/O, time as an argument.

Theory of operation. Files come as they are listed (`load_files`); when all are there, the job starts. A window of them at
a time is cut into *pieces*, runs of blocks of one extent of one file, and each is queued at the worker that should hold it:
one that says it does, else the one the hash names, or the one that this one names (`workers/claims`). A worker has a few
batches in flight; the next is cut from its queue when one comes back. With replicas, a block that its first owner holds is queued at its next owners, which fetch it from
the first: each byte leaves the lake once. What a lost worker had in flight or queued is planned anew over the workers
that are left. A piece that is not answered for, or that the lake could not deliver, is tried again, a few times. A
repeated load moves only what is missing, since workers answer HIT for what they hold.

    WAITING --listed--> WAITING --first batch--> RUNNING --nothing left--> SUCCEEDED | FAILED
                                                 RUNNING --verify asked--> VERIFYING --nothing left--> SUCCEEDED | FAILED
                  RUNNING, VERIFYING --a worker was lost--> the same: every block is asked for once more
    any of these --stop--> STOPPED               WAITING --the lake cannot be listed--> FAILED

VERIFYING starts with a second listing: files it does not show any more have failed. Then every block is asked for once
more, with its checksum; one that is gone or bad is loaded again. The same is done, without checksums, when a worker was
lost on the way, with what it had loaded.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from raycache.errors import RaycacheError, UnavailableError
from raycache.hashing import extent_key, place_many
from raycache.master.loads.files import FileTable, Origin, Page, Row
from raycache.master.loads.pacing import TokenBucket
from raycache.master.loads.pieces import (
    BATCH_BLOCKS_MAX,
    BATCH_BYTES_MAX,
    REASONS,
    REPLACED,
    Aim,
    Batch,
    JobState,
    Piece,
    by_holder,
    request_of,
    runs_of,
)
from raycache.master.loads.survey import Holders, Survey
from raycache.master.loads.tally import JobFigures
from raycache.messages import BlockReply, BlockState, JobProgress, LoadRequest
from raycache.ranges import block_count, block_length
from raycache.types import MembershipView, WorkerId, WorkerView

_LARGE_BATCH_BYTES = BATCH_BYTES_MAX // 4
#: Of a piece whose worker does not answer; and of a block that the lake does not deliver, which the worker has tried
#: several times already.
ATTEMPTS_MAX = 8
LAKE_ATTEMPTS_MAX = 2
#: Pieces planned ahead, for each worker and at least.
WINDOW_PIECES = 500
WINDOW_PIECES_MIN = 4_000
#: Further rounds after workers were lost; and how long before one, so that the others have said what they hold.
ROUNDS_MAX = 3
ROUND_PAUSE_S = 1.5
#: A bandwidth is kept over this long.
_BURST_S = 0.125


class _Open:
    """A page some of whose pieces are queued or in flight."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pending_blocks = 0


class LoadJob:
    """One load job.

    Args:
        job_id: its name.
        request: what to load.
        block_size_bytes, extent_size_bytes: of the cache.
        now_s: when it starts.
        holders: what the workers have said they hold.
    """

    def __init__(
        self,
        job_id: str,
        request: LoadRequest,
        block_size_bytes: int,
        extent_size_bytes: int,
        now_s: float,
        holders: Holders = lambda _: (),
    ) -> None:
        self.job_id = job_id
        self.request = request
        self.state = JobState.WAITING
        #: Whether the lake has been listed; and whether it has to be listed again, to verify.
        self.listed = False
        self.wants_listing = False
        self._block_size_bytes = block_size_bytes
        self._blocks_per_extent = extent_size_bytes // block_size_bytes
        self._holders = holders
        self._table = FileTable()
        self._survey = Survey(block_size_bytes, extent_size_bytes, request.replicas, holders)
        self._figures = JobFigures(now_s)
        self._started_s = now_s
        self._bucket: TokenBucket | None = None
        self._batch_bytes_max = BATCH_BYTES_MAX
        if request.bandwidth_bytes_s:
            burst = request.bandwidth_bytes_s * _BURST_S
            self._bucket = TokenBucket(request.bandwidth_bytes_s, burst, now_s)
            self._batch_bytes_max = max(block_size_bytes, min(BATCH_BYTES_MAX, int(burst)))
        self._roots: dict[str, None] = {}
        self._view = MembershipView(0, ())
        #: Workers that have been sent something, and by whose loss something may be missing.
        self._used: dict[tuple[WorkerId, int], None] = {}
        self._lost = False
        self._rounds = 0
        self._verified = False
        self._not_before_s = now_s
        #: What the pages from `_cursor` on are to be cut into.
        self._aim = Aim.LOAD
        self._cursor = 0
        self._open: dict[int, _Open] = {}
        self._queues: dict[WorkerId, deque[Piece]] = {}
        #: Pieces without a worker yet.
        self._homeless: deque[Piece] = deque()
        self._queued = 0
        self._inflight: dict[int, Batch] = {}
        self._batch_ids = itertools.count()

    # --- files --------------------------------------------------------------------------------------------------------

    def add(self, origin: Origin, rows: Iterable[Row], view: MembershipView) -> None:
        """Take listed files in.

        Raises:
            InvalidRequestError: too many.
        """
        if self.state is not JobState.WAITING:
            return
        for page in self._table.add(origin, rows):
            self._survey.add(page, view.workers)
            self._figures.add_files(page, self._block_size_bytes)
        self._roots[f"{origin.root_uri}/{origin.prefix}"] = None

    def all_listed(self, now_s: float) -> None:
        """No more files will come."""
        self.listed = True
        if self.request.metadata_only:
            self._figures.files_done = self._table.files
            self._end(JobState.SUCCEEDED, now_s)
        self._settle(now_s)

    def listing_failed(self, error: RaycacheError, now_s: float) -> None:
        """The lake cannot be listed."""
        self._figures.failures.append((self.request.paths[0] if self.request.paths else "", str(error)))
        self._end(JobState.FAILED, now_s)

    def listed_again(self, digests: npt.NDArray[np.uint64], now_s: float) -> None:
        """The second listing is there: shape (L,), of `load_files.digests`."""
        if not self.wants_listing:
            return
        self.wants_listing = False
        for index, rows in itertools.groupby(self._table.absent_from(digests), key=lambda found: found[0]):
            page = self._table.page(index)
            for _, row in rows:
                if self._figures.is_failed(index, row):
                    continue
                self._figures.blame(page, index, row, REPLACED, was_done=True)
                for block in range(block_count(page.versions[row].size_bytes, self._block_size_bytes)):
                    self._figures.undone(page, index, row, self._length(page, row, block), REPLACED)
        self._verified = True
        self._start_round()
        self._settle(now_s)

    # --- driving ------------------------------------------------------------------------------------------------------

    def plan(self, view: MembershipView, now_s: float) -> None:
        """Give every piece of the window a live worker. To be called before `next_batch`."""
        incarnations = {(worker.worker, worker.epoch) for worker in view.workers}
        for gone in [used for used in self._used if used not in incarnations]:
            del self._used[gone]
            self._lost = True
        if self.finished or not self.listed or self.wants_listing or now_s < self._not_before_s:
            return
        live = {worker.worker for worker in view.workers}
        for lost in [worker for worker in self._queues if worker not in live]:
            for piece in self._queues.pop(lost):
                if piece.aim is Aim.COPY:
                    self._queued -= 1
                    self._release(piece)
                else:
                    self._homeless.append(piece)
        self._view = view
        if not view.workers:
            return
        window = max(WINDOW_PIECES_MIN, WINDOW_PIECES * len(view.workers))
        while self._cursor < len(self._table) and self._queued < window:
            self._cut_page(self._cursor)
            self._cursor += 1
        pieces = list(self._homeless)
        self._homeless.clear()
        if pieces:
            for piece, ranked in zip(pieces, self._ranked(pieces, 1), strict=True):
                # On the first attempt only, since holders are hints.
                holders = () if piece.attempts else self._holders(self._open[piece.page].page.ids[piece.row])
                self._queued -= 1
                for part, worker in by_holder(piece, holders, live):
                    self._queues.setdefault(worker or ranked[0].worker, deque()).append(part)
                    self._queued += 1
        self._settle(now_s)

    def next_batch(
        self, worker: WorkerView, mounts_version: int, now_s: float, blocks_max: int = BATCH_BLOCKS_MAX
    ) -> Batch | None:
        """The next batch for one worker; None when there is nothing for it now.

        Args:
            worker: of the view last given to `plan`.
            mounts_version: of the mounts now.
            now_s: the time.
            blocks_max: what may be asked of the lake at once; >= 1.
        """
        queue = self._queues.get(worker.worker)
        if not queue or self.finished:
            return None
        lake = queue[0].aim in (Aim.LOAD, Aim.REPAIR)
        if lake and self._bucket is not None and not self._bucket.ready(now_s):
            return None
        pieces = self._cut(queue, min(BATCH_BLOCKS_MAX, blocks_max) if lake else BATCH_BLOCKS_MAX)
        request = request_of(
            [(piece, self._open[piece.page].page) for piece in pieces],
            self._block_size_bytes,
            view_id=self._view.view_id,
            mounts_version=mounts_version,
            verifying=self.state is JobState.VERIFYING,
            job_age_s=now_s - self._started_s,
        )
        size_bytes = sum(request.lengths)
        batch = Batch(next(self._batch_ids), worker, request, pieces, size_bytes, len(request.lengths) if lake else 0)
        self._inflight[batch.batch_id] = batch
        self._used[worker.worker, worker.epoch] = None
        if lake and self._bucket is not None:
            self._bucket.take(size_bytes, now_s)
        if self.state is JobState.WAITING:
            self.state = JobState.RUNNING
            self._figures.running_s = now_s
        return batch

    def inflight(self) -> Iterable[Batch]:
        """Batches on the way."""
        return self._inflight.values()

    def replied(self, batch_id: int, reply: BlockReply, now_s: float) -> None:
        """Take in a worker's answer; a late or repeated one is ignored."""
        batch = self._inflight.pop(batch_id, None)
        if batch is None:
            return
        position = 0
        unmoved_bytes = 0
        for piece in batch.pieces:
            good: list[int] = []
            bad: list[tuple[int, BlockState, RaycacheError | None]] = []
            claimed: list[int] = []
            for block in piece.blocks:
                state = BlockState(reply.states[position])
                if state.served:
                    good.append(block)
                    self._served(piece, block, already=state is not BlockState.LOADED)
                elif state is BlockState.ELSEWHERE:
                    claimed.append(block)
                    claimant = reply.claimants[position]
                else:
                    bad.append((block, state, reply.errors.get(position)))
                if state is not BlockState.LOADED:
                    unmoved_bytes += batch.request.lengths[position]
                elif piece.aim is not Aim.COPY:
                    self._figures.bytes_moved += batch.request.lengths[position]
                position += 1
            if good and piece.aim in (Aim.LOAD, Aim.REPAIR) and self.request.replicas > 1:
                self._queue_copies(piece, good, batch.worker)
            for block, state, error in bad:
                self._not_served(piece, block, state, error)
            if claimed:
                self._enqueue(piece._replace(sent_on=True), claimed, claimant)
            self._release(piece)
        if batch.lake_blocks and self._bucket is not None:
            self._bucket.take(-unmoved_bytes, now_s)
        self._settle(now_s)

    def failed(self, batch_id: int, error: RaycacheError, now_s: float) -> None:
        """The worker did not answer: plan its pieces again."""
        batch = self._inflight.pop(batch_id, None)
        if batch is None:
            return
        for piece in batch.pieces:
            if piece.aim is not Aim.COPY:
                self._again(piece, str(error), ATTEMPTS_MAX)
            self._release(piece)
        self._settle(now_s)

    def stop(self, now_s: float) -> None:
        """End it; batches in flight are not waited for."""
        if not self.finished:
            self._end(JobState.STOPPED, now_s)

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.state.finished

    def reads_below(self, uri: str) -> bool:
        """Whether it still loads something below a URI that ends in a slash."""
        return not self.finished and any(root.startswith(uri) or uri.startswith(root) for root in self._roots)

    def progress(self, now_s: float) -> JobProgress:
        """How far it is."""
        survey = self._survey.result()
        return self._figures.progress(
            self.state,
            now_s,
            paths=self.request.paths[:10],
            priority=self.request.priority,
            listed=self.listed,
            bytes_over=0 if self.request.metadata_only else survey.bytes_over,
        )

    # --- inside: planning ---------------------------------------------------------------------------------------------

    def _cut_page(self, index: int) -> None:
        """Make a page's pieces; whole blocks first, the largest file first, since a long one at the end delays it."""
        page = self._table.page(index)
        opened = self._open.setdefault(index, _Open(page))
        rows = sorted(
            range(len(page.keys)),
            key=lambda row: -size if (size := page.versions[row].size_bytes) >= self._block_size_bytes else 0,
        )
        for row in rows:
            if self._figures.is_failed(index, row):
                continue
            count = block_count(page.versions[row].size_bytes, self._block_size_bytes)
            for first in range(0, count, self._blocks_per_extent):
                self._queue(Piece(index, row, first, min(self._blocks_per_extent, count - first), self._aim))
        if not opened.pending_blocks:
            del self._open[index]

    def _queue(self, piece: Piece) -> None:
        """Account for a new piece, which has no worker yet."""
        self._open[piece.page].pending_blocks += piece.block_count
        self._homeless.append(piece)
        self._queued += 1

    def _release(self, piece: Piece) -> None:
        """A piece, or a part of one, is over."""
        opened = self._open[piece.page]
        opened.pending_blocks -= piece.block_count
        if not opened.pending_blocks:
            del self._open[piece.page]

    def _ranked(self, pieces: Sequence[Piece], copies: int) -> list[list[WorkerView]]:
        workers = self._view.workers
        keys = np.array(
            [extent_key(self._open[p.page].page.ids[p.row], p.first_block // self._blocks_per_extent) for p in pieces],
            dtype=np.uint64,
        )
        return [[workers[i] for i in row] for row in place_many(keys, workers, copies).tolist()]

    def _queue_copies(self, piece: Piece, blocks: list[int], holder: WorkerView) -> None:
        ranked = self._ranked([piece], self.request.replicas)[0]
        targets = [worker for worker in ranked if worker.worker != holder.worker][: self.request.replicas - 1]
        copy = piece._replace(aim=Aim.COPY, attempts=0, source_actor=holder.actor_name)
        for worker in targets:
            self._enqueue(copy, blocks, worker.worker)

    def _cut(self, queue: deque[Piece], blocks_max: int) -> list[Piece]:
        """Take pieces for one batch; one longer than a batch is split. All of a batch have one aim and come from one source.

        A file of whole blocks ends a batch of some size: it shares its segments with no other file, and its place is free
        again sooner.
        """
        pieces: list[Piece] = []
        size = blocks = 0
        kind = queue[0].kind
        while queue and queue[0].kind == kind and blocks < blocks_max:
            piece = queue[0]
            page = self._open[piece.page].page
            lengths = [self._length(page, piece.row, block) for block in piece.blocks]
            if pieces and size + sum(lengths) > self._batch_bytes_max:
                break  # two batches are two segments, and a file is read in place only where it lies in one
            queue.popleft()
            self._queued -= 1
            taken = 0
            for length in lengths[: blocks_max - blocks]:
                if size and size + length > self._batch_bytes_max:
                    break
                size += length
                taken += 1
            blocks += taken
            pieces.append(piece._replace(block_count=taken))
            if taken < piece.block_count:
                rest = piece._replace(first_block=piece.first_block + taken, block_count=piece.block_count - taken)
                queue.appendleft(rest)
                self._queued += 1
                break
            if size >= _LARGE_BATCH_BYTES and page.versions[piece.row].size_bytes >= self._block_size_bytes:
                break
        return pieces

    def _length(self, page: Page, row: int, block: int) -> int:
        return block_length(block, page.versions[row].size_bytes, self._block_size_bytes)

    # --- inside: counting ---------------------------------------------------------------------------------------------

    def _served(self, piece: Piece, block: int, *, already: bool) -> None:
        page = self._open[piece.page].page
        length = self._length(page, piece.row, block)
        match piece.aim:
            case Aim.LOAD:
                self._figures.done(page, piece.page, piece.row, length, already=already)
            case Aim.CHECK:
                self._figures.bytes_verified += length if self.state is JobState.VERIFYING else 0
            case Aim.REPAIR:
                self._figures.bytes_repaired += 0 if already else length

    def _not_served(self, piece: Piece, block: int, state: BlockState, error: RaycacheError | None) -> None:
        one = piece._replace(first_block=block, block_count=1)
        match piece.aim:
            case Aim.COPY:
                pass  # a further copy is a wish: its failure fails nothing
            case Aim.CHECK:
                self._queue(one._replace(aim=Aim.REPAIR, attempts=0))
            case Aim.LOAD | Aim.REPAIR:
                reason = str(error) if error is not None else REASONS[state]
                if piece.sent_on and state in (BlockState.NO_SPACE, BlockState.FAILED):
                    self._queue(one._replace(sent_on=False, attempts=piece.attempts + 1))
                elif state is BlockState.FAILED and isinstance(error, UnavailableError):
                    self._again(one, reason, LAKE_ATTEMPTS_MAX)
                else:
                    self._fail(one, reason)

    def _enqueue(self, like: Piece, blocks: list[int], worker: WorkerId) -> None:
        """Account for new pieces of some blocks, which are for this worker."""
        for first, count in runs_of(blocks):
            self._open[like.page].pending_blocks += count
            self._queues.setdefault(worker, deque()).append(like._replace(first_block=first, block_count=count))
            self._queued += 1

    def _again(self, piece: Piece, reason: str, attempts_max: int) -> None:
        if piece.attempts + 1 < attempts_max:
            self._queue(piece._replace(attempts=piece.attempts + 1))
        else:
            self._fail(piece, reason)

    def _fail(self, piece: Piece, reason: str) -> None:
        page = self._open[piece.page].page
        for block in piece.blocks:
            length = self._length(page, piece.row, block)
            if piece.aim is Aim.LOAD:
                self._figures.failed(page, piece.page, piece.row, length, reason)
            else:
                self._figures.undone(page, piece.page, piece.row, length, reason)

    def _settle(self, now_s: float) -> None:
        """Go on to the next state when nothing is left to do in this one."""
        if self.finished or not self.listed or self.wants_listing:
            return
        if self._cursor < len(self._table) or self._open or self._inflight:
            return
        if self._lost and self._rounds < ROUNDS_MAX:
            self._rounds += 1
            self._not_before_s = now_s + ROUND_PAUSE_S
            self._start_round()
            return
        if self.request.verify and not self._verified:
            self.state = JobState.VERIFYING
            self.wants_listing = True
            return
        self._end(JobState.FAILED if self._figures.files_failed else JobState.SUCCEEDED, now_s)

    def _start_round(self) -> None:
        """Ask for every block once more."""
        self._lost = False
        self._aim, self._cursor = Aim.CHECK, 0

    def _end(self, state: JobState, now_s: float) -> None:
        """An ended job keeps its figures and failures only."""
        self.state = state
        self._figures.ended_s = now_s
        self.wants_listing = False
        self._homeless.clear()
        self._queues.clear()
        self._inflight.clear()
        self._open.clear()
        self._queued = 0
        self._table = FileTable()
