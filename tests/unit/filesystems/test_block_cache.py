"""fsspec's `blockcache` before a file of the cache."""

from __future__ import annotations

from pathlib import Path

from fsspec.implementations.cached import CachingFileSystem

from tests.support.lone_filesystem import LoneFileSystem
from tests.support.lone_writer import LoneWriter


def test_an_open_file_keeps_its_version(tmp_path: Path) -> None:
    """What is read of it after it was replaced is of the version that was opened; who opens it again has the new one."""
    (tmp_path / "lake").mkdir()
    fs = LoneFileSystem(LoneWriter({"/lake": f"file://{tmp_path}/lake"}))
    before, after = b"a" * (3 * fs.blocksize), b"b" * (3 * fs.blocksize)
    fs.pipe("/lake/x", before)
    blocks = CachingFileSystem(fs=fs, cache_storage=str(tmp_path / "blocks"), check_files=True)
    with blocks.open("/lake/x") as file:
        assert before[:9] == file.read(9)
        fs.pipe("/lake/x", after)
        assert before[9:] == file.read()
    assert file.closed
    with blocks.open("/lake/x") as file:
        assert after == file.read()
