"""`stats`: how reads were served, node by node. `advise`: what other sizes would give, and the eviction policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from raycache.cli.arguments import Verb
from raycache.cli.output import Column, human_bytes, human_seconds, node_name, numbers, percent, used
from raycache.cli.session import Session
from raycache.results import NodeStats, Stats

if TYPE_CHECKING:
    from raycache.admin.sizing.advice import Advice


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


@click.command(cls=Verb, topic="Watching")
@click.pass_obj
def advise(session: Session) -> None:
    """Show what other sizes would give, and the eviction policy."""
    found = session.cache().advise()
    if session.json:
        session.output.json(found)
        return
    _policies(session, found)
    session.output.line("")
    if found.uncertainty >= 1:
        session.output.line("Nothing is known of other sizes yet: too little was read through the workers.")
        return
    rows = [
        (
            f"{size.tier} x {size.factor:g}",
            human_bytes(size.memory_bytes),
            human_bytes(size.disk_bytes),
            f"{100 * size.hit_rate:.1f} %",
            human_bytes(size.lake_bytes),
            f"{size.money:.2f}",
        )
        for size in found.sizes
    ]
    session.output.table([Column("Size"), *numbers("Memory", "Disk", "Hit rate", "Lake bytes", "Money")], rows)
    session.output.line("")
    session.output.line(
        f"Of {human_bytes(found.asked_bytes)} asked for in {human_seconds(found.watched_s)}; by a sample of "
        f"{found.sampled_blocks} blocks and {found.references} references, within about {100 * found.uncertainty:.0f} points."
    )
    for node in found.silent:
        session.output.line(f"{node_name(node)} did not answer.")


def _policies(session: Session, found: Advice) -> None:
    names = list(dict.fromkeys(name for node in found.nodes for name in node.rates))
    rows = [
        (
            node_name(node.node_id),
            node.policy if node.is_chosen else f"{node.policy} (set)",
            *(f"{100 * node.rates.get(name, 0.0):.1f} %" for name in names),
            "-" if not node.history else f"{human_seconds(node.history[-1].ago_s)} ago, from {node.history[-1].before}",
        )
        for node in found.nodes
    ]
    session.output.table(
        [Column("Node"), Column("Policy"), *numbers(*(f"by {name}" for name in names)), Column("Since")], rows
    )
