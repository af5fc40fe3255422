"""Whether a part of a block is read by pages: rules only.

Theory of operation. A block is large, so that whole files are cheap. But a reader that wants little of a file (two columns
of sixteen, a footer, an image out of an archive) would have all of it loaded. So parts of blocks that no worker is known
to hold are asked for in pages, as long as less than half of the block was ever wanted here. From then on the block is
loaded whole, and takes over what was there in pages. Files that are read from front to back, and small files, are always
loaded in blocks.
"""

from __future__ import annotations

from raycache.client.file_meta import FileMeta
from raycache.ranges import FIRST_PAGE, BlockRange, Grid

#: Files smaller than this part of a block are loaded whole.
_SMALL_FILE_PART = 8
#: Stands for all pages of a block.
_WHOLE = -1


def is_small(size_bytes: int, grid: Grid) -> bool:
    """Whether a file is so small that it is always read whole."""
    return size_bytes < grid.block_size_bytes // _SMALL_FILE_PART


def by_pages(meta: FileMeta, part: BlockRange, grid: Grid, *, goes_on: bool = False, begins: bool = True) -> bool:
    """Whether to ask for a part of a block by pages; remembers in `meta` what was wanted.

    Args:
        meta: of the file.
        part: of one of its blocks; not mapped here.
        grid: how files are cut.
        goes_on: the reader comes from the front of the file, or from a block that it has read in place.
        begins: the part is the first of its read. The end of one that reaches into another block (a column does) is no
            sign of going on.
    """
    size_bytes = meta.file.size_bytes
    if not grid.has_pages or is_small(size_bytes, grid) or size_bytes > FIRST_PAGE * grid.page_size_bytes:
        return False
    block, page_size_bytes = part.block_index, grid.page_size_bytes
    if meta.places.is_held(block):
        return False
    wanted = meta.trace.pages_wanted.get(block, 0)
    # A reader that has come to the end of a block that was loaded whole goes on.
    follows = (
        begins
        and part.offset == 0
        and block > 0
        and (meta.trace.pages_wanted.get(block - 1) == _WHOLE or meta.places.is_held(block - 1))
    )
    if wanted == _WHOLE or goes_on or follows:
        meta.trace.pages_wanted[block] = _WHOLE
        return False
    first = part.offset // page_size_bytes
    last = (part.offset + part.length - 1) // page_size_bytes
    wanted |= ((1 << (last - first + 1)) - 1) << first
    if 2 * wanted.bit_count() * page_size_bytes >= grid.length(block, size_bytes):
        wanted = _WHOLE
    meta.trace.pages_wanted[block] = wanted
    return wanted != _WHOLE
