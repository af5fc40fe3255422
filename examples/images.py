"""Two passes over a folder of small images, which are decoded once: the decoded ones are kept by the cache.

    python examples/images.py [--images 400] [--passes 2]

Small files are packed into segments, so a node that has mapped one reads hundreds of images without a call. What is made of
them is kept in groups; the second pass decodes nothing, and what comes behind `cached` is run in each. Everything runs on this
machine: an S3 server, a proxy that counts what S3 is asked for, two Ray nodes, the cache.
"""

from __future__ import annotations

import argparse
import io
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import ray
from PIL import Image
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import connected_or_local
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer


def picture(index: int, side: int = 64) -> bytes:
    """A gradient with noise; another one for each index."""
    draw = np.random.default_rng(index)
    gradient = np.linspace(0, 200, side)[:, None, None] + draw.integers(0, 55, (side, side, 3))
    target = io.BytesIO()
    Image.fromarray(gradient.astype(np.uint8)).save(target, "JPEG")
    return target.getvalue()


def brightness(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stands for an encoder: one number an image."""
    return {"brightness": batch["image"].astype(np.float32).mean(axis=(1, 2, 3))}


def main(arguments: Sequence[str] | None = None) -> list[int]:
    """Run it; returns how many reads each pass sent to S3."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--passes", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    table = Table(
        "pass", "seconds", "images", "mean brightness", "S3 reads", "S3 MB", "groups decoded", title="Images, 2 nodes"
    )
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        bucket = server.make_bucket("pictures")
        client = server.client()
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(
                lambda i: client.put_object(Bucket=bucket, Key=f"all/{i:05d}.jpg", Body=picture(i)),
                range(options.images),
            ):
                pass
        with connected_or_local(nodes=2):
            ray.data.DataContext.get_current().enable_progress_bars = False
            cache = raycache.start(memory="40%", disk="256MiB")
            cache.mount("/pictures", f"s3://{bucket}", options=server.options(proxy.endpoint_url))
            # Ray Data's own processes start at its first use, seconds that are not the cache's: not timed below.
            ray.data.range(30, override_num_blocks=6).map_batches(lambda batch: batch).materialize()
            s3_reads: list[int] = []
            for number in range(1, options.passes + 1):
                proxy.reset()
                decoded = sum(row.made for row in cache.cached_datasets())
                started = time.perf_counter()
                dataset = raycache.cached(raycache.read_images("/pictures/all", cache=cache, size=(48, 48), mode="RGB"))
                found = dataset.map_batches(brightness, batch_size=64).to_pandas()["brightness"]
                seconds, counters = time.perf_counter() - started, proxy.counters()
                s3_reads.append(counters.data_requests)
                table.add_row(
                    str(number),
                    f"{seconds:.2f}",
                    str(len(found)),
                    f"{found.mean():.3f}",
                    str(counters.data_requests),
                    f"{counters.data_bytes / 1e6:.2f}",
                    str(sum(row.made for row in cache.cached_datasets()) - decoded),
                )
            raycache.stop()
    Console().print(table)
    return s3_reads


if __name__ == "__main__":
    main()
