"""The C allocator and the buffers of loads: kept from one request to the next while loads go on, given back after.

A block of some megabytes is otherwise taken from the kernel and returned to it for every request, and each of its pages
costs a fault; that is a tenth of what a load costs a worker. What is kept is at most what was on its way at a time. Only
with glibc; other allocators are left alone.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

#: Of `mallopt`, see malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES_MAX = 512 << 20
#: Larger ones are mapped and unmapped each time. More than this glibc may refuse.
_BUFFER_BYTES_MAX = 32 << 20


def keep_buffers() -> None:
    """From now on memory that is freed stays with this process."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _BUFFER_BYTES_MAX)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES_MAX)


def give_back() -> None:
    """Return what is free to the kernel. Takes some milliseconds for each 100 MB."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
