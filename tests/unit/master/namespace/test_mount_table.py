"""Mounts: which one answers for a path, both ways, and what of it may be shown."""

from __future__ import annotations

import pytest

from raycache.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from raycache.master.namespace.mount_table import Mounts
from raycache.messages import MountInfo


def _add(mounts: Mounts, mount: MountInfo | None) -> MountInfo:
    assert mount is not None
    mounts.put(mount)
    return mount


def _mounts(*pairs: tuple[str, str]) -> Mounts:
    mounts = Mounts()
    for path, uri in pairs:
        _add(mounts, mounts.checked(MountInfo(path, uri, {"of": path}, 60.0, readonly=True)))
    return mounts


@pytest.mark.parametrize(
    ("path", "mount_path", "uri"),
    [
        ("/lake", "/lake", "s3://b/p"),
        ("/lake/x/y", "/lake", "s3://b/p/x/y"),
        ("/lake/a//b", "/lake", "s3://b/p/a//b"),
        ("/lake/sub", "/lake/sub", "s3://c"),
        ("/lake/sub/x", "/lake/sub", "s3://c/x"),
        ("/lake/subway", "/lake", "s3://b/p/subway"),
        ("/disk/x", "/disk", "file:///x"),
        ("s3://b/p/x", "/lake", "s3://b/p/x"),
        ("s3://b/p", "/lake", "s3://b/p"),
        ("s3://c", "/lake/sub", "s3://c"),
        ("file:///x/y", "/disk", "file:///x/y"),
    ],
)
def test_the_longest_mount_above_a_path_answers(path: str, mount_path: str, uri: str) -> None:
    """Every path and URI finds its mount, and what it stands for."""
    mounts = _mounts(("/lake", "s3://b/p"), ("/lake/sub", "s3://c"), ("/disk", "file:///"))
    mount, found = mounts.resolve(path)
    assert (mount_path, uri) == (mount.path, found)
    table = mounts.table().of_path(path)
    assert table is not None
    assert mount_path == table.path


@pytest.mark.parametrize("path", ["/", "/lak", "/lakes", "s3://b", "s3://b/px", "s3://bb/p"])
def test_what_is_under_no_mount_is_not_found(path: str) -> None:
    """A path beside all mounts is an error that says so."""
    with pytest.raises(NotFoundError, match="under no mount"):
        _mounts(("/lake", "s3://b/p")).resolve(path)


def test_the_root_can_be_mounted() -> None:
    """A mount at "/" answers for everything, and for itself."""
    mounts = _mounts(("/", "s3://b/p"), ("/other", "s3://c"))
    assert "s3://b/p" == mounts.resolve("/")[1]
    assert "s3://b/p/x" == mounts.resolve("/x")[1]
    assert "s3://c/x" == mounts.resolve("/other/x")[1]


def test_a_store_mounts_itself_once_and_gives_way_to_an_explicit_mount() -> None:
    """The first client's options stay; an explicit mount of the same URI goes first."""
    mounts = _mounts(("/lake", "s3://b/p"))
    _add(mounts, mounts.checked_auto("s3://b", {"n": 1}, 5.0))
    assert mounts.checked_auto("s3://b/", {"n": 2}, 5.0) is None
    assert {"n": 1} == mounts.resolve("s3://b/x")[0].options
    assert {"of": "/lake"} == mounts.resolve("s3://b/p/x")[0].options
    _add(mounts, mounts.checked(MountInfo("/all", "s3://b", {"n": 3}, 60.0, readonly=False)))
    assert {"n": 3} == mounts.resolve("s3://b/x")[0].options
    of_uri = mounts.table().of_uri("s3://b/x")
    assert of_uri is not None
    assert {"n": 3} == of_uri.options


def test_the_store_without_an_authority_is_not_above_the_others() -> None:
    """`hdfs:///` is a store like `hdfs://host/`, which does not get its options."""
    mounts = _mounts(("/default", "hdfs://"), ("/disk", "file://"))
    assert mounts.table().of_uri("hdfs://host/x") is None
    assert ["hdfs:///x", "/default/x"] == mounts.table().paths_of("hdfs:///x")
    assert ["file:///a/b", "/disk/a/b"] == mounts.table().paths_of("file:///a/b")
    assert "file:///a" == mounts.resolve("/disk/a")[1]


def test_mounting_over_a_mount_is_refused() -> None:
    """One path has one mount; beside and below it others may be."""
    mounts = _mounts(("/lake", "s3://b"))
    with pytest.raises(AlreadyExistsError, match="s3://b"):
        mounts.checked(MountInfo("/lake/", "s3://c", {}, 60.0, readonly=True))


def test_mounting_the_same_again_is_no_error() -> None:
    """As the second job of a cluster does; an environment without keys takes none away."""
    options = {"endpoint_url": "http://host", "secret_access_key": "hunter2"}
    mounts = Mounts()
    mount = _add(mounts, mounts.checked(MountInfo("/lake", "s3://b", options, 60.0, readonly=True)))
    assert mounts.checked(mount) is None
    assert mounts.checked(mount._replace(path="/lake/", options={"endpoint_url": "http://host"})) is None


def test_new_keys_replace_the_old_ones() -> None:
    """They expire, tokens within an hour; what is mounted stays what it is, and so does what is cached of it."""
    old = {"endpoint_url": "http://host", "access_key_id": "a", "session_token": "old"}
    new = {"endpoint_url": "http://host", "access_key_id": "a", "session_token": "new"}
    mounts = Mounts()
    mount = _add(mounts, mounts.checked(MountInfo("/lake", "s3://b", old, 60.0, readonly=True)))
    renewed = _add(mounts, mounts.checked(mount._replace(options=new)))
    assert mount._replace(options=new) == renewed == mounts.at("/lake")
    assert [renewed] == list(mounts.table().mounts)
    _add(mounts, mounts.checked(mount._replace(options={"endpoint_url": "http://host", "profile": "dev"})))
    assert {"endpoint_url": "http://host", "profile": "dev"} == mounts.at("/lake").options


def test_mounting_otherwise_says_what_is_other() -> None:
    """By name only: a value may be a secret."""
    old = {"endpoint_url": "http://one", "region": "eu", "secret_access_key": "hunter2"}
    mounts = Mounts()
    mount = _add(mounts, mounts.checked(MountInfo("/lake", "s3://b", old, 60.0, readonly=True)))
    other = {"endpoint_url": "http://two", "secret_access_key": "hunter3"}
    with pytest.raises(AlreadyExistsError) as caught:
        mounts.checked(mount._replace(options=other, metadata_ttl_s=1.0, readonly=False))
    said = str(caught.value)
    assert "another metadata_ttl_s, another readonly, another endpoint_url, another region" in said
    assert "hunter" not in said


@pytest.mark.parametrize(
    ("path", "uri"),
    [("lake", "s3://b"), ("", "s3://b"), ("/a/../b", "s3://b"), ("s3://b", "s3://b"), ("/@s3/b", "s3://b"),
     ("/lake", "/other"), ("/lake", "bucket"), ("/lake", "s3://"), ("/lake", "")],
)  # fmt: skip
def test_bad_mounts_are_refused(path: str, uri: str) -> None:
    """A mount needs an absolute path and a URI."""
    with pytest.raises(InvalidRequestError):
        Mounts().checked(MountInfo(path, uri, {}, 60.0, readonly=True))


def test_only_the_root_of_a_store_mounts_itself() -> None:
    """A client cannot bind options to a part of a store by naming it."""
    with pytest.raises(InvalidRequestError, match="s3://b"):
        Mounts().checked_auto("s3://b/p", {}, 5.0)


def test_unmounting_takes_the_mount_away_and_nothing_else() -> None:
    """What was nested stays; a second time it is not found."""
    mounts = _mounts(("/lake", "s3://b"), ("/lake/sub", "s3://c"))
    assert "s3://b" == mounts.unmount("/lake/").uri
    assert "s3://c/x" == mounts.resolve("/lake/sub/x")[1]
    with pytest.raises(NotFoundError):
        mounts.resolve("/lake/x")
    with pytest.raises(NotFoundError):
        mounts.unmount("/lake")


def test_the_version_grows_with_every_change() -> None:
    """Who knows a version knows whether there is news."""
    mounts = Mounts(first_version=10)
    versions = [mounts.table().version]
    _add(mounts, mounts.checked(MountInfo("/a", "s3://b", {}, 60.0, readonly=True)))
    versions.append(mounts.table().version)
    mounts.unmount("/a")
    versions.append(mounts.table().version)
    assert [10, 11, 12] == versions


def test_directories_above_mounts_are_known() -> None:
    """What lies between the root and a mount is a directory, named once."""
    mounts = _mounts(("/a/b/c", "s3://1"), ("/a/b/d", "s3://2"), ("/e", "s3://3"))
    assert ["a", "e"] == mounts.names_below("/")
    assert ["b"] == mounts.names_below("/a")
    assert ["c", "d"] == mounts.names_below("/a/b")
    assert [] == mounts.names_below("/a/b/c")
    assert ["b/c", "b/d"] == mounts.nested_in("/a")


def test_nothing_is_mounted_below_a_uri() -> None:
    """A store that has mounted itself is not below itself, also where its root ends in slashes."""
    mounts = Mounts()
    _add(mounts, mounts.checked_auto("file:///", {}, 5.0))
    assert [] == mounts.nested_in("file://")


def test_secrets_are_not_shown() -> None:
    """Only options known to be harmless are shown; anything else may be a secret."""
    mounts = Mounts()
    options = {
        "endpoint_url": "https://user:hunter2@host:9000/p?sig=hunter2",
        "region": "eu",
        "access_key_id": "hunter2",
        "secret_access_key": "hunter2",
        "client_kwargs": {"password": "hunter2"},
        "profile": "dev",
        "path_style": True,
    }
    _add(mounts, mounts.checked(MountInfo("/lake", "s3://b", options, 60.0, readonly=True)))
    shown = {mount.path: mount for mount in mounts.redacted()}
    assert "hunter2" not in repr(mounts.redacted()) + repr(mounts.table())
    assert {
        "endpoint_url": "https://host:9000/p",
        "region": "eu",
        "access_key_id": "***",
        "secret_access_key": "***",
        "client_kwargs": "***",
        "profile": "dev",
        "path_style": True,
    } == shown["/lake"].options


def test_a_password_in_a_uri_is_refused() -> None:
    """URIs are shown everywhere, so they hold no secret; the refusal does not show it either."""
    for uri in ("hdfs://user:hunter2@name:8020/x", "s3://key:hunter2@b"):
        with pytest.raises(InvalidRequestError) as caught:
            Mounts().checked(MountInfo("/lake", uri, {}, 60.0, readonly=True))
        assert "hunter2" not in str(caught.value)
    assert Mounts().checked(MountInfo("/lake", "abfs://container@account/x", {}, 60.0, readonly=True))


def test_an_unmounted_uri_leads_nowhere() -> None:
    """Of two mounts of one URI the other one answers; after both, none does."""
    mounts = _mounts(("/a", "s3://b/p"), ("/z", "s3://b/p"))
    mounts.unmount("/a")
    assert "/z" == mounts.resolve("s3://b/p/x")[0].path
    mounts.unmount("/z")
    with pytest.raises(NotFoundError, match="under no mount"):
        mounts.resolve("s3://b/p/x")
    assert mounts.table().of_uri("s3://b/p/x") is None


def test_what_is_mounted_at_the_root_is_not_below_it() -> None:
    """Only what has a name of its own is; what begins alike lies beside."""
    mounts = _mounts(("/", "s3://b"), ("/lake", "s3://c"), ("/lake/in", "s3://d"), ("/lake2", "s3://e"))
    assert ["lake", "lake/in", "lake2"] == mounts.nested_in("/")
    assert ["in"] == mounts.nested_in("/lake") == mounts.names_below("/lake")
    assert [True, True, False, False] == [mounts.is_above_any(path) for path in ("/", "/lake", "/lake/in", "/lak")]
