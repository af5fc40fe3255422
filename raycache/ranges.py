"""Arithmetic of byte ranges and blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from raycache.errors import InvalidRequestError


class BlockRange(NamedTuple):
    """The part of one block that a read wants."""

    block_index: int
    #: Within the block.
    offset: int
    length: int


def clip(offset: int, size: int | None, file_size_bytes: int) -> tuple[int, int]:
    """Clip a request to a file, as POSIX `pread` does.

    Args:
        offset: >= 0; past the end gives an empty range.
        size: bytes wanted; None means to the end. >= 0.
        file_size_bytes: size of the file.

    Returns:
        (offset, length), length >= 0 and within the file.

    Raises:
        InvalidRequestError: a negative offset or size.
    """
    if offset < 0:
        raise InvalidRequestError(f"offset {offset} is negative; give 0 or more")
    if size is not None and size < 0:
        raise InvalidRequestError(f"size {size} is negative; give 0 or more, or None for the rest of the file")
    offset = min(offset, file_size_bytes)
    rest = file_size_bytes - offset
    return offset, rest if size is None else min(size, rest)


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
