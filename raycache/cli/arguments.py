"""How arguments are read: the options every verb has, durations, and `-o key=value` with secrets kept out of sight."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from raycache.cli.session import Session
from raycache.ufs.shown_options import shown_option

#: The topics of the verbs, in the order of `raycache --help`.
TOPICS = ("Cluster", "Mounts", "Files", "Warm-up", "Upkeep", "Watching")

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|)\s*")
_UNITS_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """Seconds, written "60", "60s", "5m", "1h" or "500ms"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration.

        Returns:
            Seconds, >= 0.
        """
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; write something like 60s, 5m or 1h", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


class Verb(click.Command):
    """A command with the options that all have in common.

    Args:
        topic: under which `raycache --help` lists it.
    """

    def __init__(self, *arguments: Any, topic: str, **keywords: Any) -> None:
        # Click would repeat surplus arguments in its message, and `-o key = SECRET` makes the secret one.
        keywords["context_settings"] = {**keywords.get("context_settings", {}), "allow_extra_args": True}
        super().__init__(*arguments, **keywords)
        self.topic = topic
        self.params.extend(common_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse surplus arguments without repeating them."""
        rest = super().parse_args(ctx, args)
        if ctx.args:
            count = len(ctx.args)
            raise click.UsageError(f"{count} argument{'s' if count > 1 else ''} too many", ctx)
        return rest


class Verbs(click.Group):
    """The program: its verbs are listed by topic, in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all verbs."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each topic."""
        del ctx
        width = max(len(name) for name in self.commands)
        for topic in TOPICS:
            verbs = [(name, verb) for name, verb in self.commands.items() if getattr(verb, "topic", "") == topic]
            with formatter.section(topic):
                limit = formatter.width - width - 6
                formatter.write_dl([(name.ljust(width), verb.get_short_help_str(limit=limit)) for name, verb in verbs])


def common_options() -> list[click.Parameter]:
    """The options that may stand before and after the verb."""
    return [
        _common("--json", "Print JSON, for programs.", is_flag=True),
        _common(
            "--address", "Address of the Ray cluster [default: RAY_ADDRESS, else this machine's].", metavar="HOST:PORT"
        ),
        _common("--debug", "Print the traceback of an error.", is_flag=True),
    ]


def _common(name: str, text: str, **keywords: Any) -> click.Option:
    return click.Option([name], help=text, expose_value=False, is_eager=True, callback=_keep, **keywords)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session: Session = ctx.obj
    if value and param.name:
        setattr(session, param.name, value)


def read_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Read `--set name=value`."""
    return dict(_split(pair, "--set", index) for index, pair in enumerate(pairs, 1))


def read_store_options(session: Session, pairs: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Read `-o key=value` of a store; every value that is not known to be harmless becomes a secret of the session.

    A value `@env:NAME` is that variable's, `@file:PATH` that file's without the newline at its end, so that a secret
    need not stand in the list of processes. `@@` stands for one `@` at the start of a value.

    Raises:
        click.UsageError: not key=value, given twice, an unset variable, or a file that cannot be read.
    """
    options: dict[str, str] = {}
    for index, pair in enumerate(pairs, 1):
        key, written = _split(pair, "-o", index)
        if key in options:
            raise click.UsageError(f"-o {key} is given twice")
        value = _fetch(key, written, environment)
        if value != written or shown_option(key, value) != value:
            session.secrets.append(value)
        note_secrets_of_uri(session, value)
        options[key] = value
    return options


def note_secrets_of_uri(session: Session, uri: str) -> None:
    """Keep a password that stands in a URI out of the output."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # the cache says what is wrong with it
        return
    if parts.password:
        session.secrets.extend(part for part in (parts.username, parts.password) if part)


def _split(pair: str, option: str, index: int) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals or not key.strip():
        # The text may be a secret: say which one by its number.
        raise click.UsageError(f"{option} number {index} is not key=value")
    return key.strip(), value


def _fetch(key: str, written: str, environment: Mapping[str, str]) -> str:
    if written.startswith("@@"):
        return written[1:]
    if written.startswith("@env:"):
        name = written.removeprefix("@env:")
        if not environment.get(name):
            raise click.UsageError(f"-o {key}: the environment variable {name!r} is not set")
        return environment[name]
    if written.startswith("@file:"):
        path = Path(written.removeprefix("@file:"))
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise click.UsageError(f"-o {key}: cannot read {str(path)!r}: {reason}") from error
    if written.startswith("@"):
        raise click.UsageError(f"-o {key}: a value after @ is env:NAME or file:PATH; write @@ for a plain @")
    return written
