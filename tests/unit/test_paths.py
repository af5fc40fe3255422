"""Every spelling of a path becomes one, and keys stay as they are written."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from raycache import paths
from raycache.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("/", "/"),
        ("/lake", "/lake"),
        ("/lake/", "/lake"),
        ("/lake//", "/lake"),
        ("//", "/"),
        ("s3://bucket//", "s3://bucket"),
        ("/lake/a//b", "/lake/a//b"),
        ("/lake/a%20b c", "/lake/a%20b c"),
        ("/lake/..a/b..", "/lake/..a/b.."),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/", "s3://bucket/a"),
        ("s3://bucket//a", "s3://bucket//a"),
        ("S3://Bucket/A", "s3://Bucket/A"),
        ("s3a://bucket/k", "s3://bucket/k"),
        ("s3n://bucket/k", "s3://bucket/k"),
        ("gcs://bucket/k", "gs://bucket/k"),
        ("abfss://c@account/k", "abfs://c@account/k"),
        ("/@abfss/c@account/k", "abfs://c@account/k"),
        ("hdfs:///x", "hdfs:///x"),
        ("hdfs://host:8020/x", "hdfs://host:8020/x"),
        ("file:///data/x", "file:///data/x"),
        ("file:///", "file://"),
        ("file://", "file://"),
        ("file:/data/x", "file:///data/x"),
        ("local:///data/x", "file:///data/x"),
        ("raycache:///lake/x", "/lake/x"),
        ("raycache://lake/x", "/lake/x"),
        ("raycache://", "/"),
        ("fsspec+raycache:///lake/x", "/lake/x"),
        ("raycache:///@s3/bucket/k", "s3://bucket/k"),
        ("/@s3/bucket/a//b", "s3://bucket/a//b"),
        ("/@s3/bucket", "s3://bucket"),
        ("/@file/data/x", "file:///data/x"),
        ("/@hdfs/host:8020/x", "hdfs://host:8020/x"),
        ("/@hdfs//x", "hdfs:///x"),
    ],
)
def test_each_spelling_has_one_form(written: str, expected: str) -> None:
    """A path means the same however it is spelled."""
    assert expected == paths.normalise(written)
    assert expected == paths.normalise(expected)
    assert expected == paths.normalise(paths.filesystem_path(expected))


@pytest.mark.parametrize(
    "written",
    ["", "lake/x", "./x", "C:\\x", "/lake/../x", "/..", "s3://bucket/../x", "s3://", "s3:///key", "/@", "/@s3", "/@s3/",
     "file://host/x", "file:///a/../b", "raycache:///a/../b"],
)  # fmt: skip
def test_what_is_not_a_path_is_refused(written: str) -> None:
    """A path that cannot be meant is refused with the right class."""
    with pytest.raises(InvalidRequestError):
        paths.normalise(written)


@pytest.mark.parametrize(
    ("uri", "root_uri", "key"),
    [
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/a/b", "s3://bucket", "a/b"),
        ("s3://bucket//a", "s3://bucket", "/a"),
        ("file:///data/x", "file://", "data/x"),
        ("file://", "file://", ""),
        ("hdfs:///x", "hdfs://", "x"),
    ],
)
def test_splitting_and_joining_undo_each_other(uri: str, root_uri: str, key: str) -> None:
    """A URI is its root and its key, and nothing is lost between."""
    assert (root_uri, key) == paths.split_uri(uri)
    assert uri == paths.join(root_uri, key)


def test_joining_to_the_root_has_one_slash() -> None:
    """A name below the namespace's root starts with one slash."""
    assert paths.join("/", "lake") == "/lake"


@pytest.mark.parametrize("base", ["/", "/lake", "s3://b", "s3://b/p", "file://", "hdfs://"])
def test_what_lies_below_one_path_lies_below_another(base: str) -> None:
    """Of roots, whose spelling ends in slashes, as of all others; what only begins like a path is not below it."""
    for name in ("", "x", "x/y", "/x"):
        for other in ("/", "/m/n", "file://", "s3://b"):
            assert paths.join(other, name) == paths.moved(paths.join(base, name), base, other)
    assert paths.join(base, "x").startswith(paths.below(base))
    assert not f"{base}host/x".startswith(paths.below(base)) or base == "/"


def test_wildcards_are_seen() -> None:
    """A glob is told from a plain path."""
    assert [path for path in ("/a/*", "/a/?", "/a/[0]", "/a/b") if paths.is_glob(path)] == ["/a/*", "/a/?", "/a/[0]"]


@pytest.mark.parametrize(
    ("pattern", "bases"),
    [
        ("/lake/*.bin", ["/lake"]),
        ("/*", ["/"]),
        ("/lake/run[1]/x*.bin", ["/lake/run[1]", "/lake"]),
        ("/lake/a*/b/c", ["/lake/a*/b", "/lake/a*", "/lake"]),
        ("s3://b/a/[0]", ["s3://b/a"]),
        ("/lake/a", ["/lake/a"]),
    ],
)
def test_a_glob_may_start_from_several_directories(pattern: str, bases: list[str]) -> None:
    """Those that look like globs themselves first; the last is above the first wildcard."""
    assert bases == paths.glob_bases(pattern)


@pytest.mark.parametrize(
    ("glob", "named", "others"),
    [
        ("year=*", ["year=1", "year=1/a", "year=1/a/b"], ["a/year=1", "year"]),
        ("*.bin", ["x.bin", "x.bin/part"], ["a/x.bin", "x.binary"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("**/x", ["x", "a/x", "a/b/x/y"], ["ax"]),
        ("[!a]?", ["bc", "bc/d"], ["ab", "b", "bcd"]),
        ("odd[[]1]", ["odd[1]", "odd[1]/x"], ["odd1"]),
        ("a|b", ["a|b"], ["a", "b"]),
    ],
)
def test_a_glob_names_what_lies_below_what_it_matches(glob: str, named: list[str], others: list[str]) -> None:
    """`*` and `?` stay within a part, `**` does not; of a directory everything is meant."""
    assert named == [name for name in [*named, *others] if paths.glob_regex(glob).match(name)]


def test_directories_are_implied_by_names() -> None:
    """All that a relative name lies in, each once; keys may have empty parts."""
    names = ["a/b/c", "a/b/d", "e", "x//y"]
    assert ["a/b", "a", "x/", "x"] == paths.implied_directories(names)


ANY_NAMES = st.lists(
    st.text(st.characters(exclude_characters="/"), min_size=1).filter(lambda name: name != ".."), min_size=1
)


@given(ANY_NAMES, st.sampled_from(["/", "s3://b/", "file:///", "hdfs:///"]))
@example(["bad\udcff", "50%ED%B3%BF"], "/")
@example(["@raw", "x"], "s3://b/")
@example(["raw", "\udcff"], "file:///")
def test_any_name_can_be_said_in_valid_unicode(parts: list[str], root: str) -> None:
    """Paths that are no valid Unicode have a spelling that is, which means the same; all others stay as they are."""
    assume(root != "/" or not parts[0].startswith("@"))  # a store, inside pyarrow filesystems
    path = paths.normalise(root + "/".join(parts))
    said = paths.sayable(path)
    said.encode()
    assert path == paths.exact(said) == paths.normalise(said)
    in_filesystems = paths.filesystem_path(path)
    in_filesystems.encode()
    assert path == paths.normalise(in_filesystems)
    assert "//" not in in_filesystems or "//" in path
