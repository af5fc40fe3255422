"""What read tasks are told."""

from __future__ import annotations

import numpy as np
import pytest

from raycache.raydata.parquet.footers import RowGroups
from raycache.raydata.parquet.indexer import manifest_block


def groups(*indexes: int, whole: bool = True) -> RowGroups:
    """Row groups of ten rows and a hundred bytes for each."""
    count = len(indexes)
    return RowGroups(np.array(indexes), np.full(count, 10), np.full(count, 100), np.full(count, whole))


def test_row_groups_of_a_file_make_one_row() -> None:
    """Whether they came one by one or together; those of other files stay apart."""
    pieces = [(0, "a", groups(0)), (0, "a", groups(2, 3, whole=False)), (1, "b", groups(7))]
    found = manifest_block(pieces).to_pylist()
    assert [("a", 300), ("b", 100)] == [(row["__path"], row["__file_size"]) for row in found]
    told = [row["__file_chunk_metadata"] for row in found]
    assert [([0, 2, 3], 30, 300, False), ([7], 10, 100, True)] == [
        (t["row_group_ids"], t["num_rows"], t["uncompressed_size"], t["fully_matched"]) for t in told
    ]
    assert [([], []), ([], [])] == [(t["rg_sizes"], t["rg_rows"]) for t in told]


@pytest.mark.parametrize("position", [0, 5])
def test_a_file_that_is_listed_twice_makes_two_rows(position: int) -> None:
    """Also as its own neighbour."""
    found = manifest_block([(position, "a", groups(0)), (position + 1, "a", groups(0))])
    assert ["a", "a"] == found["__path"].to_pylist()
