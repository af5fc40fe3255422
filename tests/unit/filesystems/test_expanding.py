"""What stands at a path by its letters is meant by it, though the letters also make a glob."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.lone_filesystem import LoneFileSystem
from tests.support.lone_writer import LoneWriter

ODD = ["a[1]", "b*", "c?", "d[!x]e", "[", "f{1,2}[0-9]"]
MATCHED = ["a1", "bx", "cx", "dye", "f10"]


@pytest.fixture
def fs(tmp_path: Path) -> LoneFileSystem:
    for name in [*ODD, *MATCHED]:
        (tmp_path / name).write_text(name)
    return LoneFileSystem(LoneWriter({"/lake": f"file://{tmp_path}"}))


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_stands_there_is_no_glob(fs: LoneFileSystem, name: str) -> None:
    """As a string, in a list, and as a path object."""
    path = f"/lake/{name}"
    for given in (path, [path], Path(path)):
        assert [path] == fs.expand_path(given)
    assert sorted([path, "/lake/a1"]) == fs.expand_path([path, "/lake/a1"])


@pytest.mark.parametrize("name", ODD)
def test_deleting_such_a_path_deletes_nothing_else(fs: LoneFileSystem, tmp_path: Path, name: str) -> None:
    """Also out of a mapping, whose keys are no globs."""
    fs.rm(f"/lake/{name}")
    assert sorted({*ODD, *MATCHED} - {name}) == sorted(path.name for path in tmp_path.iterdir())
    mapping = fs.get_mapper("/lake")
    mapping[name] = b"again"
    assert name.encode() != (tmp_path / name).read_bytes() == b"again"
    del mapping[name]
    assert sorted({*ODD, *MATCHED} - {name}) == sorted(path.name for path in tmp_path.iterdir())
