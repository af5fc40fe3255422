"""A load as its caller sees it. The job itself runs in the master and goes on without the caller."""

from __future__ import annotations

import time
from typing import Any, Protocol

from raycache.client.results import Failure, Progress
from raycache.errors import UnavailableError
from raycache.messages import JobProgress

_POLL_S_MIN = 0.02
_POLL_S_MAX = 0.5


class MasterCalls(Protocol):
    """What a job needs of `calls.Calls`."""

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Call the master and wait."""
        ...


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
            timeout_s: None waits as long as the job makes itself heard.

        Returns:
            The last progress; look at `state` and `failures`.

        Raises:
            UnavailableError: not finished in time; the job goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _POLL_S_MIN
        while True:
            progress = self.progress()
            if progress.finished:
                return progress
            if deadline is not None and time.monotonic() + pause_s > deadline:
                raise UnavailableError(
                    f"load {self.id} has not finished within {timeout_s:g} s; it goes on, wait again"
                )
            time.sleep(pause_s)
            pause_s = min(_POLL_S_MAX, pause_s * 1.5)

    def stop(self) -> None:
        """Stop it; what is loaded stays. Nothing to do when it has ended."""
        self._calls.master("job_stop", self.id)

    def __repr__(self) -> str:
        return f"Job({self.id!r})"


def progress_of(reply: JobProgress) -> Progress:
    """The public form of a progress message."""
    values = reply._asdict()
    values["failures"] = tuple(Failure(path, reason) for path, reason in reply.failures)
    return Progress(**values)
