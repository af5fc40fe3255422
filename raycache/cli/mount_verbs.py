"""`mount`, `unmount`, `mounts`: which part of the lake stands where."""

from __future__ import annotations

import os

import click

from raycache.cli.arguments import Duration, Verb, note_secrets_of_uri, read_store_options
from raycache.cli.output import Column
from raycache.cli.session import Session
from raycache.results import MountEntry


@click.command(cls=Verb, topic="Mounts")
@click.argument("path")
@click.argument("uri")
@click.option(
    "-o", "--option", "pairs", metavar="KEY=VALUE", multiple=True,
    help="Option of the store: endpoint_url, access_key_id, secret_access_key, region, ...",
)  # fmt: skip
@click.option("--writable", is_flag=True, help="Let the filesystems write through to the lake.")
@click.option(
    "--metadata-ttl", type=Duration(), help="How long listings and file versions are trusted, such as 60s or 5m."
)
@click.pass_obj
def mount(
    session: Session, path: str, uri: str, pairs: tuple[str, ...], writable: bool, metadata_ttl: float | None
) -> None:
    """Bind a part of the lake to a path.

    PATH is absolute, such as /lake; URI is s3://bucket/prefix, gs://..., abfs://..., hdfs://..., https://host or file:///directory.

    Without keys among the options this shell's environment counts (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...). To keep a
    secret out of the list of processes, write -o secret_access_key=@env:NAME or -o secret_access_key=@file:PATH.
    """
    note_secrets_of_uri(session, uri)
    options = read_store_options(session, pairs, os.environ)
    cache = session.cache()
    cache.mount(path, uri, options=options, metadata_ttl_s=metadata_ttl, readonly=not writable)
    # What the cache says of it, not what was typed: the cache knows what may be shown.
    entry = next((entry for entry in cache.mounts() if entry.path == (path.rstrip("/") or "/")), None)
    if session.json:
        session.output.json(entry or {"path": path})
    elif entry:
        session.output.line(
            f"mounted {entry.uri} at {entry.path}, {_access(entry)}, metadata trusted for {entry.metadata_ttl_s:g} s"
        )
    else:
        session.output.line(f"mounted at {path}")


@click.command(cls=Verb, topic="Mounts")
@click.argument("path")
@click.option("--force", is_flag=True, help="Also while a load of it is running.")
@click.pass_obj
def unmount(session: Session, path: str, force: bool) -> None:
    """Take a mount away and free its blocks; the lake is untouched."""
    session.cache().unmount(path, force=force)
    if session.json:
        session.output.json({"path": path, "unmounted": True})
    else:
        session.output.line(f"unmounted {path}")


@click.command(cls=Verb, topic="Mounts")
@click.pass_obj
def mounts(session: Session) -> None:
    """List the mounts; secrets are not shown."""
    found = session.cache().mounts()
    if session.json:
        session.output.json(found)
        return
    columns = [Column("Path"), Column("URI"), Column("Access"), Column("Metadata", right=True), Column("Options")]
    rows = [
        (
            entry.path,
            entry.uri,
            _access(entry),
            f"{entry.metadata_ttl_s:g} s",
            " ".join(f"{key}={value}" for key, value in sorted(entry.options.items())) or "-",
        )
        for entry in found
    ]
    session.output.table(columns, rows, empty="nothing is mounted; `raycache mount PATH URI` mounts")


def _access(entry: MountEntry) -> str:
    return "read-only" if entry.readonly else "writable"
