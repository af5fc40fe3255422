"""What dead workers have left on a disk is removed when somebody asks, and nothing else."""

from __future__ import annotations

from pathlib import Path

from raycache.workers.figures.self_check import leftovers, remove_leftovers
from raycache.workers.stores.disk import open_slot


def test_slots_of_the_living_stay(tmp_path: Path) -> None:
    """A slot that a process has locked, and what is none; the base of the last slot goes with it."""
    mine = open_slot(tmp_path / "raycache-mine")
    dead = tmp_path / "raycache-dead" / "slot-0"
    for slot in (mine, dead):
        slot.mkdir(parents=True, exist_ok=True)
        (slot / "a.segment").write_bytes(b"12345")
    other = tmp_path / "others"
    other.mkdir()
    assert [(str(dead), 5)] == remove_leftovers(tmp_path)
    assert [] == leftovers(tmp_path)
    assert [mine.parent.name, "others"] == sorted(
        (path.name for path in tmp_path.iterdir()), key=lambda name: name != mine.parent.name
    )
    assert (mine / "a.segment").exists()
