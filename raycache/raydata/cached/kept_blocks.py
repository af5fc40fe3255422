"""How the blocks of a result lie in a file of the cache: each as a stream of Arrow IPC, one behind the other, and a table of them.

A block that is no Arrow table (pandas, where a transform gave that) is pickled, so that it comes back as what it was.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raycache.errors import CorruptBlockError

#: Where each block begins is a multiple of it, as Arrow wants its buffers.
_ALIGNMENT_BYTES = 64
_ARROW, _PICKLE = 0, 1
#: Behind the table: its length, and a mark.
_MARK = b"rck1"
_END_BYTES = 8 + len(_MARK)


class PackedBlock(NamedTuple):
    """One block in the file."""

    kind: int
    offset: int
    length: int


def pack(blocks: Sequence[Any], compression: str | None = None) -> npt.NDArray[np.uint8]:
    """Lay blocks out.

    Args:
        blocks: tables, or whatever can be pickled.
        compression: of Arrow IPC, "lz4" or "zstd"; None: none, so that blocks can be used where they lie.

    Returns:
        Shape (B,): the file.
    """
    options = pa.ipc.IpcWriteOptions(compression=compression)
    parts: list[tuple[int, Any, int]] = []
    for block in blocks:
        if isinstance(block, pa.Table) and compression is None:
            sink = pa.MockOutputStream()
            _write(block, sink, options)
            parts.append((_ARROW, block, sink.size()))
        elif isinstance(block, pa.Table):
            buffered = pa.BufferOutputStream()
            _write(block, buffered, options)
            written = buffered.getvalue()
            parts.append((_ARROW, written, written.size))
        else:
            pickled = pa.py_buffer(pickle.dumps(block, protocol=5))
            parts.append((_PICKLE, pickled, pickled.size))
    pieces: list[PackedBlock] = []
    end = 0
    for kind, _, length in parts:
        pieces.append(PackedBlock(kind, end, length))
        end += -(-length // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    table = np.array(pieces, dtype=np.int64).tobytes()
    whole = np.zeros(end + len(table) + _END_BYTES, dtype=np.uint8)
    for piece, (_, content, _) in zip(pieces, parts, strict=True):
        place = whole[piece.offset : piece.offset + piece.length]
        if isinstance(content, pa.Table):
            _write(content, pa.FixedSizeBufferWriter(pa.py_buffer(place)), options)
        else:
            place[:] = np.frombuffer(content, dtype=np.uint8)
    tail = table + len(pieces).to_bytes(8, "little") + _MARK
    whole[end:] = np.frombuffer(tail, dtype=np.uint8)
    return whole


def _write(block: pa.Table, sink: Any, options: Any) -> None:
    with pa.ipc.new_stream(sink, block.schema, options=options) as writer:
        writer.write_table(block)


def unpack(whole: pa.Buffer) -> list[Any]:
    """The blocks of a file; tables lie in its memory, unless they were compressed.

    Raises:
        CorruptBlockError: it is none.
    """
    size = whole.size
    if size < _END_BYTES or whole.slice(size - len(_MARK)).to_pybytes() != _MARK:
        raise CorruptBlockError("a kept result has no table of blocks; it is made again")
    count = int.from_bytes(whole.slice(size - _END_BYTES, 8).to_pybytes(), "little")
    start = size - _END_BYTES - count * 24
    rows = np.frombuffer(whole.slice(start, count * 24), dtype=np.int64).reshape(count, 3)
    return [_block(kind, whole.slice(offset, length)) for kind, offset, length in rows.tolist()]


def _block(kind: int, content: pa.Buffer) -> Any:
    if kind == _PICKLE:
        return pickle.loads(content)  # what a task of this cache has written
    return pa.ipc.open_stream(content).read_all()
