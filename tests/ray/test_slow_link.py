"""A link to the lake that is slow and never stalls: everything arrives, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20
SIZE = 3 * MIB


@pytest.fixture
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    """Its time-outs are a fraction of what a file takes."""
    yield raycache.start(memory="32MiB", disk="off", block_size_bytes=MIB, worker_timeout_s=1.0)
    raycache.stop()


def test_nothing_is_asked_for_twice(cache: Cache, s3_server: SeaweedServer) -> None:
    """A load and a read take several time-outs of requests and of calls, and bring each byte once."""
    with S3Proxy(s3_server.endpoint_url) as proxy:
        lake = Lake.make(s3_server, proxy)
        for number in range(3):
            lake.put(str(number), content(number, SIZE))
        cache.mount("/slow", lake.uri, {**lake.options, "request_timeout_s": 1.0}, metadata_ttl_s=600)
        proxy.shape(total_bytes_per_s=1.5e6)
        proxy.reset()
        progress = cache.load(["/slow/0", "/slow/1"]).wait(timeout_s=60)
        assert (progress.state, progress.failures) == ("SUCCEEDED", ())
        assert cache.read("/slow/2").to_pybytes() == content(2, SIZE)
        proxy.shape()
        counters = proxy.counters()
        assert (counters.data_bytes, counters.data_requests) == (3 * SIZE, 9)
        cache.unmount("/slow", force=True)
