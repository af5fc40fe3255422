"""Names of files inside pyarrow and Ray Data: as their own filesystems spell them, and back. Pure text."""

from __future__ import annotations

import pickle

import pytest

from raycache import paths
from raycache.errors import InvalidRequestError
from raycache.filesystems.arrow_names import ArrowNames, name_below
from raycache.messages import MountInfo, MountTable


def mounts(*given: tuple[str, str]) -> MountTable:
    return MountTable(1, tuple(MountInfo(path, uri, {}, 60.0, readonly=True) for path, uri in given))


NONE = mounts()


def name_of(names: ArrowNames, path: str, table: MountTable = NONE) -> str:
    return names.name_of(path, lambda: table)


def path_of(names: ArrowNames, name: str, table: MountTable = NONE) -> str:
    return names.path_of(name, lambda: table)


@pytest.mark.parametrize(
    ("path", "name", "uri"),
    [
        ("/lake/x", "/lake/x", "/lake/x"),
        ("raycache:///lake/x", "/lake/x", "/lake/x"),
        ("s3://bucket/a//b c%20d", "bucket/a//b c%20d", "s3://bucket/a//b c%20d"),
        ("s3a://bucket/k/", "bucket/k", "s3://bucket/k"),
        ("gs://bucket", "bucket", "gs://bucket"),
        ("abfs://container@account.dfs.core.windows.net/k", "container@account.dfs.core.windows.net/k", None),
        ("file:///data/x", "/data/x", "file:///data/x"),
        ("local:///data/x", "/data/x", "file:///data/x"),
        ("hdfs://host:8020/x/y", "/x/y", "hdfs://host:8020/x/y"),
        ("hdfs:///x", "/x", "hdfs:///x"),
        ("/@s3/bucket/k", "bucket/k", "s3://bucket/k"),
        ("custom://host:9000/k", "/@custom/host:9000/k", "/@custom/host:9000/k"),
        ("file://", "/@file", "/@file"),
    ],
)
def test_names_are_those_of_other_filesystems(path: str, name: str, uri: str | None) -> None:
    """A name has no scheme; asked again it stays the same, and it means what was given, also in another process."""
    names = ArrowNames()
    assert name == name_of(names, path) == name_of(names, name_of(names, path))
    assert (uri or path) == path_of(names, name) == path_of(pickle.loads(pickle.dumps(names)), name)
    below = path_of(names, f"{name}/deeper") if "/" in name else path_of(names, f"{name}/k")
    assert below.startswith(uri or path)


def test_names_that_are_no_unicode_are_spelled_out() -> None:
    """Of a bucket, of a disk and of the namespace; what lies below a directory of such a name, too."""
    names = ArrowNames()
    for path in ("s3://b/d", "file:///tmp/d", "/lake/d"):
        name = name_of(names, path)
        for rest in ("x", "bad\udcff", "bad\udcff/x"):
            below = name_below(name, path, rest)
            below.encode()
            assert paths.normalise(path_of(names, name_of(names, below))) == f"{path}/{rest}"
            deeper = name_below(below, f"{path}/{rest}", "y")
            assert paths.normalise(path_of(names, deeper)) == f"{path}/{rest}/y"


def test_a_name_means_one_thing() -> None:
    """A bucket of two stores, a directory of two, the path of a mount: what comes second is spelled out, and works."""
    names = ArrowNames()
    table = mounts(("/lake", "s3://b"), ("s3://b", "s3://b"))
    assert ["b/x", "/@gs/b/x"] == [name_of(names, uri, table) for uri in ("s3://b/x", "gs://b/x")]
    assert ["/d/x", "/@hdfs/h/d/x"] == [name_of(names, uri, table) for uri in ("file:///d/x", "hdfs://h/d/x")]
    assert ["/@file/lake/x", "/@file/lake"] == [
        name_of(names, uri, table) for uri in ("file:///lake/x", "file:///lake")
    ]
    assert "/@gs/b/x" == name_of(names, "/@gs/b/x", table)
    assert ["/lake/x", "/lakes"] == [path_of(names, name, table) for name in ("/lake/x", "/lakes")]


def test_one_root_serves_all_below_it() -> None:
    """What is remembered is as far up as no mount forbids, so that ten thousand files are one root; it travels with tasks."""
    names = ArrowNames()
    table = mounts(("/data/lake", "s3://b"))
    for number in range(1_000):
        name_of(names, f"file:///data/local/{number}", table)
        name_of(names, f"s3://bucket/{number}", table)
    assert len(pickle.dumps(names)) < 300
    assert "file:///data/local/deeper/x" == path_of(names, "/data/local/deeper/x", table)
    assert "/data/lake/x" == path_of(names, "/data/lake/x", table)


def test_a_mount_that_comes_later_is_an_error_not_another_file() -> None:
    """What was a file of a disk when it was listed is not read from a mount, nor the other way round."""
    names = ArrowNames()
    name = name_of(names, "file:///tmp/x")
    with pytest.raises(InvalidRequestError, match="below a mount now"):
        path_of(names, name, mounts(("/tmp", "s3://b")))
    assert "file:///tmp/x" == path_of(names, name, mounts(("/tmp/other", "s3://b")))


def test_one_read_has_only_its_own_paths() -> None:
    """Mounts that it does not read are no reason to spell a name out; its own paths are."""
    table = mounts(("/tmp", "s3://b"))
    names = ArrowNames(["/lake/x"])
    assert "/tmp/x" == name_of(names, "file:///tmp/x", table)
    assert "file:///tmp/x" == path_of(names, "/tmp/x", table)
    assert "/@file/lake/x/y" == name_of(names, "file:///lake/x/y", table)


def test_a_name_from_elsewhere_is_found_by_the_mounts() -> None:
    """A row's `path` can be opened in a process that has listed nothing, where one store only can be meant."""
    names = ArrowNames()
    table = mounts(("s3://b", "s3://b"), ("/lake", "gs://c/p"), ("/other", "s3://c"))
    assert "s3://b/x" == path_of(names, "b/x", table)
    with pytest.raises(InvalidRequestError, match="gs://c or s3://c"):
        path_of(names, "c/x", table)
    with pytest.raises(InvalidRequestError, match="no store that is mounted"):
        path_of(names, "d/x", table)
