"""What a command shows: tables with human sizes for people, JSON for programs.

On a terminal a table is drawn by rich. Elsewhere, and when it is long, it is plain aligned text: quick, and easy to
grep. Names come from the lake, so they are shown without control characters: a key must not drive the terminal.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raycache.results import plain

#: Longer tables are plain text also on a terminal: rich measures every cell, several times.
_RICH_ROWS_MAX = 500
_NODE_ID_LENGTH = 12
_BYTES_STEP = 1024
#: A longer text may be folded to this, in a table on a terminal; numbers never are.
_TEXT_WIDTH_MIN = 12
#: Around each column.
_PADDING = 3


class Column(NamedTuple):
    """One column of a table."""

    title: str
    #: Numbers stand to the right.
    right: bool = False


def numbers(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title, right=True) for title in titles]


def human_bytes(size_bytes: float) -> str:
    """Write a size as `raycache.settings.parse_size` reads it: "0 B", "1.5 KiB", "200.0 GiB"."""
    if abs(size_bytes) < _BYTES_STEP:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size_bytes /= _BYTES_STEP
        if abs(size_bytes) < 999.95 or unit == "TiB":
            break
    return f"{size_bytes:.1f} {unit}"


def human_seconds(seconds: float | None) -> str:
    """Write a duration in at most two units; "-" when unknown."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // part_s:02} {part}"
    return f"{whole} s"


def human_time(time: dt.datetime | None) -> str:
    """Write a point in time, in UTC; "-" when unknown."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S") if time else "-"


def percent(part: float, whole: float) -> str:
    """Write a share, rounded down, so that 100.0% means all; "-" of nothing."""
    return f"{int(part / whole * 1000) / 10:.1f}%" if whole else "-"


def used(used_bytes: int, capacity_bytes: int) -> str:
    """Write how full something is."""
    return f"{human_bytes(used_bytes)} / {human_bytes(capacity_bytes)}"


def node_name(node_id: str) -> str:
    """Write the start of a node id, enough to tell nodes apart."""
    return node_id[:_NODE_ID_LENGTH]


def printable(text: str) -> str:
    """Write control characters and lone surrogates as escapes; everything else as it is."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


class Output:
    """Where results go.

    Args:
        redact: takes secrets out of every text before it is shown.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches standard output."""
        return sys.stdout.isatty()

    def line(self, text: str) -> None:
        """Show one line."""
        print(printable(self._redact(text)))

    def silent(self, nodes: Sequence[str]) -> None:
        """Say of an answer that it lacks these nodes, whose workers did not answer."""
        if nodes:
            self.line(f"not all of it: no answer from the workers on {', '.join(map(node_name, nodes))}")

    def error(self, text: str) -> None:
        """Show one line on standard error, after the program's name."""
        print(f"raycache: {printable(self._redact(text))}", file=sys.stderr)

    def json(self, value: Any) -> None:
        """Show a result, or a list of results, as one JSON document."""
        print(json.dumps(self._redacted(plain(value)), indent=2, default=str))

    def json_line(self, value: Any) -> None:
        """Show one of a series of results, on a line of its own, at once."""
        print(json.dumps(self._redacted(plain(value)), default=str), flush=True)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]], empty: str = "nothing") -> None:
        """Show rows below their titles.

        Args:
            columns: shape (C,).
            rows: shape (R, C).
            empty: shown instead of a table without rows.
        """
        cells = [[printable(self._redact(cell)) for cell in row] for row in rows]
        if not cells:
            self.line(empty)
        elif self.is_terminal and len(cells) <= _RICH_ROWS_MAX:
            console = Console()
            for group in _fitting(columns, cells, console.width):
                table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
                for index in group:
                    column = columns[index]
                    justify: Literal["left", "right"] = "right" if column.right else "left"
                    whole = column.right or index == 0
                    least = min(_TEXT_WIDTH_MIN, _width(columns, cells, index)) if whole else None
                    table.add_column(
                        column.title, justify=justify, overflow="fold", no_wrap=column.right, min_width=least
                    )
                for row in cells:
                    table.add_row(*(Text(row[index]) for index in group))
                console.print(table)
        else:
            print("\n".join(_aligned(columns, cells)))

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {key: self._redacted(item) for key, item in value.items()}
        return [self._redacted(item) for item in value] if isinstance(value, list) else value


def _width(columns: Sequence[Column], cells: list[list[str]], index: int) -> int:
    return max(cell_len(columns[index].title), *(cell_len(row[index]) for row in cells))


def _fitting(columns: Sequence[Column], cells: list[list[str]], width: int) -> list[list[int]]:
    """Columns in groups that fit, each begun with the first column: a number that is cut is another number."""
    groups = [[0]]
    taken = 0
    for index in range(len(columns)):
        own = _width(columns, cells, index)
        least = _PADDING + (own if columns[index].right else min(own, _TEXT_WIDTH_MIN))
        if index == 0:
            first = taken = least
            continue
        if taken + least > width and len(groups[-1]) > 1:
            groups.append([0])
            taken = first
        groups[-1].append(index)
        taken += least
    return groups


def _aligned(columns: Sequence[Column], cells: list[list[str]]) -> Iterable[str]:
    lines = [[column.title for column in columns], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, column, width in zip(line, columns, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()
