"""An absent disk says nothing of its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycache.errors import NotFoundError, UnavailableError
from raycache.messages import MountInfo
from raycache.types import FileVersion
from raycache.workers.stores.mounted import MountedSource


class Empty:
    """A store without any file."""

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> bytes:
        raise NotFoundError(f"{key} is gone")


def source(uri: str) -> MountedSource:
    return MountedSource(Empty(), MountInfo("/data", uri, {}, 60.0, True))


def test_a_disk_that_is_not_mounted_here_is_unavailable(tmp_path: Path) -> None:
    """No directory, or an empty one, as it stands where a disk is not mounted; not a file that is gone."""
    for place in (tmp_path / "missing", tmp_path):
        with pytest.raises(UnavailableError, match="on this node"):
            source(place.as_uri()).read("a", 0, 1)


def test_a_file_that_is_gone_is_not_found(tmp_path: Path) -> None:
    """Where others are, or where the mount is no directory."""
    (tmp_path / "other").write_bytes(b"x")
    for uri in (tmp_path.as_uri(), (tmp_path / "other").as_uri(), "s3://bucket"):
        with pytest.raises(NotFoundError):
            source(uri).read("a", 0, 1)
