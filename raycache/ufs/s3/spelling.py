"""How a store spells keys in its listings: as they are, or percent-encoded, and then which way.

The cache asks for `encoding-type=url`, so that any key survives XML. A store that can says so in its answer, and spells
a space "+" or "%20". But some encode and do not say so, some say so and do not encode, and some leave a literal "+" as it
is; then "a+b" may be the key "a b" or "a+b". So what a store says is only the first guess: there are three rules
(`RULES`), and pages strike out those that they contradict:

* what a rule makes of a key must begin with the prefix asked for;
* where the rules that are left disagree on a key that is suspicious, the store is asked which of the two it has: a
  listing of one key or two. That happens once in the life of a storage, and only where such keys are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias
from urllib.parse import unquote, unquote_plus

Rule: TypeAlias = Callable[[str], str]


def as_it_is(raw: str) -> str:
    """The rule of stores that do not encode."""
    return raw


#: In the order of trust, for a store that says that it encodes. One that does not say so is trusted the other way round.
RULES: tuple[Rule, ...] = (unquote_plus, unquote, as_it_is)

#: In encoded keys: what people's keys may hold literally, so that it may mean two things.
_SUSPICIOUS = re.compile(r"\+|%2[05Bb]")
#: In keys that are perhaps not encoded: all that decoding would change.
_CHANGED = re.compile(r"\+|%[0-9A-Fa-f]{2}")
#: No encoder leaves this as it is.
_NOT_ENCODED = re.compile(r"[^!$&'()*+,\-./0-9:;=@A-Z_a-z~%\n]|%(?![0-9A-Fa-f]{2})")


class KeySpelling:
    """Which rules a store may be following. Thread-safe: rules are only ever struck out.

    Args:
        holds: holds(raw, key): whether the store spells this key so; or, for a directory, one below it.
        trusted: the store is known to do as it says.
    """

    def __init__(self, holds: Callable[[str, str], bool], *, trusted: bool = False) -> None:
        self._holds = holds
        #: By what an answer says of itself: there may be several programs behind one endpoint.
        self._rules: dict[bool, tuple[Rule, ...]] = (
            {True: RULES[:1], False: RULES[-1:]} if trusted else {True: RULES, False: RULES[::-1]}
        )

    def rule(self, prefix: str, raw_keys: Sequence[str], *, says_encoded: bool) -> Rule:
        """How to read the keys of a page.

        Args:
            prefix: what was asked for.
            raw_keys: as the store spells them, common prefixes among them.
            says_encoded: the answer holds `EncodingType`.
        """
        rules = self._rules[says_encoded]
        if len(rules) == 1 or not raw_keys:
            return rules[0]
        rules = tuple(rule for rule in rules if rule(raw_keys[0]).startswith(prefix)) or rules
        text = "\n".join(raw_keys)
        pattern = _SUSPICIOUS if says_encoded and not _NOT_ENCODED.search(text) else _CHANGED
        if pattern.search(text):
            for raw in filter(pattern.search, raw_keys):
                rules = self._left(rules, raw)
        self._rules[says_encoded] = rules
        return rules[0]

    def _left(self, rules: tuple[Rule, ...], raw: str) -> tuple[Rule, ...]:
        """The rules that this key leaves."""
        names = list(dict.fromkeys(rule(raw) for rule in rules))
        if len(names) == 1:
            return rules
        # The longest first: what begins with a longer name is also found by a shorter one.
        found = next((name for name in sorted(names, key=len, reverse=True) if self._holds(raw, name)), names[0])
        return tuple(rule for rule in rules if rule(raw) == found)
