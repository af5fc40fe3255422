"""Keeping what is cached as it should be: free, pin, TTL, quota."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence

from raycache import paths as names
from raycache.admin import patterns
from raycache.admin.asking_all import absent, ask_all
from raycache.client.client import Client
from raycache.client.expanding import as_list
from raycache.errors import DeniedError, UnavailableError
from raycache.messages import FreeReply, Selector, encode
from raycache.results import FreeResult, PathRule
from raycache.rules import Pattern, Rule, RuleKind

_FREE_TIMEOUT_S = 60.0
_RULES_TIMEOUT_S = 30.0
#: The master lists the lake.
_MATCHES_TIMEOUT_S = 120.0


def free(client: Client, paths: str | Sequence[str], *, force: bool, older_than_s: float) -> FreeResult:
    """Drop blocks from the cache, never from the lake; see `Cache.free`."""
    result = drop(client, Selector(patterns_of(client, paths), [], older_than_s), force=force)
    if not result.blocks and not result.pinned_blocks:
        # Only then: a glob may also name what the lake no longer has.
        require_matches(client, paths)
    return result


def drop(client: Client, selector: Selector, *, force: bool) -> FreeResult:
    """Drop the blocks that a selector means, at all workers."""
    view = client.refresh_view()
    client.leases.clear()
    said = ask_all(client.calls, view, "free", (encode(selector), force), _FREE_TIMEOUT_S)
    # A worker that is remembered to hold it would load it again, beside the one where it belongs.
    client.locator.forget_all()
    freed: list[FreeReply] = list(said.replies.values())
    figures = FreeReply(*(sum(column) for column in zip(FreeReply(0, 0), *freed, strict=True)))
    return FreeResult(*figures, workers_silent=absent(client.calls, said.silent))


def say(client: Client, kind: RuleKind, paths: str | Sequence[str], value: float | None) -> None:
    """Set a rule on paths; None takes it away."""
    said = [Rule(kind, pattern, value) for pattern in patterns_of(client, paths)]
    if value is not None:
        require_matches(client, paths)
    add_rules(client, said)


def add_rules(client: Client, rules: Sequence[Rule]) -> None:
    """Set rules on patterns."""
    client.calls.master("add_rules", uuid.uuid4().hex, encode(list(rules)), timeout_s=_RULES_TIMEOUT_S)


def rules(client: Client) -> list[PathRule]:
    """All pins, TTLs and quotas, the oldest first."""
    return patterns.listing(client.calls.master("rules"), client.locator.mounts)


def require_matches(client: Client, paths: str | Sequence[str]) -> None:
    """Raise NotFoundError when a glob among these paths matches nothing in the lake; where the lake says."""
    globs = [path for path in map(names.normalise, as_list(paths)) if names.is_glob(path)]
    if globs:
        client.locator.announce_paths(globs)
        with contextlib.suppress(UnavailableError, DeniedError):
            client.calls.master("require", encode(globs), timeout_s=_MATCHES_TIMEOUT_S)


def patterns_of(client: Client, paths: str | Sequence[str]) -> list[Pattern]:
    """The patterns of URIs that paths mean, by the mounts of now."""
    client.refresh_view()  # a path may be below what another process has just mounted
    return patterns.patterns_of(client.locator, paths)
