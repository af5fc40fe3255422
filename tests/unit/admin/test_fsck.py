"""What `raycache fsck` makes of what it is told."""

from __future__ import annotations

import pytest

from raycache.admin.checks.doctor import BAD, NOTE, OK
from raycache.admin.checks.fsck import of_disk, of_locations, of_rules
from raycache.messages import DiskCheck
from raycache.rules import Pattern, Rule, RuleKind, RuleTable

WHOLE = DiskCheck("node", 7, 0, [], 0, 0)


@pytest.mark.parametrize(
    ("checked", "levels"),
    [
        (WHOLE, [OK]),
        (WHOLE._replace(bad=1, bad_names=["s1"]), [BAD]),
        (WHOLE._replace(bad=1, bad_names=["s1"], orphans=2, orphan_bytes=5), [BAD, BAD]),
    ],
)
def test_what_is_damaged_or_belongs_to_nothing_is_bad(checked: DiskCheck, levels: list[str]) -> None:
    """Until it was repaired there is something to do about it."""
    assert levels == [finding.level for finding in of_disk(checked, repair=False)]
    for repair in (False, True):
        remedies = [finding.remedy for finding in of_disk(checked, repair=repair) if finding.level == BAD]
        assert all(bool(remedy) != repair for remedy in remedies)


def test_rules_on_nothing_are_named() -> None:
    """A rule on a mount, or below one, is on something; one beside it is not."""
    pins = [Rule(RuleKind.PIN, Pattern(base), 1.0) for base in ("s3://b/lake", "s3://b/lake/dir", "", "s3://b/lakes")]
    assert OK == of_rules(RuleTable(1, tuple(pins[:3])), ["s3://b/lake"]).level
    found = of_rules(RuleTable(1, tuple(pins)), ["s3://b/lake"])
    assert (NOTE, True) == (found.level, "1 rules" in found.text and "s3://b/lakes" in found.text)


def test_what_the_master_knows_otherwise_is_counted() -> None:
    """A file of which it knows other blocks, or none."""
    held = {b"a": 3, b"b": 1, b"c": 4}
    assert OK == of_locations("node", held, dict(held)).level
    found = of_locations("node", held, {b"a": 3, b"b": 2})
    assert (NOTE, True) == (found.level, "2 of 3 files" in found.text)
