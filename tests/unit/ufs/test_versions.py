"""What tells one content of an object from another, on disks and where a store says little."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from raycache.clock import moment_of
from raycache.errors import ConflictError
from raycache.master.namespace import entries
from raycache.types import BlockId, FileVersion, clamp_ns
from raycache.ufs import local_version
from raycache.ufs.arrow import ArrowStorage
from raycache.ufs.base import ObjectInfo
from raycache.ufs.checks import check_version
from raycache.ufs.local import LocalStorage
from raycache.workers.effects import SegmentEntry
from raycache.workers.tiers.entry_table import EntryTable
from tests.support.stores import version_of

_2300_NS = 10_413_792_000 * 10**9
_1600_NS = -11_676_096_000 * 10**9


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(root=tmp_path)


def replace(path: Path, content: bytes, time_ns: int | None) -> None:
    """Let a new file stand at a path, as tar and rsync do."""
    beside = path.with_name("beside")
    beside.write_bytes(content)
    if time_ns is not None:
        os.utime(beside, ns=(time_ns, time_ns))
    beside.replace(path)


@pytest.mark.parametrize("after", [0, None, 1, _2300_NS])
@pytest.mark.parametrize("before", [0, None, 1, _2300_NS])
def test_a_replaced_file_is_another_version(
    before: int | None, after: int | None, storage: LocalStorage, tmp_path: Path
) -> None:
    """A file that is replaced by one of the same size is another version, whatever times both have: the same, 0, none."""
    replace(tmp_path / "x", b"A" * 8, before)
    old = version_of(storage, storage.head("x"))
    assert bytes(storage.read("x", 0, 4, old)) == b"AAAA"
    replace(tmp_path / "x", b"B" * 8, after)
    new = version_of(storage, storage.head("x"))
    assert old.id() != new.id()
    with pytest.raises(ConflictError):
        storage.read("x", 4, 4, old)
    assert bytes(storage.read("x", 4, 4, new)) == b"BBBB"


CHANGES: dict[str, Callable[[Path], None]] = {
    "written in place, its time set back": lambda path: (path.write_bytes(b"B" * 8), os.utime(path, ns=(0, 0))),
    "its time set": lambda path: os.utime(path, ns=(5, 5)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_is_another_version(
    change: Callable[[Path], None], storage: LocalStorage, tmp_path: Path
) -> None:
    """What changes a file in place changes its ctime, which nobody can set."""
    replace(tmp_path / "x", b"A" * 8, 0)
    old = version_of(storage, storage.head("x"))
    while (
        version_of(storage, storage.head("x")).id() == old.id()
    ):  # the clock of files ticks a few hundred times a second
        change(tmp_path / "x")
    with pytest.raises(ConflictError):
        storage.read("x", 0, 8, old)


@pytest.mark.parametrize("time_ns", [_2300_NS, _1600_NS, -1, 0])
def test_odd_times_cost_nobody_anything(time_ns: int, storage: LocalStorage, tmp_path: Path) -> None:
    """A file from the far future or past is listed, described and read like those beside it, by all that keep its time."""
    storage.put("d/good", b"1")
    storage.put("d/odd", b"2")
    os.utime(tmp_path / "d/odd", ns=(time_ns, time_ns))
    stands_for = (tmp_path / "d/odd").stat().st_mtime_ns
    if abs(stands_for - time_ns) > 10**9:
        pytest.skip("this disk cannot say it")
    good, odd = storage.list("d/").objects
    assert (good.key, odd.key, odd.mtime_ns) == ("d/good", "d/odd", clamp_ns(stands_for))
    assert odd == storage.head("d/odd")
    version = version_of(storage, odd)
    assert bytes(storage.read("d/odd", 0, 1, version)) == b"2"
    assert odd[1:] == entries.unpack(entries.pack(odd))
    assert version == EntryTable([(BlockId(version.id(), 0), SegmentEntry(version, 0, 0, 1))]).file(version.id())
    assert moment_of(odd.mtime_ns) is not None


def test_a_time_nobody_knows_stays_unknown() -> None:
    """A record without a time comes back without one, and not as 1970."""
    info = ObjectInfo("x", 3, '"e"', None)
    version = FileVersion("s3://b/x", *info[1:])
    assert version == EntryTable([(BlockId(version.id(), 0), SegmentEntry(version, 0, 0, 1))]).file(version.id())
    assert info[1:] == entries.unpack(entries.pack(info))
    assert entries.pack(info) != entries.pack(info._replace(mtime_ns=0))
    assert moment_of(None) is None
    assert moment_of(0) is not None


SAME, OTHER = True, False
COMPARED = [  # etag and time found, etag and time wanted
    ('"a"', 1, '"a"', 2, SAME), ('"a"', 1, '"b"', 1, OTHER), ("", 0, "", 0, SAME), ("", 0, "", 1, OTHER), ("", 1, "", 0, OTHER),
    ("", None, "", 0, SAME), ("", None, "", None, SAME), ('"a"', None, "", 1, SAME), ('"a"', 2, "", 1, OTHER), ("", 2, '"a"', 1, OTHER),
]  # fmt: skip


@pytest.mark.parametrize(("etag", "mtime_ns", "etag_wanted", "mtime_ns_wanted", "same"), COMPARED)
def test_versions_are_compared_by_what_is_known(
    etag: str, mtime_ns: int | None, etag_wanted: str, mtime_ns_wanted: int | None, same: bool
) -> None:
    """Etags decide where both sides have one, else times where both know one: 0 is a time like any other."""
    found, version = ObjectInfo("x", 3, etag, mtime_ns), FileVersion("s3://b/x", 3, etag_wanted, mtime_ns_wanted)
    if same:
        check_version("s3://b/x", found, version)
    else:
        with pytest.raises(ConflictError):
            check_version("s3://b/x", found, version)
    with pytest.raises(ConflictError):
        check_version("s3://b/x", found._replace(size_bytes=4), version)


@pytest.mark.parametrize(("kind", "counts"), [("ext4", True), ("nfs4", True), ("fuse.gcsfuse", False), ("cifs", False)])
def test_made_up_inodes_do_not_count(kind: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where inode numbers mean nothing on other machines, they are no part of a version."""
    (tmp_path / "x").touch()
    status = (tmp_path / "x").stat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    (tmp_path / "mounts").write_text(
        f"20 1 0:0 / / rw - tmpfs none rw\n21 20 {device} / /a rw shared:1 - {kind} dev rw\n"
    )
    monkeypatch.setattr(local_version, "_MOUNTS_FILE", str(tmp_path / "mounts"))
    local_version._makes_inodes_up.cache_clear()
    try:
        assert counts == (f"-{status.st_ino:x}-" in local_version.etag_of(status))
        assert local_version.etag_of(status) == local_version.etag_of((tmp_path / "x").stat())
    finally:
        local_version._makes_inodes_up.cache_clear()


class _ChangesWhileRead(ArrowStorage):
    """A file of a store without etags is replaced after it was first looked at."""

    def __init__(self, directory: Path) -> None:
        super().__init__(LocalFileSystem(), "hdfs://x", base=f"{directory}/")
        self.file = directory / "f"

    def _head_once(self, key: str) -> ObjectInfo:
        info = super()._head_once(key)
        self.file.write_bytes(b"newer bytes")
        return info


def test_a_file_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    """HDFS and GCS cannot bind a read to a version: it is looked again after it, and nothing is mixed."""
    (tmp_path / "f").write_bytes(b"older")
    storage = _ChangesWhileRead(tmp_path)
    info = ArrowStorage(LocalFileSystem(), "hdfs://x", base=f"{tmp_path}/").head("f")
    version = FileVersion("hdfs://x/f", info.size_bytes, info.etag, info.mtime_ns)
    with pytest.raises(ConflictError):
        storage.read("f", 0, 5, version)
