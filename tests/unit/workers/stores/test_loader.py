"""How loads become reads of the under storage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from raycache.clock import ManualClock
from raycache.errors import ConflictError, NotFoundError, RaycacheError, UnavailableError
from raycache.messages import BlockState
from raycache.types import BlockId, FileVersion, Tier
from raycache.workers.effects import CachedPart, Load, LoadItem
from raycache.workers.stores.assembly import Bytes
from raycache.workers.stores.loader import Loader

BLOCK = 8


def content(key: str, offset: int, length: int) -> bytes:
    cycle = bytes((ord(key[0]) + offset + i) % 256 for i in range(min(length, 256)))
    return (cycle * (length // 256 + 1))[:length]


class Lake:
    """Objects in memory; keeps the reads it saw, and fails where told."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, int, int]] = []
        self.errors: dict[str, Exception] = {}
        self.short = 0
        self.last: bytes = b""
        self.clock = ManualClock()
        self.bytes_per_s = 0.0
        self._lock = threading.Lock()

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> bytes:
        assert version is not None
        assert version.uri == f"s3://b/{key}"
        with self._lock:
            self.reads.append((key, offset, length))
        if key in self.errors:
            raise self.errors[key]
        if self.bytes_per_s:
            self.clock.advance(length / self.bytes_per_s)
        self.last = content(key, offset, length - self.short)
        return self.last


def load_of(*parts: tuple[str, list[int]]) -> Load:
    """Whole blocks of files of 100 blocks."""
    items: list[LoadItem] = []
    for name, indices in parts:
        version = FileVersion(f"s3://b/{name}", 100 * BLOCK, "1", 0)
        for i in indices:
            items.append(LoadItem(BlockId(version.id(), i), version, i, i * BLOCK, len(items) * BLOCK, BLOCK))
    return Load(1, "s", Tier.MEMORY, len(items) * BLOCK, tuple(items))


@contextmanager
def loader_of(
    lake: Lake,
    request_bytes_max: int = 4 * BLOCK,
    cached: dict[CachedPart, Bytes] | None = None,
    clock: ManualClock | None = None,
) -> Iterator[Loader]:
    loader = Loader(
        lambda item: (lake, item.version.uri.removeprefix("s3://b/")), (cached or {}).get, request_bytes_max, 2, clock
    )
    try:
        yield loader
    finally:
        loader.close()


def expected(load: Load) -> bytes:
    return b"".join(content(i.version.uri.removeprefix("s3://b/"), i.file_offset, i.length) for i in load.items)


def test_a_segment_that_one_read_brings_is_not_copied() -> None:
    """Adjacent blocks are one request, and its buffer is the segment."""
    lake = Lake()
    load = load_of(("a", [3, 4, 5]))
    with loader_of(lake) as loader:
        pieces, outcome = loader.load(load)
    assert [piece.tobytes() for piece in pieces] == [expected(load)]
    assert np.shares_memory(pieces[0], np.frombuffer(lake.last, np.uint8))
    assert outcome.states == (BlockState.LOADED,) * 3
    assert lake.reads == [("a", 24, 24)]


def test_a_slow_link_is_asked_for_less_at_a_time() -> None:
    """After a read that has taken long, a block comes in several, and is whole."""
    mib = 1 << 20
    lake = Lake()
    lake.bytes_per_s = 0.25 * mib
    version = FileVersion("s3://b/a", 8 * mib, "1", 0)
    blocks = [LoadItem(BlockId(version.id(), i), version, i, i * 4 * mib, 0, 4 * mib) for i in range(2)]
    with loader_of(lake, 4 * mib, clock=lake.clock) as loader:
        for block in blocks:
            load = Load(1, "s", Tier.MEMORY, 4 * mib, (block,))
            pieces, outcome = loader.load(load)
            assert pieces[0].tobytes() == expected(load)
            assert outcome.states == (BlockState.LOADED,)
    assert lake.reads == [("a", 0, 4 * mib), ("a", 4 * mib, 2 * mib), ("a", 6 * mib, 2 * mib)]


def test_reads_end_at_the_request_size_at_holes_and_at_files() -> None:
    """What is not adjacent, or too much for one request, is another read; all land at their places."""
    lake = Lake()
    load = load_of(("a", [0, 1, 2, 5]), ("b", [6]))
    with loader_of(lake, 2 * BLOCK) as loader:
        pieces, outcome = loader.load(load)
    assert np.concatenate(pieces).tobytes() == expected(load)
    assert sorted(lake.reads) == [("a", 0, 16), ("a", 16, 8), ("a", 40, 8), ("b", 48, 8)]
    assert set(outcome.states) == {BlockState.LOADED}


def test_aligned_reads_are_the_pieces_of_the_segment() -> None:
    """Nothing is copied: each is what its read brought, and one that failed is zeros."""
    lake = Lake()
    lake.errors = {"b": UnavailableError("down")}
    sizes = {"a": 64, "b": 128, "c": 5}
    items: list[LoadItem] = []
    for name, size in sizes.items():
        version = FileVersion(f"s3://b/{name}", size, "1", 0)
        at = sum(item.length for item in items)
        items.append(LoadItem(BlockId(version.id(), 0), version, 0, 0, at, size))
    with loader_of(lake) as loader:
        pieces, outcome = loader.load(Load(1, "s", Tier.MEMORY, 197, tuple(items)))
    assert [64, 128, 5] == [piece.nbytes for piece in pieces]
    assert pieces[1].tobytes() == bytes(128)
    assert (BlockState.LOADED, BlockState.FAILED, BlockState.LOADED) == outcome.states
    assert not any(piece.flags.owndata for piece in (pieces[0], pieces[2]))


def test_thousands_of_reads_are_a_future_for_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each read takes a kilobyte while it waits, and leaves memory in pieces; all are read all the same."""
    submitted = 0
    submit = ThreadPoolExecutor.submit

    def counted(*args: Any, **named: Any) -> Any:
        nonlocal submitted
        submitted += 1
        return submit(*args, **named)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)
    lake = Lake()
    load = load_of(("a", list(range(0, 100, 2))))
    with loader_of(lake) as loader:
        pieces, outcome = loader.load(load)
    assert np.concatenate(pieces).tobytes() == expected(load)
    assert [BlockState.LOADED] * 50 == list(outcome.states)
    assert (2, 50) == (submitted, len(set(lake.reads)))


def test_a_block_larger_than_a_request_is_one_read() -> None:
    """The request size never splits a block."""
    lake = Lake()
    with loader_of(lake, 1) as loader:
        loader.load(load_of(("a", [0, 1])))
    assert sorted(lake.reads) == [("a", 0, 8), ("a", 8, 8)]


def test_failures_are_told_apart_and_spoil_only_their_own_blocks() -> None:
    """Conflict is CHANGED, not found is GONE, anything else FAILED, even a bug; the rest is good."""
    lake = Lake()
    conflict, gone, down = ConflictError("other"), NotFoundError("gone"), UnavailableError("down")
    lake.errors = {"b": conflict, "c": gone, "d": down, "e": ZeroDivisionError()}
    load = load_of(("a", [0]), ("b", [0]), ("c", [0]), ("d", [0]), ("e", [0]))
    with loader_of(lake) as loader:
        pieces, outcome = loader.load(load)
    assert np.concatenate(pieces).tobytes() == expected(load)[:8] + bytes(32)
    assert outcome.states == (
        BlockState.LOADED,
        BlockState.CHANGED,
        BlockState.GONE,
        BlockState.FAILED,
        BlockState.FAILED,
    )
    assert [outcome.errors[i] for i in (1, 2, 3)] == [conflict, gone, down]
    assert isinstance(outcome.errors[4], RaycacheError)


def test_a_load_without_a_good_block_has_no_buffer() -> None:
    """Nothing to store, with one read or with several."""
    lake = Lake()
    lake.errors = {"a": UnavailableError("down")}
    with loader_of(lake) as loader:
        for load in (load_of(("a", [0])), load_of(("a", [0, 7]))):
            pieces, outcome = loader.load(load)
            assert pieces == []
            assert set(outcome.states) == {BlockState.FAILED}


def test_a_short_body_is_a_failure() -> None:
    """A store that breaks its promise costs a block, never wrong bytes."""
    lake = Lake()
    lake.short = 1
    with loader_of(lake) as loader:
        pieces, outcome = loader.load(load_of(("a", [0])))
    assert (pieces, outcome.states) == ([], (BlockState.FAILED,))


def test_what_could_not_be_stored_has_no_space() -> None:
    """`not_stored` turns good blocks only."""
    lake = Lake()
    lake.errors = {"b": NotFoundError("gone")}
    with loader_of(lake) as loader:
        _, outcome = loader.load(load_of(("a", [0]), ("b", [0])))
    assert outcome.not_stored().states == (BlockState.NO_SPACE, BlockState.GONE)


class Peer(Lake):
    """Another worker, which serves what starts with "a" itself, and gets the rest from the lake."""

    is_lake = False

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> bytes:
        self.is_lake = not key.startswith("a")
        return super().read(key, offset, length, version)


def test_only_what_left_the_lake_is_loaded() -> None:
    """Bytes that a peer had are copied; which those are is known after the read."""
    for name, state in (("a", BlockState.COPIED), ("b", BlockState.LOADED)):
        with loader_of(Peer()) as loader:
            _, outcome = loader.load(load_of((name, [0])))
            assert (state,) == outcome.states


def test_what_is_here_of_a_block_is_not_read_again() -> None:
    """Only what lies around the cached parts leaves the lake; a part that is gone by then is read like the rest."""
    lake = Lake()
    load = load_of(("a", [3, 4]))
    parts = [CachedPart(offset, 3, "s", Tier.MEMORY, 0) for offset in (3 * BLOCK + 2, 4 * BLOCK + 1, 5 * BLOCK - 3)]
    first, second = load.items
    load = Load(
        1, "s", Tier.MEMORY, 2 * BLOCK, (first._replace(cached=(parts[0],)), second._replace(cached=(*parts[1:],)))
    )
    cached = {part: np.frombuffer(lake.read("a", part.file_offset, 3, first.version), np.uint8) for part in parts[::2]}
    lake.reads.clear()
    with loader_of(lake, cached=cached) as loader:
        pieces, _ = loader.load(load)
        assert expected(load) == b"".join(piece.tobytes() for piece in pieces)
        assert [("a", 24, 2), ("a", 29, 8)] == lake.reads
