"""`start`, `stop`, `status`, `settings`: the cache as a whole."""

from __future__ import annotations

from typing import Any

import click

from raycache.cli.options import Verb, read_settings
from raycache.cli.output import Column, human_bytes, human_seconds, node_name, numbers, used
from raycache.cli.session import Session
from raycache.client.results import Setting, Status


@click.command(cls=Verb, topic="Cluster")
@click.option(
    "--memory", metavar="SIZE", help="Memory tier of each node: a share of its object store, or a size. [default: 30%]"
)
@click.option("--disk", metavar="PATH:SIZE", help="Disk tier of each node: PATH:SIZE, PATH, SIZE or off.")
@click.option("--dashboard", is_flag=True, help="Serve the dashboard, too; see `raycache dashboard`.")
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="Any other setting; see `raycache settings`.")
@click.pass_obj
def start(session: Session, memory: str | None, disk: str | None, dashboard: bool, pairs: tuple[str, ...]) -> None:
    """Start the cache on every node of a running Ray cluster.

    A cache that runs already with the same settings is left as it is.
    """
    given: dict[str, Any] = {"memory": memory, "disk": disk, **read_settings(pairs)}
    status_now = session.backend.start(session.address, given).status()
    url = session.backend.dashboard(session.address, None, None, None) if dashboard else ""
    if session.json:
        session.output.json(status_now)
    else:
        count = len(status_now.workers)
        session.output.line(f"the cache runs on {count} node{'' if count == 1 else 's'}")
        if dashboard:
            session.output.line(f"the dashboard is at {url}")


@click.command(cls=Verb, topic="Cluster")
@click.pass_obj
def stop(session: Session) -> None:
    """Stop the cache and drop all it holds; the lake is untouched."""
    stopped = session.backend.stop(session.address)
    if session.json:
        session.output.json({"stopped": stopped})
    else:
        session.output.line("the cache is stopped" if stopped else "no cache was running")


@click.command(cls=Verb, topic="Cluster")
@click.pass_obj
def status(session: Session) -> None:
    """Show the master and the workers."""
    found = session.cache().status()
    if session.json:
        session.output.json(found)
        return
    session.output.line(
        f"master {found.master}, up {human_seconds(found.uptime_s)}; "
        f"{len(found.workers)} workers, {found.mounts} mounts, {found.files_known} files known"
    )
    _show_workers(session, found)


@click.command(cls=Verb, topic="Cluster")
@click.pass_obj
def settings(session: Session) -> None:
    """Show every setting, its value and where that came from."""
    found = session.cache().settings()
    if session.json:
        session.output.json(found)
        return
    columns = [Column("Setting"), Column("Value"), Column("Origin")]
    session.output.table(columns, [(setting.name, _value(setting), setting.origin) for setting in found])


def _show_workers(session: Session, found: Status) -> None:
    columns = [Column("Node"), Column("State"), *numbers("Memory", "Disk", "Heard", "Epoch")]
    rows = [
        (
            node_name(worker.node_id),
            worker.state,
            used(worker.memory_used_bytes, worker.memory_capacity_bytes),
            used(worker.disk_used_bytes, worker.disk_capacity_bytes),
            f"{human_seconds(worker.heartbeat_age_s)} ago",
            str(worker.epoch),
        )
        for worker in found.workers
    ]
    session.output.table(columns, rows, empty="no workers")


def _value(setting: Setting) -> str:
    if setting.name.endswith(("_bytes", "_bytes_max")) and isinstance(setting.value, int):
        return human_bytes(setting.value)
    if setting.name.endswith("_s") and isinstance(setting.value, (int, float)):
        return f"{setting.value:g} s"
    return str(setting.value) or "-"
