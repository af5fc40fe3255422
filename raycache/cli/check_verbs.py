"""`check`: proving that the cache is full."""

from __future__ import annotations

import click

from raycache.cli.arguments import Verb
from raycache.cli.load_verbs import SHOWN_MAX, say_more
from raycache.cli.output import Column, human_bytes, numbers, percent
from raycache.cli.session import Session
from raycache.results import CheckResult


@click.command(cls=Verb, topic="Warm-up")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--limit", type=click.IntRange(min=0), help=f"Name so many missing files. [default: {SHOWN_MAX}; all with --json]"
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
    say_more(session, result.files - result.files_complete - len(missing))
