"""When parts of blocks are read by pages, and how a worker serves pages and blocks of the same bytes."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.client.file_meta import FileMeta
from raycache.client.reading.pages import by_pages
from raycache.messages import BlockRequest, FileColumns, Purpose, Selector
from raycache.ranges import FIRST_PAGE, BlockRange, Grid, is_page
from raycache.rules import Pattern
from raycache.types import FileKind, FileVersion
from raycache.workers.effects import Effect, Load, Reply
from tests.unit.workers.test_service import BLOCK, HIT_MEMORY, LOADED, PAGE, Worker, file

GRID = Grid(BLOCK, PAGE)


def meta(size_bytes: int = 5 * BLOCK, *holders: tuple[str, int]) -> FileMeta:
    return FileMeta("/lake/x", FileKind.FILE, FileVersion("s3://b/x", size_bytes, "1", 0), holders, 60.0)


def page(number: int) -> int:
    return FIRST_PAGE + number


@pytest.mark.parametrize("index", [0, 3, 4, page(0), page(7), page(18)])
def test_blocks_and_pages_cover_a_file_alike(index: int) -> None:
    """Where a block or page starts, and how long it is, follow from its index and the file's size."""
    size = PAGE if is_page(index) else BLOCK
    assert GRID.offset(index) == (index - FIRST_PAGE if is_page(index) else index) * size
    assert GRID.exists(index, 38) == (GRID.offset(index) < 38)
    assert GRID.length(index, 37) == min(size, 37 - GRID.offset(index))
    assert GRID.block_of(index) == GRID.offset(index) // BLOCK


def test_a_part_of_a_block_is_cut_into_the_pages_it_touches() -> None:
    """The pages of a part follow each other and hold exactly its bytes."""
    pages = list(GRID.pages(BlockRange(2, 3, 4)))
    assert [(page(9), 1, 1), (page(10), 0, 2), (page(11), 0, 1)] == pages


def test_little_of_a_cold_block_is_read_by_pages_until_half_of_it_was_wanted() -> None:
    """Distinct pages count, whoever wanted them when; from half of the block on it is loaded whole."""
    cold = meta()
    assert by_pages(cold, BlockRange(1, 0, 1), GRID)
    assert by_pages(cold, BlockRange(1, 1, 1), GRID)
    assert by_pages(cold, BlockRange(2, 7, 1), GRID)
    assert not by_pages(cold, BlockRange(1, 5, 1), GRID)
    assert not by_pages(cold, BlockRange(1, 0, 1), GRID)


@pytest.mark.parametrize(
    ("known", "part"),
    [
        pytest.param(meta(5 * BLOCK, ("n1", 0b10)), BlockRange(1, 3, 1), id="held by a worker"),
        pytest.param(meta(5 * BLOCK, ("n1", 0b01)), BlockRange(1, 0, 1), id="behind a block that is held"),
        pytest.param(meta(), BlockRange(1, 1, 4), id="half of it at once"),
    ],
)
def test_blocks_are_read_where_pages_do_not_pay(known: FileMeta, part: BlockRange) -> None:
    """Where more of a block is here, or wanted, it is asked for as a whole."""
    assert not by_pages(known, part, GRID)


def test_files_read_from_the_front_and_small_ones_are_read_in_blocks() -> None:
    """Going on behind a block that was wanted whole is not picking; nor is a file of an eighth of a block."""
    cold = meta()
    assert not by_pages(cold, BlockRange(0, 0, 1), GRID, goes_on=True)
    assert not by_pages(cold, BlockRange(1, 0, 1), GRID)
    assert by_pages(cold, BlockRange(3, 0, 1), GRID)
    large = Grid(64 * BLOCK, PAGE)
    assert not by_pages(meta(8 * BLOCK - 1), BlockRange(0, 0, 1), large)
    assert by_pages(meta(8 * BLOCK), BlockRange(0, 2, 1), large)
    assert not by_pages(meta(), BlockRange(0, 2, 1), Grid(BLOCK, BLOCK))


def test_the_end_of_a_read_that_reaches_into_another_block_is_read_by_pages() -> None:
    """A column that begins in one block, most of which it is, and ends early in the next one, does not go on there."""
    cold = meta()
    assert not by_pages(cold, BlockRange(1, 1, BLOCK - 1), GRID)
    assert by_pages(cold, BlockRange(2, 0, 1), GRID, begins=False)
    held = meta(5 * BLOCK, ("n1", 0b10))
    assert by_pages(held, BlockRange(2, 0, 1), GRID, begins=False)


def ask(
    worker: Worker, version: FileVersion, *indices: int, purpose: Purpose = Purpose.READ, **more: Any
) -> list[Effect]:
    columns = [
        [0] * len(indices),
        list(indices),
        [0] * len(indices),
        [GRID.length(i, version.size_bytes) for i in indices],
    ]
    request = BlockRequest("here", 0, 0, FileColumns.of([version]), *columns, BLOCK, int(purpose), **more)
    effects = worker.service.ask(next(worker.tickets), request, 0.0)
    worker.service.validate()
    return effects


def test_a_worker_loads_just_the_pages_asked_for_together() -> None:
    """Neighbouring pages are one segment, in the order asked for, and no block is said to be here."""
    worker, version = Worker(), file("x", 5 * BLOCK)
    (load,) = ask(worker, version, page(2), page(3), page(9))
    assert isinstance(load, Load)
    assert [(4, 0, 2), (6, 2, 2), (18, 4, 2)] == [(i.file_offset, i.offset_in_segment, i.length) for i in load.items]
    (reply,) = worker.loaded(load)
    assert isinstance(reply, Reply)
    assert ([LOADED] * 3, [0, 2, 4]) == (reply.states, reply.grant_offsets)
    assert [0] == worker.service.resident([version.id()]).memory_masks
    assert [] == worker.service.report(full=True).masks


def test_a_block_that_is_here_or_on_its_way_serves_its_pages() -> None:
    """Nothing is loaded for a page whose block is held or in flight; the grant says where in it the page lies."""
    worker, version = Worker(), file("x", 5 * BLOCK)
    (load,) = ask(worker, version, 1)
    assert [] == ask(worker, version, page(5), page(7))
    first, second = worker.loaded(load)
    assert isinstance(second, Reply)
    assert ([LOADED] * 2, [2, 6]) == (second.states, second.grant_offsets)
    (third,) = ask(worker, version, page(6))
    assert isinstance(first, Reply)
    assert isinstance(third, Reply)
    assert ([HIT_MEMORY], [4]) == (third.states, third.grant_offsets)


def test_a_block_takes_the_place_of_its_pages() -> None:
    """Once the block is here, its pages are given back, and those of other blocks stay."""
    worker, version = Worker(), file("x", 5 * BLOCK)
    for wanted in (page(4), page(8)):
        worker.loaded(ask(worker, version, wanted, purpose=Purpose.PREFETCH)[0])
    worker.loaded(ask(worker, version, 1, purpose=Purpose.PREFETCH)[0])
    assert BLOCK + PAGE == worker.service.stats().memory_used_bytes
    assert [0b10] == worker.service.resident([version.id()]).memory_masks


def test_a_free_drops_pages_too() -> None:
    """What is freed by its path leaves no page behind."""
    worker, version = Worker(), file("x", 5 * BLOCK)
    worker.loaded(ask(worker, version, page(4), page(5), purpose=Purpose.PREFETCH)[0])
    reply, _ = worker.service.free(Selector([Pattern("s3://b/x")]), False, 0.0)
    assert (2, 2 * PAGE, 0) == (reply.blocks, reply.bytes, worker.service.stats().memory_used_bytes)


def test_a_copy_from_another_worker_takes_nothing_over() -> None:
    """Another worker hands over whole blocks; only what comes from the lake is fetched around the pages that are here."""
    worker, version = Worker(), file("x", 5 * BLOCK)
    worker.loaded(ask(worker, version, page(5), purpose=Purpose.PREFETCH)[0])
    (copied,) = ask(worker, version, 1, source_actor="other", purpose=Purpose.PREFETCH_COPY)
    assert isinstance(copied, Load)
    assert copied.items[0].cached == ()
    again = Worker()
    again.loaded(ask(again, version, page(5), purpose=Purpose.PREFETCH)[0])
    (loaded,) = ask(again, version, 1, purpose=Purpose.PREFETCH)
    assert isinstance(loaded, Load)
    assert [(part.file_offset, part.length) for part in loaded.items[0].cached] == [(10, 2)]


def test_a_page_that_waits_to_be_handed_out_stays() -> None:
    """The block that takes its place comes while the request with the page still waits for another: it is a hit all the same."""
    worker, version = Worker(), file("x", 5 * BLOCK)
    worker.loaded(ask(worker, version, page(5), purpose=Purpose.PREFETCH)[0])
    (waited_for,) = ask(worker, version, page(5), page(9))
    (block,) = ask(worker, version, 1, purpose=Purpose.PREFETCH)
    worker.loaded(block)
    (reply,) = worker.loaded(waited_for)
    assert isinstance(reply, Reply)
    assert reply.states == [HIT_MEMORY, LOADED]


def test_pages_are_no_news_for_the_master() -> None:
    """Pages that come and go are in no report; a block among them is."""
    worker, version, other = Worker(), file("x", 5 * BLOCK), file("y", 5 * BLOCK)
    worker.service.report(full=True)
    worker.loaded(ask(worker, version, page(5), purpose=Purpose.PREFETCH)[0])
    worker.service.free(Selector([Pattern("s3://b/x")]), False, 0.0)
    worker.loaded(ask(worker, version, page(5), purpose=Purpose.PREFETCH)[0])
    assert worker.service.report(full=False).versions == []
    assert worker.service.report(full=True).versions == []
    worker.loaded(ask(worker, other, 1, purpose=Purpose.PREFETCH)[0])
    assert worker.service.report(full=False).masks == [0b10]
