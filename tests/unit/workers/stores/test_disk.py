"""Segment files: what is written is found, what is damaged is noticed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from raycache.errors import CorruptBlockError, NoSpaceError, NotFoundError, RaycacheError, UnavailableError
from raycache.types import BlockId, FileVersion
from raycache.workers.effects import SegmentEntry
from raycache.workers.stores import disk
from raycache.workers.stores.disk import DiskStore, _mapped, open_slot
from raycache.workers.walks.adoption import DiskSegment
from tests.support.disk_segments import scan

VERSION = FileVersion("s3://b/ü %2F \udcff.parquet", 1000, '"etag"', 7)
ENTRIES = [SegmentEntry(VERSION, 0, 0, 600), SegmentEntry(VERSION, 3, 600, 400)]


def listed(found: DiskSegment) -> list[SegmentEntry]:
    return list(found.entries.values())


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "slot", fsync=False)


def data(seed: int = 0, size: int = 1000) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize("fsync", [False, True])
def test_what_is_written_is_mapped_verified_and_found_again(tmp_path: Path, fsync: bool) -> None:
    """A later process finds the segment with its whole table, whatever the key's characters."""
    store = DiskStore(tmp_path, fsync=fsync)
    store.write("a", [data()], ENTRIES)
    later = DiskStore(tmp_path, fsync=fsync)
    os.utime(later.path("a"), (time.time() - 500, time.time() - 500))
    (found,) = scan(later)
    assert ("a", 1000, ENTRIES) == (found.segment, found.size_bytes, listed(found))
    assert 500 <= found.age_s < 560
    assert later.verify("a")
    assert later.read_all("a").tobytes() == data().tobytes()
    assert later.path("a").read_bytes()[:1000] == data().tobytes()


def test_parts_are_read_joined_and_a_dropped_segment_is_not_found(store: DiskStore) -> None:
    """A second drop is nothing."""
    store.write("a", [data()], ENTRIES)
    assert data()[[5, 6, 990, 991, 992]].tobytes() == store.read("a", [(5, 2), (990, 3)]).tobytes()
    store.drop("a")
    store.drop("a")
    with pytest.raises(NotFoundError):
        store.read_all("a")
    assert not store.verify("a")


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping would end the process."""
    store.write("a", [data()], ENTRIES)
    with store.path("a").open("rb") as file:
        trailer = disk._read_trailer(file.fileno(), store.path("a"))
    monkeypatch.setattr(disk, "_read_trailer", lambda *_: trailer)
    os.truncate(store.path("a"), 500)
    with pytest.raises(CorruptBlockError):
        store.read_all("a")
    assert not store.verify("a")


def test_a_bad_sector_fails_the_check(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As damaged, whatever the disk says."""

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "planted")

    store.write("a", [data()], ENTRIES)
    monkeypatch.setattr(os, "preadv", broken)
    assert not store.verify("a")
    with pytest.raises(UnavailableError):
        store.read_all("a")


def test_a_segment_in_whose_check_processes_have_ended_is_not_checked_again(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once may have been anything; what ends well is forgotten, and a restart remembers the rest."""
    store.write("a", [data()], ENTRIES)

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    for ends in (True, False, False):
        with monkeypatch.context() as patched:
            patched.setattr(os, "preadv", killed)
            with pytest.raises(KeyboardInterrupt):
                store.verify("a")
        assert ["a"] == [found.segment for found in scan(store)]
        if ends:
            assert store.verify("a")
    assert not store.verify("a")
    store.drop("a")
    assert [] == list(store.path("a").parent.iterdir())


@pytest.mark.parametrize("position", [0, 500, 999])
def test_a_flipped_byte_of_the_data_fails_the_check(store: DiskStore, position: int) -> None:
    """The scan reads no data and still finds it; `verify` does not believe it."""
    store.write("a", [data()], ENTRIES)
    content = bytearray(store.path("a").read_bytes())
    content[position] ^= 1
    store.path("a").write_bytes(content)
    assert [found.segment for found in scan(store)] == ["a"]
    assert not store.verify("a")


@pytest.mark.parametrize("damage", ["cut", "cut a lot", "empty", "longer", "footer", "magic"])
def test_a_torn_file_is_deleted_by_the_scan(store: DiskStore, damage: str) -> None:
    """What cannot be described is no segment."""
    store.write("a", [data()], ENTRIES)
    store.write("b", [data(1)], ENTRIES)
    path = store.path("a")
    content = bytearray(path.read_bytes())
    if damage == "footer":
        content[1010] ^= 1
    elif damage == "magic":
        content[-1] ^= 1
    else:
        content = {"cut": content[:-1], "cut a lot": content[:500], "empty": b"", "longer": content + b"x"}[damage]
    path.write_bytes(content)
    assert [found.segment for found in scan(store)] == ["b"]
    assert not path.exists()


def test_reading_a_torn_file_says_so(store: DiskStore) -> None:
    """Never short or foreign bytes."""
    store.write("a", [data()], ENTRIES)
    store.path("a").write_bytes(b"short")
    with pytest.raises(CorruptBlockError):
        store.read_all("a")


def test_temporary_files_of_a_crash_are_deleted_by_the_scan(store: DiskStore, tmp_path: Path) -> None:
    """A crash while writing leaves nothing behind."""
    leftover = tmp_path / "slot" / "a.partial"
    leftover.write_bytes(b"half")
    assert scan(store) == []
    assert not leftover.exists()


def test_the_scan_gives_the_oldest_first(store: DiskStore) -> None:
    """By time of writing, not by name."""
    for name in ("c", "a", "b"):
        store.write(name, [data()], ENTRIES)
    for age, name in enumerate(("b", "c", "a")):
        os.utime(store.path(name), ns=(age, age))
    assert [found.segment for found in scan(store)] == ["b", "c", "a"]


def test_a_write_that_fails_leaves_nothing_and_is_an_error_of_ours(store: DiskStore, tmp_path: Path) -> None:
    """An operating system error comes out mapped."""
    (tmp_path / "slot" / "a.segment").mkdir()
    with pytest.raises(RaycacheError):
        store.write("a", [data()], ENTRIES)
    assert [path.name for path in (tmp_path / "slot").iterdir()] == ["a.segment"]


def test_a_full_disk_is_no_space() -> None:
    """ENOSPC is told from other failures: /dev/full is a disk that is always full."""
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space") as raised:
        file.write(b"x")
    assert isinstance(_mapped(raised.value, Path("x")), NoSpaceError)


def test_clear_removes_the_directory_and_an_empty_base(store: DiskStore, tmp_path: Path) -> None:
    """Nothing is left at teardown."""
    store.write("a", [data()], ENTRIES)
    store.clear()
    assert not (tmp_path / "slot").exists()


def test_workers_in_different_processes_get_different_slots_and_a_dead_ones_is_taken_over(tmp_path: Path) -> None:
    """The lock lives as long as the process that took it."""
    base = tmp_path / "cache"
    script = (
        "import sys, pathlib; from raycache.workers.stores.disk import open_slot;"
        "print(open_slot(pathlib.Path(sys.argv[1])).name, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "slot-0"
        assert open_slot(base).name == "slot-1"
        other.communicate("", timeout=30)
    assert open_slot(base).name == "slot-0"
    assert open_slot(base).name == "slot-2"


def test_a_base_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    """A wrong path comes out as an error of ours."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError):
        open_slot(tmp_path / "file")


def test_freed_blocks_are_not_found_again(tmp_path: Path) -> None:
    """Each is noted once, a torn note counts as none, and the notes go with their segment."""
    store = DiskStore(tmp_path, fsync=False)
    store.write("a", [data()], ENTRIES)
    store.write("b", [data()], ENTRIES)
    first, second = (BlockId(VERSION.id(), entry.block_index) for entry in ENTRIES)
    store.forget("a", [first])
    assert [[ENTRIES[1]], ENTRIES] == [listed(found) for found in sorted(scan(DiskStore(tmp_path, fsync=False)))]
    store.forget("a", [second])
    notes = tmp_path / "a.freed"
    notes.write_bytes(notes.read_bytes()[:-1])
    assert [ENTRIES[1]] == listed(min(scan(store)))
    store.write("a", [data(1)], ENTRIES)
    assert ENTRIES == listed(min(scan(store)))
    store.forget("a", [first])
    store.drop("a")
    (tmp_path / "gone.freed").write_bytes(b"left by a crash")
    assert ["b"] == [found.segment for found in scan(store)]
    assert ["b.segment"] == [path.name for path in tmp_path.iterdir()]


def test_a_segment_may_be_written_in_pieces(tmp_path: Path) -> None:
    """One behind the other, with one checksum over all of them."""
    store = DiskStore(tmp_path, fsync=False)
    store.write("a", [data()[:300], data()[300:]], ENTRIES)
    assert store.verify("a")
    assert store.read_all("a").tobytes() == data().tobytes()


def test_a_file_that_is_longer_than_its_trailer_says_is_torn(store: DiskStore) -> None:
    """Bytes that belong to nothing stand before a trailer that is whole: nothing of such a file is believed."""
    store.write("a", [data()], ENTRIES)
    content = store.path("a").read_bytes()
    store.path("a").write_bytes(content[:-40] + bytes(8) + content[-40:])
    assert [] == scan(store)
    assert not store.verify("a")
