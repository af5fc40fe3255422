"""A disk as a lake: what the conformance suite cannot ask of the other kinds."""

from __future__ import annotations

import errno
import os
import socket
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
