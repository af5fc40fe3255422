"""What read tasks are told."""

from __future__ import annotations

import numpy as np
import pytest

from raycache.raydata.parquet.footers import RowGroups
from raycache.raydata.parquet.indexer import manifest_block


def groups(file: int, *indexes: int, whole: bool = True) -> RowGroups:
    """Row groups of ten rows and a hundred bytes for each."""
    count = len(indexes)
    return RowGroups(
        np.full(count, file), np.array(indexes), np.full(count, 10), np.full(count, 100), np.full(count, whole)
    )


def test_row_groups_of_a_file_make_one_row() -> None:
    """Whether they came one by one or together; those of other files stay apart."""
    pieces = [groups(0, 0), groups(0, 2, 3, whole=False), groups(1, 7)]
    found = manifest_block([("a", 9), ("b", 9)], RowGroups.together(pieces)).to_pylist()
    assert [("a", 300), ("b", 100)] == [(row["__path"], row["__file_size"]) for row in found]
    told = [row["__file_chunk_metadata"] for row in found]
    assert [([0, 2, 3], 30, 300, False), ([7], 10, 100, True)] == [
        (t["row_group_ids"], t["num_rows"], t["uncompressed_size"], t["fully_matched"]) for t in told
    ]
    assert [([], []), ([], [])] == [(t["rg_sizes"], t["rg_rows"]) for t in told]


@pytest.mark.parametrize("position", [0, 5])
def test_a_file_that_is_listed_twice_makes_two_rows(position: int) -> None:
    """Also as its own neighbour."""
    both = RowGroups.together([groups(position, 0), groups(position + 1, 0)])
    assert ["a", "a"] == manifest_block([("a", 9)] * 7, both)["__path"].to_pylist()


def test_row_groups_of_chosen_files() -> None:
    """In any order, twice, and of files that have none."""
    known = RowGroups.together([groups(0, 0, 1), groups(2, 5), groups(3, 7, 8, 9)])
    found = known.of_files([3, 0, 1, 3], [40, 10, 20, 30])
    assert [(40, 7), (40, 8), (40, 9), (10, 0), (10, 1), (30, 7), (30, 8), (30, 9)] == list(
        zip(found.files.tolist(), found.indexes.tolist(), strict=True)
    )
    assert 0 == len(known.of_files([1, 4], [0, 1]).files) == len(RowGroups.together([]).of_files([0], [3]).files)
