"""The program `raycache`: its verbs, and how a run ends.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C. An error is one line on standard error that says what
to do; `--debug` puts the traceback before it. Secrets given to this run are taken out of both.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from raycache import __version__
from raycache.cli.arguments import Verbs, common_options
from raycache.cli.cluster_verbs import settings, start, status, stop
from raycache.cli.file_verbs import du, local, locate, ls, stat
from raycache.cli.journal_verbs import journal
from raycache.cli.load_verbs import INTERRUPTED, check, job, jobs, load
from raycache.cli.mount_verbs import mount, mounts, unmount
from raycache.cli.report_verbs import doctor, fsck, report
from raycache.cli.serving_verbs import dashboard, endpoint
from raycache.cli.session import Session
from raycache.cli.stats_verbs import advise, stats
from raycache.cli.top import top
from raycache.cli.upkeep_verbs import cached, export_map, free, import_map, pin, rules, set_quota, set_ttl, sync, unpin
from raycache.errors import InvalidRequestError, RaycacheError

DONE, FAILED, WRONG_USAGE = 0, 1, 2


@click.group(cls=Verbs, params=common_options(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="raycache %(version)s")
def cli() -> None:
    """A distributed data cache that lives inside a Ray cluster.

    Run it where Ray runs: `ray start --head` first, then `raycache start`.
    """


for verb in (
    *(start, stop, status, settings, journal, mount, unmount, mounts, ls, stat, du, locate, load, jobs, job, check),
    *(free, pin, unpin, set_ttl, set_quota, rules, sync, export_map, import_map, stats, advise),
    *(top, report, doctor, dashboard, cached, endpoint, local, fsck),
):
    cli.add_command(verb)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # Keys of the lake may hold what the terminal's encoding does not.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    session = Session()
    signal.signal(signal.SIGINT, session.interrupt)
    exit_status = run(sys.argv[1:], session)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `raycache ls | head`: nobody reads on, which is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(exit_status)


def run(arguments: Sequence[str], session: Session | None = None) -> int:
    """Run one command line.

    Args:
        arguments: without the program's name.
        session: instead of one that speaks to Ray.

    Returns:
        The exit status.
    """
    session = session or Session()
    try:
        exit_status = cli.main(args=list(arguments), prog_name="raycache", standalone_mode=False, obj=session)
    except (KeyboardInterrupt, click.Abort):
        session.output.error("interrupted")
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG_USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "raycache"
        message = " ".join(error.format_message().split()).rstrip(".")
        session.output.error(f"{message}; see `{command} --help`")
        return WRONG_USAGE
    except Exception as error:  # the top of the program: whatever it was, it ends as one line
        if session.debug:
            sys.stderr.write(session.redact("".join(traceback.format_exception(error))))
        session.output.error(_explain(error))
        # What the cache itself finds wrong with an argument is wrong usage, too. A subclass says something else of it.
        return WRONG_USAGE if type(error) is InvalidRequestError else FAILED
    return exit_status if isinstance(exit_status, int) else DONE


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, RaycacheError):
        return text
    return f"unexpected {type(error).__name__}: {text}; --debug shows where"
