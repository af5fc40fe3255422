"""`top`: the cache, live in the terminal. Resizes with it; q quits, s sorts by the next column."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raycache.cli.arguments import Verb
from raycache.cli.output import human_bytes, human_seconds, percent, printable
from raycache.cli.session import Session

if TYPE_CHECKING:
    from raycache.admin.overview import NodeView, Overview, Reads

MINUTE_S = 60.0
#: Lines for everything but the rows of nodes, loads and readers.
_FRAME_LINES = 7
#: Fewer nodes are not shown for the sake of loads or readers.
_NODES_MIN = 3
_LOADS_SHOWN, _READERS_SHOWN = 4, 5
#: Of a terminal: a narrower one has shorter bars.
_WIDE = 110
_PLAIN_WIDTH = 140
_GAP = 2
_FIRST_WIDTH_MIN = 12

#: What `s` goes through.
SORTS: tuple[tuple[str, Callable[[NodeView], float]], ...] = (
    ("hit rate", lambda node: _rate(node)),  # noqa: PLW0108  # defined below
    ("throughput", lambda node: -node.minute.bytes_read),
    ("memory", lambda node: -node.stats.memory_used_bytes),
    ("evictions", lambda node: -node.stats.evictions),
)


@click.command(cls=Verb, topic="Watching")
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds between looks."
)
@click.pass_obj
def top(session: Session, interval: float) -> None:
    """Watch hit rates, throughput and loads live.

    Nodes, loads and readers, once a second; q quits, s sorts by something else.

    Where the output is no terminal, it is shown once.
    """
    cache = session.cache()
    if session.json:
        session.output.json(cache.overview())
        return
    if not session.output.is_terminal:
        Console(width=_PLAIN_WIDTH, highlight=False).print(frame(cache.overview(), 0, _PLAIN_WIDTH, 1_000))
        return
    sort = 0
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live, _keys() as key:
        while True:
            live.update(frame(cache.overview(), sort, console.size.width, console.size.height), refresh=True)
            deadline = time.monotonic() + interval
            while (left_s := deadline - time.monotonic()) > 0:
                pressed = key(left_s)
                if pressed in ("q", "Q", "\x03", "\x04"):
                    return
                if pressed == "s":
                    sort = (sort + 1) % len(SORTS)
                    break


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key, for at most the seconds given; "" when none came."""
    if not sys.stdin.isatty():

        def silence(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield silence
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)

    def key(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    try:
        yield key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class TopColumn(NamedTuple):
    """One column of a table."""

    title: str
    #: In a narrow terminal columns go from the highest rank down; the first one stays.
    rank: int
    left: bool = False


def frame(overview: Overview, sort: int, width: int, height: int) -> RenderableType:
    """One picture.

    Args:
        overview: what to show.
        sort: index into `SORTS`.
        width: columns there are.
        height: lines there are; nodes that do not fit are counted.
    """
    title, by = SORTS[sort]
    running = [(job_id, job) for job_id, job in overview.jobs if not job.finished][:_LOADS_SHOWN]
    readers = overview.readers[:_READERS_SHOWN]
    if height < _FRAME_LINES + _NODES_MIN + len(readers) + len(running) + 4:
        readers = ()
    if height < _FRAME_LINES + _NODES_MIN + len(running) + 2:
        running = []
    below = (len(running) + 2 if running else 0) + (len(readers) + 2 if readers else 0)
    room = max(1, height - _FRAME_LINES - below)
    nodes = sorted(overview.nodes, key=lambda node: (by(node), node.host, node.node_id))
    parts: list[RenderableType] = [*_head(overview, title), Text(), _nodes(nodes[:room], width)]
    if len(nodes) > room:
        parts.append(Text(f"  and {len(nodes) - room} more", style="dim"))
    bar = 10 if width >= _WIDE else 4
    if running:
        columns = [
            TopColumn("Load", 0), TopColumn("Done", 1, left=True), TopColumn("Bytes", 3), TopColumn("Files", 5), TopColumn("Failed", 4),
            TopColumn("Rate", 6), TopColumn("Left", 2),
        ]  # fmt: skip
        rows = [
            [
                Text(job_id), _bar(job.bytes_done / job.bytes_total if job.bytes_total else 0.0, "cyan", bar),
                Text(f"{human_bytes(job.bytes_done)} / {human_bytes(job.bytes_total)}"),
                Text(f"{job.files_done} / {job.files_total}"), Text(str(job.files_failed)),
                Text(f"{human_bytes(job.rate_bytes_s)}/s"), Text(human_seconds(job.eta_s)),
            ]
            for job_id, job in running
        ]  # fmt: skip
        parts += [Text(), table(columns, rows, width)]
    if readers:
        columns = [
            TopColumn("Reader", 0), TopColumn("Dataset", 2, left=True), TopColumn("Hit rate", 1), TopColumn("Read", 3), TopColumn("Last read", 4),
        ]  # fmt: skip
        rows = [
            [
                Text(printable(f"{reader.task} ({reader.job})")), Text(printable(reader.dataset)),
                Text(_share(reader.reads.hit_rate)), Text(human_bytes(reader.reads.bytes_read)),
                Text(f"{human_seconds(reader.quiet_s)} ago"),
            ]
            for reader in readers
        ]  # fmt: skip
        parts += [Text(), table(columns, rows, width)]
    return Group(*parts)


def _head(overview: Overview, title: str) -> list[RenderableType]:
    """Three lines, cut where they do not fit: the most important first."""
    minute, ever = overview.minute, overview.ever
    total = overview.stats.total
    lines = [
        Text.assemble(
            ("raycache ", "bold cyan"), f"{overview.workers_alive} of {len(overview.nodes)} workers, up {human_seconds(overview.uptime_s)}",
            (f"   q quits, s sorts (by {title})", "dim"),
        ),
        Text.assemble(
            "hit rate ", (_share(minute.hit_rate), "bold"), " now, ", (_share(overview.quarter.hit_rate), "bold"), " 15 min, ",
            (_share(ever.hit_rate), "bold"), " since start   ", (f"{human_bytes(minute.bytes_read / MINUTE_S)}/s", "bold"),
        ),
        Text(f"saved {ever.asked - total.ufs_requests} requests and {human_bytes(ever.bytes_read - total.ufs_bytes)} of the lake's"),
    ]  # fmt: skip
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return [*lines]


def _nodes(nodes: list[NodeView], width: int) -> Table:
    bar = 10 if width >= _WIDE else 4
    columns = [
        TopColumn("Node", 0), TopColumn("State", 2, left=True), TopColumn("Hit rate", 1), TopColumn("1 min", 4), TopColumn("15 min", 7),
        TopColumn("Read", 3), TopColumn("Memory", 5, left=True), TopColumn("Disk", 6, left=True), TopColumn("Loads", 9),
        TopColumn("Evicted", 10), TopColumn("Plasma", 8),
    ]  # fmt: skip
    rows = []
    for node in nodes:
        stats = node.stats
        alive = stats.alive
        plasma = percent(stats.plasma_used_bytes, stats.plasma_capacity_bytes) if alive else "-"
        rows.append([
            Text(node.host or node.node_id[:12]),
            Text(node.state, style="green" if alive and node.state == "live" else "red"),
            *(Text(_share(reads.hit_rate)) for reads in (node.reads, node.minute, node.quarter)),
            Text(f"{human_bytes(node.minute.bytes_read / MINUTE_S)}/s"),
            _fill(stats.memory_used_bytes, stats.memory_capacity_bytes, "blue", bar),
            _fill(stats.disk_used_bytes, stats.disk_capacity_bytes, "green", bar),
            Text(str(stats.loads_inflight)), Text(str(stats.evictions)), Text(plasma),
        ])  # fmt: skip
    return table(columns, rows, width)


def table(columns: Sequence[TopColumn], rows: Sequence[Sequence[Text]], width: int) -> Table:
    """A table that fits: columns that do not are left out whole, and the first one is cut, rather than all of them."""
    widths = [
        max(cell_len(column.title), *(row[index].cell_len for row in rows), 0) for index, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))

    def needed() -> int:
        return min(widths[0], _FIRST_WIDTH_MIN) + sum(widths[index] + _GAP for index in shown[1:])

    while needed() > width and len(shown) > 1:
        shown.remove(max(shown[1:], key=lambda index: columns[index].rank))
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", expand=False)
    first = width - sum(widths[index] + _GAP for index in shown[1:])
    for index in shown:
        column = columns[index]
        size = min(widths[0], max(1, first)) if index == 0 else widths[index]
        left = column.left or index == 0
        made.add_column(
            column.title, justify="left" if left else "right", no_wrap=True, overflow="ellipsis", width=size
        )
    for row in rows:
        made.add_row(*(row[index] for index in shown))
    return made


def _fill(used_bytes: int, capacity_bytes: int, colour: str, width: int) -> Text:
    if not capacity_bytes:
        return Text("-", style="dim")
    return Text.assemble(_bar(used_bytes / capacity_bytes, colour, width), f" {human_bytes(used_bytes)}")


def _bar(share: float, colour: str, width: int) -> Text:
    full = round(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("█" * full, colour), ("░" * (width - full), "dim"))


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share, 1)


def _rate(node: NodeView) -> float:
    """Worst first; nodes that nobody reads on last."""
    rate = _known(node.quarter, node.reads)
    return 2.0 if rate is None else rate


def _known(*reads: Reads) -> float | None:
    return next((found.hit_rate for found in reads if found.hit_rate is not None), None)
