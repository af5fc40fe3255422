"""The log of what was written: followers hear everything, or know that they did not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.invalidations import (
    EVERYTHING,
    RING_BYTES,
    Invalidation,
    InvalidationFeed,
    InvalidationLog,
    Words,
    remove_leftovers,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "raycache-c-n.log"


def test_a_follower_hears_what_is_appended(path: Path) -> None:
    """Once, in order, whatever the names are made of."""
    log = InvalidationLog.create(path)
    feed = InvalidationFeed.at(path)
    before = feed.sequence
    found = [Invalidation("s3://b/ä"), Invalidation("file:///\udcff/x", below=True), Invalidation("")]
    log.append(found)
    assert before != feed.sequence
    assert (found, []) == (feed.take(), feed.take())
    log.close()


def test_a_follower_that_comes_late_hears_only_what_comes_then(path: Path) -> None:
    """It remembers nothing yet that could be wrong."""
    log = InvalidationLog.create(path)
    log.append([Invalidation("a")])
    feed = InvalidationFeed.at(path)
    log.append([Invalidation("b")])
    assert [Invalidation("b")] == feed.take()
    log.close()


def test_a_follower_that_is_too_far_behind_forgets_everything() -> None:
    """More than the ring holds was appended."""
    words = Words.in_memory()
    log, feed = InvalidationLog(words), InvalidationFeed(lambda: words)
    for number in range(RING_BYTES // 500 + 1):
        log.append([Invalidation(f"{number:0500}")])
    assert [EVERYTHING] == feed.take()
    log.append([Invalidation("x")])
    assert [Invalidation("x")] == feed.take()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.tuples(st.text(max_size=9000), st.booleans()), max_size=6), max_size=40), st.data())
def test_nothing_is_lost_without_a_word(batches: list[list[tuple[str, bool]]], data: st.DataObject) -> None:
    """Whenever a follower looks, it gets all since the last look, or is told to forget everything."""
    words = Words.in_memory()
    log, feed = InvalidationLog(words), InvalidationFeed(lambda: words)
    expected: list[Invalidation] = []
    for batch in batches:
        found = [Invalidation(uri.encode("utf-8", "replace").decode(), below) for uri, below in batch]
        log.append(found)
        expected += found
        if data.draw(st.booleans()):
            taken = feed.take()
            assert taken in (expected, [EVERYTHING])
            if taken != expected:
                assert sum(len(one.uri.encode()) + 5 for one in expected) > RING_BYTES
            expected = []


def test_a_new_log_takes_the_followers_of_the_old_one(path: Path) -> None:
    """A worker's next incarnation: whatever was missed in between, nobody goes on with it."""
    first = InvalidationLog.create(path)
    feed = InvalidationFeed.at(path)
    first.trust_until(100.0)
    assert 100.0 == feed.trusted_until_s()
    before = feed.sequence
    second = InvalidationLog.create(path)
    assert before != feed.sequence
    assert [EVERYTHING] == feed.take()
    assert 0.0 == feed.trusted_until_s()
    second.trust_until(7.5)
    second.append([Invalidation("x")])
    assert (7.5, [Invalidation("x")]) == (feed.trusted_until_s(), feed.take())
    second.close()


def test_without_a_log_nothing_is_trusted_until_there_is_one(path: Path) -> None:
    """A process may connect before its node's worker stands."""
    feed = InvalidationFeed.at(path)
    assert (0.0, []) == (feed.trusted_until_s(), feed.take())
    log = InvalidationLog.create(path)
    log.trust_until(5.0)
    assert 5.0 == feed.trusted_until_s()
    log.close()
    assert [EVERYTHING] == feed.take()
    assert 0.0 == feed.trusted_until_s()
    assert not path.exists()


def test_the_logs_of_the_dead_are_removed(tmp_path: Path) -> None:
    """Those of the living are not."""
    living = InvalidationLog.create(tmp_path / "raycache-a-1.log")
    dead = InvalidationLog.create(tmp_path / "raycache-b-1.log")
    dead._path = None
    dead.close()  # as the end of its process does
    other = tmp_path / "somebody-else.log"
    other.write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert ["raycache-a-1.log", "somebody-else.log"] == sorted(path.name for path in tmp_path.iterdir())
    living.close()


@pytest.mark.parametrize(
    ("written", "uri", "concerned"),
    [
        (Invalidation("s3://b/x"), "s3://b/x", True),
        (Invalidation("s3://b/x"), "s3://b/x/y", False),
        (Invalidation("s3://b/x", below=True), "s3://b/x/y", True),
        (Invalidation("s3://b/x", below=True), "s3://b/xy", False),
        (Invalidation("s3://b/x/", below=True), "s3://b/x/y", True),
        (EVERYTHING, "file:///a", True),
    ],
)
def test_what_a_write_concerns(written: Invalidation, uri: str, *, concerned: bool) -> None:
    """The file, or all below a directory, and nothing that only begins alike."""
    assert concerned == written.concerns(uri)
