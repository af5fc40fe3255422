"""Real Ray clusters: one for the whole run, and private ones for tests that kill nodes.

A process is a driver of one cluster at a time. While a private cluster lives, the shared one goes on without its driver,
and what was held from it (a `Cache`, references) is dead afterwards; so tests with private clusters run last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

#: Of Ray's own reader of parquet, which rows are compared with: it starts 32 for each read otherwise, a process each.
os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "make_cluster" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes, shared: leave it as you found it. You may add nodes and remove those you added."""
    with LocalCluster(nodes=3) as shared:
        yield shared


@pytest.fixture(scope="module")
def proxy(s3_server: SeaweedServer) -> Iterator[S3Proxy]:
    """A counting proxy before the S3 server, one for each module."""
    with S3Proxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def make_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., LocalCluster]]:
    """Start a private cluster, with the arguments of `LocalCluster`; it ends with the test. One at a time."""
    shared: LocalCluster | None = None
    if ray.is_initialized():
        shared = request.getfixturevalue("cluster")
        shared.disconnect()
    started: list[LocalCluster] = []

    def make(**arguments: Any) -> LocalCluster:
        private = LocalCluster(**arguments)
        started.append(private)
        private.start()
        return private

    yield make
    for private in started:
        private.stop()
    if shared is not None:
        shared.connect()
