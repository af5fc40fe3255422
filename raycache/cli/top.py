"""`top`: the cache, live in the terminal. Resizes with it; q quits, s sorts by the next column."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raycache.cli.options import Verb
from raycache.cli.output import human_bytes, human_seconds, percent, printable
from raycache.cli.session import Session

if TYPE_CHECKING:
    from raycache.client.overview import NodeView, Overview, Reads

MINUTE_S = 60.0
#: Lines for everything but the rows of nodes, loads and readers.
_FRAME_LINES = 9
_LOADS_SHOWN, _READERS_SHOWN = 4, 5
_BAR_WIDTH = 10

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
        Console(width=140, highlight=False).print(frame(cache.overview(), 0, 1_000))
        return
    sort = 0
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live, _keys() as key:
        while True:
            live.update(frame(cache.overview(), sort, console.size.height), refresh=True)
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
    """A function that waits for a key, so many seconds at most; "" when none came."""
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


def frame(overview: Overview, sort: int, height: int) -> RenderableType:
    """One picture.

    Args:
        overview: what to show.
        sort: index into `SORTS`.
        height: lines there are; nodes that do not fit are counted.
    """
    title, by = SORTS[sort]
    running = [(job_id, job) for job_id, job in overview.jobs if not job.finished][:_LOADS_SHOWN]
    readers = overview.readers[:_READERS_SHOWN]
    below = (len(running) + 2 if running else 0) + (len(readers) + 2 if readers else 0)
    room = max(3, height - _FRAME_LINES - below)
    nodes = sorted(overview.nodes, key=lambda node: (by(node), node.host, node.node_id))
    parts: list[RenderableType] = [_head(overview), Text(), _nodes(nodes[:room], title)]
    if len(nodes) > room:
        parts.append(Text(f"  and {len(nodes) - room} more", style="dim"))
    if running:
        table = _table("Load", "Done", "Bytes", "Files", "Failed", "Rate", "Left")
        for job_id, job in running:
            share = job.bytes_done / job.bytes_total if job.bytes_total else 0.0
            table.add_row(
                job_id, _bar(share, "cyan"), f"{human_bytes(job.bytes_done)} / {human_bytes(job.bytes_total)}",
                f"{job.files_done} / {job.files_total}", str(job.files_failed), f"{human_bytes(job.rate_bytes_s)}/s",
                human_seconds(job.eta_s),
            )  # fmt: skip
        parts += [Text(), table]
    if readers:
        table = _table("Reader", "Dataset", "Hit rate", "Read", "Last read")
        for reader in readers:
            table.add_row(
                Text(printable(f"{reader.task} ({reader.job})"), overflow="ellipsis"), Text(printable(reader.dataset), overflow="ellipsis"),
                _share(reader.reads.hit_rate), human_bytes(reader.reads.bytes_read), f"{human_seconds(reader.quiet_s)} ago",
            )  # fmt: skip
        parts += [Text(), table]
    return Group(*parts)


def _head(overview: Overview) -> RenderableType:
    minute, ever = overview.minute, overview.ever
    total = overview.stats.total
    line = Text.assemble(
        ("raycache ", "bold cyan"), f"{overview.workers_alive} of {len(overview.nodes)} workers, up {human_seconds(overview.uptime_s)}",
        ("   q quits, s sorts", "dim"),
    )  # fmt: skip
    rates = Text.assemble(
        "hit rate ", (_share(minute.hit_rate), "bold"), " now, ", (_share(overview.quarter.hit_rate), "bold"), " 15 min, ",
        (_share(ever.hit_rate), "bold"), " since start   ", (f"{human_bytes(minute.bytes_read / MINUTE_S)}/s", "bold"), " read   ",
        f"{ever.asked - total.ufs_requests} requests and {human_bytes(ever.bytes_read - total.ufs_bytes)} saved",
    )  # fmt: skip
    return Group(line, rates)


def _nodes(nodes: list[NodeView], title: str) -> Table:
    table = _table(
        f"Node (by {title})",
        "State",
        "Hit rate",
        "1 min",
        "15 min",
        "Read",
        "Memory",
        "Disk",
        "Loads",
        "Evicted",
        "Plasma",
    )
    for node in nodes:
        stats = node.stats
        alive = stats.alive
        plasma = percent(stats.plasma_used_bytes, stats.plasma_capacity_bytes) if alive else "-"
        table.add_row(
            node.host or node.node_id[:12],
            Text(node.state if alive else "gone", style="green" if alive and node.state == "live" else "red"),
            _share(node.reads.hit_rate), _share(node.minute.hit_rate), _share(node.quarter.hit_rate),
            f"{human_bytes(node.minute.bytes_read / MINUTE_S)}/s",
            _fill(stats.memory_used_bytes, stats.memory_capacity_bytes, "blue"),
            _fill(stats.disk_used_bytes, stats.disk_capacity_bytes, "green"),
            str(stats.loads_inflight), str(stats.evictions), plasma,
        )  # fmt: skip
    return table


def _table(first: str, *titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        left = title in ("State", "Done", "Dataset", "Memory", "Disk")
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    return table


def _fill(used_bytes: int, capacity_bytes: int, colour: str) -> Text:
    if not capacity_bytes:
        return Text("-", style="dim")
    return Text.assemble(_bar(used_bytes / capacity_bytes, colour), f" {human_bytes(used_bytes)}")


def _bar(share: float, colour: str) -> Text:
    full = round(min(1.0, max(0.0, share)) * _BAR_WIDTH)
    return Text.assemble(("█" * full, colour), ("░" * (_BAR_WIDTH - full), "dim"))


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share, 1)


def _rate(node: NodeView) -> float:
    """Worst first; nodes that nobody reads on last."""
    rate = _known(node.quarter, node.reads)
    return 2.0 if rate is None else rate


def _known(*reads: Reads) -> float | None:
    return next((found.hit_rate for found in reads if found.hit_rate is not None), None)
