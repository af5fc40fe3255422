"""File objects of a running cache: the table of things to do with one, for both kinds of opening."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from raycache.cache import Cache
from raycache.filesystems.fsspec import RaycacheFileSystem
from tests.support.file_objects import CONTENT, THINGS_TO_DO, outcome


@pytest.mark.parametrize("opener", ["Cache.open", "fsspec"])
def test_a_file_answers_as_bytesio_or_a_file_does(
    cache: Cache, fs: RaycacheFileSystem, disk: str, tmp_path: Path, opener: str
) -> None:
    """Whatever is asked of it."""
    fs.pipe(f"{disk}/file", CONTENT)
    differing = []
    for name, work in THINGS_TO_DO.items():
        file = cache.open(f"{disk}/file") if opener == "Cache.open" else fs.open(f"{disk}/file")
        with (tmp_path / "file").open("rb") as stock:
            allowed = [outcome(stock, work), outcome(io.BytesIO(CONTENT), work)]
        found = outcome(file, work)
        if found not in allowed:
            differing.append((name, found, allowed))
    assert [] == differing


def test_numbers_of_numpy_are_numbers(cache: Cache, fs: RaycacheFileSystem, disk: str) -> None:
    """Offsets and sizes as `map_batches` hands them out; a cold file is read, and nobody else is held up by it."""
    fs.pipe(f"{disk}/numbers", CONTENT)
    offset, size = np.array([1_000])[0], np.array([100], np.uint16)[0]
    wanted = CONTENT[1_000:1_100]
    assert wanted == cache.read(f"{disk}/numbers", offset, size).to_pybytes()
    assert wanted == cache.read_ranges([f"{disk}/numbers"], [(offset, size)])[0].to_pybytes()
    assert wanted == cache.open(f"{disk}/numbers").read_at(offset, size).to_pybytes()
    assert wanted == fs.cat_file(f"{disk}/numbers", offset, offset + size)
    assert [wanted] == fs.cat_ranges([f"{disk}/numbers"], [offset], [offset + size])
    with pytest.raises(TypeError):
        cache.read(f"{disk}/numbers", 1.5)  # type: ignore[arg-type]
