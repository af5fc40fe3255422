"""`free`, `pin`, `unpin`, `set-ttl`, `set-quota`, `rules`, `sync`, maps, `cached`: what stays in the cache, and what goes."""

from __future__ import annotations

from typing import Any

import click

from raycache.cli.arguments import Duration, Verb, common_options
from raycache.cli.output import Column, human_bytes, human_seconds, numbers
from raycache.cli.session import Session
from raycache.errors import InvalidRequestError
from raycache.results import Failure, MapExport, MapImport, PathRule, SyncResult

#: How many failures a person is shown.
_SHOWN_MAX = 20

_bandwidth = click.option("--bandwidth", metavar="RATE", help="Of the load, such as 500MiB/s.  [default: no limit]")
_paths = click.argument("paths", nargs=-1, required=True, metavar="PATH...")


@click.command(cls=Verb, topic="Upkeep")
@_paths
@click.option("--older-than", "older_than_s", type=Duration(), default="0", help="Only what was loaded so long ago.")
@click.option("--force", is_flag=True, help="Also what is pinned.")
@click.pass_obj
def free(session: Session, paths: tuple[str, ...], older_than_s: float, force: bool) -> None:
    """Drop files from the cache, never from the lake.

    PATH is a file, a directory, a mount or a glob.
    """
    result = session.cache().free(list(paths), force=force, older_than_s=older_than_s)
    if session.json:
        session.output.json(result)
        return
    session.output.line(f"freed {result.blocks} blocks, {human_bytes(result.bytes)}")
    session.output.silent(result.workers_silent)
    if result.pinned_blocks:
        session.output.line(
            f"{result.pinned_blocks} blocks, {human_bytes(result.pinned_bytes)}, are pinned and stay; --force frees them"
        )


@click.command(cls=Verb, topic="Upkeep")
@_paths
@click.pass_obj
def pin(session: Session, paths: tuple[str, ...]) -> None:
    """Never evict files, also those that are loaded later.

    PATH is a file, a directory or a glob.
    """
    session.cache().pin(list(paths))
    _say(session, {"pinned": list(paths)}, f"pinned {_listed(paths)}")


@click.command(cls=Verb, topic="Upkeep")
@_paths
@click.pass_obj
def unpin(session: Session, paths: tuple[str, ...]) -> None:
    """Let files be evicted again.

    PATH may be a part of what was pinned.
    """
    session.cache().unpin(list(paths))
    _say(session, {"unpinned": list(paths)}, f"unpinned {_listed(paths)}")


@click.command(cls=Verb, topic="Upkeep")
@_paths
@click.argument("ttl", metavar="TTL|none")
@click.pass_context
def set_ttl(context: click.Context, paths: tuple[str, ...], ttl: str) -> None:
    """Free files some time after they were loaded.

    The lake is never touched. PATH is a file, a directory or a glob; TTL is a duration such as 30m or 12h, none takes it away.
    """
    session: Session = context.obj
    ttl_s = None if ttl == "none" else Duration().convert(ttl, None, context)
    session.cache().set_ttl(list(paths), ttl_s)
    text = "stays for as long as there is room" if ttl_s is None else f"is freed {human_seconds(ttl_s)} after loading"
    _say(session, {"paths": list(paths), "ttl_s": ttl_s}, f"{_listed(paths)} {text}")


@click.command(cls=Verb, topic="Upkeep")
@click.argument("path")
@click.argument("size", metavar="SIZE|none")
@click.pass_obj
def set_quota(session: Session, path: str, size: str) -> None:
    """Never cache more of a directory than SIZE.

    SIZE is bytes, or such as 200GiB. The directory's own oldest blocks go first. none takes the quota away.
    """
    session.cache().set_quota(path, None if size == "none" else size)
    text = "has no quota" if size == "none" else f"never takes more than {size}"
    _say(session, {"path": path, "quota": None if size == "none" else size}, f"{path} {text}")


@click.command(cls=Verb, topic="Upkeep")
@click.pass_obj
def rules(session: Session) -> None:
    """Show all pins, TTLs and quotas.

    The oldest comes first: of two of one kind that name a file, the later one holds.
    """
    found = session.cache().rules()
    if session.json:
        session.output.json(found)
        return
    columns = [Column("Rule"), *numbers("Value"), Column("Path")]
    session.output.table(columns, [(rule.kind, _value(rule), rule.path) for rule in found], empty="no rules")


@click.command(cls=Verb, topic="Upkeep")
@_paths
@click.option("--load", is_flag=True, help="Bring in what was added or changed.")
@click.option("--dry-run", is_flag=True, help="Only tell the differences.")
@click.option("--watch", type=Duration(), metavar="PERIOD", help="Repeat it, until Ctrl-C; --json prints a line each.")
@_bandwidth
@click.pass_obj
def sync(
    session: Session, paths: tuple[str, ...], load: bool, dry_run: bool, watch: float | None, bandwidth: str | None
) -> int:
    """Compare files with the lake, and drop what it no longer has.

    PATH is a file, a directory or a glob. Fails when --load could not bring everything in. What --load has begun goes on
    after Ctrl-C; `raycache jobs` shows it.
    """
    cache = session.cache()
    if watch is None:
        result = cache.sync(list(paths), dry_run=dry_run, load=load, bandwidth=bandwidth)
        if session.json:
            session.output.json(result)
        else:
            _show_sync(session, result)
        return 1 if result.failures else 0
    for result in cache.sync(list(paths), dry_run=dry_run, load=load, watch=watch, bandwidth=bandwidth):
        if session.json:
            session.output.json_line(result)
        else:
            _show_sync(session, result)
    return 0


def _show_sync(session: Session, result: SyncResult) -> None:
    rows = [
        (name, str(amount.files), human_bytes(amount.bytes))
        for name, amount in (
            ("added", result.added),
            ("changed", result.changed),
            ("removed", result.removed),
            ("unchanged", result.unchanged),
            *([("loaded", result.loaded)] if result.loaded.files or result.failures else []),
        )
    ]
    session.output.table([Column(""), *numbers("Files", "Size")], rows)
    _show_failures(session, result.failures)


@click.command(cls=Verb, topic="Upkeep")
@click.argument("uri")
@click.pass_obj
def export_map(session: Session, uri: str) -> None:
    """Write what is cached to a map for the next cluster.

    URI is a parquet file in a store, such as s3://bucket/maps/x.parquet.
    """
    show_export(session, session.cache().export_map(uri))


@click.command(cls=Verb, topic="Upkeep")
@click.argument("uri")
@click.option("--no-pins", is_flag=True, help="Do not pin what was pinned there.")
@_bandwidth
@click.pass_obj
def import_map(session: Session, uri: str, no_pins: bool, bandwidth: str | None) -> int:
    """Load what another cluster had cached, the hottest first.

    Files that have changed since are left out. Fails when the lake did not deliver a file. The load goes on after Ctrl-C;
    `raycache jobs` shows it.
    """
    result = session.cache().import_map(uri, pins=not no_pins, bandwidth=bandwidth)
    if session.json:
        session.output.json(result)
    else:
        show_import(session, result)
    return 1 if result.failures else 0


def show_export(session: Session, result: MapExport) -> None:
    """Say what was written."""
    if session.json:
        session.output.json(result)
    else:
        session.output.line(f"wrote {result.files} files, {human_bytes(result.bytes)}, to {result.uri}")


def show_import(session: Session, result: MapImport) -> None:
    """Show what became of a map's files."""
    amounts = [
        ("in the map", result.total),
        ("loaded", result.loaded),
        ("cached already", result.already),
        ("changed since", result.changed),
        ("removed since", result.removed),
        ("no room for", result.no_room),
    ]
    rows = [(name, str(amount.files), human_bytes(amount.bytes)) for name, amount in amounts]
    session.output.table([Column(""), *numbers("Files", "Size")], rows)
    _show_failures(session, result.failures)


def _show_failures(session: Session, failures: tuple[Failure, ...]) -> None:
    for failure in failures[:_SHOWN_MAX]:
        session.output.error(f"{failure.path or 'not all is loaded'}: {failure.reason}")
    if len(failures) > _SHOWN_MAX:
        session.output.error(f"... and {len(failures) - _SHOWN_MAX} more; --json shows them")


def _value(rule: PathRule) -> str:
    if rule.value is None:
        return "none"
    if rule.kind == "quota":
        return human_bytes(rule.value)
    return human_seconds(rule.value) if rule.kind == "ttl" else "yes"


def _say(session: Session, result: dict[str, Any], text: str) -> None:
    if session.json:
        session.output.json(result)
    else:
        session.output.line(text)


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(paths)


class VerbGroup(click.Group):
    """Verbs with one first word.

    Args:
        topic: under which `raycache --help` lists it.
    """

    def __init__(self, *arguments: object, topic: str, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self.topic = topic
        self.params.extend(common_options())


@click.group(cls=VerbGroup, topic="Upkeep", no_args_is_help=True)
def cached() -> None:
    """List or drop cached datasets.

    What raycache.cached keeps of datasets after their transforms, and raycache.memoize of functions.
    """


@cached.command("ls", cls=Verb, topic="Upkeep")
@click.pass_obj
def cached_ls(session: Session) -> None:
    """List cached datasets, and what they have saved.

    GROUPS are the results kept; READ and MADE count, since the master started, how often one was read, and how often one had to be
    made. LOST ones were evicted, freed, or went with their node.
    """
    found = session.cache().cached_datasets()
    if session.json:
        session.output.json(found)
        return
    columns = [
        Column("Name"), Column("Groups", right=True), Column("Rows", right=True), Column("Kept", right=True),
        Column("Read", right=True), Column("Made", right=True), Column("Lost", right=True),
        Column("CPU saved", right=True), Column("Idle", right=True),
    ]  # fmt: skip
    rows = [
        (
            row.name, f"{row.groups:,}", f"{row.rows:,}", human_bytes(row.bytes_kept), f"{row.hits:,}", f"{row.made:,}",
            f"{row.lost:,}", human_seconds(row.saved_cpu_s), "-" if row.idle_s is None else human_seconds(row.idle_s),
        )
        for row in found
    ]  # fmt: skip
    session.output.table(columns, rows, empty="no results are kept; raycache.cached(dataset) keeps some")


@cached.command("rm", cls=Verb, topic="Upkeep")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="All cached datasets.")
@click.pass_obj
def cached_rm(session: Session, names: tuple[str, ...], everything: bool) -> None:
    """Drop cached datasets, from memory and disk.

    They are made again when somebody reads them. NAME is as `cached ls` shows it, or its path below /cached.
    """
    if bool(names) == everything:
        raise InvalidRequestError("name the cached datasets to drop, or give --all")
    cache = session.cache()
    wanted = [row.name for row in cache.cached_datasets()] if everything else list(names)
    dropped = {name: cache.drop_cached(name) for name in wanted}
    if session.json:
        session.output.json([{"name": name, "groups": count} for name, count in dropped.items()])
        return
    for name, count in dropped.items():
        session.output.line(f"dropped {name}: {count:,} groups")
    if not dropped:
        session.output.line("no results are kept")
