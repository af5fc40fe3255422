"""Read-ahead in an open file: what is announced after which reads."""

from __future__ import annotations

import random

from raycache.client.reading.read_ahead import WINDOW_BLOCKS_MAX, ReadAhead


def announced(block_count: int, *reads: tuple[int, int]) -> list[list[int]]:
    ahead = ReadAhead(block_count)
    return [list(ahead.after(first, last)) for first, last in reads]


def test_reading_on_announces_more_and_more() -> None:
    """The window doubles; nothing is announced twice, nor behind the end."""
    found = announced(100, (0, 0), (1, 1), (2, 2), (3, 4), (5, 8))
    assert found == [[], [2], [3, 4], [5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 16]]
    assert announced(3, (0, 0), (1, 1), (2, 2)) == [[], [2], []]


def test_the_window_is_bounded() -> None:
    """However long a file is read, at most so many blocks are ahead of the reader."""
    ahead = ReadAhead(10_000)
    end = 0
    for block in range(1000):
        end = max([end, *ahead.after(block, block)])
        assert end <= block + WINDOW_BLOCKS_MAX


def test_random_reads_announce_nothing() -> None:
    """Guesses would only load what nobody wants."""
    draw = random.Random(3)
    ahead = ReadAhead(1 << 20)
    wasted = sum(len(ahead.after(block, block)) for block in (draw.randrange(1 << 20) for _ in range(1000)))
    assert wasted <= 20


def test_equal_steps_announce_the_next_ones() -> None:
    """From the third read at the same distance on."""
    assert announced(100, (10, 10), (20, 20), (30, 30), (40, 40), (95, 95)) == [[], [], [40, 50], [50, 60], []]


def test_jumping_ends_a_run() -> None:
    """After a jump, reading on starts with a small window again."""
    assert announced(100, (0, 0), (1, 1), (50, 50), (51, 51)) == [[], [2], [], [52]]
