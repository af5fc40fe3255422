"""Footers in columns: the same answers as the files themselves give, after a journey as bytes, too."""

from __future__ import annotations

import datetime as dt
import decimal
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycache.raydata.parquet.footers import FooterTable, Wanted, tables_of


def footer_of(table: pa.Table, row_group_size: int = 10, **options: Any) -> tuple[bytes, pq.FileMetaData]:
    """(content, footer) of a file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=row_group_size, **options)
    return sink.getvalue(), pq.read_metadata(io.BytesIO(sink.getvalue()))


def table_of(*footers: pq.FileMetaData) -> FooterTable:
    """One table, which has travelled."""
    [(table, _)] = tables_of([bytes([i]) * 16 for i in range(len(footers))], footers)
    return FooterTable.from_bytes(table.to_bytes())


def stock_groups(content: bytes, filter_: pc.Expression) -> list[int]:
    """What pyarrow leaves of a file by its footer."""
    fragment = ds.ParquetFileFormat().make_fragment(pa.BufferReader(content))
    return [part.row_groups[0].id for part in fragment.split_by_row_group(filter_)]


MIXED = pa.table(
    {
        "id": pa.array(range(40), pa.int64()),
        "small": pa.array([i % 7 for i in range(40)], pa.int8()),
        "half": pa.array([None if i < 10 else i / 2 for i in range(40)], pa.float64()),
        "name": [f"n{i:03d}" for i in range(40)],
        "day": pa.array([dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(40)]),
        "at": pa.array([dt.datetime(2026, 1, 1, i % 24, tzinfo=dt.UTC) for i in range(40)], pa.timestamp("us", "UTC")),
        "price": pa.array([decimal.Decimal(i) / 4 for i in range(40)], pa.decimal128(10, 2)),
        "flag": pa.array([i >= 20 for i in range(40)]),
        "hole": pa.array([i if i % 3 else None for i in range(40)], pa.int32()),
        "nothing": pa.array([None] * 40, pa.int32()),
        "inner": pa.array([{"x": i, "y": [i]} for i in range(40)]),
    }
)
FILTERS = [
    (pc.field("id") >= 30, ["id"]),
    ((pc.field("id") < 5) | (pc.field("id") > 35), ["id"]),
    (pc.field("id") == 12, ["id"]),
    (pc.field("id").isin([1, 39]), ["id"]),
    (pc.field("half") > 7.5, ["half"]),
    (pc.field("half").is_null(), ["half"]),
    (pc.field("name") == "n025", ["name"]),
    (pc.field("day") < dt.date(2026, 1, 11), ["day"]),
    (pc.field("at") > dt.datetime(2027, 1, 1, tzinfo=dt.UTC), ["at"]),
    (pc.field("price") >= decimal.Decimal("7.50"), ["price"]),
    (pc.field("flag"), ["flag"]),
    (~pc.field("flag"), ["flag"]),
    (pc.field("hole") > 28, ["hole"]),
    (pc.field("hole").is_null(), ["hole"]),
    (pc.field("nothing") > 1, ["nothing"]),
    (pc.field("nothing").is_null(), ["nothing"]),
    ((pc.field("id") > 15) & (pc.field("name") < "n030"), ["id", "name"]),
]


@pytest.mark.parametrize(("filter_", "columns"), FILTERS, ids=[str(f) for f, _ in FILTERS])
def test_a_filter_leaves_what_pyarrow_leaves_of_the_file(filter_: pc.Expression, columns: list[str]) -> None:
    """Types and operators one by one; and what is said to be whole is whole."""
    content, footer = footer_of(MIXED)
    groups = table_of(footer).row_groups(Wanted(None, filter_, frozenset(columns)))
    assert stock_groups(content, filter_) == groups.indexes.tolist()
    for index, whole in zip(groups.indexes.tolist(), groups.whole.tolist(), strict=True):
        if whole:
            assert 10 == MIXED.slice(index * 10, 10).filter(filter_).num_rows


def test_groups_that_a_filter_leaves_whole_are_known() -> None:
    """For limits. Not of columns with nulls, nor of floats, which may be NaN."""
    _, footer = footer_of(MIXED)
    table = table_of(footer)
    by_id = table.row_groups(Wanted(None, pc.field("id") >= 15, frozenset(["id"])))
    assert ([1, 2, 3], [False, True, True]) == (by_id.indexes.tolist(), by_id.whole.tolist())
    by_half = table.row_groups(Wanted(None, pc.field("half") >= 0, frozenset(["half"])))
    assert not by_half.whole.any()
    by_hole = table.row_groups(Wanted(None, pc.field("hole") >= 0, frozenset(["hole"])))
    assert not by_hole.whole.any()
    by_both = table.row_groups(
        Wanted(None, (pc.field("id") >= 0) | (pc.field("inner") > 0), frozenset(["id", "inner"]))
    )
    assert ([0, 1, 2, 3], False) == (by_both.indexes.tolist(), bool(by_both.whole.any()))


@given(
    values=st.lists(st.none() | st.integers(-50, 50), min_size=1, max_size=60),
    bound=st.integers(-60, 60),
    kind=st.sampled_from(["<", ">=", "==", "!="]),
)
def test_no_row_that_a_filter_wants_is_dropped(values: Sequence[int | None], bound: int, kind: str) -> None:
    """Whatever values, nulls and bounds; and no count is too high."""
    table = pa.table({"v": pa.array(values, pa.int32())})
    field = pc.field("v")
    filter_ = {"<": field < bound, ">=": field >= bound, "==": field == bound, "!=": field != bound}[kind]
    _, footer = footer_of(table, 7)
    groups = table_of(footer).row_groups(Wanted(None, filter_, frozenset(["v"])))
    kept = set(groups.indexes.tolist())
    for index in range(footer.num_row_groups):
        wanted = table.slice(index * 7, 7).filter(filter_).num_rows
        assert not wanted or index in kept
    whole = groups.rows[groups.whole].sum()
    assert whole <= table.filter(filter_).num_rows


def test_sizes_are_of_what_is_decoded() -> None:
    """The chosen columns and those of the filter; a nested column counts with all its leaves; uncompressed."""
    _, footer = footer_of(MIXED, compression="zstd")

    def size(*names: str) -> list[int]:
        return [
            sum(
                group.column(j).total_uncompressed_size
                for j in range(group.num_columns)
                if group.column(j).path_in_schema.partition(".")[0] in names
            )
            for group in map(footer.row_group, range(footer.num_row_groups))
        ]

    table = table_of(footer)
    assert size(*MIXED.column_names) == table.row_groups(Wanted()).sizes_bytes.tolist()
    assert size("inner") == table.row_groups(Wanted(frozenset(["inner"]))).sizes_bytes.tolist()
    filtered = table.row_groups(Wanted(frozenset(["id"]), pc.field("name") > "", frozenset(["name"])))
    assert size("id", "name") == filtered.sizes_bytes.tolist()
    # Rows are counted by reads of no column: there is nothing to go by but everything.
    assert size(*MIXED.column_names) == table.row_groups(Wanted(frozenset())).sizes_bytes.tolist()


def test_files_of_several_schemas_and_without_rows() -> None:
    """Each schema has its table, and files keep their positions."""
    ints, floats = pa.table({"v": [1, 2]}), pa.table({"v": [1.0]})
    nothing = io.BytesIO()
    pq.ParquetWriter(nothing, ints.schema).close()
    footers = [footer_of(ints)[1], footer_of(floats)[1], pq.read_metadata(nothing), footer_of(ints)[1]]
    tables = tables_of([bytes([i]) * 16 for i in range(4)], footers)
    assert [[0, 2, 3], [1]] == [positions for _, positions in tables]
    found = [FooterTable.from_bytes(t.to_bytes()).row_groups(Wanted()).files.tolist() for t, _ in tables]
    assert [[0, 2], [0]] == found


def test_long_bounds_are_not_kept() -> None:
    """Nor is a filter on them wrong."""
    _, short = footer_of(pa.table({"s": ["a", "b"]}))
    _, long = footer_of(pa.table({"s": ["a" * 5_000, "b" * 5_000]}))
    assert table_of(long).to_bytes().size < table_of(short).to_bytes().size + 500
    groups = table_of(long).row_groups(Wanted(None, pc.field("s") == "a" * 5_000, frozenset(["s"])))
    assert [0] == groups.indexes.tolist()


@pytest.mark.parametrize("filter_", [pc.field("id") == "text", pc.field("gone") == 1, pc.field("inner", "x") > 100])
def test_what_cannot_be_judged_is_read(filter_: pc.Expression) -> None:
    """Other types, columns that the files lack, and nested ones."""
    _, footer = footer_of(MIXED)
    names = frozenset(["id"] if "id" in str(filter_) else ["gone"] if "gone" in str(filter_) else ["inner"])
    groups = table_of(footer).row_groups(Wanted(None, filter_, names))
    assert ([0, 1, 2, 3], False) == (groups.indexes.tolist(), bool(groups.whole.any()))


def test_wide_files_have_bounded_tables() -> None:
    """Of a thousand columns not all statistics are kept, but all sizes."""
    table = pa.table({f"c{i}": np.arange(20) for i in range(1_000)})
    _, footer = footer_of(table)
    known = table_of(footer)
    last = known.row_groups(Wanted(None, pc.field("c999") > 100, frozenset(["c999"])))
    first = known.row_groups(Wanted(None, pc.field("c0") > 100, frozenset(["c0"])))
    assert (2, 0) == (len(last.indexes), len(first.indexes))
