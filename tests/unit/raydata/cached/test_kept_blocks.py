"""Blocks in a file of the cache come back as they were, and tables lie where the file does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raycache.errors import CorruptBlockError
from raycache.raydata.cached.kept_blocks import pack, unpack

TABLE = pa.table({"a": np.arange(1000), "b": [None, "text"] * 500, "c": [[1, 2], []] * 500})
BLOCKS: dict[str, list[Any]] = {
    "nothing": [],
    "a table": [TABLE],
    "tables of several schemas": [TABLE, pa.table({"z": [1.5]}), TABLE.slice(3, 5)],
    "no rows": [TABLE.slice(0, 0)],
    "no columns": [pa.table({})],
    "chunks": [pa.concat_tables([TABLE, TABLE])],
    "metadata": [TABLE.replace_schema_metadata({"k": "v"})],
    "dictionaries": [pa.table({"d": pa.array(["a", "b", "a"]).dictionary_encode()})],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_blocks_come_back(blocks: list[Any], compression: str | None) -> None:
    """Values, types, metadata and the bounds of blocks."""
    found = unpack(pa.py_buffer(pack(blocks, compression)))
    assert len(found) == len(blocks)
    for before, after in zip(blocks, found, strict=True):
        assert after.equals(before, check_metadata=True)


def test_frames_of_pandas_stay_what_they_are() -> None:
    """Also between tables; their columns may hold anything."""
    frame = pd.DataFrame({"a": [1, None], "b": [{"x": 1}, "y"]})
    found = unpack(pa.py_buffer(pack([TABLE, frame])))
    assert found[0].equals(TABLE)
    pd.testing.assert_frame_equal(found[1], frame)


def test_tables_are_not_copied() -> None:
    """What was not compressed is used where it lies."""
    file = pa.py_buffer(pack([TABLE]))
    (found,) = unpack(file)
    address = found["a"].chunk(0).buffers()[1].address
    assert file.address <= address < file.address + file.size
    assert address % 8 == 0


def test_what_is_no_such_file_is_said_to_be_corrupt() -> None:
    """A file without its table of blocks."""
    for content in (b"", b"x" * 100):
        with pytest.raises(CorruptBlockError):
            unpack(pa.py_buffer(content))
