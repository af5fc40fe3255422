"""The cache map: one row for each version, the hottest first, for other block sizes, and only what fits where it goes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest

from raycache.admin import maps
from raycache.admin.maps import CacheMap, FreeSpace, ImportPlan, LakeState, Row
from raycache.client.topology import Topology
from raycache.errors import InvalidRequestError, UnavailableError
from raycache.hashing import extent_key, place_many
from raycache.messages import FileColumns, InventoryReply
from raycache.ranges import Grid, mask_bytes
from raycache.rules import Pattern, Rule, RuleKind, RuleTable
from raycache.types import FileVersion, MembershipView, WorkerView

BLOCK = 8
PIN = Rule(RuleKind.PIN, Pattern("s3://b/x", "*.bin"), 1)


def file(name: str, size_bytes: int = 20, etag: str = '"1"') -> FileVersion:
    return FileVersion(f"s3://b/{name}", size_bytes, etag, 5)


def row(name: str, mask: int = 0b111, uses: int = 0, idle_s: float = -1.0, pinned: bool = False) -> Row:
    return Row(file(name), mask, uses, idle_s, pinned)


def written(rows: Sequence[Row], block_size_bytes: int = BLOCK) -> CacheMap:
    sink = io.BytesIO()
    rules = RuleTable(1, (PIN, Rule(RuleKind.TTL, Pattern("s3://b"), 9)))
    maps.write(sink, rows, block_size_bytes, rules)
    return CacheMap(sink.getvalue(), "the map")


def cluster(*weights: int) -> Topology:
    workers = tuple(WorkerView(f"w{number}", 1, weight, f"w{number}") for number, weight in enumerate(weights))
    return Topology(MembershipView(1, workers), "", 0, Grid(BLOCK, BLOCK), 2 * BLOCK, 1)


def test_a_map_says_what_was_written_hottest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned files come first, then by uses, then by recency; masks, versions and pins survive, whatever the chunks."""
    monkeypatch.setattr(maps, "ROWS_PER_GROUP", 2)
    rows = [row("cold"), row("old", 0b101, 7, 90.0), row("hot", 0b1, 9, 50.0), row("new", 0b110, 7, 2.0)]
    found = written([*rows, row("pinned", pinned=True)])
    assert len(found) == 5
    chunks = list(found.hottest_first(BLOCK))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    expected = [row("pinned", pinned=True), rows[2], rows[3], rows[1], rows[0]]
    assert [one for chunk in chunks for one in chunk] == expected
    assert found.pins == [PIN]


def test_an_empty_cache_makes_an_empty_map() -> None:
    """Nothing cached is no error."""
    found = written([])
    assert (len(found), list(found.hottest_first(BLOCK))) == (0, [])


def test_a_long_file_keeps_its_mask() -> None:
    """Masks are as long as files need: ten thousand blocks are not too many."""
    long = Row(file("long", 80_000), (1 << 10_000) - 1, 1, 0.0, False)
    assert next(written([long]).hottest_first(BLOCK)) == [long]
    assert mask_bytes(long.mask, long.file.size_bytes, BLOCK) == 80_000


@pytest.mark.parametrize(
    ("mask", "new_block", "expected"), [(0b100, 4, 0b10000), (0b010, 4, 0b1100), (0b010, 16, 0b01)]
)
def test_another_block_size_covers_the_same_bytes(mask: int, new_block: int, expected: int) -> None:
    """A map of 8-byte blocks of a 20-byte file, read by a cluster with other blocks: every byte is still named."""
    ((found,),) = written([row("a", mask)]).hottest_first(new_block)
    assert found.mask == expected


@pytest.mark.parametrize("data", [b"", b"PAR1 no parquet", b"x" * 100])
def test_what_is_no_map_is_refused(data: bytes) -> None:
    """Any other file ends in one line that says so."""
    with pytest.raises(InvalidRequestError, match="the map is no cache map"):
        CacheMap(data, "the map")


def test_rows_of_all_workers_become_one() -> None:
    """Of one version blocks are joined, uses added, the latest use counts; other versions stay apart."""

    def page(*rows: Row) -> InventoryReply:
        columns = [list(column) for column in zip(*(one[1:] for one in rows), strict=True)]
        return InventoryReply(FileColumns.of(one.file for one in rows), *columns, None)

    other = row("b")._replace(file=file("b", etag='"2"'))
    here = [page(row("a", 0b001, 2, -1.0), row("b", 0b1, 1, 9.0)), page(row("c"))]
    there = [page(row("a", 0b100, 3, 4.0, pinned=True), *sorted([other], key=lambda one: one.file.id()))]
    found = list(maps.merge([maps.rows_of(here), maps.rows_of(there)]))
    assert found[0] == row("a", 0b101, 5, 4.0, pinned=True)
    assert sorted(found[1:3]) == sorted([row("b", 0b1, 1, 9.0), other])
    assert found[3] == row("c")


def test_each_worker_is_filled_for_itself() -> None:
    """Extents go where the hash puts them; what its worker has no room for is left out, and takes no room."""
    where = cluster(1, 1)
    rows = [row(f"f{number}") for number in range(30)]
    free = {"w0": 100, "w1": 40}
    taken = {"w0": 0, "w1": 0}
    for one, fits in FreeSpace(free).fitting(rows, where):
        for extent in (0, 1):
            key = extent_key(one.file.id(), extent)
            owner = where.view.workers[place_many(np.array([key], np.uint64), where.view.workers)[0, 0]].worker
            part = fits & (0b11 << 2 * extent)
            assert part in (0, one.mask & (0b11 << 2 * extent))
            taken[owner] += mask_bytes(part, one.file.size_bytes, BLOCK)
    assert all(free[name] - 16 < taken[name] <= free[name] for name in free)


def test_no_worker_is_an_error() -> None:
    """A cluster without workers cannot say where blocks go."""
    with pytest.raises(UnavailableError):
        list(FreeSpace({}).fitting([row("a")], cluster()))


def test_only_what_is_unchanged_missing_and_fits_is_wanted() -> None:
    """Every file of the map is counted as exactly one of: wanted, changed, removed, here already, no room."""
    now = {
        file("same").uri: LakeState(file("same"), 0),
        file("partly").uri: LakeState(file("partly"), 0b001),
        file("here").uri: LakeState(file("here"), 0b111),
        file("changed").uri: LakeState(file("changed", etag='"2"'), 0),
        file("coldest").uri: LakeState(file("coldest"), 0),
    }
    names = ["same", "partly", "here", "changed", "gone", "coldest"]
    source = written([row(name, uses=10 - number) for number, name in enumerate(names)])
    plan = ImportPlan(
        lambda uris: [now.get(uri, LakeState(None, 0)) for uri in uris],
        FreeSpace({"w0": 40}),
        lambda: cluster(1),
        shown_max=10,
    )
    wanted = list(plan.wanted(source.hottest_first(BLOCK)))
    assert [(one.file.uri[7:], one.mask) for one in wanted] == [("same", 0b111), ("partly", 0b110), ("coldest", 0b100)]
    assert (plan.total, plan.changed, plan.removed) == ((6, 120), (1, 20), (1, 20))
    assert (plan.already, plan.no_room) == ((1, 28), (1, 16))
    assert plan.changed_uris == ["s3://b/changed"]


def test_names_that_are_no_unicode_are_in_the_map() -> None:
    """A file whose name on the disk is no UTF-8 is in the map like any other, under the same name."""
    rows = [row(name) for name in ("bad\udcff", "50%25", "bad%ED%B3%BF", "@raw/x")]
    found = [one for chunk in written(rows).hottest_first(BLOCK) for one in chunk]
    assert sorted(one.file.uri for one in rows) == sorted(one.file.uri for one in found)
