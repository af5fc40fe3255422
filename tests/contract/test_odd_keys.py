"""Keys of object stores that are no paths of a disk, through the fsspec filesystem: none is lost, taken for another, or mixed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raycache.errors import InvalidRequestError
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.ufs.base import UnderStorage
from raycache.ufs.memory import MemoryStorage
from tests.support.lone_filesystem import LoneFileSystem
from tests.support.lone_writer import LoneWriter
from tests.support.small_master import SmallMaster

KEYS = ["//two", "/lead", "a///t", "a//b", "a/b", "a/./b", "c/e", "http://h/z", "p//q/r", "x/./y", "..."]
#: No path says them: listings leave them out.
UNSAYABLE = ["../../up", "..", "c/../d", "d/.."]


class MasterFileSystem(RaycacheFileSystem):
    """Asks a master's own service."""

    cachable = False

    def __init__(self, master: SmallMaster) -> None:
        super().__init__()
        self._client = master.cache().client

    @property
    def client(self) -> Any:
        return self._client


@pytest.fixture(params=["memory", "s3-exact"])
def fs(request: pytest.FixtureRequest) -> Iterator[LoneFileSystem]:
    storage: UnderStorage = MemoryStorage("memory://m")
    if request.param == "s3-exact":
        storage = request.getfixturevalue("s3_exact")
    for key in [*KEYS, *UNSAYABLE]:
        storage.put(f"t/{key}", key.encode())
    yield LoneFileSystem(LoneWriter({"/lake": storage.root_uri}, {storage.root_uri: storage}))
    storage.remove_tree("")


@pytest.fixture
def listed() -> MasterFileSystem:
    master = SmallMaster()
    storage = master.mount("/lake", "memory://m")
    for key in [*KEYS, *UNSAYABLE]:
        storage.put(f"t/{key}", key.encode())
    return MasterFileSystem(master)


def test_a_walk_leaves_nothing_out(fs: LoneFileSystem, listed: MasterFileSystem) -> None:
    """Its top, "/" and a name are the path of a file, each once; also bottom up, in detail, and only so deep."""
    paths = sorted(f"/lake/t/{key}" for key in KEYS)
    for one in (fs, listed):
        assert paths == one.find("/lake/t")
        for topdown in (True, False):
            walked = list(one.walk("/lake/t", topdown=topdown))
            assert paths == sorted(f"{top}/{name}" for top, _, names in walked for name in names)
            assert {top for top, _, _ in walked} == {
                "/lake/t", *(f"{top}/{name}" for top, directories, _ in walked for name in directories),
            }  # fmt: skip
        detailed = [(top, infos) for top, _, infos in one.walk("/lake/t", detail=True)]
        assert [f"{top}/{name}" for top, infos in detailed for name in infos] == [
            info["name"] for _, infos in detailed for info in infos.values()
        ]
        shallow = [(top, names) for top, _, names in one.walk("/lake/t", maxdepth=2)]
        assert ("/lake/t/a", ["b"]) in shallow
        assert ("/lake/t/", ["lead"]) in shallow
        assert max(top.count("/") for top, _ in shallow) == 3


def test_a_walk_can_be_cut(fs: LoneFileSystem) -> None:
    """What its caller takes out of the directories is not walked."""
    tops = []
    for top, directories, _ in fs.walk("/lake/t"):
        tops.append(top)
        directories[:] = [name for name in directories if name in ("", "p")]
    assert ["/lake/t", "/lake/t/", "/lake/t//", "/lake/t/p", "/lake/t/p/"] == tops
    with pytest.raises(InvalidRequestError):
        next(fs.walk("/lake/t", maxdepth=0))


def test_each_key_is_read_as_itself(fs: LoneFileSystem) -> None:
    """One by one and all together; copied and moved as they are."""
    contents = {f"/lake/t/{key}": key.encode() for key in KEYS}
    assert contents == {path: fs.cat(path) for path in contents} == fs.cat("/lake/t", recursive=True)
    fs.copy("/lake/t/", "/lake/u/", recursive=True)
    assert contents == {path.replace("/u", "/t", 1): data for path, data in fs.cat("/lake/u", recursive=True).items()}
    fs.mv("/lake/u/", "/lake/v/", recursive=True)
    assert contents == {path.replace("/v", "/t", 1): data for path, data in fs.cat("/lake/v", recursive=True).items()}
    for key in UNSAYABLE:
        with pytest.raises(InvalidRequestError, match=r"'\.\.' part"):
            fs.cat(f"/lake/t/{key}")


def test_getting_a_tree_mixes_nothing(fs: LoneFileSystem, tmp_path: Path) -> None:
    """What would be one local file is refused before anything is written; without it, all is there, and below the target."""
    target = tmp_path / "deep" / "out"
    target.mkdir(parents=True)
    with pytest.raises(InvalidRequestError, match="would be one file"):
        fs.get("/lake/t/", f"{target}/", recursive=True)
    with pytest.raises(InvalidRequestError, match="would be one file"):
        fs.get(["/lake/t/a/b", "/lake/t/a//b"], [f"{target}/x", f"{target}/./x"])
    assert [] == list(target.iterdir())
    for key in ("a//b", "a/./b"):
        fs.rm(f"/lake/t/{key}")
    fs.get("/lake/t/", f"{target}/", recursive=True)
    got = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {key for key in KEYS if key not in ("a//b", "a/./b")}
    assert got == {Path(os.path.normpath(f"{target}/{key}")): key for key in wanted}
