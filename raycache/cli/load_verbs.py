"""`load`, `jobs`, `job`, `check`: warm-ups that go on without the command that started them, and what they have brought."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from raycache.cli.arguments import Verb
from raycache.cli.output import Column, human_bytes, human_seconds, numbers, percent
from raycache.cli.progress import over_line, watch
from raycache.cli.session import Session
from raycache.results import CheckResult, LoadPlan, Progress

if TYPE_CHECKING:
    from raycache.admin.loads import Job

#: How many files a person is shown that failed, do not fit or are missing.
SHOWN_MAX = 20
#: Exit status of a command ended by Ctrl-C.
INTERRUPTED = 130


@click.command(cls=Verb, topic="Warm-up")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="Copies, on different nodes."
)
@click.option("--metadata-only", is_flag=True, help="Only list the files; move no data.")
@click.option("--verify", is_flag=True, help="Compare etags and check checksums afterwards.")
@click.option("--bandwidth", metavar="RATE", help="Of the whole cluster, such as 500MiB/s.  [default: no limit]")
@click.option("--priority", type=int, default=0, show_default=True, help="The larger number goes first.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved and what fits; move nothing.")
@click.option("--detach", is_flag=True, help="Return at once; the load goes on.")
@click.pass_obj
def load(
    session: Session,
    paths: tuple[str, ...],
    replicas: int,
    metadata_only: bool,
    verify: bool,
    bandwidth: str | None,
    priority: int,
    dry_run: bool,
    detach: bool,
) -> int:
    """Bring files into the cache and wait until they are there.

    PATH is a file, a directory or a glob. Fails unless every file was loaded whole. Ctrl-C stops the waiting, not the
    load.
    """
    if dry_run:
        plan = session.cache().load(list(paths), replicas=replicas, dry_run=True)
        if session.json:
            session.output.json(plan)
        else:
            _show_plan(session, plan)
        return 0 if plan.fits else 1
    job = session.cache().load(
        list(paths),
        replicas=replicas,
        metadata_only=metadata_only,
        verify=verify,
        bandwidth=bandwidth,
        priority=priority,
    )
    if detach:
        if session.json:
            session.output.json({"id": job.id})
        else:
            session.output.line(f"load {job.id} goes on; follow it with `raycache job {job.id} --follow`")
        return 0
    return follow(session, job)


@click.command(cls=Verb, topic="Warm-up")
@click.pass_obj
def jobs(session: Session) -> None:
    """List the loads, the newest first."""
    found = session.cache().jobs()
    if session.json:
        session.output.json([{"id": job_id, **progress.as_dict()} for job_id, progress in found])
        return
    columns = [Column("Load"), Column("State"), *numbers("Done", "Size", "Files", "Failed", "Rate", "Left")]
    rows = [
        (
            job_id,
            progress.state,
            percent(progress.bytes_done, progress.bytes_total),
            human_bytes(progress.bytes_total),
            str(progress.files_total),
            str(progress.files_failed),
            f"{human_bytes(progress.rate_bytes_s)}/s",
            human_seconds(progress.eta_s),
            _paths_of(progress),
        )
        for job_id, progress in found
    ]
    session.output.table([*columns, Column("Paths")], rows, empty="no loads; `raycache load PATH` starts one")


@click.command(cls=Verb, topic="Warm-up")
@click.argument("job_id", metavar="ID")
@click.option("--follow", "action", flag_value="follow", help="Wait for its end.")
@click.option("--stop", "action", flag_value="stop", help="Stop it; what is loaded stays.")
@click.option("--resume", "action", flag_value="resume", help="Let it go on after --stop or a failure, and wait.")
@click.pass_obj
def job(session: Session, job_id: str, action: str | None) -> int:
    """Show one load; follow, stop or resume it.

    The exit status is 1 when it has failed, or was stopped and is not meant to be.
    """
    found = session.cache().job(job_id)
    if action == "resume":
        found.resume()
    if action in ("follow", "resume"):
        return follow(session, found)
    if action == "stop":
        found.stop()
    progress = found.progress()
    show_end(session, found.id, progress)
    if action == "stop" and not session.json:
        session.output.line(f"let it go on with `raycache job {found.id} --resume`")
    return 1 if progress.state == "FAILED" else 0


@click.command(cls=Verb, topic="Warm-up")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Name at most this many missing files. [default: {SHOWN_MAX}; all with --json]",
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
        _show_check(session, result, SHOWN_MAX if limit is None else limit)
    return 0 if result.complete else 1


def follow(session: Session, job: Job) -> int:
    """Wait for the end of a load and show it; returns the exit status."""
    try:
        progress = watch(job, session)
    except KeyboardInterrupt:
        session.output.error(
            f"stopped waiting; load {job.id} goes on: `raycache job {job.id} --follow` waits again, --stop stops it, "
            "--resume lets it go on after that"
        )
        return INTERRUPTED
    show_end(session, job.id, progress)
    if progress.state == "SUCCEEDED":
        return 0
    session.output.error(
        f"load {job.id} {progress.state.lower()}: {progress.files_total - progress.files_done} of "
        f"{progress.files_total} files are not loaded; `raycache job {job.id} --resume` when the cause is gone"
    )
    return 1


def say_more(session: Session, count: int) -> None:
    """Say how many more there are than are shown."""
    if count > 0:
        session.output.line(f"... and {count} more; --json shows them all")


def show_end(session: Session, job_id: str, progress: Progress) -> None:
    """Show how far a load is, or how it ended."""
    output = session.output
    if session.json:
        output.json({"id": job_id, **progress.as_dict()})
        return
    output.line(
        f"load {job_id} {progress.state.lower()}: {progress.files_done} of {progress.files_total} files, "
        f"{human_bytes(progress.bytes_done)} of {human_bytes(progress.bytes_total)} "
        f"({human_bytes(progress.bytes_already)} were cached already), "
        f"in {human_seconds(progress.elapsed_s)} at {human_bytes(progress.rate_bytes_s)}/s"
    )
    if progress.bytes_verified or progress.bytes_repaired:
        verified, repaired = human_bytes(progress.bytes_verified), human_bytes(progress.bytes_repaired)
        output.line(f"verified {verified}; {repaired} had to be loaded again")
    if progress.bytes_over:
        output.line(over_line(progress))
    if progress.failures:
        rows = [(failure.path, failure.reason) for failure in progress.failures[:SHOWN_MAX]]
        output.table([Column("Failed"), Column("Reason")], rows)
        say_more(session, max(progress.files_failed, len(progress.failures)) - len(rows))


def _show_plan(session: Session, plan: LoadPlan) -> None:
    output = session.output
    columns = [Column(""), *numbers("Files", "Size")]
    rows = [
        ("asked for", str(plan.files), human_bytes(plan.bytes)),
        ("cached already", str(plan.files_cached), human_bytes(plan.bytes_cached)),
        ("to be moved", str(plan.files - plan.files_cached), human_bytes(plan.bytes_to_move)),
        ("without room", str(plan.files_over), human_bytes(plan.bytes_over)),
    ]
    output.table(columns, rows)
    if plan.fits:
        output.line(f"fits: the cache has room for {human_bytes(plan.capacity_bytes)}, what it holds now included")
        return
    output.line(f"does not fit: the cache has room for {human_bytes(plan.capacity_bytes)}; some of what will not:")
    output.table([Column("Without room")], [(path,) for path in plan.over[:SHOWN_MAX]])
    say_more(session, plan.files_over - len(plan.over[:SHOWN_MAX]))


def _show_check(session: Session, result: CheckResult, limit: int) -> None:
    columns = [Column(""), *numbers("Total", "Cached", "Share")]
    counts = (("files", result.files, result.files_complete), ("blocks", result.blocks, result.blocks_cached))
    rows = [(name, str(total), str(cached), percent(cached, total)) for name, total, cached in counts]
    total, cached = result.bytes_total, result.bytes_cached
    rows.append(("bytes", human_bytes(total), human_bytes(cached), percent(cached, total)))
    session.output.table(columns, rows)
    session.output.silent(result.workers_silent)
    if result.complete:
        session.output.line("complete: every block is cached")
        return
    missing = [(file.path, str(file.blocks), human_bytes(file.bytes)) for file in result.missing(limit)]
    if missing:
        session.output.table([Column("Missing"), *numbers("Blocks", "Size")], missing)
    say_more(session, result.files - result.files_complete - len(missing))


def _paths_of(progress: Progress) -> str:
    shown = ", ".join(progress.paths[:2])
    return f"{shown}, ..." if len(progress.paths) > 2 else shown
