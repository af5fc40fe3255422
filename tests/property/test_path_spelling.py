"""Paths of any spelling: normalising settles at once, and no byte of a key is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raycache import paths

_KEYS = st.text(st.sampled_from("ab/ %20é漢.*#?"), max_size=12).filter(lambda key: ".." not in key)


@given(_KEYS, st.sampled_from(["s3://bucket/", "/lake/", "file:///data/", "hdfs:///x/", "s3a://bucket/"]))
def test_normalising_twice_changes_nothing(key: str, base: str) -> None:
    """What is normal stays as it is, through every spelling."""
    once = paths.normalise(base + key)
    assert once == paths.normalise(once)
    assert once == paths.normalise(paths.filesystem_path(once))
    assert once == paths.normalise(once + "/")


@given(_KEYS)
def test_a_key_is_kept_as_written(key: str) -> None:
    """Only slashes at the end are dropped from a key."""
    assert paths.split_uri(paths.normalise(f"s3://bucket/{key}")) == ("s3://bucket", key.rstrip("/"))
