"""An S3 server on a host, and data in it: functions for an `Interpreter` there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raycache.testing.seaweed import SeaweedServer

_server: SeaweedServer | None = None


def serve(address: str, bucket: str) -> dict[str, str]:
    """Start the server, with an empty bucket; returns mount options that reach it from all hosts."""
    global _server  # noqa: PLW0603  # it lives as long as the process
    _server = SeaweedServer(address=address)
    _server.start()
    _server.make_bucket(bucket)
    return _server.options()


def put_parquet(bucket: str, prefix: str, files: int, rows: int, seed: int = 0) -> dict[str, Any]:
    """Write parquet files of random numbers, uncompressed; returns what reading them must give.

    Returns:
        `rows` and `total`, the sum of the column `value`, over all files; `bytes` in the store.
    """
    assert _server is not None, "call serve() first"
    client, total, stored_bytes = _server.client(), 0, 0
    for number in range(files):
        random = np.random.default_rng((seed, number))
        values = random.integers(0, 1 << 30, rows)
        total += int(values.sum())
        columns = {"id": np.arange(rows) + number * rows, "value": values, "x": random.random(rows)}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink, compression="none", use_dictionary=False)
        data = sink.getvalue().to_pybytes()
        stored_bytes += len(data)
        client.put_object(Bucket=bucket, Key=f"{prefix}/part-{number:04}.parquet", Body=data)
    return {"rows": files * rows, "total": total, "bytes": stored_bytes}
