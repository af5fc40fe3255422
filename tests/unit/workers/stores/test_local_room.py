"""Room for local files within the disk tier's quota: what is unused gives way, what is in use does not."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from raycache.errors import NoSpaceError
from raycache.messages import Selector
from raycache.messages.local_shelf import LocalShelf
from raycache.rules import Pattern
from raycache.settings import Settings
from raycache.workers.capacity import Capacity, WorkerLimits
from raycache.workers.service import WorkerService
from raycache.workers.stores.local_room import LocalRoom

DISK = 64 << 20


def room_of(tmp_path: Path, disk_bytes: int = DISK) -> tuple[LocalRoom, WorkerService]:
    service = WorkerService("node", 1, WorkerLimits.of(Settings(), 64 << 20, disk_bytes))
    capacity = Capacity(64 << 20, disk_bytes, tmp_path)
    return LocalRoom(capacity, tmp_path, "cache", "node", service.local_share.set, lambda _: None), service


def make(shelf: LocalShelf, name: str, size: int) -> Any:
    def fill(partial: Path) -> tuple[str, int]:
        with (partial / "x").open("wb") as file:
            file.truncate(size)
        return f"s3://b/{name}", size

    return shelf.using(name, fill)


def ask(room: LocalRoom, size: int, name: str) -> Any:
    return asyncio.run(room.answer(size, name))


def test_what_is_there_and_what_was_promised_counts_once(tmp_path: Path) -> None:
    """A file is counted when it is promised, and not twice when it stands."""
    room, service = room_of(tmp_path)
    good, folder = ask(room, 20 << 20, "a")
    assert (True, 20 << 20) == (good, service.local_share.bytes)
    shelf = LocalShelf(Path(folder))
    with make(shelf, "a", 20 << 20):
        assert (True, folder) == ask(room, 30 << 20, "b")
        assert (50 << 20) == service.local_share.bytes
        assert service.stats().disk_used_bytes == 50 << 20
        assert service.stats().disk_capacity_bytes == DISK
        good, error = ask(room, 30 << 20, "c")
        assert (False, True) == (good, isinstance(error, NoSpaceError))
    with make(shelf, "b", 30 << 20):
        # What nobody uses any more gives way.
        assert (True, folder) == ask(room, 30 << 20, "c")
    assert ["b"] == [entry.id for entry in shelf.all()]
    asyncio.run(room.free(Selector([Pattern("s3://b")])))
    assert [] == shelf.all()
    room.clear()


def test_without_a_disk_tier_there_is_no_room(tmp_path: Path) -> None:
    """It says what else there is."""
    room, _ = room_of(tmp_path, disk_bytes=0)
    good, error = ask(room, 1, "a")
    assert (False, True) == (good, "memory=True" in str(error))


@pytest.mark.parametrize("kept", [False, True])
def test_old_files_give_way_to_segments(tmp_path: Path, kept: bool) -> None:
    """When they take more than half of the tier, unless they are to stay."""
    room, service = room_of(tmp_path)
    _, folder = ask(room, 40 << 20, "a")
    shelf = LocalShelf(Path(folder))
    with make(shelf, "a", 40 << 20):
        if kept:
            shelf.keep("a")
    old_s = time.time() - 3600

    os.utime(Path(folder) / "a" / "lock", (old_s, old_s))
    asyncio.run(room.look())
    assert kept == bool(shelf.all())
    assert service.local_share.bytes == (40 << 20 if kept else 0)


def test_a_promise_ends_with_its_file(tmp_path: Path) -> None:
    """What came and was freed at once, or was asked for again, is not counted beside what is there."""
    room, service = room_of(tmp_path)
    _, folder = ask(room, 40 << 20, "a")
    shelf = LocalShelf(Path(folder))
    with make(shelf, "a", 40 << 20):
        pass
    asyncio.run(room.free(Selector([Pattern("s3://b")])))
    assert [] == shelf.all()
    assert (True, folder) == ask(room, 60 << 20, "b")
    assert (True, folder) == ask(room, 60 << 20, "b")
    assert (60 << 20) == service.local_share.bytes


def test_what_is_being_made_counts_once(tmp_path: Path) -> None:
    """Its bytes so far are part of what was promised for it."""
    room, _ = room_of(tmp_path)
    _, folder = ask(room, 40 << 20, "a")
    shelf = LocalShelf(Path(folder))

    def fill(partial: Path) -> tuple[str, int]:
        with (partial / "x").open("wb") as file:
            file.truncate(30 << 20)
        assert (True, folder) == ask(room, 20 << 20, "b")
        return "s3://b/a", 40 << 20

    with shelf.using("a", fill):
        pass
