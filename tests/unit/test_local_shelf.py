"""Files of a shelf are made once, stay while they are used, and go when nobody uses them."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raycache.messages.local_shelf import LocalShelf


def maker(made: list[str], size: int = 5) -> Any:
    def make(partial: Path) -> tuple[str, int]:
        made.append("made")
        (partial / "x").write_bytes(b"x" * size)
        return "s3://b/x", size

    return make


def test_a_file_is_made_once_and_stays_while_in_use(tmp_path: Path) -> None:
    """Ten threads that ask at once share what one of them has made; then it can go."""
    shelf = LocalShelf(tmp_path / "shelf")
    made: list[str] = []
    found: list[bytes] = []

    def use() -> None:
        with shelf.using("a", maker(made)) as data:
            found.append((data / "x").read_bytes())
            assert not shelf.drop("a")

    threads = [threading.Thread(target=use) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (["made"], [b"xxxxx"] * 10) == (made, found)
    assert [("a", "s3://b/x", 5, False)] == [(e.id, e.uri, e.size_bytes, e.kept) for e in shelf.all()]
    assert shelf.drop("a")
    assert [] == shelf.all()


def test_what_failed_half_way_is_made_again(tmp_path: Path) -> None:
    """Nobody ever sees half a file."""
    shelf = LocalShelf(tmp_path)

    def fail(partial: Path) -> tuple[str, int]:
        (partial / "x").write_bytes(b"half")
        raise ValueError

    with pytest.raises(ValueError), shelf.using("a", fail):
        pass
    assert [] == shelf.all()
    made: list[str] = []
    with shelf.using("a", maker(made)) as data:
        assert b"xxxxx" == (data / "x").read_bytes()


def test_what_is_kept_stays_until_it_is_freed(tmp_path: Path) -> None:
    """Not given up for room, but on demand."""
    shelf = LocalShelf(tmp_path)
    with shelf.using("a", maker([])):
        shelf.keep("a")
    assert not shelf.drop("a")
    assert shelf.drop("a", kept=True)


def test_a_file_stays_as_long_as_a_tree_has_it(tmp_path: Path) -> None:
    """Trees go first."""
    shelf = LocalShelf(tmp_path)

    def tree(partial: Path) -> tuple[str, int]:
        with shelf.using("a", maker([])) as data:
            (partial / "d").mkdir()
            (partial / "d" / "x").hardlink_to(data / "x")
        return "s3://b", -1

    with shelf.using("tree", tree) as data:
        assert b"xxxxx" == (data / "d" / "x").read_bytes()
    assert ["tree", "a"] == [entry.id for entry in shelf.all()]
    assert 5 == sum(entry.size_bytes for entry in shelf.all())
    assert not shelf.drop("a")
    assert shelf.drop("tree")
    assert shelf.drop("a")


def _hold(folder: str, ready: Any) -> None:
    with LocalShelf(Path(folder)).using("a", maker([])):
        ready.set()
        time.sleep(60)


def test_a_dead_process_uses_nothing(tmp_path: Path) -> None:
    """Its lock ends with it."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=_hold, args=(str(tmp_path), ready))
    child.start()
    assert ready.wait(60)
    shelf = LocalShelf(tmp_path)
    assert not shelf.drop("a")
    child.kill()
    child.join()
    assert shelf.drop("a")
