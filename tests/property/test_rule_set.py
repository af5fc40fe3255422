"""Rules by trie, against the definition: what is kept of all that was said, and what holds for a file."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.rules import Matcher, Pattern, Rule, RuleKind, RuleSet, RuleTable

_BASES = ["", "s3://b", "s3://b/a", "s3://b/a/x", "s3://b/ab", "s3://b/a0", "s3://c", "s3://b/a-", "s3://b//a"]
_GLOBS = ["", "", "*", "x*", "**/x", "a/*", "x?/**", "[x]", "a"]
_FILES = [f"{base}{end}" for base in _BASES[1:] for end in ("", "/x", "/xy/z", "/a/x", "/q/x")]
_RULES = st.builds(
    Rule,
    st.sampled_from([RuleKind.PIN, RuleKind.TTL]),
    st.builds(Pattern, st.sampled_from(_BASES), st.sampled_from(_GLOBS)),
    st.sampled_from([None, 1.0, 2.0]),
)
_QUOTAS = st.builds(
    Rule, st.just(RuleKind.QUOTA), st.sampled_from([Pattern(base) for base in _BASES]), st.sampled_from([None, 5.0])
)


def naive(rules: list[Rule], rule: Rule) -> list[Rule]:
    """The definition: of one kind a rule replaces those that name only files it names, too."""
    if rule.kind is RuleKind.QUOTA:
        kept = [old for old in rules if (old.kind, old.pattern) != (rule.kind, rule.pattern)]
        return kept if rule.value is None else [*kept, rule]
    kept = [old for old in rules if old.kind is not rule.kind or not rule.pattern.covers(old.pattern)]
    matters = any(old.kind is rule.kind and old.pattern.overlaps(rule.pattern) for old in kept)
    return [*kept, rule] if rule.value is not None or matters else kept


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(_RULES, _QUOTAS), max_size=25))
def test_what_is_kept_is_what_the_definition_keeps(said: list[Rule]) -> None:
    """In the same order, whether rules come one by one or are taken over from a table."""
    found, expected = RuleSet(), list[Rule]()
    for rule in said:
        found.say(rule)
        expected = naive(expected, rule)
        assert tuple(expected) == found.rules
        assert tuple(expected) == RuleSet(expected).rules
        assert len(expected) == len(found)


@settings(max_examples=300, deadline=None)
@given(st.lists(_RULES, max_size=25))
def test_what_holds_for_a_file_is_what_the_latest_rule_says_that_names_it(said: list[Rule]) -> None:
    """Of each kind; globs are found by what they begin with."""
    rules = RuleSet()
    for rule in said:
        rules.say(rule)
    matcher = Matcher(RuleTable(1, rules.rules))
    for uri in _FILES:
        values = {
            kind: next((r.value for r in reversed(rules.rules) if r.kind is kind and r.pattern.names(uri)), None)
            for kind in (RuleKind.PIN, RuleKind.TTL)
        }
        assert (bool(values[RuleKind.PIN]), values[RuleKind.TTL]) == matcher.of(uri)[:2]
