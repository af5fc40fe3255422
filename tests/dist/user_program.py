"""A program as users write them: a job that mounts a directory, warms it up, and reads it in several ways.

It runs against the installed package, and mypy checks it, strictly, against the types that the package brings.

    python user_program.py DIRECTORY

DIRECTORY holds `words.txt` and `rows/*.parquet` with a column `x`. The program prints one line of JSON, and serves the
dashboard until its standard input ends.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ray

import raycache


@ray.remote
def count_words(path: str) -> int:
    """A task: connects to the cache of its cluster, and reads there."""
    return len(raycache.connect().read(path).to_pybytes().split())


def read_everything(cache: raycache.Cache) -> dict[str, Any]:
    """Warm up, then read the same files as bytes, as a file object, as a filesystem, in a task, and as a dataset."""
    progress = cache.load(["/lake/words.txt", "/lake/rows"]).wait(timeout_s=60)
    with cache.open("/lake/words.txt") as file:
        first_line: bytes = file.readline()
    with cache.filesystem().open_input_file("/lake/words.txt") as native:
        size: int = native.size()
    near: dict[str, Any] = cache.near("/lake/words.txt")
    words: int = ray.get(count_words.options(**near).remote("/lake/words.txt"))
    dataset = raycache.read_parquet("/lake/rows", cache=cache, columns=["x"])
    stats = cache.stats()
    return {
        "loaded": progress.state,
        "entries": [(entry.name, entry.size_bytes) for entry in cache.ls("/lake", detail=True)],
        "bytes": cache.read("/lake/words.txt", 0, 5).to_pybytes().decode(),
        "first_line": first_line.decode(),
        "size": size,
        "words": words,
        "total": dataset.sum("x"),
        "complete": cache.check("/lake").complete,
        "hit_rate": stats.total.hit_rate,
        "nodes": len(stats.nodes),
    }


def main(directory: str) -> None:
    """Start a cache, and a Ray cluster on this machine for it."""
    cache = raycache.start(memory="64MiB", disk="off")
    try:
        cache.mount("/lake", f"file://{directory}")
        found = read_everything(cache)
        try:
            cache.read("/lake/missing")
        except raycache.NotFoundError as error:
            found["missing"] = str(error)
        url: str = raycache.start_dashboard(port=0)
        print(json.dumps({**found, "dashboard": url}), flush=True)
        sys.stdin.read()
    finally:
        raycache.stop()


if __name__ == "__main__":
    main(sys.argv[1])
