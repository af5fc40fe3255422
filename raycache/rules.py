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
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sortedcontainers import SortedDict

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


class RuleSet:
    """Rules as they are said, one after the other; only those are kept that still say something.

    Cost of one: the depth of its base, and the rules that it replaces, however many others there are.

    Args:
        rules: said already, the oldest first.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._numbers = itertools.count()
        #: By age.
        self._rules: dict[int, Rule] = {}
        self._places: dict[RuleKind, SortedDict[Pattern, int]] = {kind: SortedDict() for kind in RuleKind}
        for rule in rules:
            self._put(rule)

    def __len__(self) -> int:
        """Rules kept."""
        return len(self._rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The oldest first."""
        return tuple(self._rules.values())

    def check(self, rules: Sequence[Rule]) -> None:
        """Raise when these cannot be said now; nothing is changed.

        Raises:
            InvalidRequestError: too many rules, a quota on a glob, or a value that cannot be.
        """
        for rule in rules:
            _check(rule)
        if len(self) + len(rules) > RULES_MAX:
            trial = RuleSet(self.rules)
            for rule in rules:
                trial.say(rule)

    def say(self, rule: Rule) -> None:
        """Say something new.

        Raises:
            InvalidRequestError: see `check`; nothing is changed.
        """
        _check(rule)
        replaced = self._replaced_by(rule)
        kept = rule.value is not None or (
            rule.kind is not RuleKind.QUOTA and self._overlaps(rule, set(replaced))
        )  # "not pinned" needs a rule only where an older one says otherwise
        if len(self) - len(replaced) + kept > RULES_MAX:
            raise InvalidRequestError(f"{RULES_MAX} rules are the most; name directories rather than single files")
        for pattern in replaced:
            del self._rules[self._places[rule.kind].pop(pattern)]
        if kept:
            self._put(rule)

    def _put(self, rule: Rule) -> None:
        self._places[rule.kind][rule.pattern] = number = next(self._numbers)
        self._rules[number] = rule

    def _replaced_by(self, rule: Rule) -> list[Pattern]:
        """The patterns of this kind that name only files that the rule names, too."""
        if rule.kind is RuleKind.QUOTA or rule.pattern.glob:
            return [rule.pattern] if rule.pattern in self._places[rule.kind] else []
        return [*self._at(rule.kind, rule.pattern.base), *self._below(rule.kind, rule.pattern.base)]

    def _overlaps(self, rule: Rule, without: Container[Pattern]) -> bool:
        """Whether another pattern of this kind may name a file that the rule names."""
        base = rule.pattern.base
        near = itertools.chain(
            self._below(rule.kind, base), *(self._at(rule.kind, one) for one in _self_and_above(base))
        )
        return any(pattern not in without for pattern in near)

    def _at(self, kind: RuleKind, base: str) -> Iterator[Pattern]:
        found: Iterator[Pattern] = self._places[kind].irange(
            Pattern(base), Pattern(base + "\0"), inclusive=(True, False)
        )
        return found

    def _below(self, kind: RuleKind, base: str) -> Iterator[Pattern]:
        places = self._places[kind]
        # "0" is the character after "/". Below "" is everything but what is at it.
        found: Iterator[Pattern] = (
            places.irange(Pattern(f"{base}/"), Pattern(f"{base}0"), inclusive=(True, False))
            if base
            else places.irange(Pattern("\0"))
        )
        return found


def add_rules(rules: Sequence[Rule], new: Sequence[Rule]) -> tuple[Rule, ...]:
    """Say several things, one after the other.

    Returns:
        All rules, without those that no longer say anything.

    Raises:
        InvalidRequestError: see `RuleSet.check`.
    """
    found = RuleSet(rules)
    for rule in new:
        found.say(rule)
    return found.rules


def _check(rule: Rule) -> None:
    if rule.value is not None and rule.value < 0:
        raise InvalidRequestError(f"{rule.kind.value} {rule.value:g} is negative; give 0 or more")
    if rule.kind is RuleKind.QUOTA and rule.pattern.glob:
        raise InvalidRequestError("a quota is on a directory or a file, not on a glob; name the directory")


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


_NO_RULES = FileRules()


class Matcher:
    """Looks files up in a table.

    Cost: the depth of the URI, plus one match for each glob at a base above it that begins as the rest of the URI does;
    remembered for the last 4,096 URIs.
    """

    def __init__(self, table: RuleTable) -> None:
        self.table = table
        #: Per kind, (position, value) of the rule on everything below a base: the longest above a URI is the latest.
        self._bases: dict[RuleKind, dict[str, tuple[int, float | None]]] = {kind: {} for kind in RuleKind}
        #: Per base, by what a glob begins with: (position, rule), the latest first.
        self._globs: dict[str, dict[str, list[tuple[int, Rule]]]] = {}
        for position, rule in reversed([*enumerate(table.rules)]):
            base, glob = rule.pattern
            if glob:
                self._globs.setdefault(base, {}).setdefault(paths.glob_prefix(glob), []).append((position, rule))
            else:
                self._bases[rule.kind][base] = (position, rule.value)
        #: Per base, the lengths of these beginnings.
        self._lengths = {base: sorted({*map(len, found)}) for base, found in self._globs.items()}
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
        for base in above if self._globs else ():
            if base in self._globs:
                rest = uri[len(base) + 1 :] if base else uri
                for length in self._lengths[base]:
                    for position, rule in self._globs[base].get(rest[:length], ()):
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
    return [*paths.self_and_above(uri), ""] if uri else [""]
