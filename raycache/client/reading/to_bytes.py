"""Copies into `bytes`, for callers whose interface promises them.

Most of the cost of a large copy is the first touch of its new memory, page by page. Where the kernel gives huge pages
on request (`transparent_hugepage` at "madvise" or "always"), a request makes such a copy about twice as fast. `bytes` are made
empty and filled before anybody else sees them, as Python's C interface allows.
"""

from __future__ import annotations

import ctypes
import mmap

import pyarrow as pa

#: From here on huge pages pay, as measured: 2 MiB is one of them.
_LARGE_BYTES = 2 << 20
_MADV_HUGEPAGE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_new = ctypes.pythonapi.PyBytes_FromStringAndSize
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
_address = ctypes.pythonapi.PyBytes_AsString
_address.restype, _address.argtypes = ctypes.c_void_p, (ctypes.py_object,)
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def bytes_of(buffer: pa.Buffer) -> bytes:
    """A copy of a buffer."""
    size = buffer.size
    if size < _LARGE_BYTES or _MADV_HUGEPAGE is None:
        small: bytes = buffer.to_pybytes()
        return small
    copy: bytes = _new(None, size)
    start = _address(copy)
    page = -start % mmap.PAGESIZE
    # A hint: without huge pages it fails, and the copy is made all the same.
    _madvise(start + page, (size - page) & -mmap.PAGESIZE, _MADV_HUGEPAGE)
    ctypes.memmove(start, buffer.address, size)
    return copy
