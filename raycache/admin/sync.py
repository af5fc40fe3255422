"""`cache.sync`: what the master found different becomes a result, and with `load` the difference is brought in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from raycache import paths as names
from raycache.admin.loads import STOPPED, load_files, rate_of
from raycache.admin.patterns import path_of
from raycache.admin.upkeep import patterns_of, require_matches
from raycache.client.client import Client
from raycache.client.expanding import as_list
from raycache.client.mount_options import environment_options
from raycache.messages import SyncReply, SyncRequest, Tally, WantedFile, encode
from raycache.results import Amount, Failure, Progress, SyncResult

#: Files that were added or changed: so many are loaded by a sync; there being more, the rest is for a load.
FILES_MAX = 1_000_000
SHOWN_MAX = 1_000
MORE = "more files differ than one sync loads; load the path for the rest"
#: Listing a million objects takes minutes.
_TIMEOUT_S = 3600.0


def sync(
    client: Client, paths: str | Sequence[str], *, dry_run: bool, load: bool, bandwidth: str | int | None
) -> SyncResult:
    """Compare paths with the lake; see `Cache.sync`."""
    started_s = time.monotonic()
    rate_of(bandwidth)  # one that cannot be is refused before anything is done
    patterns = patterns_of(client, paths)
    for root_uri in dict.fromkeys(names.split_uri(pattern.base)[0] for pattern in patterns):
        client.locator.announce(root_uri, environment_options(root_uri))
    request = SyncRequest(patterns, dry_run, FILES_MAX if load and not dry_run else SHOWN_MAX)
    reply: SyncReply = client.calls.master("sync", encode(request), timeout_s=_TIMEOUT_S)
    if not any(tally.files for tally in (reply.added, reply.changed, reply.removed, reply.unchanged)):
        require_matches(client, paths)
    loaded = Loaded(Amount(), ())

    def shown(uri: str) -> str:
        return path_of(client.locator.mounts, uri)

    if not dry_run:
        client.locator.forget_all()
        if load:
            # The largest files first: a long tail of small ones ends sooner.
            files = sorted(reply.files.versions(), key=lambda file: -file.size_bytes)
            called = [names.normalise(path) for path in as_list(paths)]
            progress = load_files(client, called, bandwidth, map(WantedFile, files)).wait() if files else None
            loaded = loaded_of(reply, len(files), progress, shown)
    return result_of(reply, loaded, shown, dry_run=dry_run, elapsed_s=time.monotonic() - started_s)


def watch(
    client: Client,
    paths: str | Sequence[str],
    period_s: float,
    *,
    dry_run: bool,
    load: bool,
    bandwidth: str | int | None,
) -> Iterator[SyncResult]:
    """Compare again and again, so many seconds after each end."""
    while True:
        yield sync(client, paths, dry_run=dry_run, load=load, bandwidth=bandwidth)
        time.sleep(period_s)


class Loaded(NamedTuple):
    """What was brought in."""

    amount: Amount
    failures: tuple[Failure, ...]


def loaded_of(reply: SyncReply, asked: int, progress: Progress | None, path_of: Callable[[str], str]) -> Loaded:
    """What of the difference was brought in.

    Args:
        reply: the difference.
        asked: how many files the load was given.
        progress: how the load ended; None: there was none.
        path_of: what a URI is called.
    """
    failures: list[Failure] = []
    if asked < reply.added.files + reply.changed.files:
        failures.append(Failure("", MORE))
    if progress is None:
        return Loaded(Amount(), tuple(failures))
    if progress.state == "STOPPED":
        failures.append(Failure("", STOPPED))
    failures += [Failure(path_of(failure.path), failure.reason) for failure in progress.failures]
    return Loaded(Amount(progress.files_done, progress.bytes_done), tuple(failures[:SHOWN_MAX]))


def result_of(
    reply: SyncReply, loaded: Loaded, path_of: Callable[[str], str], *, dry_run: bool, elapsed_s: float
) -> SyncResult:
    """The public form."""
    return SyncResult(
        added=_amount(reply.added),
        changed=_amount(reply.changed),
        removed=_amount(reply.removed),
        unchanged=_amount(reply.unchanged),
        loaded=loaded.amount,
        dry_run=dry_run,
        elapsed_s=elapsed_s,
        differences=tuple(path_of(uri) for uri in reply.files.uris[:SHOWN_MAX]),
        removed_paths=tuple(path_of(uri) for uri in reply.removed_uris[:SHOWN_MAX]),
        failures=loaded.failures,
    )


def _amount(tally: Tally) -> Amount:
    return Amount(tally.files, tally.bytes)
