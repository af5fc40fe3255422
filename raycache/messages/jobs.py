"""Client to master: load jobs."""

from __future__ import annotations

from typing import NamedTuple

from raycache.messages.base import FileColumns


class JobProgress(NamedTuple):
    """How far a load job is; see `client.results.Progress`, which has the same fields."""

    #: WAITING, RUNNING, SUCCEEDED, FAILED or STOPPED.
    state: str
    files_total: int
    files_done: int
    files_failed: int
    blocks_total: int
    blocks_done: int
    blocks_failed: int
    bytes_total: int
    bytes_done: int
    bytes_failed: int
    bytes_already: int
    elapsed_s: float
    rate_bytes_s: float
    eta_s: float | None
    #: (path, reason), at most 1,000.
    failures: list[tuple[str, str]]


class LoadRequest(NamedTuple):
    """Make these files resident."""

    #: Shape (F,): as the user knows them, for progress and failures.
    paths: list[str]
    files: FileColumns
    replicas: int
