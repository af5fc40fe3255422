"""Drives load jobs: lists what they want, sends their batches, writes down what must outlive the master.

Theory of operation. One task looks at the board whenever something has moved: jobs that want a listing get one, batches
that may go are sent, jobs that have ended are written to the journal. Everything is decided by the board (`board`):
it hears of a call that failed, and plans again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from raycache.clock import Clock
from raycache.errors import RaycacheError, UnavailableError
from raycache.master.loads.board import JobBoard, Record
from raycache.master.loads.expansion import LoadListing, LookedUp, NotWantedError
from raycache.master.loads.files import Origin, Page, Row
from raycache.master.loads.job import LoadJob
from raycache.master.loads.pieces import Batch, JobState
from raycache.master.loads.survey import Survey
from raycache.master.service import MasterService
from raycache.messages import JobProgress, LoadRequest, LoadSurvey, decode, encode
from raycache.settings import Settings
from raycache.types import WorkerView

_log = logging.getLogger(__name__)

#: Between looks at jobs that are held back by a bandwidth, by the lake or for want of workers.
_PAUSE_S = 0.05
_FAILED_PAUSE_S = 0.25
_FAILED_PAUSE_MAX_S = 5.0
#: A worker that does not say within this that it is loading is not waited for any more.
_ALIVE_S = 5.0
#: How many worker time-outs a call may take while the worker is loading.
_WAITS_MAX = 20
_HOLD_MAX_S = 15.0
_REPORTS_S = 2.0


class JobDriver:
    """Runs in the master's event loop.

    Args:
        settings: of the cache.
        service: knows workers and mounts.
        board: all jobs.
        listing: lists the lake.
        clock: the time.
        record: writes journal records.
        worker_of: the handle of a worker's actor, or None.
        spawn: starts a task that is kept.
    """

    def __init__(
        self,
        settings: Settings,
        service: MasterService,
        board: JobBoard,
        listing: LoadListing,
        clock: Clock,
        record: Callable[[list[Record]], Awaitable[None]],
        worker_of: Callable[[WorkerView], Any],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._settings = settings
        self._service = service
        self._board = board
        self._listing = listing
        self._clock = clock
        self._record = record
        self._worker_of = worker_of
        self._spawn = spawn
        self._moved = asyncio.Event()
        #: Set, and replaced, whenever jobs have ended.
        self._ended = asyncio.Event()
        #: Ends of jobs that are not in the journal yet; it may have failed.
        self._unwritten: list[Record] = []
        self._writing = asyncio.Lock()
        #: Jobs of an earlier master wait until its workers have spoken: else one that holds a block would not be asked for it,
        #: and another would load it again.
        self._hold_until_s = clock.now_s() + _HOLD_MAX_S if board.live() else float("-inf")
        #: By job id, what its paths were found to be when it was asked for; until it is listed.
        self._looked_up: dict[str, LookedUp] = {}

    async def load(self, request_id: str, request: LoadRequest) -> str:
        """Start a job; the same request id again gives the same job. Returns its id.

        Raises:
            NotFoundError: nothing stands at one of the paths.
            UnavailableError: too many jobs, or the lake does not answer.
        """
        job_id = request_id[:12]
        if not self._board.knows(job_id):
            found = await self._listing.look_up(request.paths)
            records = self._board.start(job_id, request, self._clock.now_s())
            self._looked_up[job_id] = found
            await self._write_begun(job_id, records)
        self._moved.set()
        return job_id

    async def load_files(self, request_id: str, request: LoadRequest, pages: list[bytes]) -> str:
        """Start a job that is given its files; as `load`."""
        job_id = request_id[:12]
        await self._write_begun(job_id, self._board.start(job_id, request, self._clock.now_s(), pages))
        self._moved.set()
        return job_id

    async def survey(self, request: LoadRequest) -> LoadSurvey:
        """What a load would do, without doing it."""
        sizes = (self._settings.block_size_bytes, self._settings.extent_size_bytes)
        survey = Survey(*sizes, request.replicas, self._service.locations.holders)

        def take(origin: Origin, rows: list[Row]) -> None:
            page = Page.of(origin, [key for key, _ in rows], [entry for _, entry in rows])
            survey.add(page, self._service.membership.view().workers)

        await self._listing.stream(request.paths, take)
        return survey.result()

    async def require(self, paths: list[str]) -> None:
        """Raise NotFoundError unless there is something that these paths mean; see `LoadListing`."""
        await self._listing.require(paths)

    async def ended(self, job_id: str, wait_s: float) -> JobProgress:
        """How far a job is: as soon as it has ended, after `wait_s`, or after half the time that callers wait for a master.

        Raises:
            NotFoundError: unknown.
        """
        wait_s = min(wait_s, self._settings.master_timeout_s / 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not JobState(self._board.progress(job_id, self._clock.now_s()).state).finished:
                    await self._ended.wait()
        return self._board.progress(job_id, self._clock.now_s())

    async def stop(self, job_id: str) -> None:
        """Stop a job, for good: a restarted master does not go on with it."""
        self._board.stop(job_id, self._clock.now_s())
        await self._write_ended()

    async def resume(self, job_id: str) -> None:
        """Let a stopped or failed job go on."""
        await self._write_begun(job_id, self._board.resume(job_id, self._clock.now_s()))
        self._moved.set()

    async def drive_forever(self) -> None:
        """Keep all jobs going."""
        while True:
            try:
                await self._write_ended()
                live = self._board.live()
                for job in self._board.take_unlisted():
                    self._spawn(self._list(job))
                if not self.is_held(self._clock.now_s()):
                    self._send_all()
            except Exception:
                # The journal cannot be written, or a defect: the other jobs must go on, so this task never ends.
                _log.warning("looking at the loads failed; looking again", exc_info=True)
                await asyncio.sleep(_FAILED_PAUSE_S)
                continue
            if any(job.finished for job in self._board.live()):
                continue
            if self._board.is_planning:
                await asyncio.sleep(0)  # a turn at a time, so that others are heard in between
                continue
            try:
                await asyncio.wait_for(self._moved.wait(), _PAUSE_S if live else None)
            except TimeoutError:
                continue
            self._moved.clear()

    def is_held(self, now_s: float) -> bool:
        """Whether nothing is sent yet, because this master has just been restarted."""
        if now_s < self._hold_until_s and self._service.membership.missing()[0] == 0:
            # All are there; what they hold comes with their next heartbeats.
            self._hold_until_s = min(self._hold_until_s, now_s + _REPORTS_S)
        return now_s < self._hold_until_s

    async def _write_begun(self, job_id: str, records: list[Record]) -> None:
        """Write down that a job has begun; where that fails, it is given up, since a restart would not know of it."""
        try:
            await self._record(records)
        except RaycacheError:
            self._board.stop(job_id, self._clock.now_s())
            self._looked_up.pop(job_id, None)
            raise

    async def _write_ended(self) -> None:
        """Write down which jobs have ended, and wake the calls that wait for them."""
        self._unwritten += self._board.take_ended(self._clock.now_s())
        async with self._writing:
            records = list(self._unwritten)
            await self._record(records)
            del self._unwritten[: len(records)]
        if records:
            self._ended.set()
            self._ended = asyncio.Event()

    def _send_all(self) -> None:
        mounts_version = self._service.mounts.table().version
        for job, batch in self._board.next_batches(
            self._service.membership.view(), mounts_version, self._clock.now_s()
        ):
            self._spawn(self._send(job, batch))

    async def _list(self, job: LoadJob) -> None:
        def take(origin: Origin, rows: list[Row]) -> None:
            job.add(origin, rows, self._service.membership.view())

        try:
            if job.request.given:
                await self._hand_over(job)
            else:
                await self._listing.stream(
                    job.request.paths,
                    take,
                    wanted=lambda: not job.finished,
                    keep_all=job.request.metadata_only,
                    found=self._looked_up.pop(job.job_id, None),
                )
        except NotWantedError:
            return
        except Exception as error:  # whatever it was, the job must not wait for ever
            said = error if isinstance(error, RaycacheError) else UnavailableError(f"{type(error).__name__} in listing")
            job.listing_failed(said, self._clock.now_s())
        else:
            job.all_listed(self._clock.now_s())
        finally:
            self._moved.set()

    async def _hand_over(self, job: LoadJob) -> None:
        """Given files are there: a page at a time, so that no call waits long for the event loop."""
        for page in self._board.given(job.job_id):
            if job.finished:
                raise NotWantedError
            job.add_packed(page, self._service.membership.view())
            await asyncio.sleep(0)

    async def _send(self, job: LoadJob, batch: Batch) -> None:
        try:
            handle = self._worker_of(batch.worker)
            if handle is None:
                raise UnavailableError(f"worker {batch.worker.actor_name} is gone")
            blob, _ = await self._answer(handle, handle.read.remote(encode(batch.request)))
            self._board.replied(job, batch, decode(blob), self._clock.now_s())
        except Exception as error:  # whatever it was, the job plans these blocks again
            # A lost worker is seen lost at once, a lost node after some seconds.
            tries = max(piece.attempts for piece in batch.pieces)
            await asyncio.sleep(min(_FAILED_PAUSE_MAX_S, _FAILED_PAUSE_S * 2**tries))
            reason = UnavailableError(f"worker {batch.worker.actor_name} did not answer: {type(error).__name__}")
            try:
                self._board.failed(job, batch, reason, self._clock.now_s())
            except Exception:  # a defect: the job ends, rather than wait for ever for this batch
                job.listing_failed(reason, self._clock.now_s())
                raise
        finally:
            self._moved.set()

    async def _answer(self, worker: Any, call: Any) -> Any:
        """Wait for a worker; beyond the time-out as long as it says that the lake is still bringing something."""
        answer = asyncio.ensure_future(call)
        try:
            for _ in range(_WAITS_MAX):
                done, _ = await asyncio.wait({answer}, timeout=self._settings.worker_timeout_s)
                if done:
                    return answer.result()
                if not await asyncio.wait_for(worker.is_loading.remote(), _ALIVE_S):
                    break
            raise TimeoutError
        finally:
            answer.cancel()
