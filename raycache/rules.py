"""Rules on paths: what is pinned, how long it may stay, how many bytes it may take. Pure.

Theory of operation. A rule says one thing (pin, TTL or quota) of the files that a pattern names: a URI with everything
below it, or what a glob matches below a URI. Of one kind, **the later rule holds**: a rule replaces every older one
that names only files the new one names, too; what an older, wider rule says of other files stands. So `pin("/lake")`,
`unpin("/lake/tmp")` pins everything but `/lake/tmp`, and a later `pin("/lake")` pins that again.

Quotas do not replace each other: each limits what is below its own path, and nested ones all hold.

Rules are kept by the master, and every worker has a copy of the table; both look a file up by its URI alone, so a rule
holds for what is loaded later, too.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raycache import paths
from raycache.errors import InvalidRequestError

RULES_MAX = 10_000
_REMEMBERED_MAX = 1 << 12


class RuleKind(enum.Enum):
    """What a rule is about, and what its value means; without a value the rule says the contrary."""

    #: 1.
    PIN = "pin"
    #: Seconds after being loaded.
    TTL = "ttl"
    #: Bytes in the whole cache, every copy counted.
    QUOTA = "quota"


class Pattern(NamedTuple):
    """Some files of the under storage."""

    #: A URI without a slash at its end: it and everything below. "" is everything there is.
    base: str
    #: Only what this names of the rest behind the base; see `paths.glob_regex`. "" is all.
    glob: str = ""

    def names(self, uri: str) -> bool:
        """Whether a file is meant."""
        if self.glob:
            rest = uri[len(self.base) + 1 :] if self.base else uri
            return _is_below(self.base, uri) and paths.glob_regex(self.glob).match(rest) is not None
        return uri == self.base or _is_below(self.base, uri)

    def covers(self, other: Pattern) -> bool:
        """Whether every file that the other names is meant, as far as the spelling shows."""
        return self == other or (not self.glob and Pattern(self.base).names(other.base))

    def overlaps(self, other: Pattern) -> bool:
        """Whether there may be a file that both name."""
        return Pattern(self.base).names(other.base) or Pattern(other.base).names(self.base)


class Rule(NamedTuple):
    """Something that holds for some files."""

    kind: RuleKind
    pattern: Pattern
    #: See `RuleKind`; None: not pinned, no TTL.
    value: float | None


class RuleTable(NamedTuple):
    """All rules, the oldest first; the version grows with every change."""

    version: int
    rules: tuple[Rule, ...]


class FileRules(NamedTuple):
    """What holds for one file."""

    pinned: bool = False
    #: After it was loaded; None = no end.
    ttl_s: float | None = None
    #: The paths (URIs) whose quotas it counts against.
    quotas: tuple[str, ...] = ()


def add_rule(rules: Sequence[Rule], rule: Rule) -> tuple[Rule, ...]:
    """Say something new.

    Returns:
        All rules, without those that no longer say anything.

    Raises:
        InvalidRequestError: too many rules, a quota on a glob, or a value that cannot be.
    """
    if rule.value is not None and rule.value < 0:
        raise InvalidRequestError(f"{rule.kind.value} {rule.value:g} is negative; give 0 or more")
    if rule.kind is RuleKind.QUOTA:
        if rule.pattern.glob:
            raise InvalidRequestError("a quota is on a directory or a file, not on a glob; name the directory")
        kept = [old for old in rules if (old.kind, old.pattern) != (rule.kind, rule.pattern)]
        return _bounded([*kept, *([] if rule.value is None else [rule])])
    kept = [old for old in rules if old.kind is not rule.kind or not rule.pattern.covers(old.pattern)]
    # "Not pinned" needs a rule only where an older one says otherwise.
    if rule.value is not None or any(old.kind is rule.kind and old.pattern.overlaps(rule.pattern) for old in kept):
        kept.append(rule)
    return _bounded(kept)


def add_rules(rules: Sequence[Rule], new: Sequence[Rule]) -> tuple[Rule, ...]:
    """Say several things, one after the other; see `add_rule`."""
    found = tuple(rules)
    for rule in new:
        found = add_rule(found, rule)
    return found


def changed_rules(old: Sequence[Rule], new: Sequence[Rule]) -> list[Rule]:
    """The rules by which two tables differ: for files that none of them names, both say the same.

    Of what only moved, all that stands behind the first difference counts.
    """
    first = next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    old, new = old[first:], new[first:]
    gone, came = dict.fromkeys(old), dict.fromkeys(new)
    if [rule for rule in old if rule in came] == [rule for rule in new if rule in gone]:
        return [rule for rule in old if rule not in came] + [rule for rule in new if rule not in gone]
    return list({**gone, **came})


def quotas_of(table: RuleTable) -> dict[str, int]:
    """All quotas: bytes by their path's URI."""
    return {rule.pattern.base: int(rule.value or 0) for rule in table.rules if rule.kind is RuleKind.QUOTA}


def record_of(rules: Sequence[Rule]) -> dict[str, Any]:
    """Rules that were said at once, as one journal record of JSON values; see `rules_of`."""
    rows = [[rule.kind.value, rule.pattern.base, rule.pattern.glob, rule.value] for rule in rules]
    return {"op": "rule", "rules": rows}


def rules_of(record: Mapping[str, Any]) -> list[Rule]:
    """The rules of a journal record."""
    return [Rule(RuleKind(kind), Pattern(base, glob), value) for kind, base, glob, value in record["rules"]]


def _bounded(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    if len(rules) > RULES_MAX:
        raise InvalidRequestError(f"{RULES_MAX} rules are the most; name directories rather than single files")
    return tuple(rules)


_NO_RULES = FileRules()


class Matcher:
    """Looks files up in a table.

    Cost: the depth of the URI, plus one match for each rule with a glob; remembered for the last 4,096 URIs.
    """

    def __init__(self, table: RuleTable) -> None:
        self.table = table
        #: Per kind, (position, value) of the rule on everything below a base: the longest above a URI is the latest.
        self._bases: dict[RuleKind, dict[str, tuple[int, float | None]]] = {kind: {} for kind in RuleKind}
        self._globs: list[tuple[int, Rule]] = []
        for position, rule in enumerate(table.rules):
            if rule.pattern.glob:
                self._globs.append((position, rule))
            else:
                self._bases[rule.kind][rule.pattern.base] = (position, rule.value)
        self._remembered = functools.lru_cache(_REMEMBERED_MAX)(self._look_up)

    def of(self, uri: str) -> FileRules:
        """What holds for a file."""
        return self._remembered(uri) if self.table.rules else _NO_RULES

    def _look_up(self, uri: str) -> FileRules:
        above = _self_and_above(uri)
        latest: dict[RuleKind, tuple[int, float | None]] = {}
        for kind in (RuleKind.PIN, RuleKind.TTL):
            bases = self._bases[kind]
            latest[kind] = next((bases[base] for base in above if base in bases), (-1, None)) if bases else (-1, None)
        for position, rule in self._globs:
            if position > latest[rule.kind][0] and rule.pattern.names(uri):
                latest[rule.kind] = (position, rule.value)
        quotas = self._bases[RuleKind.QUOTA]
        return FileRules(
            pinned=bool(latest[RuleKind.PIN][1]),
            ttl_s=latest[RuleKind.TTL][1],
            quotas=tuple(base for base in above if base in quotas) if quotas else (),
        )


def _is_below(base: str, uri: str) -> bool:
    return not base or (uri.startswith(base) and uri[len(base) : len(base) + 1] == "/")


def _self_and_above(uri: str) -> list[str]:
    """A URI, then what is above it, up to the root of its store, and everything there is."""
    found = [uri]
    floor = uri.find("://") + 3
    end = uri.rfind("/", floor)
    while end > 0:
        found.append(uri[:end])
        end = uri.rfind("/", floor, end)
    return [*found, ""]
