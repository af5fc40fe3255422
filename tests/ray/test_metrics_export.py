"""What Ray's own metrics endpoint really exports of the cache."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable

import ray
from lake import Lake, content

import raycache
from raycache.messages import ReadCounters, WorkerStats
from raycache.metrics import METRICS, samples
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

_TIMEOUT_S = 60.0


def exported() -> str:
    """The metrics pages of all nodes."""
    pages = []
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            pages.append(answer.read().decode())
    return "\n".join(pages)


def test_metrics_arrive_at_rays_endpoint(make_cluster: Callable[..., LocalCluster], s3_server: SeaweedServer) -> None:
    """Names, labels and values are those of the table and of `stats`; a series that is 0 need not be there."""
    # One of its own: Ray goes on to export what workers of earlier caches have counted.
    make_cluster(nodes=1)
    cache = raycache.start(memory="60MiB", disk="off")
    try:
        with S3Proxy(s3_server.endpoint_url) as proxy:
            lake = Lake.make(s3_server, proxy)
            for number in range(8):
                lake.put(f"a/{number}", content(number, 1000))
            cache.mount("/exported", lake.uri, lake.options)
            for _ in range(2):
                cache.read_many([f"/exported/a/{number}" for number in range(8)])
            total = cache.stats().total
            assert (8, 8) == (total.hits, total.misses)
            deadline = time.monotonic() + _TIMEOUT_S
            pause = threading.Event()
            found: dict[str, float] = {}
            while found.get("raycache_blocks_hit_total", 0) < total.hits:
                assert time.monotonic() < deadline, f"only {found} arrived"
                pause.wait(0.5)
                found = _sums(exported())
            assert 8 == found["raycache_blocks_miss_total"]
            assert total.memory_used_bytes == found['raycache_tier_used_bytes{tier="memory"}']
            always = {m.name for m in METRICS if m.kind == "gauge"} | {
                "raycache_read_latency_seconds_count", "raycache_load_latency_seconds_count", "raycache_load_bytes_total",
            }  # fmt: skip
            assert always <= set(found)
            known = {s.name for s in samples(ReadCounters(), WorkerStats())}
            ends = ("_bucket", "_sum", "_count")
            known |= {m.name + end for m in METRICS if m.kind == "histogram" for end in ends}
            assert {name for name in found if "{" not in name} <= known
    finally:
        raycache.stop()


def _sums(page: str) -> dict[str, float]:
    """Sum per metric, and per metric and tier."""
    sums: dict[str, float] = {}
    for line in page.splitlines():
        if line.startswith("ray_raycache_"):
            name, _, rest = line.removeprefix("ray_").partition("{")
            value = float(line.rpartition(" ")[2])
            sums[name] = sums.get(name, 0) + value
            for tier in ("memory", "disk"):
                if f'tier="{tier}"' in rest:
                    key = f'{name}{{tier="{tier}"}}'
                    sums[key] = sums.get(key, 0) + value
    return sums
