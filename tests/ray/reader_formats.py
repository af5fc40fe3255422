"""One small data set per reader, as (key, bytes) of objects; the same every time."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILES = 7
ROWS = 20


def table(index: int, rows: int = ROWS) -> pa.Table:
    """Rows of file `index`: `id` is unique in the data set, `file` is the index."""
    ids = np.arange(rows) + index * rows
    return pa.table({"id": ids, "file": np.full(rows, index), "name": [f"row-{i}" for i in ids]})


def parquet_file(index: int, rows: int = ROWS) -> bytes:
    target = io.BytesIO()
    pq.write_table(table(index, rows), target)
    return target.getvalue()


def _parquet() -> dict[str, bytes]:
    return {f"parquet/half={i % 2}/f{i}.parquet": parquet_file(i) for i in range(FILES)}


def _csv() -> dict[str, bytes]:
    return {f"csv/f{i}.csv": table(i).to_pandas().to_csv(index=False).encode() for i in range(FILES)}


def _json() -> dict[str, bytes]:
    return {f"json/f{i}.json": "\n".join(map(json.dumps, table(i).to_pylist())).encode() for i in range(FILES)}


def _text() -> dict[str, bytes]:
    return {f"text/f{i}.txt": "\n".join(table(i)["name"].to_pylist()).encode() for i in range(FILES)}


def _binary() -> dict[str, bytes]:
    return {f"binary/f{i}.bin": bytes([i]) * 1000 for i in range(FILES)}


def _numpy() -> dict[str, bytes]:
    found = {}
    for i in range(FILES):
        target = io.BytesIO()
        np.save(target, np.arange(12).reshape(4, 3) + 100 * i)
        found[f"numpy/f{i}.npy"] = target.getvalue()
    return found


def _images() -> dict[str, bytes]:
    from PIL import Image

    found = {}
    for i in range(FILES):
        target = io.BytesIO()
        Image.fromarray(np.full((8, 6, 3), i * 9, np.uint8)).save(target, "PNG")
        found[f"images/f{i}.png"] = target.getvalue()
    return found


def _webdataset() -> dict[str, bytes]:
    found = {}
    for i in range(FILES):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as archive:
            for j in range(3):
                text = f"sample {i} {j}".encode()
                member = tarfile.TarInfo(f"s{i}{j}.txt")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
        found[f"webdataset/f{i}.tar"] = target.getvalue()
    return found


def _avro() -> dict[str, bytes]:
    import fastavro

    fields = [{"name": "id", "type": "long"}, {"name": "file", "type": "long"}, {"name": "name", "type": "string"}]
    schema = fastavro.parse_schema({"type": "record", "name": "row", "fields": fields})
    found = {}
    for i in range(FILES):
        target = io.BytesIO()
        fastavro.writer(target, schema, table(i).to_pylist())
        found[f"avro/f{i}.avro"] = target.getvalue()
    return found


def _audio() -> dict[str, bytes]:
    import soundfile

    found = {}
    for i in range(FILES):
        target = io.BytesIO()
        soundfile.write(target, np.linspace(0, i / FILES, 400, dtype=np.float32), 8000, format="WAV")
        found[f"audio/f{i}.wav"] = target.getvalue()
    return found


MAKERS: list[Callable[[], dict[str, bytes]]] = [
    _parquet, _csv, _json, _text, _binary, _numpy, _images, _webdataset, _avro, _audio,
]  # fmt: skip


def all_formats() -> dict[str, bytes]:
    """Everything: key -> body."""
    return {key: body for make in MAKERS for key, body in make().items()}
