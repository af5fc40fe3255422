"""Rules as journal records, which hold JSON values only, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raycache.rules import Pattern, Rule, RuleKind


def rule_record(rules: Sequence[Rule]) -> dict[str, Any]:
    """One record of some rules that were said at once."""
    rows = [[rule.kind.value, rule.pattern.base, rule.pattern.glob, rule.value] for rule in rules]
    return {"op": "rule", "rules": rows}


def rules_of(record: Mapping[str, Any]) -> list[Rule]:
    """The rules of a record."""
    return [Rule(RuleKind(kind), Pattern(base, glob), value) for kind, base, glob, value in record["rules"]]
