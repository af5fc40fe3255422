"""Errors, ranges, placement and settings: the rules everything else stands on."""

from __future__ import annotations

import itertools
import math
import pickle
import random

import numpy as np
import pytest
import xxhash

import raycache.errors as errors_module
from raycache import hashing
from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.hashing import extent_key, place, place_many
from raycache.ranges import block_count, block_length, block_ranges, clip, extents_of, runs_of, union
from raycache.settings import GIB, MIB, Settings, parse_size
from raycache.types import FileVersion, WorkerView


def workers(count: int, weight: int = 100) -> list[WorkerView]:
    return [WorkerView(f"node-{i:03}", 1, weight, f"w{i}") for i in range(count)]


ALL_ERRORS = sorted(
    (kind for kind in vars(errors_module).values() if isinstance(kind, type) and issubclass(kind, RaycacheError)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_every_error_survives_pickling(kind: type[RaycacheError]) -> None:
    """An error keeps its class, its message and its fields across an actor call."""
    again = pickle.loads(pickle.dumps(kind("what happened; what to do", path="/lake/x")))
    assert kind is type(again)
    assert str(again) == "what happened; what to do"
    assert again.fields == {"path": "/lake/x"}


def test_errors_are_what_the_ecosystem_catches() -> None:
    """Code that catches the standard library's classes catches ours, with the errno it looks at."""
    error = NotFoundError("nothing at /x")
    assert isinstance(error, FileNotFoundError)
    assert error.errno == 2
    assert isinstance(InvalidRequestError("bad"), ValueError)


def test_clip_follows_pread() -> None:
    """A range past the end is cut, one that starts there is empty, and a negative one is refused."""
    assert clip(0, None, 10) == (0, 10)
    assert clip(8, 5, 10) == (8, 2)
    assert clip(99, 5, 10) == (10, 0)
    assert clip(3, 0, 10) == (3, 0)
    with pytest.raises(InvalidRequestError):
        clip(-1, 5, 10)
    with pytest.raises(InvalidRequestError):
        clip(0, -5, 10)


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (3, 4), (0, 8), (5, 11), (7, 1), (0, 16), (4, 4)])
def test_block_ranges_cover_exactly_the_range(offset: int, length: int) -> None:
    """The parts of a range, put together, are the range: nothing twice, nothing missing."""
    covered = [
        part.block_index * 4 + part.offset + position
        for part in block_ranges(offset, length, 4)
        for position in range(part.length)
    ]
    assert list(range(offset, offset + length)) == covered


def test_only_the_last_block_is_short() -> None:
    """Blocks of a file sum up to its size."""
    assert [block_length(i, 10, 4) for i in range(block_count(10, 4))] == [4, 4, 2]
    assert block_count(0, 4) == 0
    assert block_count(8, 4) == 2


def test_placement_moves_only_to_the_joiner() -> None:
    """A fifth worker takes about a fifth of the extents, and no extent moves between the old ones."""
    keys = np.array([extent_key(i.to_bytes(16, "big"), 0) for i in range(20_000)], dtype=np.uint64)
    before = place_many(keys, workers(4))[:, 0]
    after = place_many(keys, workers(5))[:, 0]
    moved = before != after
    assert set(after[moved].tolist()) == {4}
    assert 0.18 < moved.mean() < 0.22


def test_placement_follows_weights() -> None:
    """A worker of three times the capacity gets three times the extents."""
    keys = np.array([extent_key(i.to_bytes(16, "big"), 0) for i in range(20_000)], dtype=np.uint64)
    mixed = [WorkerView("a", 1, 300, "a"), WorkerView("b", 1, 100, "b")]
    share = (place_many(keys, mixed)[:, 0] == 0).mean()
    assert 0.73 < share < 0.77


@pytest.mark.parametrize("spread", [1, 4, 100])
@pytest.mark.parametrize("copies", [1, 3])
def test_placement_of_many_is_that_of_all_draws_scored(spread: int, copies: int) -> None:
    """With hundreds of workers only draws that can win are scored; the choice is the one of the definition."""
    draw = random.Random(spread)
    group = tuple(WorkerView(f"w{i}", 1, draw.randint(1_000, 1_000 * spread), "") for i in range(300))
    keys = np.array([draw.getrandbits(64) for _ in range(500)], dtype=np.uint64)
    found = place_many(keys, group, copies)
    for key, chosen in zip(keys.tolist(), found.tolist(), strict=True):
        scores = []
        for worker in group:
            mixed = key ^ xxhash.xxh3_64_intdigest(worker.worker.encode())
            mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % (1 << 64)
            mixed ^= mixed >> 31
            scores.append(-worker.weight_bytes / math.log(((mixed >> 11) + 0.5) / (1 << 53)))
        assert sorted(range(len(group)), key=lambda i: -scores[i])[:copies] == chosen


def test_placement_ignores_order_and_names_distinct_copies() -> None:
    """The same workers in another order place alike, and copies are on different workers."""
    group = workers(6)
    version = b"v" * 16
    assert place(version, 3, group, copies=3) == place(version, 3, group[::-1], copies=3)
    assert len(set(place(version, 3, group, copies=3))) == 3
    assert len(place(version, 3, group, copies=99)) == 6
    assert place(version, 3, [], copies=1) == []
    with pytest.raises(InvalidRequestError):
        place(version, 3, group, copies=0)


def test_version_ids_tell_versions_apart() -> None:
    """Another etag, size or name is another version; the mtime counts only where there is no etag."""
    base = FileVersion("s3://b/k", 10, '"e"', 5)
    assert base.id() == base._replace(mtime_ns=6).id()
    assert base.id() != base._replace(etag='"f"').id()
    assert base.id() != base._replace(size_bytes=11).id()
    assert base.id() != base._replace(uri="s3://b/l").id()
    bare = base._replace(etag="")
    assert bare.id() != bare._replace(mtime_ns=6).id()


@pytest.mark.parametrize(
    ("text", "expected"),
    [(0, 0), (123, 123), ("64", 64), ("1KiB", 1024), ("1.5 GiB", GIB * 3 // 2), ("2MB", 2_000_000), ("30%", 300)],
)
def test_sizes_are_read_as_people_write_them(text: str | int, expected: int) -> None:
    """Bytes, binary and decimal units, and shares."""
    assert expected == parse_size(text, whole_bytes=1000)


@pytest.mark.parametrize("text", ["", "many", "-5", "5XB", "130%", "%", -1, True])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    """A bad size is an error that shows an example, never zero."""
    with pytest.raises(InvalidRequestError, match="size"):
        parse_size(text, whole_bytes=1000)


def test_settings_know_their_origin() -> None:
    """An argument beats the environment, which beats the default, and each says so."""
    environment = {"RAYCACHE_LEASE_S": "7", "RAYCACHE_BLOCK_SIZE_BYTES": "4MiB", "HOME": "/nonexistent"}
    settings, origins = Settings.load({"lease_s": 9.0}, environment)
    assert (settings.lease_s, origins["lease_s"]) == (9.0, "argument")
    assert (
        settings.block_size_bytes,
        origins["block_size_bytes"],
    ) == (4 * MIB, "environment RAYCACHE_BLOCK_SIZE_BYTES")
    assert origins["memory"] == "default"


def test_settings_file_beats_the_environment(tmp_path) -> None:
    """The config file is read from RAYCACHE_CONFIG, and an unknown key in it is an error that names it."""
    path = tmp_path / "raycache.toml"
    path.write_text('memory = "1GiB"\n')
    settings, origins = Settings.load({}, {"RAYCACHE_CONFIG": str(path), "RAYCACHE_MEMORY": "2GiB"})
    assert ("1GiB", f"file {path}") == (settings.memory, origins["memory"])
    path.write_text("mammory = 1\n")
    with pytest.raises(InvalidRequestError, match="mammory"):
        Settings.load({}, {"RAYCACHE_CONFIG": str(path)})


@pytest.mark.parametrize(
    "values",
    [
        {"block_size_bytes": 3 * MIB},
        {"block_size_bytes": 0},
        {"segment_size_bytes": 9 * MIB},
        {"lease_s": 0},
        {"memory": "130%"},
        {"memory": "much"},
        {"eviction": "fifo"},
        {"memory_low_watermark": 0.99},
    ],
)
def test_settings_check_their_relations(values) -> None:
    """What cannot work is refused on construction."""
    with pytest.raises(InvalidRequestError):
        Settings(**values)


@pytest.mark.parametrize(("masks", "expected"), [([], 0), ([0b101], 0b101), ([0b101, 0b110, 0], 0b111)])
def test_a_union_of_masks_has_every_block_of_any(masks: list[int], expected: int) -> None:
    """Of none, no block."""
    assert expected == union(masks)


@pytest.mark.parametrize("mask", [0, 1, 0b1011, 0b1110000, 1 << 70, (1 << 200) - 1, 0b101 << 62])
def test_a_mask_is_its_runs_and_its_extents(mask: int) -> None:
    """Both have every block once; no two runs touch."""
    runs = list(runs_of(mask))
    assert mask == union(((1 << count) - 1) << first for first, count in runs)
    assert all(first + count < second for (first, count), (second, _) in itertools.pairwise(runs))
    parts = list(extents_of(mask, 8))
    assert mask == union(part for _, part in parts)
    assert all(part and part >> extent * 8 < 256 for extent, part in parts)


def test_placement_looks_at_all_draws_where_few_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one draw or none is near the top, the rest decides: looked at or not, the choice is the same."""
    draw = random.Random(7)
    group = tuple(WorkerView(f"w{i}", 1, draw.randint(1_000, 3_000), "") for i in range(300))
    keys = np.array([draw.getrandbits(64) for _ in range(2_000)], dtype=np.uint64)
    expected = place_many(keys, group, 2)
    monkeypatch.setattr(hashing, "_CANDIDATES", 1)
    assert (expected == place_many(keys, group, 2)).all()
    assert (expected[:, :1] == place_many(keys, group, 1)).all()
