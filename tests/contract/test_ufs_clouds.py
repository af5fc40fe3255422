"""GCS and Azure alone, on servers of `make test-stores`: what a read costs, keys that are no paths, parts, refusals."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from raycache.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from raycache.testing.proxy.proxy import Fault, FaultKind, S3Proxy
from raycache.testing.stores.azurite import AzuriteServer
from raycache.testing.stores.fake_gcs import FakeGcsServer
from raycache.ufs.clouds.cloud_storage import CloudStorage
from raycache.ufs.clouds.makers import open_azure, open_google
from tests.contract.conftest import other_store
from tests.support.stores import keys_of, version_of

pytestmark = pytest.mark.long

MIB = 1 << 20


@dataclasses.dataclass
class Cloud:
    """A server behind a proxy that counts."""

    proxy: S3Proxy
    #: open_in(container, **more): a storage there; with `part_size_bytes` in parts of that size.
    open_in: Callable[..., CloudStorage]
    storage: CloudStorage


def _gcs(stack: ExitStack) -> Cloud:
    server = FakeGcsServer()
    proxy = stack.enter_context(S3Proxy(server.endpoint_url))
    server.public_url = proxy.endpoint_url
    stack.enter_context(other_store(server))
    server.make_bucket("cloud")

    def open_in(name: str, *, part_size_bytes: int = 16 * MIB, **more: object) -> CloudStorage:
        return open_google(f"gs://{name}", server.options(**more), part_size_bytes=part_size_bytes)

    return Cloud(proxy, open_in, open_in("cloud"))


def _azure(stack: ExitStack) -> Cloud:
    server = AzuriteServer()
    proxy = stack.enter_context(S3Proxy(server.endpoint_url))
    server.public_url = proxy.endpoint_url
    stack.enter_context(other_store(server))
    server.make_container("cloud")

    def open_in(name: str, *, part_size_bytes: int = 16 * MIB, **more: object) -> CloudStorage:
        return open_azure(f"abfs://{name}", server.options(**more), part_size_bytes=part_size_bytes)

    return Cloud(proxy, open_in, open_in("cloud"))


CLOUDS = {"gcs": _gcs, "azure": _azure}


@pytest.fixture(scope="module", params=CLOUDS)
def started(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with ExitStack() as stack:
        yield CLOUDS[request.param](stack)


@pytest.fixture
def cloud(started: Cloud) -> Iterator[Cloud]:
    yield started
    started.proxy.inject()
    started.storage.delete([info.key for info in started.storage.list("").objects])


class TestReads:
    def test_a_read_is_one_exact_request(self, cloud: Cloud) -> None:
        """Each bound read is one request, and brings the bytes asked for and no other."""
        content = random.Random(0).randbytes(4 * MIB)
        version = version_of(cloud.storage, cloud.storage.put("d/large", content))
        cloud.proxy.reset()
        for offset, length in ((0, 4096), (MIB + 3, 2 * MIB), (4 * MIB - 1, 1)):
            assert content[offset : offset + length] == bytes(cloud.storage.read("d/large", offset, length, version))
        counted = cloud.proxy.counters()
        assert (3, 3) == (counted.requests, counted.data_requests)
        assert 4096 + 2 * MIB + 1 == counted.data_bytes

    def test_a_replacement_within_a_moment_is_seen(self, cloud: Cloud) -> None:
        """Of the same size, at once: the old version is a conflict, and the new one another version."""
        for number in range(10):
            old = cloud.storage.put("k", b"%04d" % number)
            new = cloud.storage.put("k", b"%04d" % (number + 1))
            assert old.etag != new.etag
            assert new == cloud.storage.head("k") == cloud.storage.list("k").objects[0]
            with pytest.raises(ConflictError):
                cloud.storage.read("k", 0, 4, version_of(cloud.storage, old))
            assert b"%04d" % (number + 1) == bytes(cloud.storage.read("k", 0, 4, version_of(cloud.storage, new)))

    def test_a_version_of_another_kind_of_store_is_none_here(self, cloud: Cloud) -> None:
        """An etag that no object has here is a conflict, not an odd error."""
        info = cloud.storage.put("k", b"abc")
        with pytest.raises(ConflictError):
            cloud.storage.read("k", 0, 3, version_of(cloud.storage, info)._replace(etag='"e"'))

    def test_passing_failures_are_retried(self, cloud: Cloud) -> None:
        """A read survives some refusals, and ends in an error when all are refused."""
        cloud.storage.put("k", bytes(range(20)))
        cloud.proxy.reset()
        cloud.proxy.inject(Fault(FaultKind.SLOW_DOWN, probability=0.3), seed=1)
        assert bytes(range(20)) == b"".join(bytes(cloud.storage.read("k", n, 1)) for n in range(20))
        counted = cloud.proxy.counters()
        assert counted.requests == 20 + counted.faults_injected > 20
        cloud.proxy.inject(Fault(FaultKind.SLOW_DOWN, probability=1.0), seed=1)
        with pytest.raises(UnavailableError, match="could not read"):
            cloud.open_in("cloud", retries_max=1).read("k", 0, 3)


class TestKeys:
    KEYS = ("a//b", "a/b", "/lead", "lead", "dir/", "dir/x", "sp ace//+%20?#")

    def test_keys_that_are_no_paths(self, cloud: Cloud) -> None:
        """Keys that differ only in slashes are different objects, for every operation."""
        for key in self.KEYS:
            cloud.storage.put(key, key.encode())
        assert sorted(self.KEYS) == keys_of(cloud.storage) == keys_of(cloud.storage, limit=2)
        for key in self.KEYS:
            info = cloud.storage.head(key)
            assert key.encode() == bytes(cloud.storage.read(key, 0, len(key), version_of(cloud.storage, info)))
        cloud.storage.copy("a//b", "c//d")
        assert bytes(cloud.storage.read("c//d", 1, 2)) == b"//"
        cloud.storage.delete(["a//b", "c//d", "dir/"])
        assert keys_of(cloud.storage, "a/") == ["a/b"]
        assert keys_of(cloud.storage, "dir/") == ["dir/x"]
        with pytest.raises(NotFoundError):
            cloud.storage.head("a//b")


class TestUploads:
    def test_in_parts(self, cloud: Cloud) -> None:
        """Pieces of any size become parts, and the object is whole and described as it stands."""
        storage = cloud.open_in("cloud", part_size_bytes=MIB)
        content = random.Random(1).randbytes(5 * MIB + 17)
        for size in (len(content), 4 * MIB):
            writer = storage.open_writer("w")
            for start in range(0, size, 700_000):
                writer.write(content[start : min(start + 700_000, size)])
            info = writer.close()
            assert info == storage.head("w")
            assert content[:size] == bytes(storage.read("w", 0, size, version_of(storage, info)))
        assert storage.put("p", content).size_bytes == len(content)
        assert bytes(storage.read("p", 5 * MIB, 17)) == content[-17:]

    def test_given_up(self, cloud: Cloud) -> None:
        """Nothing appears of an upload that is given up, and the old object stays."""
        storage = cloud.open_in("cloud", part_size_bytes=MIB)
        storage.put("w", b"old")
        writer = storage.open_writer("w")
        writer.write(bytes(3 * MIB))
        writer.abort()
        assert bytes(storage.read("w", 0, 3)) == b"old"
        with pytest.raises(InvalidRequestError):
            writer.write(b"x")


def test_a_missing_bucket_is_named(cloud: Cloud) -> None:
    """The message names the bucket rather than the key."""
    storage = cloud.open_in("no-such-one")
    for attempt in (lambda: storage.list(""), lambda: storage.head("k"), lambda: storage.read("k", 0, 1)):
        with pytest.raises(NotFoundError, match=r"bucket .*no-such-one.* does not exist"):
            attempt()
