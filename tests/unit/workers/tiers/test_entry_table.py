"""The packed blocks of a segment, and the index over all segments."""

from __future__ import annotations

import tracemalloc

from raycache.messages import InventoryRequest
from raycache.rules import Pattern
from raycache.types import BlockId, FileVersion
from raycache.workers.effects import SegmentEntry
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.segments import SegmentTable
from raycache.workers.walks.inventory_pages import InventoryWalk

A = FileVersion("s3://b/dir/a", 20, '"0123"', 7)
B = FileVersion("s3://b/dir/b\udcff", 5, "", -1)
B_NEW = FileVersion("s3://b/dir/b\udcff", 6, "weak", 0)
FILES = (B, A, B_NEW)


def rows(*blocks: tuple[FileVersion, int]) -> dict[BlockId, SegmentEntry]:
    return {
        BlockId(file.id(), index): SegmentEntry(file, index, 10 * number, 10)
        for number, (file, index) in enumerate(blocks)
    }


def segment(name: str, *blocks: tuple[FileVersion, int]) -> Segment:
    return Segment(name, 10 * len(blocks), EntryTable(rows(*blocks).items()), in_memory=True)


def listed(table: SegmentTable, patterns: list[Pattern], after: tuple[str, bytes] | None = None) -> list[bytes]:
    listing = InventoryWalk(InventoryRequest(patterns, after, 100), table)
    while not listing.done:
        listing.step(0.0)
    return [file.id() for file in listing.reply().files.versions()]


def test_entries_come_back_as_they_were_given() -> None:
    """Whatever a URI or an etag holds; the packed columns say the same as the entries."""
    given = rows((B, 0), (A, 1), (A, 0), (B_NEW, 2))
    table = EntryTable(given.items())
    assert dict(table.items()) == given
    assert [given[block] for block in table] == list(table.values())
    assert all(table[block] == entry for block, entry in given.items())
    columns = table.columns()
    assert list(table) == [BlockId(*pair) for pair in zip(columns.versions, columns.blocks, strict=True)]
    assert [table.place(block) for block in table] == list(zip(columns.offsets, columns.lengths, strict=True))
    assert [file == table.file(file.id()) for file in FILES] == [True] * 3
    assert BlockId(B.id(), 1) not in table


def test_a_block_taken_out_is_gone() -> None:
    """Everywhere: the length, the columns, the bytes; and its file when it was the last of it."""
    table = EntryTable(rows((A, 0), (A, 1), (B, 0)).items())
    assert 10 == table.pop(BlockId(A.id(), 1)).length
    table.pop(BlockId(B.id(), 0))
    assert [BlockId(A.id(), 0)] == list(table)
    assert (1, [0], 10) == (len(table), table.columns().blocks, table.live_bytes)
    assert BlockId(B.id(), 0) not in table
    assert [(A.uri, [BlockId(A.id(), 0)])] == list(table.named([("", None)]))


def test_files_are_named_in_order_from_any_uri_to_any_other() -> None:
    """Both versions of one file, the smaller identity first; the end is left out."""
    table = EntryTable(rows(*((file, 0) for file in FILES)).items())
    both = [(file.uri, [BlockId(file.id(), 0)]) for file in sorted((B, B_NEW), key=FileVersion.id)]
    first = (A.uri, [BlockId(A.id(), 0)])
    assert [first, *both] == list(table.named([("", None)]))
    assert both == list(table.named([("s3://b/dir/a\0", None)]))
    assert [first] == list(table.named([(A.uri, B.uri)]))
    assert [first, *both] == list(table.named([(A.uri, B.uri), ("s3://b/dir/a\0", None)]))
    assert table.has_named([("s3://c", None), (A.uri, B.uri)])
    for span in (("", "s3://b"), ("s3://c", None), ("s3://b/dir/b\udcff0", None), ("s3://b/", "s3://b/dir/a")):
        assert ([], False) == (list(table.named([span])), table.has_named([span]))


def test_the_index_knows_files_over_many_segments() -> None:
    """Blocks of one file in several segments are one file: its mask, its segments, its name, once each."""
    table = SegmentTable()
    for part in (segment("s", (A, 1), (B, 0)), segment("t", (A, 0)), segment("u", (B_NEW, 3))):
        table.add(part)
    assert [0b11, 0b1, 0b1000, 0] == [table.mask(v) for v in (A.id(), B.id(), B_NEW.id(), b"?" * 16)]
    assert ["t", "s"] == [found.id for found in table.segments_of(A.id())]
    named = [A.id(), *sorted((B.id(), B_NEW.id()))]
    assert named == listed(table, [Pattern("s3://b"), Pattern("s3://b/dir")])
    assert named[2:] == listed(table, [Pattern("")], after=(B.uri, named[1]))
    table.unlist(table.segments["t"], [BlockId(A.id(), 0)])
    assert (0b10, 3) == (table.mask(A.id()), table.block_count)
    assert table.of_block(BlockId(A.id(), 0)) is None
    table.unlist(table.segments["s"], [BlockId(A.id(), 1)])
    assert A.id() not in table
    assert named[1:] == listed(table, [Pattern("s3://b/dir")])


def test_a_small_file_costs_less_than_170_bytes() -> None:
    """Its identity, description and places, in segments of 600 files."""
    count = 30_000
    table = SegmentTable()
    tracemalloc.start()
    for start in range(0, count, 600):
        files = [FileVersion(f"s3://bucket/images/{n:08}.jpg", n, f'"{n:032x}"', n) for n in range(start, start + 600)]
        table.add(segment(f"s{start}", *((file, 0) for file in files)))
    table.changes.clear()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == table.block_count
    assert taken < 170 * count
