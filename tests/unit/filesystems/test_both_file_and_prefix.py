"""A key of an object store that is both a file and a directory, as fsspec sees it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from raycache.errors import NotFoundError
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.messages import ListReply
from raycache.types import FileKind

LEVELS = {
    "/s3": [("f", FileKind.FILE, 6), ("f", FileKind.DIRECTORY, 0), ("g", FileKind.FILE, 1)],
    "/s3/f": [("x", FileKind.FILE, 7)],
}


class LevelFileSystem(RaycacheFileSystem):
    """One whose listings are known."""

    protocol = "level"

    @property
    def client(self) -> Any:
        return SimpleNamespace(locator=SimpleNamespace(listing=self._listing))

    def _listing(self, path: str, **_: object) -> ListReply:
        if path not in LEVELS:
            raise NotFoundError(f"{path} does not exist")
        names, kinds, sizes = ([*column] for column in zip(*LEVELS[path], strict=True))
        return ListReply(
            names, [int(kind) for kind in kinds], sizes, [""] * len(names), [None] * len(names), "s3://b", 0.0
        )


def test_it_is_listed_as_both() -> None:
    """A listing has the file and the directory, its names each once; a walk comes to both, and leaves nothing out."""
    fs = LevelFileSystem()
    both = [("/s3/f", "file"), ("/s3/f", "directory"), ("/s3/g", "file")]
    assert both == [(info["name"], info["type"]) for info in fs.ls("/s3")]
    assert ["/s3/f", "/s3/g"] == fs.ls("/s3", detail=False)
    assert [("/s3", ["f"], ["f", "g"]), ("/s3/f", [], ["x"])] == list(fs.walk("/s3"))
