"""Arithmetic of byte ranges, blocks and pages.

A file is cut into blocks; what is wanted of it only here and there is kept in pages, which are small blocks of the same
version on a finer grid. A page is named like a block, by an index: pages are counted from `FIRST_PAGE`, so that one
number tells both what it is and where it lies.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from typing import NamedTuple, SupportsIndex

from raycache.errors import InvalidRequestError

#: The index of a file's first page; a block's is below. Both fit into 32 bits, for files up to 2^31 pages.
FIRST_PAGE = 1 << 31


class BlockRange(NamedTuple):
    """The part of one block, or of one page, that a read wants."""

    block_index: int
    #: Within the block.
    offset: int
    length: int


def clip(offset: SupportsIndex, size: SupportsIndex | None, file_size_bytes: int) -> tuple[int, int]:
    """Clip a request to a file, as POSIX `pread` does.

    Args:
        offset: >= 0; past the end gives an empty range.
        size: bytes wanted; None means to the end. >= 0.
        file_size_bytes: size of the file.

    Returns:
        (offset, length) as plain integers, length >= 0 and within the file.

    Raises:
        InvalidRequestError: a negative offset or size.
        TypeError: no integer.
    """
    # Other integers, such as numpy's, must not travel: they overflow, and compare and pickle in their own ways.
    start = offset if type(offset) is int else operator.index(offset)
    if start < 0:
        raise InvalidRequestError(f"offset {start} is negative; give 0 or more")
    start = min(start, file_size_bytes)
    rest = file_size_bytes - start
    if size is None:
        return start, rest
    length = size if type(size) is int else operator.index(size)
    if length < 0:
        raise InvalidRequestError(f"size {length} is negative; give 0 or more, or None for the rest of the file")
    return start, min(length, rest)


def block_count(file_size_bytes: int, block_size_bytes: int) -> int:
    """How many blocks a file has; an empty file has none."""
    return -(-file_size_bytes // block_size_bytes)


def block_length(index: int, file_size_bytes: int, block_size_bytes: int) -> int:
    """Bytes in block `index`; only the last may be short."""
    return min(block_size_bytes, file_size_bytes - index * block_size_bytes)


def block_ranges(offset: int, length: int, block_size_bytes: int) -> Iterator[BlockRange]:
    """Split a byte range (already clipped to the file) into parts of blocks, in order."""
    end = offset + length
    while offset < end:
        index, within = divmod(offset, block_size_bytes)
        part = min(block_size_bytes - within, end - offset)
        yield BlockRange(index, within, part)
        offset += part


def union(masks: Iterable[int]) -> int:
    """The blocks that stand in any of these bit masks."""
    return functools.reduce(operator.or_, masks, 0)


def is_page(index: int) -> bool:
    """Whether an index names a page rather than a block."""
    return index >= FIRST_PAGE


class Grid(NamedTuple):
    """How files are cut."""

    block_size_bytes: int
    #: A divisor of the block size; equal to it where pages are not used.
    page_size_bytes: int

    @property
    def has_pages(self) -> bool:
        """Whether files may be kept in pages at all."""
        return self.page_size_bytes < self.block_size_bytes

    def offset(self, index: int) -> int:
        """Where a block or a page starts in its file."""
        return (index - FIRST_PAGE) * self.page_size_bytes if index >= FIRST_PAGE else index * self.block_size_bytes

    def length(self, index: int, file_size_bytes: int) -> int:
        """Bytes of a block or a page; only a file's last one may be short."""
        size_bytes = self.page_size_bytes if index >= FIRST_PAGE else self.block_size_bytes
        return min(size_bytes, file_size_bytes - self.offset(index))

    def exists(self, index: int, file_size_bytes: int) -> bool:
        """Whether a file of this size has such a block or page."""
        return 0 <= self.offset(index) < file_size_bytes and (index < FIRST_PAGE or self.has_pages)

    def block_of(self, index: int) -> int:
        """The block that a page lies in; of a block, itself."""
        return self.offset(index) // self.block_size_bytes

    def pages_of(self, block_index: int) -> range:
        """The indices of the pages in a block, one after the other; the file may end before the last."""
        count = self.block_size_bytes // self.page_size_bytes
        first = FIRST_PAGE + block_index * count
        return range(first, first + count)

    def pages(self, part: BlockRange) -> Iterator[BlockRange]:
        """Split the part of a block into parts of pages, in order."""
        start = self.offset(part.block_index) + part.offset
        for page in block_ranges(start, part.length, self.page_size_bytes):
            yield page._replace(block_index=FIRST_PAGE + page.block_index)


def extents_of(mask: int, blocks_per_extent: int) -> Iterator[tuple[int, int]]:
    """(extent, its part of a bit mask of blocks) of each extent that has some, in order."""
    every = (1 << blocks_per_extent) - 1
    for extent in range(-(-mask.bit_length() // blocks_per_extent)):
        part = mask & every << extent * blocks_per_extent
        if part:
            yield extent, part


def runs_of(mask: int) -> Iterator[tuple[int, int]]:
    """Consecutive blocks of a bit mask, as (first, count)."""
    first = 0
    while mask:
        gap = (mask & -mask).bit_length() - 1
        mask >>= gap
        count = (~mask & (mask + 1)).bit_length() - 1
        yield first + gap, count
        mask >>= count
        first += gap + count


def mask_bytes(mask: int, size_bytes: int, block_size_bytes: int) -> int:
    """Bytes in the blocks of a bit mask, of a file of this size."""
    last = block_count(size_bytes, block_size_bytes) - 1
    if last < 0:
        return 0
    has_last = mask >> last & 1
    full = (mask & ((1 << last) - 1)).bit_count()
    return full * block_size_bytes + (has_last and block_length(last, size_bytes, block_size_bytes))
