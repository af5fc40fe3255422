"""Rules on paths as users say and see them: paths become patterns of URIs, and patterns paths."""

from __future__ import annotations

from collections.abc import Sequence

from raycache import paths as names
from raycache.client.expanding import Glob, as_list, looked_up
from raycache.client.locator import Locator
from raycache.errors import NotFoundError
from raycache.messages import MountTable
from raycache.results import PathRule
from raycache.rules import Pattern, RuleTable


def patterns_of(locator: Locator, paths: str | Sequence[str]) -> list[Pattern]:
    """The files that paths mean, now and later, without asking what there is: directories, files, globs, mounts.

    A directory above mounts means these mounts. For globs see `client.expanding`.

    Raises:
        NotFoundError: a path is under no mount.
        InvalidRequestError: not a path.
    """
    return [pattern for path in as_list(paths) for pattern in _patterns(locator, names.normalise(path))]


def _patterns(locator: Locator, name: str) -> list[Pattern]:
    if names.is_glob(name):
        _, found = looked_up(locator, [name])[0]
        if isinstance(found, Glob):
            return [Pattern(locator.uri_of(found.base), found.glob)]
        if found.error is not None:
            raise found.error
    try:
        return [Pattern(locator.uri_of(name))]
    except NotFoundError:
        above = names.below(name)
        mounts = [mount for mount in locator.mounts.mounts if mount.path.startswith(above)]
        if not mounts:
            raise
        return [Pattern(mount.uri) for mount in mounts]


def listing(table: RuleTable, mounts: MountTable) -> list[PathRule]:
    """All rules, the oldest first: of those of one kind that name a file, the last one holds."""
    return [
        PathRule(rule.kind.value, names.join(path_of(mounts, rule.pattern.base), rule.pattern.glob), rule.value)
        for rule in table.rules
    ]


def path_of(mounts: MountTable, uri: str) -> str:
    """What a URI is in the namespace, by the longest mount above it; the URI itself without one."""
    explicit = [mount for mount in mounts.mounts if mount.path.startswith("/")]
    above = [mount for mount in explicit if Pattern(mount.uri).names(uri)]
    if not above:
        return uri
    mount = max(above, key=lambda mount: len(mount.uri))
    return names.moved(uri, mount.uri, mount.path)
