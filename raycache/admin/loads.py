"""Filling the cache: the part of `Cache` that starts load jobs and finds them again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Literal, overload

from raycache.admin.jobs import Job, plan_of, progress_of, request_of
from raycache.client.locator import Locator
from raycache.client.ports import ActorCalls
from raycache.messages import encode
from raycache.results import LoadPlan, Progress

#: The master lists the lake for it.
_SURVEY_TIMEOUT_S = 600.0


class Loads:
    """Mixed into `Cache`."""

    _calls: ActorCalls
    _locator: Locator

    @overload
    def load(
        self,
        paths: str | Sequence[str],
        replicas: int = ...,
        *,
        metadata_only: bool = ...,
        bandwidth: str | int | None = ...,
        verify: bool = ...,
        priority: int = ...,
        dry_run: Literal[False] = ...,
    ) -> Job: ...

    @overload
    def load(
        self,
        paths: str | Sequence[str],
        replicas: int = ...,
        *,
        metadata_only: bool = ...,
        bandwidth: str | int | None = ...,
        verify: bool = ...,
        priority: int = ...,
        dry_run: Literal[True],
    ) -> LoadPlan: ...

    def load(
        self,
        paths: str | Sequence[str],
        replicas: int = 1,
        *,
        metadata_only: bool = False,
        bandwidth: str | int | None = None,
        verify: bool = False,
        priority: int = 0,
        dry_run: bool = False,
    ) -> Job | LoadPlan:
        """Start a warm-up; returns at once. It runs in the master, and goes on when this process ends.

        Args:
            paths: files, directories, globs. The master lists them, freshly.
            replicas: copies of each block on different nodes, as far as there are nodes.
            metadata_only: only list the files, so that looking them up later asks nobody.
            bandwidth: bytes per second that leave the lake, all workers together: "500MiB/s", or a number. None: no limit.
            verify: afterwards compare the etags with the lake's, and check the checksums of what is on disk.
            priority: of several jobs the one with the larger number goes first.
            dry_run: move nothing, say what would be.

        Returns:
            The job; with `dry_run` what it would do.

        Raises:
            NotFoundError: a path does not exist.
            InvalidRequestError: replicas < 1, or no bandwidth.
            UnavailableError: too many loads run already.
        """
        request = request_of(
            paths,
            replicas=replicas,
            metadata_only=metadata_only,
            bandwidth=bandwidth,
            verify=verify,
            priority=priority,
        )
        self._locator.announce_paths(request.paths)
        if dry_run:
            return plan_of(self._calls.master("survey", encode(request), timeout_s=_SURVEY_TIMEOUT_S))
        return Job(self._calls, self._calls.master("load", uuid.uuid4().hex, encode(request)))

    def jobs(self) -> list[tuple[str, Progress]]:
        """The load jobs known, newest first: (id, progress)."""
        return [(job_id, progress_of(reply)) for job_id, reply in self._calls.master("jobs")]

    def job(self, job_id: str) -> Job:
        """A handle on a job by its id.

        Raises:
            NotFoundError: unknown.
        """
        job = Job(self._calls, job_id)
        job.progress()
        return job
