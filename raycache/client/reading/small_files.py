"""Small files that are opened one after another, as their directory lists them: which to announce. Rules only.

Theory of operation. A task of a plain reader opens its files one by one. Each file that is not mapped here costs a call, and
becomes a segment of its own where it was not cached. So a reader that comes from one file to another that follows it
closely announces the next ones with it, more and more of them. A worker brings them in one piece, which is mapped with the
first of them, and the rest cost nothing. A jump starts over; a reader that always jumps announces nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from raycache.client.reading.pages import is_small
from raycache.ranges import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raycache.client.file_meta import FileMeta

FILES_MAX = 256
BYTES_MAX = 8 << 20
_FILES_MIN = 4
#: Several threads open files a little out of order.
_NEAR = 16


class Following:
    """The recent past of one process.

    Args:
        known: what is remembered of a path, if it may still be used.
        grid: how files are cut.
    """

    def __init__(self, known: Callable[[str], FileMeta | None], grid: Grid) -> None:
        self._known = known
        self._grid = grid
        self._last: FileMeta | None = None
        #: What was announced, or passed over, the last two times.
        self._recent: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._files = 0

    def after(self, meta: FileMeta) -> list[FileMeta]:
        """A small file is opened that is not mapped here; returns what to announce, itself first, or nothing."""
        if any(meta.path in recent for recent in self._recent):
            return []
        passed = self._passed(meta.path)
        self._files = min(FILES_MAX, max(_FILES_MIN, 2 * self._files)) if passed is not None else 0
        wanted = [meta]
        size_bytes = meta.file.size_bytes
        for found in islice(self._behind(meta), self._files):
            size_bytes += found.file.size_bytes
            if size_bytes > BYTES_MAX:
                break
            if found.file.size_bytes and is_small(found.file.size_bytes, self._grid):
                wanted.append(found)
        self._last = wanted[-1]
        self._recent = (self._recent[1], frozenset([*(passed or ()), *(found.path for found in wanted)]))
        return wanted if len(wanted) > 1 else []

    def _passed(self, path: str) -> list[str] | None:
        """The files between the last one and this one; None when it does not follow closely."""
        passed: list[str] = []
        for found in islice(self._behind(self._last), _NEAR):
            if found.path == path:
                return passed
            passed.append(found.path)
        return None

    def _behind(self, meta: FileMeta | None) -> Iterator[FileMeta]:
        found = meta
        while found is not None and (found := self._known(found.trace.next_path)) is not None:
            yield found
