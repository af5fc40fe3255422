"""What a client forgets of a directory, and what a move that fails leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycache.errors import UnavailableError
from raycache.ufs.faulty import FaultyStorage, PlannedFault, scripted_plan
from raycache.ufs.memory import MemoryStorage
from tests.support.lone_writer import LoneWriter


def test_a_move_whose_copy_fails_deletes_nothing() -> None:
    """One of three copies fails: all sources are there still, whatever was copied."""
    lake = MemoryStorage("memory://lake")
    for name in "abc":
        lake.put(name, name.encode())
    fault = PlannedFault(UnavailableError("the lake is down"))
    faulty = FaultyStorage(lake, scripted_plan({("copy", 1): fault}))
    writer = LoneWriter({"/m": "memory://lake"}, {"memory://lake": faulty})
    with pytest.raises(UnavailableError, match="down"):
        writer.writes.move([(f"/m/{name}", f"/m/moved/{name}") for name in "abc"])
    assert {"a", "b", "c"} <= {info.key for info in lake.list("").objects}


def test_a_forgotten_directory_takes_what_lies_below_along(tmp_path: Path) -> None:
    """By its path; what only begins alike is remembered."""
    for name in ("d/x", "d/in/y", "dx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    writer = LoneWriter({"/m": f"file://{tmp_path}"})
    writer.look("/m/d/x", "/m/d/in/y", "/m/dx")
    writer.locator.forget(["/m/d"])
    assert [False, False, True] == writer.knows("/m/d/x", "/m/d/in/y", "/m/dx")
    writer.locator.forget_files(["/m/dx"])
    assert [False] == writer.knows("/m/dx")
