"""All load jobs: which goes next, what they may have on the way together, and what of them outlives the master. Pure.

Theory of operation. A worker is sent batches, of all jobs together, until `BATCHES_INFLIGHT_MAX` full ones are on the
way, or as much in smaller ones; the last of them may go past that, by less than itself. So bytes, blocks and memory in
flight are bounded however many jobs there are. A free place goes to the job of the highest priority; among equals to the
one with the fewest batches at that worker, the older one first. When the lake asks to slow down, all jobs share one
window of requests (`pacing.Congestion`).

In the journal are the requests, the files of those loads that are given them, and every change between running, stopped
and ended: not what is done, since a job that begins again asks the workers what they hold. So after a restart of the
master, unfinished jobs begin again under their ids, and ended ones keep the figures they ended with. Given files are kept
only while their job runs, so such a job cannot be resumed after its end.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError, UnavailableError
from raycache.master.loads.job import LoadJob
from raycache.master.loads.pacing import Congestion
from raycache.master.loads.pieces import BATCH_FULLNESS_MIN, Batch, JobState
from raycache.master.loads.survey import Holders
from raycache.messages import BlockReply, JobProgress, LoadRequest
from raycache.settings import Settings
from raycache.types import MembershipView, WorkerId, WorkerView

Record: TypeAlias = dict[str, Any]

BATCHES_INFLIGHT_MAX = 4.0
JOBS_RUNNING_MAX = 16
JOBS_KEPT_MAX = 100
#: Pages of given files in one journal record.
_PAGES_PER_RECORD = 16
#: Failures of an ended job that outlive the master.
FAILURES_KEPT_MAX = 20
#: What is cut into batches in one turn of the event loop, about 10 us a block; the rest goes in the next.
BLOCKS_PER_TURN = 1_000


class JobBoard:
    """The jobs of one master.

    Args:
        settings: of the cache.
        holders: what the workers have said they hold.
    """

    def __init__(self, settings: Settings, holders: Holders) -> None:
        self._settings = settings
        self._holders = holders
        #: By id, in the order they were first asked for. Live ones, and of the ended ones the last progress.
        self._jobs: dict[str, LoadJob] = {}
        self._requests: dict[str, LoadRequest] = {}
        self._ended: dict[str, JobProgress] = {}
        #: By id, of live jobs that were given their files: the packed pages.
        self._given: dict[str, Sequence[bytes]] = {}
        self._congestion = Congestion()
        self._view = MembershipView(-1, ())
        self._live: dict[WorkerId, WorkerView] = {}
        #: Batches each live worker has been sent.
        self._sent: dict[WorkerId, int] = {}
        #: By job, its batches on the way; what they take up of each worker's places; and the live ones that have some left.
        self._on_way: dict[str, dict[int, Batch]] = {}
        self._taken: dict[WorkerId, float] = {}
        self._open: dict[WorkerId, None] = {}
        self._lake_blocks = 0
        #: Whether the last look ended before all was sent.
        self._more = False

    # --- journal ------------------------------------------------------------------------------------------------------

    def replay(self, records: Iterable[Mapping[str, Any]], now_s: float) -> None:
        """Take over what earlier masters wrote; others' records are passed over."""
        parts: dict[str, dict[int, list[bytes]]] = {}
        for record in records:
            job_id = str(record.get("job_id", ""))
            match record.get("op"):
                case "load_files":
                    # Written once more by a repeated call, a part replaces itself.
                    parts.setdefault(job_id, {})[record["number"]] = [*map(base64.b64decode, record["pages"])]
                case "load":
                    known = {name: record["request"][name] for name in LoadRequest._fields if name in record["request"]}
                    self._requests.setdefault(job_id, LoadRequest(**known))
                    self._ended.pop(job_id, None)
                case "load_ended" if job_id in self._requests:
                    self._ended[job_id] = _progress_of(record["progress"])
        self._forget_old()
        for job_id, request in self._requests.items():
            if job_id in self._ended:
                continue
            if request.given:
                pages = parts.get(job_id, {})
                self._given[job_id] = [page for number in sorted(pages) for page in pages[number]]
            self._jobs[job_id] = self._new(job_id, now_s)

    def snapshot(self) -> list[Record]:
        """Records that replay to the present state: for compaction."""
        records = []
        for job_id, request in self._requests.items():
            records += _files_of(job_id, self._given.get(job_id, ()))
            records.append(_started(job_id, request))
            if job_id in self._ended:
                records.append(_ended(job_id, self._ended[job_id]))
        return records

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def start(self, job_id: str, request: LoadRequest, now_s: float, pages: Sequence[bytes] = ()) -> list[Record]:
        """Begin a job, unless it is known; returns the journal records.

        Args:
            job_id: its name.
            request: what to load.
            now_s: the time.
            pages: the files it is given, see `messages.pack_files`.

        Raises:
            InvalidRequestError: a request that cannot be.
            UnavailableError: too many run already.
        """
        if job_id in self._requests:
            return []
        if request.given and (request.verify or request.metadata_only):
            raise InvalidRequestError("a load that is given its files does not ask the lake about them; load the paths")
        self._refuse_too_many()
        if request.given:
            self._given[job_id] = pages
        self._requests[job_id] = request
        self._jobs[job_id] = self._new(job_id, now_s)
        self._forget_old()
        # The request comes last: without all of its files it is none.
        return [*_files_of(job_id, pages), _started(job_id, request)]

    def resume(self, job_id: str, now_s: float) -> list[Record]:
        """Let a stopped or failed job go on; what is resident is not moved again. Nothing to do when it runs or is done.

        Raises:
            NotFoundError: unknown.
            InvalidRequestError: it was given its files, which are not kept.
            UnavailableError: too many run already.
        """
        state = self.progress(job_id, now_s).state
        if state not in (JobState.STOPPED, JobState.FAILED):
            return []
        if self._requests[job_id].given:
            raise InvalidRequestError(f"load {job_id} was given its files, which are not kept; load the paths instead")
        self._refuse_too_many()
        self._ended.pop(job_id, None)
        self._jobs[job_id] = self._new(job_id, now_s)
        return [_started(job_id, self._requests[job_id])]

    def knows(self, job_id: str) -> bool:
        """Whether there is, or was, such a job."""
        return job_id in self._requests

    def stop(self, job_id: str, now_s: float) -> None:
        """End a job; what is loaded stays.

        Raises:
            NotFoundError: unknown.
        """
        self._known(job_id)
        if job_id in self._jobs:
            self._jobs[job_id].stop(now_s)

    def live(self) -> list[LoadJob]:
        """Jobs that have not been settled as ended."""
        return list(self._jobs.values())

    def take_unlisted(self) -> list[LoadJob]:
        """Jobs that are to be listed now: see `LoadJob.begin_listing`."""
        return [job for job in self._jobs.values() if job.begin_listing()]

    def given(self, job_id: str) -> Sequence[bytes]:
        """The files that a live job was given, in packed pages."""
        return self._given.get(job_id, ())

    def take_ended(self, now_s: float) -> list[Record]:
        """Put jobs that have ended since the last call away; returns the journal records."""
        ended = [job_id for job_id, job in self._jobs.items() if job.finished]
        records = []
        for job_id in ended:
            self._ended[job_id] = self._jobs.pop(job_id).progress(now_s)
            self._given.pop(job_id, None)
            records.append(_ended(job_id, self._ended[job_id]))
        return records

    def progress(self, job_id: str, now_s: float) -> JobProgress:
        """How far a job is.

        Raises:
            NotFoundError: unknown.
        """
        self._known(job_id)
        return self._jobs[job_id].progress(now_s) if job_id in self._jobs else self._ended[job_id]

    def all(self, now_s: float) -> list[tuple[str, JobProgress]]:
        """All jobs known, newest first."""
        return [(job_id, self.progress(job_id, now_s)) for job_id in reversed(self._requests)]

    # --- driving ------------------------------------------------------------------------------------------------------

    @property
    def is_planning(self) -> bool:
        """Whether `next_batches` has more to do at once."""
        return self._more or any(job.is_planning for job in self._jobs.values() if not job.finished)

    def next_batches(self, view: MembershipView, mounts_version: int, now_s: float) -> list[tuple[LoadJob, Batch]]:
        """What to send now, a bounded part of it. Costs as much as there is to send, not as much as there are workers."""
        self._more, blocks_left = False, BLOCKS_PER_TURN
        if view is not self._view:
            self._look_at(view)
        for job_id in [job_id for job_id in self._on_way if job_id not in self._jobs or self._jobs[job_id].finished]:
            for batch_id in list(self._on_way[job_id]):
                self._back(job_id, batch_id)
            del self._on_way[job_id]
        jobs = [job for job in self._jobs.values() if not job.finished]
        for job in jobs:
            job.plan(view, now_s)
        batches: list[tuple[LoadJob, Batch]] = []
        # One place at each worker in turn, the least served first: what is held back is shared by all of them.
        open_places = sorted(self._wanted(jobs), key=lambda worker: self._sent[worker])
        while open_places:
            left = []
            for name in open_places:
                if name not in self._open:
                    continue
                room = self._congestion.room(self._lake_blocks)
                if room is not None and room < 1:
                    return batches
                share = {} if room is None else {"blocks_max": max(1, room // len(view.workers))}
                for job in self._by_turn(jobs, name):
                    batch = job.next_batch(self._live[name], mounts_version, now_s, **share)
                    if batch is not None:
                        batches.append((job, batch))
                        self._goes(job, batch)
                        left.append(name)
                        blocks_left -= len(batch.request.block_index)
                        break
                if blocks_left <= 0:
                    self._more = True
                    return batches
            open_places = left
        return batches

    def replied(self, job: LoadJob, batch: Batch, reply: BlockReply, now_s: float) -> None:
        """A worker has answered."""
        self._back(job.job_id, batch.batch_id)
        full = max(1, len(self._live)) * self._settings.loads_inflight_max
        self._congestion.answered(reply.worker, reply.epoch, reply.slow_downs, full, now_s)
        job.replied(batch.batch_id, reply, now_s)

    def failed(self, job: LoadJob, batch: Batch, error: RaycacheError, now_s: float) -> None:
        """A worker has not answered."""
        self._back(job.job_id, batch.batch_id)
        job.failed(batch.batch_id, error, now_s)

    # --- inside: places -----------------------------------------------------------------------------------------------

    def _look_at(self, view: MembershipView) -> None:
        """Take over other workers."""
        self._view = view
        self._live = {worker.worker: worker for worker in view.workers}
        self._sent = {name: self._sent.get(name, 0) for name in self._live}
        self._open = {name: None for name in self._live if self._taken.get(name, 0.0) < BATCHES_INFLIGHT_MAX}

    def _wanted(self, jobs: Iterable[LoadJob]) -> dict[WorkerId, None]:
        """The workers with a free place that something waits for."""
        wanted: dict[WorkerId, None] = {}
        for job in jobs:
            waiting = job.waiting_at()
            few, many = (waiting, self._open) if len(waiting) < len(self._open) else (self._open, waiting)
            wanted.update({name: None for name in few if name in many})
        return wanted

    def _goes(self, job: LoadJob, batch: Batch) -> None:
        name = batch.worker.worker
        self._on_way.setdefault(job.job_id, {})[batch.batch_id] = batch
        self._taken[name] = self._taken.get(name, 0.0) + batch.fullness
        if self._taken[name] >= BATCHES_INFLIGHT_MAX:
            self._open.pop(name, None)
        self._sent[name] += 1
        self._lake_blocks += batch.lake_blocks

    def _back(self, job_id: str, batch_id: int) -> None:
        """A batch is not on the way any more; one that was not is ignored."""
        batch = self._on_way.get(job_id, {}).pop(batch_id, None)
        if batch is None:
            return
        name = batch.worker.worker
        self._lake_blocks -= batch.lake_blocks
        # Whole sixteenths and the like would add up exactly; shares of bytes do not.
        taken = self._taken[name] = self._taken[name] - batch.fullness
        if taken < BATCH_FULLNESS_MIN / 2:
            del self._taken[name]
        if taken < BATCHES_INFLIGHT_MAX and name in self._live:
            self._open[name] = None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _new(self, job_id: str, now_s: float) -> LoadJob:
        sizes = (self._settings.block_size_bytes, self._settings.extent_size_bytes)
        return LoadJob(job_id, self._requests[job_id], *sizes, now_s, self._holders)

    def _known(self, job_id: str) -> None:
        if job_id not in self._requests:
            raise NotFoundError(f"load {job_id!r} is unknown; see `raycache jobs`")

    def _refuse_too_many(self) -> None:
        running = sum(not job.finished for job in self._jobs.values())
        if running >= JOBS_RUNNING_MAX:
            raise UnavailableError(f"{running} loads are running already; wait for one, or stop one")

    def _forget_old(self) -> None:
        for job_id in list(self._ended)[:-JOBS_KEPT_MAX]:
            del self._ended[job_id], self._requests[job_id]

    @staticmethod
    def _by_turn(jobs: list[LoadJob], worker: WorkerId) -> list[LoadJob]:
        having = [job for job in jobs if worker in job.waiting_at()]
        return sorted(having, key=lambda job: (-job.request.priority, job.inflight_at(worker)))


def _started(job_id: str, request: LoadRequest) -> Record:
    return {"op": "load", "job_id": job_id, "request": request._asdict()}


def _files_of(job_id: str, pages: Sequence[bytes]) -> list[Record]:
    starts = range(0, len(pages), _PAGES_PER_RECORD)
    parts = ([base64.b64encode(page).decode() for page in pages[start : start + _PAGES_PER_RECORD]] for start in starts)
    return [
        {"op": "load_files", "job_id": job_id, "number": number, "pages": part} for number, part in enumerate(parts)
    ]


def _ended(job_id: str, progress: JobProgress) -> Record:
    kept = progress._asdict() | {"failures": [list(failure) for failure in progress.failures[:FAILURES_KEPT_MAX]]}
    return {"op": "load_ended", "job_id": job_id, "progress": kept}


def _progress_of(kept: Mapping[str, Any]) -> JobProgress:
    known = {name: kept[name] for name in JobProgress._fields if name in kept}
    return JobProgress(**known)._replace(failures=[(path, reason) for path, reason in kept["failures"]])
