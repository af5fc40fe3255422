"""How far to read ahead in one open file: rules only.

Theory of operation. Asked only when a read had to go to a worker, which in a file that is read from front to back is
once per segment. Reads that follow each other announce a window behind them, which doubles up to a bound, so that the
next segment is loaded while this one is read; reads at equal distances announce the next two; any others, nothing.
"""

from __future__ import annotations

WINDOW_BLOCKS_MAX = 8
_STRIDES_AHEAD = 2


class ReadAhead:
    """The recent past of one open file.

    Args:
        block_count: blocks of the file.
    """

    def __init__(self, block_count: int) -> None:
        self._block_count = block_count
        self._first = -1
        self._stride = 0
        self._window = 0
        #: Behind the last block read, and behind the last one announced; the first read follows nothing.
        self._cursor = -2
        self._ahead = -2

    def after(self, first: int, last: int) -> range:
        """Blocks first..last have just been asked of a worker; returns those to announce."""
        stride, self._stride = self._stride, first - self._first
        self._first = first
        follows = first in (self._cursor, self._cursor - 1) or self._cursor < first <= self._ahead
        self._cursor = last + 1
        if follows:
            self._window = min(max(1, 2 * self._window), WINDOW_BLOCKS_MAX)
            start = max(self._ahead, last + 1)
            self._ahead = min(last + 1 + self._window, self._block_count)
            self._ahead = max(self._ahead, start)
            return range(start, self._ahead)
        self._window = 0
        self._ahead = last + 1
        if self._stride == stride and stride > 1:
            end = min(first + (_STRIDES_AHEAD + 1) * stride, self._block_count)
            return range(first + stride, end, stride)
        return range(0)
