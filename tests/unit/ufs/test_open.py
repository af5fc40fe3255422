"""Opening storages by URI."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from raycache.errors import InvalidRequestError, RaycacheError
from raycache.ufs.base import UnderStorage
from raycache.ufs.local import LocalStorage
from raycache.ufs.memory import MemoryStorage
from raycache.ufs.open import open_storage
from raycache.ufs.s3.storage import S3Storage

S3_OPTIONS = {"endpoint_url": "http://127.0.0.1:1", "access_key_id": "AKIAOPEN", "secret_access_key": "hidden words"}


@pytest.mark.parametrize(
    ("root_uri", "kind"), [("memory://x", MemoryStorage), ("file://", LocalStorage), ("s3://bucket", S3Storage)]
)
def test_by_scheme(root_uri: str, kind: type) -> None:
    """The scheme decides which storage it is, and all keep to the protocol."""
    storage = open_storage(root_uri, S3_OPTIONS if root_uri.startswith("s3") else {})
    assert isinstance(storage, kind)
    assert isinstance(storage, UnderStorage)
    assert storage.root_uri == root_uri


def test_shared() -> None:
    """The same authority and options give the same storage; other options another one."""
    first = open_storage("s3://bucket", S3_OPTIONS)
    assert first is open_storage("s3://bucket", dict(reversed(S3_OPTIONS.items())))
    assert first is open_storage("s3://bucket", {**S3_OPTIONS, "region": None})
    assert first is not open_storage("s3://bucket", {**S3_OPTIONS, "region": "eu-west-1"})
    assert first is not open_storage("s3://other", S3_OPTIONS)


def test_made_once_for_all_who_ask_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of a worker that meet a new bucket together make one client, not one each."""
    sessions: list[object] = []
    make_session = boto3.session.Session

    def counted(**arguments: Any) -> Any:
        sessions.append(make_session(**arguments))
        return sessions[-1]

    monkeypatch.setattr(boto3.session, "Session", counted)
    together = threading.Barrier(8)

    def open_it(_number: int) -> UnderStorage:
        together.wait(30)
        return open_storage("s3://together", S3_OPTIONS)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(open_it, range(8)))
    assert (1, 1) == (len(sessions), len({id(storage) for storage in found}))
    assert found[0] is open_storage("s3://together", S3_OPTIONS)


def test_memory_outlives_the_cache() -> None:
    """A lake in memory keeps its content however many other storages are opened."""
    open_storage("memory://kept").put("k", b"x")
    for n in range(100):
        open_storage(f"memory://other{n}")
    assert open_storage("memory://kept").head("k").size_bytes == 1


@pytest.mark.parametrize(
    ("root_uri", "options", "said"),
    [
        ("s3://bucket", {"wrong": 1}, "wrong"),
        ("file://", {"wrong": 1}, "wrong"),
        ("memory://x", {"wrong": 1}, "wrong"),
        ("gs://bucket", {"wrong": 1}, "wrong"),
        ("nosuch://x", {}, "nosuch"),
        ("nosuch://x", {"wrong": 1}, "wrong"),
        ("s3://bucket/key", {}, "s3://bucket"),
        ("s3a://bucket", {}, "s3://bucket"),
        ("s3://", {}, "bucket"),
        ("/lake", {}, "URI"),
    ],
)
def test_refused(root_uri: str, options: dict[str, object], said: str) -> None:
    """What cannot be opened is refused in one line that says what is wrong."""
    with pytest.raises(InvalidRequestError, match=said) as caught:
        open_storage(root_uri, options)
    assert "\n" not in str(caught.value)


def test_arrow_by_scheme(tmp_path: Path) -> None:
    """GCS is reached through pyarrow, below its bucket; making it sends nothing."""
    storage = open_storage("gs://bucket", {"anonymous": True})
    assert (storage.root_uri, storage.has_directories) == ("gs://bucket", False)


def test_hdfs_without_hadoop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Hadoop's libraries are missing, the error is one of ours."""
    monkeypatch.setenv("ARROW_LIBHDFS_DIR", "/nowhere")
    with pytest.raises(RaycacheError, match="hdfs://name-node:8020"):
        open_storage("hdfs://name-node:8020", {"user": "me"})
