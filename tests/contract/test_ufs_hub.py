"""Repositories of the Hugging Face Hub: found, listed and read by its own client, each read one exact request at a commit."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from raycache.clock import ManualClock
from raycache.errors import ConflictError, DeniedError, InvalidRequestError, NotFoundError, UnavailableError
from raycache.types import FileKind, FileVersion
from raycache.ufs.open import open_storage
from raycache.ufs.trees import what_stands
from raycache.ufs.web.hub_storage import HubStorage
from tests.support.hub import NAME, TOKEN, Hub
from tests.support.stores import version_of

BIG = bytes(range(256)) * 16
ROOT = "hf://datasets"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with Hub() as hub:
        hub.commit(README_dot_md=b"hello", train__0_dot_bin=BIG, train__deep__1_dot_bin=b"one")
        yield hub


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def storage(hub: Hub, clock: ManualClock) -> HubStorage:
    return HubStorage(ROOT, {"endpoint_url": hub.url, "token": TOKEN, "retries_max": 1}, clock=clock)


def key(path: str) -> str:
    return f"{NAME}/{path}"


def test_files_and_directories(storage: HubStorage) -> None:
    """Described with sizes and digests, listed flat, by page and by level; what is missing is missing."""
    assert (4096, 5) == (storage.head(key("train/0.bin")).size_bytes, storage.head(key("README.md")).size_bytes)
    names = [key(path) for path in ("README.md", "train/0.bin", "train/deep/1.bin")]
    listed = storage.list(f"{NAME}/")
    assert names == [item.key for item in listed.objects]
    assert [storage.head(name) for name in names] == listed.objects
    first = storage.list(f"{NAME}/", limit=2)
    assert names[2:] == [item.key for item in storage.list(f"{NAME}/", token=first.next_token).objects]
    level = storage.list(key("train/"), delimiter=True)
    assert ([names[1]], [key("train/deep/")]) == ([item.key for item in level.objects], level.prefixes)
    assert FileKind.DIRECTORY is what_stands(storage, key("train")).kind
    assert FileKind.MISSING is what_stands(storage, key("none")).kind
    assert [] == storage.list(key("none/")).objects
    for missing in (key("none"), key("train"), NAME, "owner/none/x", "owner"):
        with pytest.raises(NotFoundError):
            storage.head(missing)


def test_a_read_is_one_exact_request(hub: Hub, storage: HubStorage) -> None:
    """From the store that the Hub names, at a commit, once it is known where the file stands."""
    version = version_of(storage, storage.head(key("train/0.bin")))
    assert BIG[:3] == bytes(storage.read(key("train/0.bin"), 0, 3, version))
    hub.seen.clear()
    assert BIG[5:1000] == bytes(storage.read(key("train/0.bin"), 5, 995, version))
    assert [
        f"GET /datasets/{NAME}/resolve/{hub.main}/train/0.bin bytes=5-999",
        f"GET /stored/{hub.main}/train/0.bin bytes=5-999",
    ] == hub.seen


def test_a_revision_that_moves_on_mixes_nothing(hub: Hub, storage: HubStorage, clock: ManualClock) -> None:
    """A second later at most, who reads on hears that the file is another by now; what has not changed is read on."""
    old, kept = (version_of(storage, storage.head(key(path))) for path in ("train/0.bin", "README.md"))
    assert BIG[:3] == bytes(storage.read(key("train/0.bin"), 0, 3, old))
    assert b"he" == bytes(storage.read(key("README.md"), 0, 2, kept))
    hub.commit(train__0_dot_bin=BIG[::-1])
    assert BIG[3:6] == bytes(storage.read(key("train/0.bin"), 3, 3, old))
    elsewhere = HubStorage(ROOT, {"endpoint_url": hub.url})
    clock.advance(1.0)
    for reader in (storage, elsewhere):
        with pytest.raises(ConflictError):
            reader.read(key("train/0.bin"), 3, 3, old)
    assert b"llo" == bytes(storage.read(key("README.md"), 2, 3, kept))
    new = version_of(storage, storage.head(key("train/0.bin")))
    assert old.etag != new.etag
    assert BIG[::-1][:3] == bytes(storage.read(key("train/0.bin"), 0, 3, new))
    assert BIG[::-1][:3] == bytes(elsewhere.read(key("train/0.bin"), 0, 3))


def test_a_revision_may_be_named(hub: Hub, storage: HubStorage) -> None:
    """In the path, as the Hub's own tools have it; a commit that was taken back is another version."""
    old = hub.main
    hub.commit(README_dot_md=b"other")
    assert b"hello" == bytes(storage.read(f"{NAME}@{old}/README.md", 0, 5))
    assert [f"{NAME}@{old}/README.md"] == [item.key for item in storage.list(f"{NAME}@{old}/R").objects]
    version = version_of(storage, storage.head(key("README.md")))
    storage.read(key("README.md"), 0, 1, version)
    kept = hub.commits.pop(hub.main)
    hub.main = old
    assert b"other" == kept["README.md"]
    with pytest.raises(ConflictError):
        storage.read(key("README.md"), 0, 1, version)


def test_a_private_repository_needs_a_token(hub: Hub, storage: HubStorage) -> None:
    """Which is named in the error, and not shown."""
    hub.private = True
    assert 5 == storage.head(key("README.md")).size_bytes
    stranger = HubStorage(ROOT, {"endpoint_url": hub.url, "token": "hf_wrong"})
    with pytest.raises((DeniedError, NotFoundError), match="token") as refused:
        stranger.head(key("README.md"))
    assert "hf_wrong" not in f"{refused.value}{refused.value.__cause__}{stranger!r}"
    version = FileVersion(f"{ROOT}/{key('README.md')}", 5, storage.head(key("README.md")).etag, None)
    storage.read(key("README.md"), 0, 5, version)
    hub.private = False
    hub.failures = [403]
    with pytest.raises(DeniedError, match="option token"):
        storage.read(key("README.md"), 0, 5, version)


def test_a_hub_that_is_busy_or_away(hub: Hub, storage: HubStorage) -> None:
    """Is asked again, a few times; then the error says to try later."""
    assert 5 == storage.head(key("README.md")).size_bytes
    hub.failures = [503]
    assert 5 == storage.head(key("README.md")).size_bytes
    hub.failures = [503, 503]
    with pytest.raises(UnavailableError, match="try later"):
        storage.head(key("README.md"))
    away = HubStorage(ROOT, {"endpoint_url": "http://127.0.0.1:9", "retries_max": 0})
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        away.head(key("README.md"))


def test_nothing_is_written_and_options_are_known(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lake is read-only; the scheme finds it, in `HF_ENDPOINT`; without the package one line says what to install."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    storage = open_storage(ROOT)
    assert isinstance(storage, HubStorage)
    assert 5 == storage.head(key("README.md")).size_bytes
    for attempt in (lambda: storage.put("a/b/c", b"x"), lambda: storage.delete(["a/b/c"])):
        with pytest.raises(InvalidRequestError, match="read-only"):
            attempt()
    with pytest.raises(
        InvalidRequestError, match="unknown Hugging Face option 'password'; known are connect_timeout_s"
    ):
        HubStorage(ROOT, {"password": "x"})
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'raycache\[hf\]'"):
        HubStorage(ROOT, {})
