"""Rules as users see them: URIs become the paths that users know."""

from __future__ import annotations

from raycache.admin.patterns import path_of
from raycache.messages import MountInfo, MountTable


def table(*mounts: tuple[str, str]) -> MountTable:
    return MountTable(1, tuple(MountInfo(path, uri, {}, 5.0, readonly=True) for path, uri in mounts))


def test_a_uri_has_its_path_back() -> None:
    """From a URI to the namespace: the longest mount, or the URI itself."""
    mounts = table(("/lake", "s3://b/p"), ("/deep", "s3://b/p/q"), ("s3://b", "s3://b"))
    uris = ["s3://b/p/x", "s3://b/p/q/x", "s3://b/z"]
    assert ["/lake/x", "/deep/x", "s3://b/z"] == [path_of(mounts, uri) for uri in uris]


def test_a_mount_at_the_root_has_paths_with_one_slash() -> None:
    """What is mounted there is "/" itself."""
    mounts = table(("/", "s3://b/p"), ("/other", "s3://c"))
    assert ["/", "/x"] == [path_of(mounts, uri) for uri in ("s3://b/p", "s3://b/p/x")]
