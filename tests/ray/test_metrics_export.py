"""What Ray's own metrics endpoint really exports of the cache."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Callable

import ray

import raycache
from raycache.messages import RAY_NAMESPACE
from raycache.metrics import METRICS
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

_TIMEOUT_S = 90.0
#: By metric: (labels, value) each.
Series = dict[str, list[tuple[dict[str, str], float]]]


def exported() -> str:
    """The metrics pages of all nodes."""
    pages = []
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            pages.append(answer.read().decode())
    return "\n".join(pages)


@ray.remote
def read_all(paths: list[str]) -> str:
    """Read some files in a job's task; returns the job's id, once the counts are delivered."""
    cache = raycache.connect()
    cache.read_many(paths)
    cache.stats()
    return str(ray.get_runtime_context().get_job_id())


def test_metrics_arrive_at_rays_endpoint(make_cluster: Callable[..., LocalCluster], s3_server: SeaweedServer) -> None:
    """Names, labels and values are those of the table and of `stats`; a restart of the worker makes no new series."""
    # One of its own: Ray goes on to export what workers of earlier caches have counted.
    make_cluster(nodes=1)
    cache = raycache.start(memory="60MiB", disk="off")
    try:
        with S3Proxy(s3_server.endpoint_url) as proxy:
            lake = Lake.make(s3_server, proxy)
            for number in range(8):
                lake.put(f"a/{number}", content(number, 1000))
            cache.mount("/exported", lake.uri, lake.options)
            cache.mount("/again", f"{lake.uri}/a", lake.options)
            paths = [f"/exported/a/{number}" for number in range(8)]
            for _ in range(2):
                cache.read_many(paths)
            (job,) = {ray.get(read_all.remote(paths), timeout=60), str(ray.get_runtime_context().get_job_id())}
            cache.read_many([f"/again/{number}" for number in range(3)])
            total = cache.stats().total
            assert (8 + 8 + 3, 8) == (total.hits, total.misses)
            read = {("/exported", job): 16, ("/again", job): 3}
            found = wait_for(lambda found: read == by_mount_and_job(found, "raycache_blocks_hit_total"))
            # All three are there, also what is 0: else a rate of hits could not be told.
            for name, values in (("miss", [8, 0]), ("bypass", [0, 0])):
                assert dict(zip(read, values, strict=True)) == by_mount_and_job(found, f"raycache_blocks_{name}_total")
            assert {("cold", "/exported", job): 8} == {
                (labels["reason"], labels["mount"], labels["job"]): value
                for labels, value in found["raycache_blocks_missed_total"]
            }
            assert total.bytes_memory + total.bytes_ufs == sum(v for _, v in found["raycache_bytes_read_total"])
            assert {"memory": 16_000 + 3_000, "ufs": 8_000} == {
                source: sum(v for labels, v in found["raycache_bytes_read_total"] if labels["source"] == source)
                for source in {labels["source"] for labels, _ in found["raycache_bytes_read_total"]}
            }
            # Loaded with the options of the longest mounted URI.
            assert [({"mount": "/again"}, 8_000)] == [
                ({"mount": labels["mount"]}, value) for labels, value in found["raycache_load_bytes_total"]
            ]
            assert total.ufs_requests == sum(v for _, v in found["raycache_ufs_requests_total"])
            used = {labels["tier"]: value for labels, value in found["raycache_tier_used_bytes"]}
            assert {"memory": total.memory_used_bytes, "disk": 0} == used
            always = {m.name for m in METRICS if m.kind == "gauge"} | {
                "raycache_read_latency_seconds_count", "raycache_load_latency_seconds_count", "raycache_load_bytes_total",
            }  # fmt: skip
            assert always <= set(found)
            labels_of = {m.name: set(m.labels) for m in METRICS}
            for name, series in found.items():
                metric = next(
                    name.removesuffix(end)
                    for end in ("_bucket", "_sum", "_count", "")
                    if name.removesuffix(end) in labels_of
                )
                assert all(set(labels) == labels_of[metric] | {"le"} & set(labels) for labels, _ in series), name

            (worker,) = cache.client.refresh_view().workers
            pid = ray.get(
                ray.get_actor(worker.actor_name, namespace=RAY_NAMESPACE).__ray_call__.remote(lambda _: os.getpid())
            )
            os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda: (
                    worker.epoch not in {w.epoch for w in cache.client.refresh_view().workers}
                    and bool(cache.client.locator.view.workers)
                )
            )
            cache.read_many(paths)
            cache.stats()

            def only_new(now: Series) -> bool:
                # Ray shows what the dead one said for a while yet.
                hits, misses = (by_mount_and_job(now, f"raycache_blocks_{name}_total") for name in ("hit", "miss"))
                return hits.get(("/exported", job), 0) + misses.get(("/exported", job), 0) == 8

            again = wait_for(only_new)
            assert {("/exported", job)} == set(by_mount_and_job(again, "raycache_blocks_hit_total"))
            for name, series in again.items():
                old = {labels_key(labels) for labels, _ in found.get(name, series)}
                assert {labels_key(labels) for labels, _ in series} <= old, name
    finally:
        raycache.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {_TIMEOUT_S:g} s"
        pause.wait(0.2)


def wait_for(good: Callable[[Series], bool]) -> Series:
    """The series at Ray's endpoint, once they are as wanted."""
    found: Series = {}

    def look() -> bool:
        nonlocal found
        found = series_of(exported())
        return good(found)

    wait_until(look)
    return found


def series_of(page: str) -> Series:
    """By metric its series: (labels of ours, value)."""
    ours = {label for metric in METRICS for label in metric.labels} | {"le"}
    found: Series = {}
    for line in page.splitlines():
        if line.startswith("ray_raycache_"):
            name, _, rest = line.removeprefix("ray_").partition("{")
            text, _, value = rest.rpartition("} ")
            labels = {key: value for key, value in re.findall(r'(\w+)="([^"]*)"', text) if key in ours}
            found.setdefault(name, []).append((labels, float(value)))
    return found


def labels_key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def by_mount_and_job(found: Series, name: str) -> dict[tuple[str, str], float]:
    """Sums over everything else."""
    sums: dict[tuple[str, str], float] = {}
    for labels, value in found.get(name, []):
        key = labels["mount"], labels["job"]
        sums[key] = sums.get(key, 0) + value
    return sums
