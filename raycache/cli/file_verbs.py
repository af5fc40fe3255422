"""`ls`, `stat`, `du`, `locate`, `local`: what is in the lake, and where the cache holds it."""

from __future__ import annotations

import click

from raycache.cli.arguments import Verb
from raycache.cli.output import Column, human_bytes, human_time, node_name, numbers, percent
from raycache.cli.session import Session
from raycache.results import Entry, FileLocation


@click.command(cls=Verb, topic="Files")
@click.argument("path", default="/")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not only the next level.")
@click.pass_obj
def ls(session: Session, path: str, recursive: bool) -> None:
    """List a directory, or name a file.

    PATH is absolute, such as /lake/x, or a URI of the lake, such as s3://bucket/x.
    """
    entries: list[Entry] = session.cache().ls(path, detail=True, recursive=recursive)
    if session.json:
        session.output.json(entries)
        return
    columns = [Column("Size", right=True), Column("Modified (UTC)"), Column("Path")]
    rows = [
        (
            human_bytes(entry.size_bytes) if entry.kind == "file" else "-",
            human_time(entry.mtime),
            entry.path if entry.kind == "file" else entry.path.rstrip("/") + "/",
        )
        for entry in entries
    ]
    session.output.table(columns, rows, empty="empty")


@click.command(cls=Verb, topic="Files")
@click.argument("path")
@click.pass_obj
def stat(session: Session, path: str) -> None:
    """Describe a file or a directory."""
    entry = session.cache().stat(path)
    if session.json:
        session.output.json(entry)
        return
    rows = [("path", entry.path), ("kind", entry.kind), ("uri", entry.uri)]
    if entry.kind == "file":
        rows += [
            ("size", f"{human_bytes(entry.size_bytes)} ({entry.size_bytes} bytes)"),
            ("modified", f"{human_time(entry.mtime)} UTC" if entry.mtime else "-"),
            ("etag", entry.etag or "-"),
        ]
    session.output.table([Column("Field"), Column("Value")], rows)


@click.command(cls=Verb, topic="Files")
@click.argument("path", default="/")
@click.pass_obj
def du(session: Session, path: str) -> None:
    """Show the size below a path, and how much of it is cached."""
    usage = session.cache().du(path)
    if session.json:
        session.output.json(usage)
        return
    columns = [*numbers("Files", "Size", "Cached", "Share"), Column("Path")]
    row = (
        str(usage.files),
        human_bytes(usage.bytes_total),
        human_bytes(usage.bytes_cached),
        percent(usage.bytes_cached, usage.bytes_total),
        usage.path,
    )
    session.output.table(columns, [row])
    session.output.silent(usage.workers_silent)


@click.command(cls=Verb, topic="Files")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.pass_obj
def locate(session: Session, paths: tuple[str, ...]) -> None:
    """Show which node holds how much of each file.

    PATH is a file, a directory or a glob.
    """
    found = session.cache().locate(list(paths))
    if session.json:
        session.output.json(found)
        return
    columns = [Column("Path"), Column("Node"), *numbers("Blocks", "Held", "Share")]
    session.output.table(columns, [row for location in found for row in _rows(location)], empty="no files")
    session.output.silent(found[0].workers_silent if found else ())


def _rows(location: FileLocation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            location.path,
            node_name(node_id),
            f"{held.blocks}/{location.blocks}",
            human_bytes(held.bytes),
            percent(held.bytes, location.size_bytes),
        )
        for node_id, held in location.nodes.items()
    ]
    return rows or [(location.path, "-", f"0/{location.blocks}", human_bytes(0), percent(0, location.size_bytes))]


@click.command(cls=Verb, topic="Files")
@click.argument("path")
@click.option("--memory", is_flag=True, help="In /dev/shm instead of the disk tier.")
@click.pass_obj
def local(session: Session, path: str, memory: bool) -> None:
    """Put files on this node's disk, and show where.

    PATH is a file or a directory. It stays whole until it is freed (`raycache free PATH`), or the cache stops.
    """
    found = session.cache().local_path(path, memory=memory)
    if session.json:
        session.output.json({"path": str(found)})
    else:
        session.output.line(str(found))
