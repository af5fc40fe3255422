"""The part of a load that is planned: a window of pages, cut into pieces, each at the worker that should hold it.

Theory of operation. The window is for the cluster, not for each worker, and is filled over several turns of the event loop, a
bounded part in each; so what one load costs at a time does not depend on how many workers there are. While less than half of
it is full nothing is sent, since little at many workers would go in many small batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from raycache.hashing import extent_key, place_many
from raycache.master.loads.backlog import Backlog
from raycache.master.loads.files import FileTable, Page
from raycache.master.loads.pieces import Aim, Piece, by_holder, pieces_of
from raycache.master.loads.survey import Holders
from raycache.types import MembershipView, WorkerId, WorkerView

#: Pieces planned ahead: for each worker, at least, and at most in the whole cluster.
WINDOW_PIECES = 500
WINDOW_PIECES_MIN = 4_000
WINDOW_PIECES_MAX = 64_000
#: Pieces planned in one turn of the event loop, and a page's more; about 15 us each.
PLANNED_PER_TURN = 1_000


class Window:
    """Runs over the files of one load.

    Args:
        table: all its files.
        backlog: where the pieces go.
        block_size_bytes: of the cache.
        blocks_per_extent: of the cache.
        holders: what the workers have said they hold.
        is_failed: whether a file, by page and row, is given up.
        keeps_order: whether files go in the order in which they came.
    """

    def __init__(
        self,
        table: FileTable,
        backlog: Backlog,
        block_size_bytes: int,
        blocks_per_extent: int,
        holders: Holders,
        is_failed: Callable[[int, int], bool],
        *,
        keeps_order: bool,
    ) -> None:
        self._table = table
        self._backlog = backlog
        self._block_size_bytes = block_size_bytes
        self._blocks_per_extent = blocks_per_extent
        self._holders = holders
        self._is_failed = is_failed
        self._keeps_order = keeps_order
        #: What the pages from `_cursor` on are to be cut into.
        self._aim = Aim.LOAD
        self._cursor = 0
        self.view = MembershipView(0, ())
        #: The workers of the view.
        self.live: dict[WorkerId, WorkerView] = {}
        #: Whether it is being filled: `plan` has more to do at once.
        self.is_filling = False
        #: Whether nothing is to be sent yet.
        self.is_held = False

    @property
    def is_through(self) -> bool:
        """Whether all files have been planned."""
        return self._cursor == len(self._table)

    def begin(self, aim: Aim) -> None:
        """Go over all files once more."""
        self._aim, self._cursor = aim, 0

    def close(self) -> None:
        """Nothing more is to be planned."""
        self._table, self._cursor, self.is_filling = FileTable(), 0, False

    def plan(self, view: MembershipView) -> None:
        """Give every piece of the window a live worker; what waits for one that was lost is planned again."""
        if view is not self.view:
            self.view, self.live = view, {worker.worker: worker for worker in view.workers}
            self._backlog.give_up(self.live)
        if not view.workers:
            return
        self._fill()
        pieces = self._backlog.take_homeless()
        for piece, ranked in zip(pieces, self.ranked(pieces, 1), strict=True):
            # On the first attempt only, since holders are hints.
            holders = () if piece.attempts else self._holders(self._backlog.page(piece.page).ids[piece.row])
            for part, worker in by_holder(piece, holders, self.live):
                self._backlog.assign(part, worker or ranked[0].worker)

    def ranked(self, pieces: Sequence[Piece], copies: int) -> list[list[WorkerView]]:
        """The workers that the hash names for each piece, best first."""
        if not pieces:
            return []
        workers = self.view.workers
        ids = [self._backlog.page(piece.page).ids[piece.row] for piece in pieces]
        extents = [piece.first_block // self._blocks_per_extent for piece in pieces]
        keys = np.array([extent_key(*extent) for extent in zip(ids, extents, strict=True)], dtype=np.uint64)
        return [[workers[i] for i in row] for row in place_many(keys, workers, copies).tolist()]

    def _fill(self) -> None:
        """Open pages until the window is full again, or this turn has had its share."""
        window = min(WINDOW_PIECES_MAX, max(WINDOW_PIECES_MIN, WINDOW_PIECES * len(self.live)))
        start = self._backlog.waiting
        self.is_filling = self.is_filling or start < window // 2
        while self.is_filling and self._backlog.waiting - start < PLANNED_PER_TURN:
            if self.is_through or self._backlog.waiting >= window:
                break
            page = self._table.page(self._cursor)
            self._backlog.open(self._cursor, page, self._pieces_of(self._cursor, page))
            self._cursor += 1
        self.is_filling = self.is_filling and not (self.is_through or self._backlog.waiting >= window)
        self.is_held = self.is_filling and self._backlog.waiting < window // 2

    def _pieces_of(self, index: int, page: Page) -> Iterator[Piece]:
        """A page, cut. Given files keep their order; of listed ones whole blocks come first, and the largest file of these:
        a long one at the end delays it.
        """
        sizes = [version.size_bytes for version in page.versions]
        rows = [row for row in range(len(sizes)) if not self._is_failed(index, row)]
        if not self._keeps_order:
            rows.sort(key=lambda row: -sizes[row] if sizes[row] >= self._block_size_bytes else 0)
        return pieces_of(page, index, rows, self._aim, self._block_size_bytes, self._blocks_per_extent)
