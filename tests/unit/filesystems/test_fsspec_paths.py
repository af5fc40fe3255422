"""How fsspec spells what the cache calls a path."""

from __future__ import annotations

import pickle

import pytest

from raycache import paths as names
from raycache.errors import InvalidRequestError
from raycache.filesystems.fsspec_paths import Chain, mount_options, parent, strip
from raycache.master.namespace.mount_table import Mounts
from raycache.messages import MountInfo


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("raycache:///lake/x", "/lake/x"),
        ("fsspec+raycache:///lake/x", "/lake/x"),
        ("raycache://lake/x", "/lake/x"),
        ("/lake/x/", "/lake/x"),
        ("lake/x", "/lake/x"),
        ("/", "/"),
        ("raycache:///", "/"),
        ("raycache://", ""),
        ("s3://bucket/key", "s3://bucket/key"),
        ("s3://bucket/dir/", "s3://bucket/dir"),
        ("s3://bucket/a//b", "s3://bucket/a//b"),
        ("raycache::s3://bucket/key", "s3://bucket/key"),
        ("file:///data/x", "file:///data/x"),
        ("file:///", "file:///"),
    ],
)
def test_strip(path: str, expected: str) -> None:
    """A name is absolute, or a URI that keeps its scheme; the bare protocol is empty, as chains need it."""
    assert strip(path) == expected


@pytest.mark.parametrize("path", ["/lake/x", "s3://bucket/a//b", "/", "file:///data", "s3://bucket"])
def test_strip_is_idempotent(path: str) -> None:
    """A name is its own name."""
    assert strip(strip(path)) == strip(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/lake/a/b", "/lake/a"),
        ("/lake", "/"),
        ("/", "/"),
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("s3://bucket/a", "s3://bucket"),
        ("s3://bucket", "s3://bucket"),
        ("file:///a/b", "file:///a"),
        ("file:///a", "file://"),
        ("hdfs://host/a", "hdfs://host"),
    ],
)
def test_parent(path: str, expected: str) -> None:
    """Parents end at the top of the namespace or of the bucket."""
    assert parent(path) == expected


@pytest.mark.parametrize(
    ("protocol", "options", "name", "full"),
    [
        ("s3", {}, "bucket/key", "s3://bucket/key"),
        ("s3a", {}, "bucket/key", "s3://bucket/key"),
        ("gcs", {}, "bucket/key", "gs://bucket/key"),
        ("file", {}, "/data/x", "file:///data/x"),
        ("hdfs", {}, "/data/x", "hdfs:///data/x"),
        ("hdfs", {"host": "nn", "port": 8020}, "/data/x", "hdfs://nn:8020/data/x"),
    ],
)
def test_chain_spells_names_of_one_store(protocol: str, options: dict[str, object], name: str, full: str) -> None:
    """In a chain, a name without its scheme and the cache's path turn into each other."""
    chain = Chain(protocol, options)
    assert chain.full(name) == full
    assert chain.strip(full) == name
    assert chain.strip(chain.strip(full)) == name
    assert chain.full(full) == full


def test_chain_takes_its_own_protocol_off() -> None:
    """A URL of the cache means the same as the name behind it."""
    assert Chain("s3", {}).full("raycache://bucket/key") == "s3://bucket/key"
    assert Chain("s3", {}).full("raycache::s3://bucket/key") == "s3://bucket/key"


def test_chain_parent() -> None:
    """Parents in a chain end at the bucket, or at the root of the disk."""
    assert Chain("s3", {}).parent("bucket/a/b") == "bucket/a"
    assert Chain("s3", {}).parent("bucket") == "bucket"
    assert Chain("file", {}).parent("/data") == "/"


def test_mount_options_from_s3fs_names() -> None:
    """The options of s3fs become the cache's own, whichever way they are written."""
    options = {
        "key": "a",
        "secret": "b",
        "anon": None,
        "client_kwargs": {"endpoint_url": "http://h", "region_name": "r"},
    }
    expected = {"access_key_id": "a", "secret_access_key": "b", "endpoint_url": "http://h", "region": "r"}
    assert mount_options("s3://bucket", options) == expected


def test_mount_options_refuse_what_is_not_known() -> None:
    """A client option that would be ignored is named instead."""
    with pytest.raises(InvalidRequestError, match="verify"):
        mount_options("s3://bucket", {"client_kwargs": {"verify": False}})


def test_mount_options_of_other_stores_lose_the_authority() -> None:
    """Host and port are a part of the URI, not options of the mount."""
    assert mount_options("hdfs://nn:8020", {"host": "nn", "port": 8020, "user": "u"}) == {"user": "u"}


def test_filesystems_pickle_and_compare_by_their_options() -> None:
    """Making and pickling a filesystem asks nobody; equal options make equal filesystems."""
    from raycache.filesystems.fsspec import RaycacheFileSystem

    plain = RaycacheFileSystem()
    chained = RaycacheFileSystem(target_protocol="s3", skip_instance_cache=True)
    assert pickle.loads(pickle.dumps(plain)) == plain
    assert pickle.loads(pickle.dumps(chained)) == chained
    assert plain != chained
    assert len({plain, pickle.loads(pickle.dumps(plain))}) == 1


def test_chained_filesystem_has_names_of_its_store() -> None:
    """An instance made for one store spells names as that store's own filesystem does."""
    from raycache.filesystems.fsspec import RaycacheFileSystem

    fs = RaycacheFileSystem(target_protocol="s3")
    assert fs._strip_protocol("s3://bucket/key") == "bucket/key"
    assert fs._strip_protocol(["s3://bucket/key", "bucket/other/"]) == ["bucket/key", "bucket/other"]
    assert fs.unstrip_protocol("bucket/key") == "raycache::s3://bucket/key"
    assert RaycacheFileSystem().unstrip_protocol("/lake/x") == "raycache:///lake/x"


def test_arrow_names_are_told_apart_without_a_scheme() -> None:
    """What pyarrow and Ray Data strip is known from the first time, and normalising twice changes nothing."""
    from raycache.filesystems.pyarrow import CacheHandler

    handler = CacheHandler()
    for path, name, meant in (
        ("s3://bucket/a b", "bucket/a b", "s3://bucket/a b"),
        ("s3a://bucket/k", "bucket/k", "s3://bucket/k"),
        ("gs://bucket/k", "/@gs/bucket/k", "/@gs/bucket/k"),
        ("/lake/x/", "/lake/x", "/lake/x"),
        ("raycache:///lake/x", "/lake/x", "/lake/x"),
    ):
        assert handler.normalize_path(path) == name
        assert handler.normalize_path(name) == name
        assert handler.path_of(name) == pickle.loads(pickle.dumps(handler)).path_of(name) == meant


def test_in_a_chain_arrow_names_are_those_of_its_store() -> None:
    """A URI of another store is spelled out, and stays what it is."""
    from raycache.filesystems.fsspec import RaycacheFileSystem
    from raycache.filesystems.pyarrow import CacheHandler

    handler = CacheHandler(RaycacheFileSystem(target_protocol="s3"))
    for path, name, meant in (
        ("s3://bucket/a", "bucket/a", "s3://bucket/a"),
        ("s3a://bucket/a", "bucket/a", "s3://bucket/a"),
        ("bucket/http://x", "bucket/http://x", "s3://bucket/http://x"),
        ("gs://bucket/a", "/@gs/bucket/a", "/@gs/bucket/a"),
    ):
        assert handler.normalize_path(path) == handler.normalize_path(name) == name
        assert handler.path_of(name) == meant
    local = CacheHandler(RaycacheFileSystem(target_protocol="file"))
    assert (local.normalize_path("file:///data/x"), local.path_of("/data/x")) == ("/data/x", "file:///data/x")


@pytest.mark.parametrize("options", [{}, {"target_protocol": "s3"}])
def test_pyarrow_makes_the_caches_own_of_its_fsspec_filesystem(options: dict[str, str]) -> None:
    """It wraps filesystems of fsspec itself. Of that of users it gets one that knows URIs, in every process, and keeps them:
    by fsspec they mean the same."""
    import fsspec
    import pyarrow.fs

    from raycache.filesystems.pyarrow import cache_handler

    fs = pickle.loads(pickle.dumps(fsspec.filesystem("raycache", **options)))
    wrapped = pickle.loads(pickle.dumps(pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))))
    handler = cache_handler(wrapped)
    assert handler is not None
    name = wrapped.normalize_path("s3://bucket/t")
    assert handler.path_of(name) == fs.cache_path(name) == "s3://bucket/t"
    # Without its scheme, as Ray Data asks again.
    assert wrapped.normalize_path("bucket/t") == "bucket/t"
    assert handler.path_of("bucket/t") == "s3://bucket/t"
    assert names.normalise(handler.path_of(wrapped.normalize_path("gs://other/t"))) == "gs://other/t"
    assert cache_handler(pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fsspec.filesystem("memory")))) is None


def test_arrow_filesystems_are_equal_and_pickle() -> None:
    """All pyarrow filesystems of the cache are one, also after a pickle."""
    from raycache.filesystems.pyarrow import filesystem

    assert filesystem() == filesystem()
    assert pickle.loads(pickle.dumps(filesystem())) == filesystem()


def test_keys_that_hold_a_url() -> None:
    """A "://" inside a key is no scheme: not for fsspec, not for mounts, not for what is counted."""
    path = "/s3/crawl/https://example.com/a"
    for spelled in (path, f"raycache://{path}", f"raycache://{path[1:]}", path[1:]):
        assert strip(spelled) == path
    assert parent(path) == "/s3/crawl/https://example.com"
    assert parent("s3://b/crawl/https://example.com/a") == "s3://b/crawl/https://example.com"
    assert names.dataset_of(path) == "/s3/crawl"
    mounts = Mounts()
    mounts.put(MountInfo("/s3", "s3://b", {}, 60.0, readonly=True))
    assert mounts.resolve(path)[1] == "s3://b/crawl/https://example.com/a"
