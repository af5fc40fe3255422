"""Stores of every kind, and S3 storages before a server that misbehaves on order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from pyarrow import fs

from raycache.errors import NotFoundError
from raycache.testing.seaweed import SeaweedServer
from raycache.testing.stores.azurite import AzuriteServer
from raycache.testing.stores.fake_gcs import FakeGcsServer
from raycache.testing.stores.hdfs import HdfsServer
from raycache.ufs.arrow import ArrowStorage
from raycache.ufs.base import UnderStorage
from raycache.ufs.clouds.makers import open_azure, open_google
from raycache.ufs.faulty import FaultyStorage, scripted_plan
from raycache.ufs.local import LocalStorage
from raycache.ufs.memory import MemoryStorage
from raycache.ufs.open import open_storage
from raycache.ufs.s3.storage import S3Storage
from tests.support.exact_s3 import exact_s3
from tests.support.s3_wire import Wire
from tests.support.stores import KINDS, STORE_KINDS, StoreOfAKind, pages

Server = TypeVar("Server")


@pytest.fixture(scope="session")
def s3_exact() -> Iterator[UnderStorage]:
    """One for all tests: making S3 clients takes longer than most of them."""
    with exact_s3() as server:
        yield S3Storage("s3://exact", server.options())


@pytest.fixture(scope="session")
def s3_seaweed(s3_server: SeaweedServer) -> UnderStorage:
    """One bucket for all tests: a new one takes SeaweedFS longer than most of them."""
    return S3Storage(f"s3://{s3_server.make_bucket('conformance')}", s3_server.options())


@pytest.fixture(scope="session")
def gcs() -> Iterator[UnderStorage]:
    with other_store(FakeGcsServer()) as server:
        yield open_google(f"gs://{server.make_bucket('conformance')}", server.options())


@pytest.fixture(scope="session")
def azure() -> Iterator[UnderStorage]:
    with other_store(AzuriteServer()) as server:
        yield open_azure(f"abfs://{server.make_container('conformance')}", server.options())


@pytest.fixture(scope="session")
def hdfs() -> Iterator[UnderStorage]:
    with other_store(HdfsServer()) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield open_storage(server.root_uri, {})


@contextmanager
def other_store(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """A server of `make test-stores`; where its program is missing, what needs it is skipped."""
    try:
        with server as started:
            yield started
    except NotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(params=[*KINDS, *(pytest.param(kind, marks=pytest.mark.long) for kind in STORE_KINDS)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreOfAKind]:
    storage = _empty_storage(request, tmp_path)
    yield StoreOfAKind(request.param, storage)
    storage.close()
    storage.close()
    if not storage.has_directories:
        _sweep(storage, "")
    elif request.param == "hdfs":
        storage.remove_tree("")


def _sweep(storage: UnderStorage, prefix: str) -> None:
    """Delete everything, and the directories that SeaweedFS goes on listing when their objects are gone."""
    for page in pages(lambda token: storage.list(prefix, delimiter=True, token=token)):
        for below in page.prefixes:
            _sweep(storage, below)
        storage.delete([*(info.key for info in page.objects), *page.prefixes])


def _empty_storage(request: pytest.FixtureRequest, tmp_path: Path) -> UnderStorage:
    match request.param:
        case "memory":
            return MemoryStorage()
        case "faulty-idle":
            return FaultyStorage(MemoryStorage(), scripted_plan({}))
        case "local":
            return LocalStorage(root=tmp_path)
        case "arrow-local":
            return ArrowStorage(fs.LocalFileSystem(), "arrow://lake", base=f"{tmp_path}/")
        case "arrow-mock":
            mock = fs._MockFileSystem()
            mock.create_dir("lake")
            return ArrowStorage(mock, "mock://lake", base="lake/")
        case kind:
            return request.getfixturevalue(kind.replace("-", "_"))


@pytest.fixture(scope="session")
def wire_for_all() -> Iterator[Wire]:
    with exact_s3() as server:
        yield Wire(server, request_timeout_s=2)


@pytest.fixture
def wire(wire_for_all: Wire) -> Wire:
    """One server, and one storage that may have learnt from other tests; see `Wire.open`."""
    wire_for_all.reset()
    return wire_for_all
