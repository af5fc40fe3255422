"""Two of sixteen columns of parquet files, cold: how many bytes leave S3, beside those of the columns and the footers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

import raycache
from benchmarks.measure import Finding
from benchmarks.reading.stage import Stage
from raycache.cache import Cache
from raycache.testing.proxy.proxy import S3Proxy

BUCKET = "columns"
#: Every column is as large as a block, and none begins where one does.
FILES, COLUMNS, ROWS = 1, 16, 1 << 20
WANTED = ["column_03", "column_11"]
_MOST = 1.1
#: The length of the footer and the magic number stand behind the footer.
_TAIL_BYTES = 8


def measure(found: Stage, cache: Cache) -> list[Finding]:
    """Read the same columns in several ways, each from a copy of its own."""
    found.server.make_bucket(BUCKET)
    near = found.server.pyarrow_filesystem()
    least = _write(near)
    rows: list[Finding] = []
    with S3Proxy(found.server.endpoint_url) as proxy:
        cache.mount("/columns", f"s3://{BUCKET}", found.server.options(proxy.endpoint_url), metadata_ttl_s=3600)
        far, through = found.server.pyarrow_filesystem(proxy.endpoint_url), cache.filesystem()
        ways: dict[str, tuple[Callable[[str], int], float | None]] = {
            "raycache.read_parquet": (lambda path: _count(raycache.read_parquet(f"/{path}", columns=WANTED)), _MOST),
            "pyarrow on cache.filesystem()": (
                lambda path: pq.read_table(f"/{path}", columns=WANTED, filesystem=through).num_rows, _MOST,
            ),
            "pyarrow on S3 directly": (lambda path: pq.read_table(path, columns=WANTED, filesystem=far).num_rows, None),
        }  # fmt: skip
        for number, (name, (read, most)) in enumerate(ways.items()):
            proxy.reset()
            counted = read(f"{BUCKET}/{number}")
            if counted != FILES * ROWS:
                raise RuntimeError(f"{name}: {counted} rows instead of {FILES * ROWS}")
            passed = proxy.counters()
            share = passed.data_bytes / least
            figure = f"{share:.3f}x of {least / 1e6:.1f} MB, {passed.data_requests} requests"
            bound = f"<= {most}x" if most else ""
            what = f"2 of 16 columns, cold, {name}: bytes from S3"
            rows.append(Finding(what, figure, bound, share <= most if most else None))
    return rows


def _write(filesystem: pa.fs.FileSystem) -> int:
    """Write the copies; returns what has to be read of one."""
    least = 0
    for number in range(FILES):
        random = np.random.Generator(np.random.SFC64(number))
        table = pa.table({f"column_{i:02}": random.random(ROWS) for i in range(COLUMNS)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=ROWS, compression="none", use_dictionary=False)
        content = sink.getvalue()
        metadata = pq.read_metadata(pa.BufferReader(content))
        least += metadata.serialized_size + _TAIL_BYTES
        for group in range(metadata.num_row_groups):
            chunks = (metadata.row_group(group).column(i) for i in range(COLUMNS))
            least += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in WANTED)
        for copy in range(3):
            with filesystem.open_output_stream(f"{BUCKET}/{copy}/part-{number}.parquet") as target:
                target.write(content)
    return least


def _count(dataset: ray.data.Dataset) -> int:
    """Rows, with every column decoded: a mere count is answered by the footers."""
    counted = dataset.map_batches(lambda table: pa.table({"rows": [table.num_rows]}), batch_format="pyarrow")
    return sum(row["rows"] for row in counted.take_all())
