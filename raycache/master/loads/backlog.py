"""What a load job has still to do: open pages, and the pieces of them that wait, most of them in a worker's queue.

Theory of operation. A page is *open* from when it is cut into pieces until the last of their blocks has come to an end;
only open pages are unpacked. A piece has no worker at first, and again when its worker was lost; then it stands in the
queue of one worker, until it is cut off for a batch. Blocks on the way belong to no queue, but keep their page open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, KeysView

from raycache.master.loads.files import Page
from raycache.master.loads.pieces import BATCH_BLOCKS_MAX, BATCH_BYTES_MAX, Aim, Piece
from raycache.ranges import runs_of, union
from raycache.types import WorkerId

_LARGE_BATCH_BYTES = BATCH_BYTES_MAX // 4


class _Open:
    """A page, and how many blocks of it have not come to an end."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pending_blocks = 0


class Backlog:
    """The open pages and waiting pieces of one job.

    Args:
        block_size_bytes: of the cache.
        batch_bytes_max: of one batch, as far as one block is not more.
    """

    def __init__(self, block_size_bytes: int, batch_bytes_max: int) -> None:
        self._block_size_bytes = block_size_bytes
        self._batch_bytes_max = batch_bytes_max
        self._open: dict[int, _Open] = {}
        self._queues: dict[WorkerId, deque[Piece]] = {}
        #: Pieces without a worker.
        self._homeless: deque[Piece] = deque()
        #: Waiting pieces, with and without a worker.
        self.waiting = 0

    def __bool__(self) -> bool:
        """Whether some block has not come to its end."""
        return bool(self._open)

    def page(self, index: int) -> Page:
        """An open page."""
        return self._open[index].page

    # --- pieces come --------------------------------------------------------------------------------------------------

    def open(self, index: int, page: Page, pieces: Iterable[Piece]) -> None:
        """Take a page's pieces in; a page without any is not opened."""
        opened = self._open.setdefault(index, _Open(page))
        for piece in pieces:
            self.put(piece)
        if not opened.pending_blocks:
            del self._open[index]

    def put(self, piece: Piece) -> None:
        """Take in a piece of an open page, which has no worker yet."""
        self._open[piece.page].pending_blocks += piece.block_count
        self._homeless.append(piece)
        self.waiting += 1

    def put_at(self, like: Piece, blocks: list[int], worker: WorkerId) -> None:
        """Take in pieces of some blocks of an open page, which are for this worker."""
        for first, count in runs_of(union(1 << block for block in blocks)):
            self._open[like.page].pending_blocks += count
            self.assign(like._replace(first_block=first, block_count=count), worker)

    def give_up(self, live: Container[WorkerId]) -> None:
        """Take the pieces of workers that are not alive away from them; further copies are not needed any more."""
        for lost in [worker for worker in self._queues if worker not in live]:
            for piece in self._queues.pop(lost):
                if piece.aim is Aim.COPY:
                    self.waiting -= 1
                    self.release(piece)
                else:
                    self._homeless.append(piece)

    def take_homeless(self) -> list[Piece]:
        """The pieces without a worker; the caller assigns each, as a whole or in parts."""
        pieces = list(self._homeless)
        self._homeless.clear()
        self.waiting -= len(pieces)
        return pieces

    def assign(self, piece: Piece, worker: WorkerId) -> None:
        """Let a piece wait for a worker."""
        self._queues.setdefault(worker, deque()).append(piece)
        self.waiting += 1

    # --- pieces go ----------------------------------------------------------------------------------------------------

    def first(self, worker: WorkerId) -> Piece | None:
        """The piece that is next at a worker."""
        queue = self._queues.get(worker)
        return queue[0] if queue else None

    def waiting_at(self) -> KeysView[WorkerId]:
        """The workers that pieces wait for."""
        return self._queues.keys()

    def cut(self, worker: WorkerId, blocks_max: int = BATCH_BLOCKS_MAX) -> list[Piece]:
        """Take pieces for one batch; one longer than a batch is split. All of a batch have one aim and come from one source.

        A file of whole blocks ends a batch of some size: it shares its segments with no other file, and its place is free
        again sooner.
        """
        queue = self._queues[worker]
        pieces: list[Piece] = []
        size = blocks = 0
        kind = queue[0].kind
        while queue and queue[0].kind == kind and blocks < blocks_max:
            piece = queue[0]
            page = self._open[piece.page].page
            lengths = [page.length(piece.row, block, self._block_size_bytes) for block in piece.blocks]
            if pieces and size + sum(lengths) > self._batch_bytes_max:
                break  # two batches are two segments, and a file is read in place only where it lies in one
            queue.popleft()
            self.waiting -= 1
            taken = 0
            for length in lengths[: blocks_max - blocks]:
                if size and size + length > self._batch_bytes_max:
                    break
                size += length
                taken += 1
            blocks += taken
            pieces.append(piece._replace(block_count=taken))
            if taken < piece.block_count:
                rest = piece._replace(first_block=piece.first_block + taken, block_count=piece.block_count - taken)
                queue.appendleft(rest)
                self.waiting += 1
                break
            if size >= _LARGE_BATCH_BYTES and page.versions[piece.row].size_bytes >= self._block_size_bytes:
                break
        if not queue:
            del self._queues[worker]
        return pieces

    def release(self, piece: Piece) -> None:
        """A piece, or a part of one, has come to its end; the page closes with its last block."""
        opened = self._open[piece.page]
        opened.pending_blocks -= piece.block_count
        if not opened.pending_blocks:
            del self._open[piece.page]

    def clear(self) -> None:
        """Nothing is to be done any more."""
        self._open.clear()
        self._queues.clear()
        self._homeless.clear()
        self.waiting = 0
