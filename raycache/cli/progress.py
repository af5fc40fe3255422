"""The live line of a load: bytes, files, rate, time left, failures. Only on a terminal; otherwise the wait is silent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from raycache.cli.output import human_bytes, human_seconds
from raycache.results import Progress

if TYPE_CHECKING:
    from raycache.admin.loads import Job
    from raycache.cli.session import Session

_LOOK_PERIOD_S = 0.25
_DOING = {"WAITING": "waiting", "RUNNING": "loading", "VERIFYING": "verifying"}


def watch(job: Job, session: Session) -> Progress:
    """Wait for the end of a load, showing how far it is.

    Returns:
        The last progress.
    """
    if session.json or not sys.stderr.isatty():
        return job.wait()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Bar(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listing", total=None, figures="")
        warned = False
        while True:
            progress = job.progress()
            if progress.bytes_over and progress.listed and not warned:
                warned = True
                bar.console.print(f"raycache: {over_line(progress)}", markup=False, highlight=False, soft_wrap=True)
            bar.update(
                task,
                description=_DOING.get(progress.state, "loading") if progress.listed else "listing",
                total=progress.bytes_total if progress.listed and progress.bytes_total else None,
                completed=progress.bytes_done,
                figures=figures(progress),
            )
            if progress.finished:
                return progress
            session.pause(_LOOK_PERIOD_S)


def over_line(progress: Progress) -> str:
    """What is said of a load that is larger than the cache."""
    return (
        f"{human_bytes(progress.bytes_over)} of it are more than the cache has room for: it is filled, the rest is "
        "reported as failed; give it more memory or disk, or load less"
    )


def figures(progress: Progress) -> str:
    """Write the figures beside the bar."""
    parts = [
        f"{human_bytes(progress.bytes_done)} of {human_bytes(progress.bytes_total)}",
        f"{progress.files_done}/{progress.files_total} files",
        f"{human_bytes(progress.rate_bytes_s)}/s",
        f"{human_seconds(progress.eta_s)} left",
    ]
    if progress.files_failed:
        parts.append(f"{progress.files_failed} failed")
    return ", ".join(parts)
