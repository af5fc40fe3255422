"""`cache.sync`: what the master found different becomes a result, and with `load` the difference is brought in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from raycache.admin.warming import Wanted, Warmed
from raycache.messages import SyncReply, Tally
from raycache.results import Amount, Failure, SyncResult

#: Files that were added or changed: so many are loaded by a sync; there being more, the rest is for a load.
FILES_MAX = 1_000_000
SHOWN_MAX = 1_000
MORE = "more files differ than one sync loads; load the path for the rest"


class Loaded(NamedTuple):
    """What was brought in."""

    amount: Amount
    failures: tuple[Failure, ...]


def load_difference(
    reply: SyncReply, warm: Callable[[Iterable[Wanted]], Iterable[Warmed]], path_of: Callable[[str], str]
) -> Loaded:
    """Bring in what was added or changed, the largest files first: a long tail of small ones ends sooner."""
    files = sorted(reply.files.versions(), key=lambda file: -file.size_bytes)
    size_bytes = 0
    failed: dict[str, str] = {}
    for done in warm(map(Wanted, files)):
        size_bytes += done.bytes
        if done.reason:
            failed[done.file.uri] = done.reason
    failures = [Failure(path_of(uri), reason) for uri, reason in list(failed.items())[:SHOWN_MAX]]
    if len(files) < reply.added.files + reply.changed.files:
        failures.insert(0, Failure("", MORE))
    return Loaded(Amount(len(files) - len(failed), size_bytes), tuple(failures[:SHOWN_MAX]))


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
