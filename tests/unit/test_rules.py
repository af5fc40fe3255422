"""Rules on paths: which files a pattern names, which of several words holds, and what restarts keep of them."""

from __future__ import annotations

import json

import pytest

from raycache.errors import InvalidRequestError
from raycache.master.service import MasterService
from raycache.rules import FileRules, Matcher, Pattern, Rule, RuleKind, RuleTable, add_rules
from raycache.settings import Settings

LAKE = "s3://b/lake"


def pin(base: str, value: float | None = 1, glob: str = "") -> Rule:
    return Rule(RuleKind.PIN, Pattern(base, glob), value)


def ttl(base: str, value: float | None) -> Rule:
    return Rule(RuleKind.TTL, Pattern(base), value)


def quota(base: str, value: float | None) -> Rule:
    return Rule(RuleKind.QUOTA, Pattern(base), value)


def file_rules(uri: str, *rules: Rule) -> FileRules:
    return Matcher(RuleTable(1, add_rules((), rules))).of(uri)


@pytest.mark.parametrize(
    ("pattern", "uri", "named"),
    [
        (Pattern(LAKE), LAKE, True),
        (Pattern(LAKE), f"{LAKE}/a/b", True),
        (Pattern(LAKE), "s3://b/lake2/a", False),
        (Pattern("s3://b"), "s3://b/x", True),
        (Pattern("file://"), "file:///x", True),
        (Pattern(""), "hdfs://n/x", True),
        (Pattern(LAKE, "*.parquet"), f"{LAKE}/a.parquet", True),
        (Pattern(LAKE, "*.parquet"), f"{LAKE}/d/a.parquet", False),
        (Pattern(LAKE, "**/*.parquet"), f"{LAKE}/d/e/a.parquet", True),
        (Pattern(LAKE, "day=*/x"), f"{LAKE}/day=1/x", True),
        (Pattern(LAKE, "day=*"), f"{LAKE}/day=1/x", True),
        (Pattern(LAKE, "day=*/x"), f"{LAKE}/day=1/x/y", True),
        (Pattern(LAKE, "day=*"), f"{LAKE}/a/day=1/x", False),
        (Pattern("s3://b/[1]"), "s3://b/[1]/x", True),
    ],
)
def test_a_pattern_names_what_is_below_it(pattern: Pattern, uri: str, named: bool) -> None:
    """A base means itself and everything below, at a slash; a glob what it matches of the rest, and below that."""
    assert pattern.names(uri) is named


def test_the_later_word_holds() -> None:
    """A part may be taken out of a pin; a later pin of the whole takes it in again."""
    assert file_rules(f"{LAKE}/tmp/x", pin(LAKE), pin(f"{LAKE}/tmp", None)) == FileRules()
    assert file_rules(f"{LAKE}/x", pin(LAKE), pin(f"{LAKE}/tmp", None)).pinned
    assert file_rules(f"{LAKE}/tmp/x", pin(LAKE), pin(f"{LAKE}/tmp", None), pin(LAKE)).pinned
    assert file_rules(f"{LAKE}/x", ttl(LAKE, 60), ttl(f"{LAKE}/x", 5)).ttl_s == 5
    assert file_rules(f"{LAKE}/x", ttl(f"{LAKE}/x", 5), ttl(LAKE, 60)).ttl_s == 60
    assert file_rules(f"{LAKE}/x.bin", pin(LAKE, glob="*.bin"), pin(LAKE, None)) == FileRules()
    assert file_rules(f"{LAKE}/x.bin", pin(f"{LAKE}/x.bin", None), pin(LAKE, glob="*.bin")).pinned
    assert file_rules(f"{LAKE}/x.bin", pin(LAKE, glob="*.bin"), pin(f"{LAKE}/x.bin", None)) == FileRules()


def test_what_says_nothing_any_more_is_forgotten() -> None:
    """A contradiction is kept only where there is something to contradict, so said and taken back leaves nothing."""
    assert add_rules((), [pin(LAKE), pin(LAKE, None)]) == ()
    assert add_rules((), [pin(f"{LAKE}/a"), pin(f"{LAKE}/b", glob="*"), pin(LAKE, None)]) == ()
    assert add_rules((), [ttl(f"{LAKE}/a", 5), ttl(LAKE, 9)]) == (ttl(LAKE, 9),)
    assert add_rules((), [pin(LAKE), ttl(f"{LAKE}/a", None)]) == (pin(LAKE),)


def test_nested_quotas_all_hold() -> None:
    """A file counts against every quota above it; taking one away leaves the others."""
    rules = [quota(LAKE, 100), quota(f"{LAKE}/a", 10)]
    assert file_rules(f"{LAKE}/a/x", *rules).quotas == (f"{LAKE}/a", LAKE)
    assert file_rules(f"{LAKE}/a/x", *rules, quota(LAKE, None)).quotas == (f"{LAKE}/a",)
    assert file_rules(f"{LAKE}/ab", *rules).quotas == (LAKE,)


@pytest.mark.parametrize("rule", [Rule(RuleKind.QUOTA, Pattern(LAKE, "*"), 5), quota(LAKE, -1), ttl(LAKE, -0.5)])
def test_what_cannot_be_is_refused(rule: Rule) -> None:
    """A quota of a glob and negative values are the caller's mistake."""
    with pytest.raises(InvalidRequestError):
        add_rules((), [rule])


def test_rules_survive_the_master_once_each() -> None:
    """A master that replays the journal, or a snapshot of it, has the same rules; a repeated request says nothing new."""
    master = MasterService(Settings(), start_ns=1)
    said = [[pin(LAKE), ttl(LAKE, 60)], [pin(f"{LAKE}/tmp", None)], [quota(LAKE, 1 << 40)]]
    records = [{"op": "start", "start_ns": 1, "cache_id": "c"}]
    for number, rules in enumerate(said):
        records += master.add_rules(f"request {number}", rules)
        master.apply(records[-1:])
        assert master.add_rules(f"request {number}", rules) == []
    before = master.rules
    assert len(before.rules) == 4
    for journal in (records, master.snapshot()):
        other = MasterService(Settings(), json.loads(json.dumps(journal)), start_ns=2)
        assert other.rules.rules == before.rules
        assert other.rules.version > before.version
