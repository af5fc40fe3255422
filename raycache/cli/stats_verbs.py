"""`stats`: how reads were served, node by node."""

from __future__ import annotations

import click

from raycache.cli.arguments import Verb
from raycache.cli.output import Column, human_bytes, node_name, numbers, percent, used
from raycache.cli.session import Session
from raycache.results import NodeStats, Stats


@click.command(cls=Verb, topic="Watching")
@click.option(
    "--watch",
    "period_s",
    metavar="SECONDS",
    type=click.FloatRange(0.2, 86400),
    help="Again every so often; Ctrl-C ends.",
)
@click.pass_obj
def stats(session: Session, period_s: float | None) -> None:
    """Show hits, bytes and requests of each node and in total."""
    cache = session.cache()
    _show(session, cache.stats())
    while period_s is not None:
        session.pause(period_s)
        found = cache.stats()
        if session.output.is_terminal and not session.json:
            click.clear()
        _show(session, found)


def _show(session: Session, found: Stats) -> None:
    if session.json:
        session.output.json(found)
        return
    named = [*((node_name(node_id), node) for node_id, node in found.nodes.items()), ("total", found.total)]
    reads = numbers("Hits", "Misses", "Bypasses", "Hit rate")
    session.output.table([Column("Reads"), *reads], [(name, *_reads(node)) for name, node in named])
    session.output.line("")
    sizes = numbers("All", "Memory", "Disk", "Lake", "Local", "Remote", "Bypass")
    session.output.table([Column("Bytes read"), *sizes], [(name, *_bytes_read(node)) for name, node in named])
    session.output.line("")
    held = numbers("Memory", "Disk", "Blocks", "Evictions", "Lake requests", "Lake bytes")
    session.output.table([Column("Holdings"), *held], [(name, *_holdings(node)) for name, node in named])


def _reads(node: NodeStats) -> tuple[str, ...]:
    asked = node.hits + node.misses + node.bypasses
    return str(node.hits), str(node.misses), str(node.bypasses), percent(node.hits, asked)


def _bytes_read(node: NodeStats) -> tuple[str, ...]:
    """All bytes; where they were when asked for; how they travelled."""
    places = (node.bytes_memory, node.bytes_disk, node.bytes_ufs)
    ways = (node.bytes_local, node.bytes_remote, node.bytes_bypass)
    return tuple(human_bytes(size) for size in (sum(places), *places, *ways))


def _holdings(node: NodeStats) -> tuple[str, ...]:
    return (
        used(node.memory_used_bytes, node.memory_capacity_bytes) if node.alive else "no worker",
        used(node.disk_used_bytes, node.disk_capacity_bytes) if node.alive else "no worker",
        str(node.blocks),
        str(node.evictions),
        str(node.ufs_requests),
        human_bytes(node.ufs_bytes),
    )
