"""A disk as a lake: what the conformance suite cannot ask of the other kinds."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Self

import pytest

from raycache.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NoSpaceError,
    NotADirectoryRequestError,
    NotFoundError,
    UnavailableError,
)
from raycache.types import FileVersion
from raycache.ufs.errors import map_os_error
from raycache.ufs.local import LocalStorage
from raycache.ufs.walk import TEMPORARY_PREFIX


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(root=tmp_path)


def keys(storage: LocalStorage, prefix: str = "") -> list[str]:
    return [info.key for info in storage.list(prefix).objects]


def test_keys_are_paths_below_the_root(tmp_path: Path) -> None:
    """`file://` names all files of the machine by their absolute paths without the first slash."""
    (tmp_path / "x").write_bytes(b"abc")
    key = str(tmp_path / "x").removeprefix("/")
    storage = LocalStorage()
    assert bytes(storage.read(key, 0, 3)) == b"abc"
    assert [info.key for info in storage.list(key[:-1]).objects] == [key]


def test_version_is_size_and_mtime(storage: LocalStorage, tmp_path: Path) -> None:
    """A touched file is another version though its size is the same."""
    info = storage.put("k", b"abc")
    version = FileVersion("file:///k", info.size_bytes, info.etag, info.mtime_ns)
    os.utime(tmp_path / "k", ns=(1, info.mtime_ns + 1))
    with pytest.raises(ConflictError):
        storage.read("k", 0, 1, version)


def test_change_during_a_read(storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file written in place while it is read gives a conflict, not a mixture."""
    info = storage.put("k", b"abc")
    version = FileVersion("file:///k", info.size_bytes, info.etag, info.mtime_ns)
    pread = os.pread

    def pread_then_change(*arguments: int) -> bytes:
        data = pread(*arguments)
        os.utime(tmp_path / "k", ns=(1, info.mtime_ns + 1))
        return data

    monkeypatch.setattr(os, "pread", pread_then_change)
    with pytest.raises(ConflictError):
        storage.read("k", 0, 3, version)


def test_short_system_reads_are_continued(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call that gives fewer bytes than asked for is repeated for the rest."""
    storage.put("k", b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 3), offset))
    assert bytes(storage.read("k", 1, 8)) == b"12345678"


def test_links_are_followed(storage: LocalStorage, tmp_path: Path) -> None:
    """Links to files and directories are what they point to, for reading, listing and writing."""
    storage.put("real/x", b"abc")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "one").symlink_to("real/x")
    assert keys(storage) == ["link/x", "one", "real/x"]
    assert bytes(storage.read("link/x", 0, 3)) == b"abc"
    storage.put("one", b"new")
    assert (tmp_path / "one").is_symlink()
    assert bytes(storage.read("real/x", 0, 3)) == b"new"
    storage.delete(["one", "link"])
    assert keys(storage) == ["real/x"]


def test_loops_end(storage: LocalStorage, tmp_path: Path) -> None:
    """Links in a circle, to themselves or to nowhere, neither hang a listing nor show up in it."""
    storage.put("d/e/x", b"1")
    (tmp_path / "d/e/up").symlink_to("..")
    (tmp_path / "d/root").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "nowhere").symlink_to("missing")
    assert keys(storage) == ["d/e/x"]
    for key in ("self", "nowhere"):
        with pytest.raises((NotFoundError, InvalidRequestError)):
            storage.head(key)


def test_special_files_are_skipped(storage: LocalStorage, tmp_path: Path) -> None:
    """Pipes and sockets are not listed, and reading one neither blocks nor succeeds."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        assert keys(storage) == []
        for key in ("pipe", "socket"):
            with pytest.raises(NotFoundError):
                storage.head(key)
        with pytest.raises(NotFoundError):
            storage.read("pipe", 0, 1)


def test_unfinished_files_are_hidden(storage: LocalStorage, tmp_path: Path) -> None:
    """What a crashed writer left is not listed, and its directory counts as empty."""
    storage.make_directory("d")
    writer = storage.open_writer("d/x")
    writer.write(b"half")
    assert [path.name.startswith(TEMPORARY_PREFIX) for path in (tmp_path / "d").iterdir()] == [True]
    assert keys(storage) == ["d/"]
    writer.abort()
    assert list((tmp_path / "d").iterdir()) == []


def test_what_killed_writers_left_keeps_no_directory(storage: LocalStorage, tmp_path: Path) -> None:
    """An empty directory is removed with what nobody writes any more; what somebody writes keeps it."""
    writer = storage.open_writer("d/x")
    writer.write(b"half")
    with pytest.raises(InvalidRequestError, match="not empty"):
        storage.remove_directory("d")
    writer.write(b"whole")
    assert writer.close().size_bytes == 9
    storage.delete(["d/x"])
    (tmp_path / "d" / f"{TEMPORARY_PREFIX}0123").write_bytes(b"half")
    storage.remove_directory("d")
    assert not (tmp_path / "d").exists()


def test_a_write_is_on_the_disk_when_it_is_acknowledged(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are synced before the file has its name, then its directory, and every directory made for it."""
    events: list[str] = []
    fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

    def spelled(path: str) -> str:
        name = os.path.relpath(path, tmp_path)
        return "temporary" if TEMPORARY_PREFIX in name else name

    def traced_fsync(descriptor: int) -> None:
        events.append(f"sync {spelled(str(Path(f'/proc/self/fd/{descriptor}').readlink()))}")
        fsync(descriptor)

    def traced_replace(source: str, target: str) -> None:
        events.append(f"{spelled(source)} to {spelled(target)}")
        replace(source, target)

    def traced_mkdir(path: str) -> None:
        events.append(f"make {spelled(path)}")
        mkdir(path)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    monkeypatch.setattr(os, "mkdir", traced_mkdir)
    storage.put("a/b/x", b"1")
    assert events == ["make a", "sync .", "make a/b", "sync a", "sync temporary", "temporary to a/b/x", "sync a/b"]
    del events[:]
    storage.make_directory("a/c")
    assert events == ["make a/c", "sync a"]


def test_a_directory_that_cannot_be_synced(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that cannot sync directories is taken as it is; one that fails to is not believed."""
    fsync = os.fsync
    code = errno.EINVAL

    def fsync_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "text")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_files_only)
    assert storage.put("x", b"1") == storage.head("x")
    code = errno.EIO
    with pytest.raises(UnavailableError):
        storage.put("x", b"2")
    assert keys(storage) == ["x"]


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664, 0o755])
def test_what_replaces_a_file_has_its_mode(mode: int, storage: LocalStorage, tmp_path: Path) -> None:
    """An overwritten file keeps its mode, also while the new one is being written; a new file has that of the umask."""
    storage.put("x", b"old")
    (tmp_path / "x").chmod(mode)
    (tmp_path / "link").symlink_to("x")
    for key in ("x", "link"):
        writer = storage.open_writer(key)
        writer.write(b"new")
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob(f"{TEMPORARY_PREFIX}*")} == {mode}
        writer.close()
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode
    storage.copy("x", "copy")
    (tmp_path / "theirs").touch()
    assert (tmp_path / "copy").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_what_replaces_a_file_has_its_owner_if_it_may(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner is kept where this user may give files away; else the file is this user's, without the old one's rights."""
    storage.put("x", b"old")
    (tmp_path / "x").chmod(0o4755)
    status = os.stat
    given: list[tuple[int, int]] = []

    def stat_of_another(path: object, **arguments: object) -> os.stat_result:
        found = list(status(path, **arguments))
        if str(path) == str(tmp_path / "x"):
            found[4:6] = [found[4] + 7, found[5] + 7]
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", stat_of_another)
    monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: given.append((uid - os.getuid(), gid - os.getgid())))
    storage.put("x", b"new")
    assert given == [(7, 7)]
    assert stat.S_IMODE(status(tmp_path / "x").st_mode) & 0o777 == 0o755

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "text")

    monkeypatch.setattr(os, "fchown", refuse)
    (tmp_path / "x").chmod(0o4755)
    storage.put("x", b"newer")
    assert stat.S_IMODE(status(tmp_path / "x").st_mode) == 0o755


def test_new_files_have_usual_rights(storage: LocalStorage, tmp_path: Path) -> None:
    """A written file has the rights any program would give it."""
    (tmp_path / "theirs").touch()
    storage.put("ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_file_in_the_way(storage: LocalStorage) -> None:
    """A file where a directory is needed is said so; so is a directory where a file is wanted."""
    storage.put("file", b"")
    storage.make_directory("dir")
    with pytest.raises(NotADirectoryRequestError):
        storage.put("file/x", b"")
    with pytest.raises(NotADirectoryRequestError):
        storage.make_directory("file/x/y")
    with pytest.raises(IsADirectoryError):
        storage.put("dir", b"")


def test_long_names(storage: LocalStorage) -> None:
    """A name no disk can hold is missing when read, and refused when written."""
    with pytest.raises(NotFoundError):
        storage.head("x" * 300)
    with pytest.raises(InvalidRequestError, match="too long"):
        storage.put("x" * 300, b"")


def test_undecodable_names(storage: LocalStorage, tmp_path: Path) -> None:
    """A name that is no UTF-8 is listed and read like any other, and messages stay printable."""
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).write_bytes(b"abc")
    (key,) = keys(storage)
    assert bytes(storage.read(key, 0, 3)) == b"abc"
    with pytest.raises(NotFoundError) as caught:
        storage.head(key + "x\n")
    str(caught.value).encode()
    assert "\n" not in str(caught.value)


def test_vanishing_while_listing(storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file and a directory that vanish between being seen and being described are left out."""
    for key in ("a/x", "b", "c/y", "d"):
        storage.put(key, b"")
    scandir = os.scandir

    def scandir_then_vanish(path: str) -> object:
        found = scandir(path)
        if str(path).rstrip("/") == str(tmp_path):
            entries = list(found)
            (tmp_path / "b").unlink()
            (tmp_path / "c/y").unlink()
            (tmp_path / "c").rmdir()
            return _Listed(entries)
        return found

    monkeypatch.setattr(os, "scandir", scandir_then_vanish)
    assert keys(storage) == ["a/x", "d"]


class _Listed(list):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOENT, NotFoundError), (errno.EACCES, DeniedError), (errno.EROFS, DeniedError),
     (errno.ENOSPC, NoSpaceError), (errno.EDQUOT, NoSpaceError), (errno.ENOTEMPTY, InvalidRequestError),
     (errno.EIO, UnavailableError), (errno.ESTALE, UnavailableError)],
)  # fmt: skip
def test_system_errors(code: int, kind: type[Exception]) -> None:
    """Each system error becomes the class that says what to do, in one line with the URI."""
    error = map_os_error(OSError(code, "text", "/secret/place"), "write", "file:///a\nb")
    assert type(error) is kind
    assert str(error).startswith(("file:///a\\nb", "may not", "no space", "directory file", "cannot write"))
    assert "file:///a\\nb" in str(error)
    assert "\n" not in str(error)


def test_what_is_written_is_on_the_disk_before_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it has its name, and its directory afterwards: a crash leaves the old or the new, whole."""
    synced: list[str] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append("directory" if path.is_dir() else "named" if (tmp_path / "f").exists() else "unnamed")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    LocalStorage(root=tmp_path).put("f", b"x")
    assert ["unnamed", "directory"] == synced
