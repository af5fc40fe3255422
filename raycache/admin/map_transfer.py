"""`export_map` and `import_map`: the cache map between the workers, the lake, and this process.

The map's credentials are those of the mount that covers its URI, or else of this process's environment.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from raycache.admin import maps, stats, upkeep
from raycache.admin.inventory import inventory_pages
from raycache.admin.loads import STOPPED, load_files, rate_of
from raycache.client.client import Client
from raycache.client.file_meta import require_file
from raycache.client.locator import Locator
from raycache.messages import NO_ROOM, Tally
from raycache.results import Amount, Failure, MapExport, MapImport, Progress, Stats
from raycache.settings import Settings
from raycache.types import FileKind

_COPY_BYTES = 8 << 20
_SHOWN_MAX = 1_000
#: Files looked up at a time.
_LOOK_UP_MAX = 5_000
#: Of a disk tier: the rest is for footers and what is under way.
_DISK_SHARE = 0.98


def export_map(client: Client, uri: str) -> MapExport:
    """Write what all workers hold to a parquet file.

    Raises:
        UnavailableError: a worker does not answer: the map would not be whole, nothing is written.
        DeniedError, NoSpaceError, InvalidRequestError: the file cannot be written there.
    """
    started_s = time.monotonic()
    view, rules = client.refresh_view(), client.calls.master("rules")
    target = client.locator.uri_of(uri)
    storage, key = client.locator.storage(target)
    rows = maps.merge([maps.rows_of(inventory_pages(client.calls, worker.actor_name)) for worker in view.workers])
    with tempfile.TemporaryFile(prefix="raycache-map-") as file:
        files, size_bytes = maps.write(file, rows, client.settings.block_size_bytes, rules)
        file.seek(0)
        writer = storage.open_writer(key)
        try:
            while chunk := file.read(_COPY_BYTES):
                writer.write(chunk)
            writer.close()
        except BaseException:
            writer.abort()
            raise
    return MapExport(target, files, size_bytes, time.monotonic() - started_s)


def read_map(locator: Locator, uri: str) -> maps.CacheMap:
    """Read a map.

    Raises:
        NotFoundError, DeniedError, UnavailableError: it cannot be read.
        InvalidRequestError: it is none.
    """
    target = locator.uri_of(uri)
    storage, key = locator.storage(target)
    found = storage.head(key)
    return maps.CacheMap(storage.read(key, 0, found.size_bytes) if found.size_bytes else b"", target)


def import_map(client: Client, uri: str, *, pins: bool, bandwidth: str | int | None) -> MapImport:
    """Load what a map says, the hottest first, as far as it is unchanged and fits; see `Cache.import_map`."""
    rate_of(bandwidth)  # one that cannot be is refused before anything is done
    client.refresh_view()
    source = read_map(client.locator, uri)
    if pins and source.pins:
        upkeep.add_rules(client, source.pins)
    result = _import(client, source, uri, bandwidth)
    client.locator.forget_all()
    return result


def _import(client: Client, source: maps.CacheMap, uri: str, bandwidth: str | int | None) -> MapImport:
    started_s = time.monotonic()
    plan = maps.ImportPlan(
        lambda uris: _look_up(client.locator, uris),
        _room(client.settings, stats.stats_of(client.calls.master("stats"))),
        client.fresh_topology,
        _SHOWN_MAX,
    )
    wanted = list(plan.wanted(source.hottest_first(client.settings.block_size_bytes)))
    progress = load_files(client, [uri], bandwidth, wanted).wait() if wanted else None
    loaded, no_room, failures = loaded_of(progress, plan.no_room)
    return MapImport(
        uri=uri,
        total=Amount(*plan.total),
        loaded=loaded,
        already=Amount(*plan.already),
        changed=Amount(*plan.changed),
        removed=Amount(*plan.removed),
        no_room=no_room,
        changed_paths=tuple(plan.changed_uris),
        failures=failures,
        elapsed_s=time.monotonic() - started_s,
    )


def loaded_of(progress: Progress | None, no_room: Tally) -> tuple[Amount, Amount, tuple[Failure, ...]]:
    """What became of the files that seemed to fit.

    Args:
        progress: how their load ended; None: there were none.
        no_room: those that did not seem to fit.

    Returns:
        (loaded, no room, failures): files that turned out to have no room are no failures.
    """
    if progress is None:
        return Amount(), Amount(*no_room), ()
    refused = sum(failure.reason == NO_ROOM for failure in progress.failures)
    failures = [failure for failure in progress.failures if failure.reason != NO_ROOM]
    if progress.state == "STOPPED":
        failures.insert(0, Failure("", STOPPED))
    loaded = Amount(progress.files_done, progress.bytes_done)
    return loaded, Amount(*no_room.plus(Tally(refused, 0))), tuple(failures)


def _look_up(locator: Locator, uris: Sequence[str]) -> list[maps.LakeState]:
    found: list[maps.LakeState] = []
    live = {worker.worker for worker in locator.view.workers}
    for start in range(0, len(uris), _LOOK_UP_MAX):
        for meta in locator.resolve(uris[start : start + _LOOK_UP_MAX]):
            if meta.kind is not FileKind.FILE:
                if meta.error is not None:
                    require_file(meta, meta.path)  # raises what the look-up failed with
                found.append(maps.LakeState(None, 0))
                continue
            found.append(maps.LakeState(meta.file, meta.places.held_mask(live)))
    return found


def _room(settings: Settings, figures: Stats) -> maps.FreeSpace:
    free: dict[str, int] = {}
    for node, sizes in figures.nodes.items():
        memory = int(sizes.memory_capacity_bytes * settings.memory_high_watermark) - sizes.memory_used_bytes
        disk = int(sizes.disk_capacity_bytes * _DISK_SHARE) - sizes.disk_used_bytes
        free[node] = max(0, memory) + max(0, disk)
    return maps.FreeSpace(free)
