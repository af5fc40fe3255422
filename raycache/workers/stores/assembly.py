"""A segment that arrived in several pieces, put into the object store without being put together first.

Theory of operation. Ray lays the out-of-band buffers of one object one behind the other in the object store, and copies
each there itself. Those whose sizes are multiples of its alignment leave no gaps: so pieces of whole blocks become one
run of memory with one copy, and a reader gets it as one array. The reader looks at the addresses; where there are gaps
after all, it copies.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Shape (size_bytes,), uint8.
Bytes: TypeAlias = npt.NDArray[np.uint8]

#: Of buffers from 2 KiB on, in Ray's object store.
ALIGNMENT_BYTES = 64
#: Every process that reads the segment puts them together again.
PIECES_MAX = 16


class Pieces:
    """What a segment consists of, in order; pickled, it is read as one array."""

    def __init__(self, parts: Sequence[Bytes]) -> None:
        self.parts = parts

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return as_one_array, tuple(pickle.PickleBuffer(part.data) for part in self.parts)


def joinable(sizes_bytes: Sequence[int]) -> bool:
    """Whether pieces of these sizes lie one behind the other without gaps in the object store, and are few."""
    return len(sizes_bytes) <= PIECES_MAX and all(size % ALIGNMENT_BYTES == 0 for size in sizes_bytes[:-1])


def as_one_array(*buffers: Any) -> Bytes:
    """One array over consecutive buffers, without a copy if there is no gap between them; read-only then."""
    parts = [pa.py_buffer(buffer) for buffer in buffers]
    end = parts[0].address
    for part in parts:
        if part.address != end:
            return np.concatenate([np.frombuffer(part, dtype=np.uint8) for part in parts])
        end += part.size
    whole = pa.foreign_buffer(parts[0].address, end - parts[0].address, base=parts)
    return np.frombuffer(whole, dtype=np.uint8)
