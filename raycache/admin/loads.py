"""Load jobs as their caller sees them. A job runs in the master, and goes on when the process that started it ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence

from raycache import paths as names
from raycache.client.client import Client
from raycache.client.expanding import as_list
from raycache.client.ports import MasterCalls
from raycache.errors import InvalidRequestError, UnavailableError
from raycache.messages import JobProgress, LoadRequest, LoadSurvey, WantedFile, encode, pack_files
from raycache.results import Failure, LoadPlan, Progress
from raycache.settings import parse_size

#: The master lists the lake for a survey.
_SURVEY_TIMEOUT_S = 600.0
#: Why files of a load that was given them may be missing.
STOPPED = "the load was stopped; load the path for the rest"
#: The master journals the files of a load that is given them.
_GIVE_TIMEOUT_S = 120.0
#: The master answers when the job has ended, or after so long.
_WAIT_S = 2.0


class Job:
    """A handle on one load job."""

    def __init__(self, calls: MasterCalls, job_id: str) -> None:
        self._calls = calls
        self.id = job_id

    def progress(self) -> Progress:
        """How far it is, now.

        Raises:
            NotFoundError: the job is unknown (long ended, or from another cache).
        """
        return progress_of(self._calls.master("job_progress", self.id))

    def wait(self, timeout_s: float | None = None) -> Progress:
        """Wait for the end.

        Args:
            timeout_s: None: for as long as the job takes.

        Returns:
            The last progress; look at `state` and `failures`.

        Raises:
            UnavailableError: not finished in time; the job goes on.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            wait_s = max(0.0, min(_WAIT_S, deadline - time.monotonic()))
            progress = progress_of(self._calls.master("job_ended", self.id, wait_s))
            if progress.finished:
                return progress
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"load {self.id} has not finished within {timeout_s:g} s; it goes on, wait again"
                )

    def stop(self) -> None:
        """Stop it; what is loaded stays, and `resume` goes on from there. Nothing to do when it has ended."""
        self._calls.master("job_stop", self.id)

    def resume(self) -> None:
        """Let it go on after `stop`, or after it failed; what is cached is not moved again. Nothing to do when it runs."""
        self._calls.master("job_resume", self.id)

    def __repr__(self) -> str:
        return f"Job({self.id!r})"


def load(client: Client, request: LoadRequest) -> Job:
    """Start a load; returns at once. See `Cache.load`."""
    client.locator.announce_paths(request.paths)
    return Job(client.calls, client.calls.master("load", uuid.uuid4().hex, encode(request)))


def load_files(client: Client, called: list[str], bandwidth: str | int | None, wanted: Iterable[WantedFile]) -> Job:
    """Start a load of given files, the most urgent first; returns at once.

    Args:
        client: of the cache.
        called: the paths or the URI that the load is shown with.
        bandwidth: see `Cache.load`.
        wanted: which blocks of which versions; their stores are mounted.
    """
    request = LoadRequest(called, bandwidth_bytes_s=rate_of(bandwidth), given=True)
    blob = encode((request, pack_files(wanted)))
    return Job(client.calls, client.calls.master("load_files", uuid.uuid4().hex, blob, timeout_s=_GIVE_TIMEOUT_S))


def survey(client: Client, request: LoadRequest) -> LoadPlan:
    """What a load would do."""
    client.locator.announce_paths(request.paths)
    return plan_of(client.calls.master("survey", encode(request), timeout_s=_SURVEY_TIMEOUT_S))


def jobs(client: Client) -> list[tuple[str, Progress]]:
    """The load jobs known, newest first: (id, progress)."""
    return [(job_id, progress_of(reply)) for job_id, reply in client.calls.master("jobs")]


def job(client: Client, job_id: str) -> Job:
    """A handle on a job by its id; NotFoundError when it is unknown."""
    found = Job(client.calls, job_id)
    found.progress()
    return found


def request_of(
    paths: str | Sequence[str],
    *,
    replicas: int,
    metadata_only: bool,
    bandwidth: str | int | None,
    verify: bool,
    priority: int,
) -> LoadRequest:
    """A load as a message.

    Raises:
        InvalidRequestError: an argument that cannot be.
    """
    if replicas < 1:
        raise InvalidRequestError(f"replicas {replicas} is too few; give 1 or more")
    normal = [names.normalise(path) for path in as_list(paths)]
    return LoadRequest(list(dict.fromkeys(normal)), replicas, metadata_only, rate_of(bandwidth), verify, priority)


def rate_of(bandwidth: str | int | None) -> int:
    """Bytes per second; 0 without a bound.

    Raises:
        InvalidRequestError: a bandwidth that cannot be.
    """
    if bandwidth is None:
        return 0
    rate = parse_size(bandwidth.removesuffix("/s") if isinstance(bandwidth, str) else bandwidth)
    if rate < 1:
        raise InvalidRequestError(f'bandwidth {bandwidth!r} moves nothing; give something like "500MiB/s"')
    return rate


def plan_of(reply: LoadSurvey) -> LoadPlan:
    """The public form of a survey."""
    missing = reply.bytes - reply.bytes_cached
    return LoadPlan(
        files=reply.files,
        blocks=reply.blocks,
        bytes=reply.bytes,
        files_cached=reply.files_cached,
        bytes_cached=reply.bytes_cached,
        bytes_to_move=missing,
        capacity_bytes=reply.capacity_bytes,
        fits=reply.bytes_over == 0,
        bytes_over=reply.bytes_over,
        files_over=reply.files_over,
        over=tuple(reply.over),
    )


def progress_of(reply: JobProgress) -> Progress:
    """The public form of a progress message."""
    values = reply._asdict()
    values["failures"] = tuple(Failure(path, reason) for path, reason in reply.failures)
    values["paths"] = tuple(reply.paths)
    return Progress(**values)
