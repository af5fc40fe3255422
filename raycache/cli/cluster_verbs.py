"""`start`, `stop`, `status`, `settings`: the cache as a whole."""

from __future__ import annotations

from typing import Any

import click

from raycache.cli.arguments import Verb, read_settings
from raycache.cli.output import Column, human_bytes, human_seconds, node_name, numbers, used
from raycache.cli.session import Session
from raycache.cli.upkeep_verbs import show_export, show_import
from raycache.results import Setting, Status


@click.command(cls=Verb, topic="Cluster")
@click.option(
    "--memory", metavar="SIZE", help="Memory tier of each node: a share of its object store, or a size. [default: 30%]"
)
@click.option("--disk", metavar="PATH:SIZE", help="Disk tier of each node: PATH:SIZE, PATH, SIZE or off.")
@click.option("--dashboard", is_flag=True, help="Serve the dashboard, too; see `raycache dashboard`.")
@click.option("--endpoint", is_flag=True, help="Serve S3 from every node, too; see `raycache endpoint`.")
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="Any other setting; see `raycache settings`.")
@click.option("--import-map", "uri", metavar="URI", help="Load what `stop --export-map` has written there, and wait.")
@click.pass_obj
def start(
    session: Session,
    memory: str | None,
    disk: str | None,
    dashboard: bool,
    endpoint: bool,
    pairs: tuple[str, ...],
    uri: str | None,
) -> int:
    """Start the cache on every node of a running Ray cluster.

    A cache that runs already with the same settings is left as it is.
    """
    given: dict[str, Any] = {"memory": memory, "disk": disk, **read_settings(pairs)}
    cache = session.backend.start(session.address, given)
    status_now = cache.status()
    url = session.backend.dashboard(session.address, None, None, None, None) if dashboard else ""
    served = session.backend.endpoint(session.address, None, None, anonymous=False).url if endpoint else ""
    if not session.json:
        count = len(status_now.workers)
        session.output.line(f"the cache runs on {count} node{'' if count == 1 else 's'}")
        if dashboard:
            session.output.line(f"the dashboard is at {url}")
        if endpoint:
            session.output.line(f"the endpoint of this node is at {served}; `raycache endpoint env` shows its keys")
    imported = None if uri is None else cache.import_map(uri)
    if session.json:
        session.output.json({**status_now.as_dict(), **({"import": imported.as_dict()} if imported else {})})
    elif imported is not None:
        show_import(session, imported)
    return 1 if imported is not None and imported.failures else 0


@click.command(cls=Verb, topic="Cluster")
@click.option("--export-map", "uri", metavar="URI", help="Write a map of what is cached there first.")
@click.pass_obj
def stop(session: Session, uri: str | None) -> None:
    """Stop the cache and drop all it holds.

    The lake is untouched. When the map cannot be written the cache goes on.
    """
    exported = None if uri is None else session.cache().export_map(uri)
    stopped = session.backend.stop(session.address)
    if session.json:
        session.output.json({"stopped": stopped, **({"export": exported.as_dict()} if exported else {})})
    else:
        if exported is not None:
            show_export(session, exported)
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
    for problem in found.problems:
        session.output.line(f"problem: {problem}")
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
