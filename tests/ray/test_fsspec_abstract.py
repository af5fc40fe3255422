"""fsspec's own conformance tests, through the cache, over a disk and over S3."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import fsspec.tests.abstract as abstract
import pytest

import raycache
from raycache.cache import Cache
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer

_number = itertools.count()


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    cache = raycache.start(memory="30MiB", disk="60MiB")
    yield cache
    raycache.stop()


@pytest.fixture(scope="module")
def disk(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cache.mount("/disk", f"file://{tmp_path_factory.mktemp('lake')}", readonly=False)
    yield "/disk"
    cache.unmount("/disk")


@pytest.fixture(scope="module")
def s3(cache: Cache, s3_server: SeaweedServer) -> Iterator[str]:
    options = {
        "endpoint_url": s3_server.endpoint_url,
        "access_key_id": s3_server.access_key,
        "secret_access_key": s3_server.secret_key,
    }
    bucket = s3_server.make_bucket("fsspec-abstract")
    cache.mount("/s3", f"s3://{bucket}/lake", options, readonly=False)
    yield "/s3"
    cache.unmount("/s3")
    s3_server.client().delete_bucket(Bucket=bucket)


class Fixtures(abstract.AbstractFixtures):
    """The cache as fsspec's tests want it: each test has one directory of a mount to itself."""

    @pytest.fixture
    def fs(self) -> RaycacheFileSystem:
        return RaycacheFileSystem()


class LocalFixtures(Fixtures):
    @pytest.fixture
    def fs_path(self, disk: str, fs: RaycacheFileSystem) -> str:
        path = f"{disk}/{next(_number)}"
        fs.mkdir(path)
        return path


class S3Fixtures(Fixtures):
    @pytest.fixture
    def fs_path(self, s3: str) -> str:
        return f"{s3}/{next(_number)}"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestCopyLocal(abstract.AbstractCopyTests, LocalFixtures):
    """Copying over a disk."""


class TestGetLocal(abstract.AbstractGetTests, LocalFixtures):
    """Getting from a disk."""


class TestPutLocal(abstract.AbstractPutTests, LocalFixtures):
    """Putting to a disk."""


class TestOpenLocal(abstract.AbstractOpenTests, LocalFixtures):
    """Opening on a disk."""


class TestPipeLocal(abstract.AbstractPipeTests, LocalFixtures):
    """Piping to a disk."""


class TestCopyS3(abstract.AbstractCopyTests, S3Fixtures):
    """Copying over S3."""


class TestGetS3(abstract.AbstractGetTests, S3Fixtures):
    """Getting from S3."""


class TestPutS3(abstract.AbstractPutTests, S3Fixtures):
    """Putting to S3."""


class TestOpenS3(abstract.AbstractOpenTests, S3Fixtures):
    """Opening on S3."""


class TestPipeS3(abstract.AbstractPipeTests, S3Fixtures):
    """Piping to S3."""
