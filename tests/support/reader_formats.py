"""One small data set per reader, as (key, bytes) of objects; the same every time."""

from __future__ import annotations

import inspect
import io
import json
import struct
import sys
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

FILES = 7
ROWS = 20

#: What Ray imports as TensorFlow where that is not installed; "" where it is.
TENSORFLOW_STAND_IN = "" if find_spec("tensorflow") else str(Path(__file__).resolve().parent / "stand_in")


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


def _tfrecords() -> dict[str, bytes]:
    return {f"tfrecords/f{i}.tfrecords": b"".join(map(_tfrecord, table(i).to_pylist())) for i in range(FILES)}


def _tfrecord(row: dict[str, int | str]) -> bytes:
    if TENSORFLOW_STAND_IN and TENSORFLOW_STAND_IN not in sys.path:
        sys.path.append(TENSORFLOW_STAND_IN)
    import tensorflow as tf

    example = tf.train.Example()
    features = example.features.feature
    features["id"].int64_list.value.append(row["id"])
    features["file"].int64_list.value.append(row["file"])
    features["name"].bytes_list.value.append(str(row["name"]).encode())
    features["halves"].float_list.value.extend([row["id"] / 2, -row["id"] / 2])
    body = example.SerializeToString(deterministic=True)
    length = struct.pack("<Q", len(body))
    return length + _masked_crc(length) + body + _masked_crc(body)


def _masked_crc(data: bytes) -> bytes:
    """CRC-32C, rotated and offset as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _videos() -> dict[str, bytes]:
    frames = np.arange(3 * 24 * 32 * 3).reshape(3, 24, 32, 3)
    return {f"videos/f{i}.avi": _avi(((frames + 9 * i) % 251).astype(np.uint8)) for i in range(FILES)}


def _avi(frames: np.ndarray, frames_per_s: int = 10) -> bytes:
    """An uncompressed video of `frames`: (number, height, width, RGB); decord wants a width that 32 divides."""

    def chunk(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    count, height, width, _ = frames.shape
    size_bytes = height * width * 3
    # The fields of AVIMAINHEADER, AVISTREAMHEADER and BITMAPINFOHEADER, in their order.
    main = struct.pack(
        "<14I", 1_000_000 // frames_per_s, 0, 0, 0x10, count, 0, 1, size_bytes, width, height, 0, 0, 0, 0
    )
    stream = struct.pack(
        "<4s12I4H", b"vids", 0, 0, 0, 0, 1, frames_per_s, 0, count, size_bytes, 0, 0, 0, 0, 0, width, height
    )
    bitmap = struct.pack("<Iii2H6I", 40, width, height, 1, 24, 0, size_bytes, 0, 0, 0, 0)
    header = chunk(
        b"LIST", b"hdrl", chunk(b"avih", main), chunk(b"LIST", b"strl", chunk(b"strh", stream), chunk(b"strf", bitmap))
    )
    # Rows from the bottom, blue first.
    images = [chunk(b"00db", frame[::-1, :, ::-1].tobytes()) for frame in frames]
    index = [struct.pack("<4s3I", b"00db", 0x10, 4 + i * len(images[0]), size_bytes) for i in range(count)]
    return chunk(b"RIFF", b"AVI ", header, chunk(b"LIST", b"movi", *images), chunk(b"idx1", *index))


MAKERS: list[Callable[[], dict[str, bytes]]] = [
    _parquet, _csv, _json, _text, _binary, _numpy, _images, _webdataset, _avro, _audio,
    _tfrecords, _videos,
]  # fmt: skip


def all_formats() -> dict[str, bytes]:
    """Everything: key -> body."""
    return {key: body for make in MAKERS for key, body in make().items()}


def running(runtime_env: dict[str, Any]) -> dict[str, Any]:
    """The arguments for it, which older releases of Ray Data take in another way."""
    known = inspect.signature(ray.data.read_tfrecords).parameters
    return {"runtime_env": runtime_env} if "runtime_env" in known else {"ray_remote_args": {"runtime_env": runtime_env}}
