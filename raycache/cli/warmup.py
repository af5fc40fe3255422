"""`load`, `check`: filling the cache, and proving that it is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from raycache.cli.options import Verb
from raycache.cli.output import Column, human_bytes, human_seconds, numbers, percent
from raycache.cli.progress import watch
from raycache.cli.session import Session
from raycache.client.results import CheckResult, Progress

if TYPE_CHECKING:
    from raycache.client.jobs import Job

#: How many files a person is shown that failed or are missing.
_SHOWN_MAX = 20
#: Exit status of a command ended by Ctrl-C.
INTERRUPTED = 130


@click.command(cls=Verb, topic="Warm-up")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="Copies, on different nodes."
)
@click.option("--detach", is_flag=True, help="Return at once; the load goes on.")
@click.pass_obj
def load(session: Session, paths: tuple[str, ...], replicas: int, detach: bool) -> int:
    """Bring files into the cache and wait until they are there.

    PATH is a file, a directory or a glob. Fails unless every file was loaded whole. Ctrl-C stops the waiting, not the
    load.
    """
    job = session.cache().load(list(paths), replicas=replicas)
    if detach:
        if session.json:
            session.output.json({"id": job.id})
        else:
            session.output.line(f"load {job.id} goes on; `raycache check PATH` shows what is cached")
        return 0
    try:
        progress = watch(job, session)
    except KeyboardInterrupt:
        session.output.error(_interrupted(job))
        return INTERRUPTED
    if session.json:
        session.output.json({"id": job.id, **progress.as_dict()})
    else:
        _show_progress(session, job.id, progress)
    if progress.state == "SUCCEEDED":
        return 0
    session.output.error(
        f"load {job.id} {progress.state.lower()}: {progress.files_total - progress.files_done} of "
        f"{progress.files_total} files are not loaded; repeat the load when the cause is gone"
    )
    return 1


@click.command(cls=Verb, topic="Warm-up")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--limit", type=click.IntRange(min=0), help=f"Name so many missing files. [default: {_SHOWN_MAX}; all with --json]"
)
@click.pass_obj
def check(session: Session, paths: tuple[str, ...], limit: int | None) -> int:
    """Tell exactly what is cached, and what is missing.

    PATH is a file, a directory or a glob. The exit status is 1 when anything is missing.
    """
    result = session.cache().check(list(paths))
    if session.json:
        missing = [missing.as_dict() for missing in result.missing(limit)]
        session.output.json({**result.as_dict(), "missing_files": missing})
    else:
        _show_check(session, result, _SHOWN_MAX if limit is None else limit)
    return 0 if result.complete else 1


def _show_progress(session: Session, job_id: str, progress: Progress) -> None:
    output = session.output
    output.line(
        f"load {job_id} {progress.state.lower()}: {progress.files_done} of {progress.files_total} files, "
        f"{human_bytes(progress.bytes_done)} of {human_bytes(progress.bytes_total)} "
        f"({human_bytes(progress.bytes_already)} were cached already), "
        f"in {human_seconds(progress.elapsed_s)} at {human_bytes(progress.rate_bytes_s)}/s"
    )
    if progress.failures:
        rows = [(failure.path, failure.reason) for failure in progress.failures[:_SHOWN_MAX]]
        output.table([Column("Failed"), Column("Reason")], rows)
        _say_more(session, max(progress.files_failed, len(progress.failures)) - len(rows))


def _show_check(session: Session, result: CheckResult, limit: int) -> None:
    columns = [Column(""), *numbers("Total", "Cached", "Share")]
    counts = (("files", result.files, result.files_complete), ("blocks", result.blocks, result.blocks_cached))
    rows = [(name, str(total), str(cached), percent(cached, total)) for name, total, cached in counts]
    total, cached = result.bytes_total, result.bytes_cached
    rows.append(("bytes", human_bytes(total), human_bytes(cached), percent(cached, total)))
    session.output.table(columns, rows)
    if result.complete:
        session.output.line("complete: every block is cached")
        return
    missing = [(file.path, str(file.blocks), human_bytes(file.bytes)) for file in result.missing(limit)]
    if missing:
        session.output.table([Column("Missing"), *numbers("Blocks", "Size")], missing)
    _say_more(session, result.files - result.files_complete - len(missing))


def _say_more(session: Session, count: int) -> None:
    if count > 0:
        session.output.line(f"... and {count} more; --json shows them all")


def _interrupted(job: Job) -> str:
    return (
        f"stopped waiting; load {job.id} goes on. Wait again by repeating the command; stop the load with "
        f"python -c \"import raycache; raycache.connect().job('{job.id}').stop()\""
    )
