"""A lake of parquet files with everything a reader may meet, as (key, bytes); the same every time."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ray.data.extensions import ArrowTensorArray

FILES = 6
ROWS = 40


def content(table: pa.Table, **options: Any) -> bytes:
    """A file of this table, with row groups of ten rows."""
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=10, **options)
    return sink.getvalue()


def plain(index: int, rows: int = ROWS) -> pa.Table:
    """`id` is unique in the data set and ascends with the files."""
    ids = np.arange(rows) + index * rows
    return pa.table({"id": ids, "file": np.full(rows, index), "name": [f"row-{i:05d}" for i in ids], "half": ids / 2})


def objects() -> dict[str, bytes]:
    """All of them."""
    found = {f"plain/f{i}.parquet": content(plain(i)) for i in range(FILES)}
    found |= {
        "plain/_temporary/f.parquet": content(plain(90)),
        "plain/.hidden.parquet": content(plain(91)),
        "plain/notes.txt": b"no parquet",
        "plain/deep/er/f.parquet": content(plain(FILES)),
        "plain/nothing.parquet": b"",
    }
    # Values that paths encode, and one that is missing.
    for i, city in enumerate(("Z%C3%BCrich", "a%20b", "1%2F2", "__HIVE_DEFAULT_PARTITION__")):
        found[f"hive/year={2020 + i}/city={city}/f.parquet"] = content(plain(i))
    nested = pa.table(
        {
            "id": range(20),
            "point": [{"x": i, "tags": [str(i)] * (i % 3)} for i in range(20)],
            "list": [list(range(i % 4)) for i in range(20)],
            "code": pa.array([f"c{i % 3}" for i in range(20)]).dictionary_encode(),
            "none": pa.nulls(20, pa.int32()),
        }
    )
    found["nested/f.parquet"] = content(nested)
    tensors = ArrowTensorArray.from_numpy(np.arange(60).reshape(20, 3))
    found["tensors/f.parquet"] = content(pa.table({"id": range(20), "t": tensors}))
    # A column that only later files have, one of another type, and one that is null in the first.
    found |= {
        "evolved/a.parquet": content(
            pa.table({"id": [0, 1], "null": pa.nulls(2), "wide": pa.array([1, 2], pa.int32())})
        ),
        "evolved/b.parquet": content(
            pa.table({"id": [2, 3], "null": ["x", "y"], "wide": pa.array([3, 4], pa.int64())})
        ),
        "evolved/c.parquet": content(pa.table({"id": [4], "later": [1.5]})),
    }
    empty = io.BytesIO()
    pq.ParquetWriter(empty, plain(0).schema).close()
    found |= {
        "empty/a.parquet": content(plain(0)),
        "empty/no_groups.parquet": empty.getvalue(),
        "empty/no_rows.parquet": content(plain(0, 0)),
    }
    return found | {"corrupt/a.parquet": content(plain(0)), "corrupt/b.parquet": content(plain(1))[:-3] + b"oops"}
