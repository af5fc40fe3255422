"""What the tests of both filesystems share: one cache, a lake in S3 behind a counting proxy, a lake on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    # Stock V2 spends its time starting footer actors; both go through the same filesystem.
    ray.data.DataContext.get_current().use_datasource_v2 = False
    cache = raycache.start(
        memory="60MiB", disk="100MiB", block_size_bytes=MIB, segment_size_bytes=8 * MIB, extent_size_bytes=8 * MIB
    )
    yield cache
    raycache.stop()


@pytest.fixture(scope="module")
def lake(s3_server: SeaweedServer, proxy: S3Proxy) -> Lake:
    return Lake.make(s3_server, proxy)


@pytest.fixture
def s3(cache: Cache, lake: Lake, request: pytest.FixtureRequest) -> Iterator[str]:
    """A directory of its own for each test, on a mount that may be written."""
    cache.mount("/s3", lake.uri, lake.options, metadata_ttl_s=600, readonly=False)
    yield f"/s3/{request.node.originalname}"
    cache.unmount("/s3", force=True)


@pytest.fixture
def disk(cache: Cache, tmp_path: Path) -> Iterator[str]:
    cache.mount("/disk", f"file://{tmp_path}", metadata_ttl_s=600, readonly=False)
    yield "/disk"
    cache.unmount("/disk", force=True)


@pytest.fixture(params=["s3", "disk"])
def place(request: pytest.FixtureRequest) -> str:
    """A writable directory, once on S3 and once on a disk."""
    path: str = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def fs() -> RaycacheFileSystem:
    return RaycacheFileSystem()


@pytest.fixture
def data(fs: RaycacheFileSystem, s3: str) -> tuple[str, bytes]:
    """A file of more than two blocks, and its bytes."""
    whole = content(5, 2 * MIB + 4321)
    fs.pipe(f"{s3}/data", whole)
    return f"{s3}/data", whole
