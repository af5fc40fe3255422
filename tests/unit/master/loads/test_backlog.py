"""What a load job has still to do: pieces wait once, lost workers keep none, pages close with their last block."""

from __future__ import annotations

import pytest

from raycache.master.loads.backlog import Backlog
from raycache.master.loads.files import Page
from raycache.master.loads.pieces import Aim, Piece
from raycache.messages import WantedFile, pack_files
from raycache.types import FileVersion

BLOCK, BATCH = 4, 16


def page(*sizes: int) -> Page:
    (packed,) = pack_files(
        WantedFile(FileVersion(f"s3://b/{number}", size, "e", 0)) for number, size in enumerate(sizes)
    )
    return Page.given(packed)


def piece(row: int, blocks: int, aim: Aim = Aim.LOAD) -> Piece:
    return Piece(0, row, 0, blocks, aim)


def opened(*pieces: Piece) -> Backlog:
    """All of them wait for worker a."""
    backlog = Backlog(BLOCK, BATCH)
    backlog.open(0, page(*[40] * len(pieces)), pieces)
    for one in backlog.take_homeless():
        backlog.assign(one, "a")
    return backlog


def test_a_page_is_open_until_its_last_block_has_come_to_an_end() -> None:
    """Whether a piece waits or is on its way; a page without pieces is never open."""
    backlog = opened(piece(0, 2), piece(1, 1))
    assert (bool(backlog), backlog.waiting) == (True, 2)
    on_the_way = backlog.cut("a")
    assert (bool(backlog), backlog.waiting, backlog.first("a")) == (True, 0, None)
    for one in on_the_way:
        backlog.release(one)
    assert not backlog
    backlog.open(1, page(8), ())
    assert not backlog


@pytest.mark.parametrize(("blocks_max", "expected"), [(10, [4]), (3, [3])])
def test_a_batch_is_bounded_and_the_rest_waits(blocks_max: int, expected: list[int]) -> None:
    """By bytes, and by the blocks that may be asked of the lake; the rest of a cut piece is next."""
    backlog = opened(piece(0, 9))
    assert expected == [one.block_count for one in backlog.cut("a", blocks_max)]
    rest = backlog.first("a")
    assert rest is not None
    assert (rest.first_block, rest.block_count, backlog.waiting) == (expected[0], 9 - expected[0], 1)


def test_a_batch_is_of_one_kind() -> None:
    """Copies and loads do not share a call."""
    backlog = opened(piece(0, 1), piece(1, 1, Aim.COPY), piece(2, 1))
    assert [[0], [1], [2]] == [[one.row for one in backlog.cut("a")] for _ in range(3)]


def test_a_lost_worker_keeps_no_piece() -> None:
    """What it was to load waits for another worker; a further copy is not needed any more, and keeps no page open."""
    backlog = opened(piece(0, 1), piece(1, 2, Aim.COPY))
    backlog.give_up(live={"b"})
    assert (backlog.waiting, backlog.first("a")) == (1, None)
    (left,) = backlog.take_homeless()
    assert (left.row, backlog.waiting) == (0, 0)
    backlog.release(left)
    assert not backlog
