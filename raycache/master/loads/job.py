"""A load job as plain state: files in, batches for workers out, replies back in. No Ray, no I/O, time as an argument.

Theory of operation. Files come as they are listed, or are given (`files`); when all are there, the job starts. A window of
them at a time is cut into *pieces*, runs of blocks of one extent of one file, and each is queued (`backlog`) at the worker
that should hold it: one that says it does, else the one the hash names, or the one that this one names (`workers/claims`). A
worker has a few batches in flight; the next is cut from its queue when one comes back. With replicas, a block that its first
owner holds is queued at its next owners, which fetch it from the first: each byte leaves the lake once. What a lost worker
had in flight or queued is planned again over the workers that are left. A piece that is not answered for, or that the lake
could not deliver, is tried again, a few times. A repeated load moves only what is missing, since workers answer HIT for
what they hold.

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
from collections import Counter
from collections.abc import Iterable, KeysView

import numpy as np
import numpy.typing as npt

from raycache.errors import RaycacheError, UnavailableError
from raycache.master.loads.backlog import Backlog
from raycache.master.loads.files import FileTable, Origin, Page, Row, digests_of
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
    request_of,
)
from raycache.master.loads.survey import Holders, Survey
from raycache.master.loads.tally import JobFigures
from raycache.master.loads.window import Window
from raycache.messages import BlockReply, BlockState, JobProgress, LoadRequest
from raycache.ranges import block_count
from raycache.types import MembershipView, WorkerId, WorkerView

#: Of a piece whose worker does not answer; and of a block that the lake does not deliver, which the worker has tried
#: several times already.
ATTEMPTS_MAX = 8
LAKE_ATTEMPTS_MAX = 2
#: Further rounds after workers were lost; and how long before one, so that the others have said what they hold.
ROUNDS_MAX = 3
ROUND_PAUSE_S = 1.5
#: A bandwidth is kept over this long.
_BURST_S = 0.125


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
        self._listed = False
        self._wants_listing = False
        self._being_listed = False
        #: Of the second listing: what was found so far.
        self._found_again: list[npt.NDArray[np.uint64]] = []
        self._block_size_bytes = block_size_bytes
        self._table = FileTable(given=request.given)
        self._survey = Survey(block_size_bytes, extent_size_bytes, request.replicas, holders)
        self._figures = JobFigures(now_s)
        self._started_s = now_s
        self._bucket: TokenBucket | None = None
        batch_bytes_max = BATCH_BYTES_MAX
        if request.bandwidth_bytes_s:
            burst = request.bandwidth_bytes_s * _BURST_S
            self._bucket = TokenBucket(request.bandwidth_bytes_s, burst, now_s)
            batch_bytes_max = max(block_size_bytes, min(BATCH_BYTES_MAX, int(burst)))
        self._roots: dict[str, None] = {}
        #: The view by which was seen who is lost.
        self._seen = MembershipView(0, ())
        #: Batches on the way, by worker.
        self._inflight_at: Counter[WorkerId] = Counter()
        #: Workers that have been sent something, and by whose loss something may be missing.
        self._used: dict[tuple[WorkerId, int], None] = {}
        self._lost = False
        self._rounds = 0
        self._verified = False
        self._not_before_s = now_s
        self._backlog = Backlog(block_size_bytes, batch_bytes_max)
        sizes = (block_size_bytes, extent_size_bytes // block_size_bytes)
        is_failed = self._figures.is_failed
        self._window = Window(self._table, self._backlog, *sizes, holders, is_failed, keeps_order=request.given)
        self._inflight: dict[int, Batch] = {}
        self._batch_ids = itertools.count()

    # --- files --------------------------------------------------------------------------------------------------------

    def begin_listing(self) -> bool:
        """Whether its paths are to be listed now, for the first time or to verify.

        The caller does so then: it hands what it finds to `add`, and ends with `all_listed` or `listing_failed`.
        """
        if self._being_listed or self.finished or (self._listed and not self._wants_listing):
            return False
        self._being_listed = True
        return True

    def add(self, origin: Origin, rows: Iterable[Row], view: MembershipView) -> None:
        """Take listed files in.

        Raises:
            InvalidRequestError: too many.
        """
        if self._wants_listing:
            self._found_again.append(digests_of(origin, rows))
            return
        if self.state is not JobState.WAITING:
            return
        for page in self._table.add(origin, rows):
            self._take(page, view)

    def add_packed(self, page: bytes, view: MembershipView) -> None:
        """Take a page of given files in.

        Raises:
            InvalidRequestError: too many.
        """
        if self.state is JobState.WAITING:
            self._take(self._table.add_packed(page), view)

    def all_listed(self, now_s: float) -> None:
        """No more files will come of this listing."""
        self._being_listed = False
        if self.finished:
            return
        if self._wants_listing:
            self._compare_listings()
        self._listed = True
        if self.request.metadata_only:
            self._figures.files_done = self._table.files
            self._end(JobState.SUCCEEDED, now_s)
        self._settle(now_s)

    def listing_failed(self, error: RaycacheError, now_s: float) -> None:
        """The lake cannot be listed."""
        self._being_listed = False
        self._figures.failures.append((self.request.paths[0] if self.request.paths else "", str(error)))
        self._end(JobState.FAILED, now_s)

    def _compare_listings(self) -> None:
        """What the second listing does not have any more has failed; all the rest is asked for once more."""
        found = np.concatenate([np.empty(0, dtype=np.uint64), *self._found_again])
        self._found_again.clear()
        self._wants_listing = False
        for index, rows in itertools.groupby(self._table.absent_from(found), key=lambda found: found[0]):
            page = self._table.page(index)
            for _, row in rows:
                if self._figures.is_failed(index, row):
                    continue
                self._figures.blame(page, index, row, REPLACED, was_done=True)
                for block in range(block_count(page.versions[row].size_bytes, self._block_size_bytes)):
                    self._figures.undone(page, index, row, page.length(row, block, self._block_size_bytes), REPLACED)
        self._verified = True
        self._start_round()

    # --- driving ------------------------------------------------------------------------------------------------------

    def plan(self, view: MembershipView, now_s: float) -> None:
        """Give every piece of the window a live worker. To be called before `next_batch`."""
        if view is not self._seen:
            self._seen = view
            incarnations = {(worker.worker, worker.epoch) for worker in view.workers}
            for gone in [used for used in self._used if used not in incarnations]:
                del self._used[gone]
                self._lost = True
        if self.finished or not self._listed or self._wants_listing or now_s < self._not_before_s:
            return
        self._window.plan(view)
        self._settle(now_s)

    @property
    def is_planning(self) -> bool:
        """Whether `plan` has more to do at once: the window is filled over several turns of the event loop."""
        return self._window.is_filling

    def waiting_at(self) -> KeysView[WorkerId]:
        """The workers that something waits for."""
        return self._backlog.waiting_at()

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
        first = self._backlog.first(worker.worker)
        if first is None or self.finished or self._window.is_held:
            return None
        lake = first.aim in (Aim.LOAD, Aim.REPAIR)
        if lake and self._bucket is not None and not self._bucket.ready(now_s):
            return None
        pieces = self._backlog.cut(worker.worker, min(BATCH_BLOCKS_MAX, blocks_max) if lake else BATCH_BLOCKS_MAX)
        request = request_of(
            [(piece, self._backlog.page(piece.page)) for piece in pieces],
            self._block_size_bytes,
            view_id=self._window.view.view_id,
            mounts_version=mounts_version,
            verifying=self.state is JobState.VERIFYING,
            job_age_s=now_s - self._started_s,
        )
        size_bytes = sum(request.lengths)
        batch = Batch(next(self._batch_ids), worker, request, pieces, size_bytes, len(request.lengths) if lake else 0)
        self._inflight[batch.batch_id] = batch
        self._inflight_at[worker.worker] += 1
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

    def inflight_at(self, worker: WorkerId) -> int:
        """Batches on the way to a worker."""
        return self._inflight_at[worker]

    def replied(self, batch_id: int, reply: BlockReply, now_s: float) -> None:
        """Take in a worker's answer; a late or repeated one is ignored."""
        batch = self._back(batch_id)
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
                self._backlog.put_at(piece._replace(sent_on=True), claimed, claimant)
                if claimant not in self._window.live:
                    self._backlog.give_up(self._window.live)
            self._backlog.release(piece)
        if batch.lake_blocks and self._bucket is not None:
            self._bucket.take(-unmoved_bytes, now_s)
        self._settle(now_s)

    def failed(self, batch_id: int, error: RaycacheError, now_s: float) -> None:
        """The worker did not answer: plan its pieces again."""
        batch = self._back(batch_id)
        if batch is None:
            return
        for piece in batch.pieces:
            if piece.aim is not Aim.COPY:
                self._again(piece, str(error), ATTEMPTS_MAX)
            self._backlog.release(piece)
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
            listed=self._listed,
            bytes_over=0 if self.request.metadata_only else survey.bytes_over,
        )

    def _back(self, batch_id: int) -> Batch | None:
        """A batch is not on the way any more; None: it was not."""
        batch = self._inflight.pop(batch_id, None)
        if batch is not None:
            self._inflight_at[batch.worker.worker] -= 1
        return batch

    # --- inside: files ------------------------------------------------------------------------------------------------

    def _take(self, page: Page, view: MembershipView) -> None:
        self._survey.add(page, view.workers)
        self._figures.add_files(page, self._block_size_bytes)
        self._roots.update(dict.fromkeys(page.roots()))

    # --- inside: planning ---------------------------------------------------------------------------------------------

    def _queue_copies(self, piece: Piece, blocks: list[int], holder: WorkerView) -> None:
        ranked = self._window.ranked([piece], self.request.replicas)[0]
        targets = [worker for worker in ranked if worker.worker != holder.worker][: self.request.replicas - 1]
        copy = piece._replace(aim=Aim.COPY, attempts=0, source_actor=holder.actor_name)
        for worker in targets:
            self._backlog.put_at(copy, blocks, worker.worker)

    # --- inside: counting ---------------------------------------------------------------------------------------------

    def _served(self, piece: Piece, block: int, *, already: bool) -> None:
        page = self._backlog.page(piece.page)
        length = page.length(piece.row, block, self._block_size_bytes)
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
                self._backlog.put(one._replace(aim=Aim.REPAIR, attempts=0))
            case Aim.LOAD | Aim.REPAIR:
                reason = str(error) if error is not None else REASONS[state]
                if piece.sent_on and state in (BlockState.NO_SPACE, BlockState.FAILED):
                    self._backlog.put(one._replace(sent_on=False, attempts=piece.attempts + 1))
                elif state is BlockState.FAILED and isinstance(error, UnavailableError):
                    self._again(one, reason, LAKE_ATTEMPTS_MAX)
                else:
                    self._fail(one, reason)

    def _again(self, piece: Piece, reason: str, attempts_max: int) -> None:
        if piece.attempts + 1 < attempts_max:
            self._backlog.put(piece._replace(attempts=piece.attempts + 1))
        else:
            self._fail(piece, reason)

    def _fail(self, piece: Piece, reason: str) -> None:
        page = self._backlog.page(piece.page)
        for block in piece.blocks:
            length = page.length(piece.row, block, self._block_size_bytes)
            if piece.aim is Aim.LOAD:
                self._figures.failed(page, piece.page, piece.row, length, reason)
            else:
                self._figures.undone(page, piece.page, piece.row, length, reason)

    def _settle(self, now_s: float) -> None:
        """Go on to the next state when nothing is left to do in this one."""
        if self.finished or not self._listed or self._wants_listing:
            return
        if not self._window.is_through or self._backlog or self._inflight:
            return
        if self._lost and self._rounds < ROUNDS_MAX:
            self._rounds += 1
            self._not_before_s = now_s + ROUND_PAUSE_S
            self._start_round()
            return
        if self.request.verify and not self._verified:
            self.state = JobState.VERIFYING
            self._wants_listing = True
            return
        self._end(JobState.FAILED if self._figures.files_failed else JobState.SUCCEEDED, now_s)

    def _start_round(self) -> None:
        """Ask for every block once more."""
        self._lost = False
        self._window.begin(Aim.CHECK)

    def _end(self, state: JobState, now_s: float) -> None:
        """An ended job keeps its figures and failures only."""
        self.state = state
        self._figures.ended_s = now_s
        self._wants_listing = False
        self._backlog.clear()
        self._inflight.clear()
        self._inflight_at.clear()
        self._found_again.clear()
        self._table = FileTable()
        self._window.close()
