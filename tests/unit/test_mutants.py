"""The list of planted faults is true: each stands for one place of the sources, and says which tests must catch it."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.planted import PLANTED

ROOT = Path(__file__).resolve().parents[2]


def test_every_planted_fault_has_its_place() -> None:
    """A fault whose text is gone from the source, or stands there twice, would be planted nowhere, or anywhere."""
    texts = {path: (ROOT / path).read_text() for path in {mutation.path for mutation in PLANTED}}
    assert {} == {m.what: texts[m.path].count(m.old) for m in PLANTED if texts[m.path].count(m.old) != 1}
    assert all((ROOT / test).exists() for mutation in PLANTED for test in mutation.tests.split())
    assert len(PLANTED) == len({mutation.what for mutation in PLANTED}) >= 60
