"""The figures of one load job: what is done, what failed and why. Plain counting; per file only while it is unfinished."""

from __future__ import annotations

from raycache.master.loads.files import Page
from raycache.messages import JobProgress
from raycache.ranges import mask_bytes

FAILURES_SHOWN_MAX = 1_000


class JobFigures:
    """Counts of one job. A file is known by its page and row.

    Args:
        now_s: when the job began.
    """

    def __init__(self, now_s: float) -> None:
        self.started_s = now_s
        #: When the first batch went out, and when the job ended.
        self.running_s: float | None = None
        self.ended_s: float | None = None
        self.files_total = self.files_done = self.files_failed = 0
        self.blocks_total = self.blocks_done = self.blocks_failed = 0
        self.bytes_total = self.bytes_done = self.bytes_failed = self.bytes_already = 0
        self.bytes_moved = self.bytes_verified = self.bytes_repaired = 0
        #: (path, reason), the first `FAILURES_SHOWN_MAX`.
        self.failures: list[tuple[str, str]] = []
        #: Files that lack blocks still: (page, row) -> how many. Only those of which some block has ended.
        self._left: dict[tuple[int, int], int] = {}
        #: By page, a byte a row: 1 where the file has failed.
        self._failed: dict[int, bytearray] = {}

    def add_files(self, page: Page, block_size_bytes: int) -> None:
        """Count more files in; those of which nothing is wanted are done."""
        self.files_total += len(page.versions)
        for row, version in enumerate(page.versions):
            wanted = page.wanted(row, block_size_bytes)
            self.blocks_total += wanted.bit_count()
            self.bytes_total += mask_bytes(wanted, version.size_bytes, block_size_bytes)
            self.files_done += wanted == 0
        self._block_size_bytes = block_size_bytes

    def is_failed(self, index: int, row: int) -> bool:
        """Whether any block of a file has failed."""
        return index in self._failed and bool(self._failed[index][row])

    def done(self, page: Page, index: int, row: int, length: int, *, already: bool) -> None:
        """A block is resident."""
        self.blocks_done += 1
        self.bytes_done += length
        self.bytes_already += length if already else 0
        if self._ended(page, index, row) and not self.is_failed(index, row):
            self.files_done += 1

    def failed(self, page: Page, index: int, row: int, length: int, reason: str) -> None:
        """A block could not be loaded."""
        self.blocks_failed += 1
        self.bytes_failed += length
        self.blame(page, index, row, reason)
        self._ended(page, index, row)

    def undone(self, page: Page, index: int, row: int, length: int, reason: str) -> None:
        """A block that counted as done is not resident after all."""
        self.blocks_done -= 1
        self.bytes_done -= length
        self.blocks_failed += 1
        self.bytes_failed += length
        self.blame(page, index, row, reason, was_done=True)

    def blame(self, page: Page, index: int, row: int, reason: str, *, was_done: bool = False) -> None:
        """Name a file as failed, once."""
        flags = self._failed.setdefault(index, bytearray(len(page.versions)))
        if flags[row]:
            return
        flags[row] = 1
        self.files_failed += 1
        self.files_done -= was_done
        if len(self.failures) < FAILURES_SHOWN_MAX:
            self.failures.append((page.path(row), reason))

    def progress(
        self, state: str, now_s: float, *, paths: list[str], priority: int, listed: bool, bytes_over: int
    ) -> JobProgress:
        """All of it as a message."""
        end_s = self.ended_s if self.ended_s is not None else now_s
        elapsed_s = end_s - self.started_s
        moving_s = end_s - self.running_s if self.running_s is not None else 0.0
        rate = self.bytes_moved / moving_s if moving_s > 0 else 0.0
        left = self.bytes_total - self.bytes_done - self.bytes_failed
        eta_s = None if self.ended_s is not None or rate <= 0 or not listed else left / rate
        return JobProgress(
            state=str(state),
            files_total=self.files_total,
            files_done=self.files_done,
            files_failed=self.files_failed,
            blocks_total=self.blocks_total,
            blocks_done=self.blocks_done,
            blocks_failed=self.blocks_failed,
            bytes_total=self.bytes_total,
            bytes_done=self.bytes_done,
            bytes_failed=self.bytes_failed,
            bytes_already=self.bytes_already,
            elapsed_s=elapsed_s,
            rate_bytes_s=rate,
            eta_s=eta_s,
            failures=list(self.failures),
            paths=paths,
            priority=priority,
            listed=listed,
            bytes_over=bytes_over,
            bytes_verified=self.bytes_verified,
            bytes_repaired=self.bytes_repaired,
        )

    def _ended(self, page: Page, index: int, row: int) -> bool:
        """One more block of a file has come to its end; whether it was the last."""
        key = (index, row)
        left = self._left.pop(key, None)
        if left is None:
            left = page.wanted(row, self._block_size_bytes).bit_count()
        if left > 1:
            self._left[key] = left - 1
        return left == 1
