"""Groups of files: of the wanted length, and the same when files come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycache.raydata.cached.file_groups import GROUP_BYTES, cut, fineness

NAMES = [f"train/{number:05}.jpg" for number in range(3000)]


def runs(names: list[str], bits: int) -> set[tuple[str, ...]]:
    return {tuple(names[i] for i in span) for span in cut(names, bits)}


@given(st.lists(st.text(max_size=5)), st.integers(0, 6))
def test_every_file_is_in_one_group(names: list[str], bits: int) -> None:
    """Groups follow each other, none is empty, none much longer than wanted."""
    spans = cut(names, bits)
    assert [i for span in spans for i in span] == list(range(len(names)))
    assert all(0 < len(span) <= 3 << bits for span in spans)


def test_groups_are_as_long_as_wanted() -> None:
    """On average within a third."""
    assert 0.66 < len(NAMES) / len(cut(NAMES, 4)) / 16 < 1.33


@pytest.mark.parametrize("position", [0, 1, 777, 1500, 2999])
def test_a_file_that_comes_or_goes_changes_few_groups(position: int) -> None:
    """At most the one it lies in, and where that was cut short the one behind it."""
    before = runs(NAMES, 3)
    added = runs([*NAMES[:position], "train/new.jpg", *NAMES[position:]], 3)
    removed = runs([*NAMES[:position], *NAMES[position + 1 :]], 3)
    for after in (added, removed):
        assert len(before - after) <= 4
        assert len(after - before) <= 4


def test_fineness_goes_by_size_and_by_cpus() -> None:
    """Large results are cut finely, few files for many CPUs as well, and never more than there are files."""
    assert fineness(1000, 100 * GROUP_BYTES, 1) == 3
    assert fineness(1000, 1, 25) == 3
    assert fineness(3, 100 * GROUP_BYTES, 100) == 0
    assert fineness(1, 0, 1) == 0
    assert fineness(10_000_000, 1 << 60, 1) == 8
