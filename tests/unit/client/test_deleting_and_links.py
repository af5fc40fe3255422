"""What deletes on a disk removes links, never what they lead to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from raycache.client.writes import Writes
from raycache.errors import DeniedError, InvalidRequestError, NotADirectoryRequestError, NotFoundError
from tests.support.lone_writer import LoneWriter

DELETIONS: dict[str, Callable[[Writes], None]] = {
    "delete": lambda writes: writes.delete_directory("/d/victim"),
    "empty": lambda writes: writes.delete_directory("/d/victim", contents_only=True),
    "move": lambda writes: writes.move_directory("/d/victim", "/d/moved"),
    "move to another store": lambda writes: writes.move_directory("/d/victim", "/m/moved"),
    "the mount itself": lambda writes: writes.delete_directory("/victim"),
}


@pytest.fixture
def writer(tmp_path: Path) -> LoneWriter:
    """`/d` has a directory `victim` full of links; `/ro` and `outside` must stay as they are."""
    from raycache.ufs.memory import MemoryStorage

    for directory in ("d/victim/real", "ro/deep", "outside/deep"):
        (tmp_path / directory).mkdir(parents=True)
    for file in ("d/victim/x", "d/victim/real/y", "ro/deep/r", "outside/o", "outside/deep/p", "d/beside"):
        (tmp_path / file).write_text(file)
    victim = tmp_path / "d/victim"
    for link, to in {
        "to_ro": tmp_path / "ro", "to_outside": tmp_path / "outside", "real/to_outside": "../../../outside",
        "to_file": tmp_path / "outside/o", "real/to_beside": "../../beside", "dead": "nowhere", "self": "self",
        "here": ".", "up": "..", "root": tmp_path, "real/one": "two", "real/two": "one", "real/loop": "../real",
    }.items():  # fmt: skip
        (victim / link).symlink_to(to)
    os.link(tmp_path / "outside/deep/p", victim / "hard")
    os.mkfifo(victim / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(victim / "socket"))
    mounts = {
        "/d": f"file://{tmp_path}/d",
        "/ro": f"file://{tmp_path}/ro",
        "/victim": f"file://{victim}",
        "/m": "memory://m",
    }
    return LoneWriter(mounts, {"memory://m": MemoryStorage("memory://m")})


def files_outside(tmp_path: Path) -> list[str]:
    return [
        str(path.relative_to(tmp_path)) for name in ("ro", "outside") for path in sorted((tmp_path / name).rglob("*"))
    ]


@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
def test_deleting_follows_no_link(delete: Callable[[Writes], None], writer: LoneWriter, tmp_path: Path) -> None:
    """Whatever deletes a directory leaves all that links in it lead to: outside, in read-only mounts, above itself."""
    before = files_outside(tmp_path)
    delete(writer.writes)
    assert before == files_outside(tmp_path)
    assert (tmp_path / "outside/deep/p").read_text() == "outside/deep/p"
    assert (tmp_path / "d/beside").read_text() == "d/beside"
    victim = tmp_path / "d/victim"
    assert not victim.exists() or list(victim.iterdir()) == []


def test_a_move_copies_what_links_lead_to(writer: LoneWriter, tmp_path: Path) -> None:
    """A copy follows links, as reading does, and ends where they lead back; then the links alone are deleted."""
    writer.writes.move_directory("/d/victim", "/d/moved")
    moved = tmp_path / "d/moved"
    assert (moved / "to_outside/deep/p").read_text() == "outside/deep/p"
    assert (moved / "to_file").read_text() == "outside/o"
    assert (moved / "up/beside").read_text() == "d/beside"
    assert (moved / "hard").read_text() == "outside/deep/p"
    assert not any(path.is_symlink() for path in moved.rglob("*"))


@pytest.mark.parametrize("contents_only", [False, True])
def test_of_a_link_to_a_directory_the_link_alone_goes(contents_only: bool, writer: LoneWriter, tmp_path: Path) -> None:
    """A link named as the directory is deleted as a link; where a directory is to stay, an empty one stands there."""
    before = files_outside(tmp_path)
    for link in ("to_outside", "to_ro", "up"):
        writer.writes.delete_directory(f"/d/victim/{link}", contents_only=contents_only)
        path = tmp_path / "d/victim" / link
        assert not path.is_symlink()
        assert (list(path.iterdir()) == []) if contents_only else not path.exists()
    assert before == files_outside(tmp_path)
    assert (tmp_path / "d/victim/x").exists()


def test_of_a_link_that_is_moved_the_link_goes(writer: LoneWriter, tmp_path: Path) -> None:
    """A move of a link copies what it leads to, and deletes the link."""
    before = files_outside(tmp_path)
    writer.writes.move_directory("/d/victim/to_outside", "/d/moved")
    assert (tmp_path / "d/moved/deep/p").read_text() == "outside/deep/p"
    writer.writes.move([("/d/victim/to_file", "/d/o")])
    assert (tmp_path / "d/o").read_text() == "outside/o"
    assert before == files_outside(tmp_path)
    assert not (tmp_path / "d/victim/to_outside").is_symlink()
    assert not (tmp_path / "d/victim/to_file").is_symlink()


def test_what_is_mounted_may_be_a_link(writer: LoneWriter, tmp_path: Path) -> None:
    """The root of a mount stays whatever it is; what is in it goes."""
    (tmp_path / "mounted").symlink_to("d/victim")
    other = LoneWriter({"/l": f"file://{tmp_path}/mounted"})
    before = files_outside(tmp_path)
    other.writes.delete_directory("/l")
    assert (tmp_path / "mounted").is_symlink()
    assert list((tmp_path / "d/victim").iterdir()) == []
    assert before == files_outside(tmp_path)


def test_a_link_is_no_empty_directory(writer: LoneWriter, tmp_path: Path) -> None:
    """Removing an empty directory refuses a link to a full one, and removes a link to an empty one, alone."""
    with pytest.raises(InvalidRequestError, match="not empty"):
        writer.writes.remove_directory("/d/victim/to_outside")
    (tmp_path / "outside/empty").mkdir()
    (tmp_path / "d/victim/to_empty").symlink_to(tmp_path / "outside/empty")
    writer.writes.remove_directory("/d/victim/to_empty")
    assert (tmp_path / "outside/empty").is_dir()
    assert not (tmp_path / "d/victim/to_empty").is_symlink()


def test_only_directories_are_deleted_so(writer: LoneWriter) -> None:
    """A file, a link to one and a dead link are no directories."""
    for path, error in {
        "x": NotADirectoryRequestError,
        "to_file": NotADirectoryRequestError,
        "dead": NotFoundError,
    }.items():
        with pytest.raises(error):
            writer.writes.delete_directory(f"/d/victim/{path}")


def test_a_read_only_mount_keeps_the_directory_around_it(tmp_path: Path) -> None:
    """A directory in which another name of a read-only mount lies is not deleted."""
    (tmp_path / "d/in/ro").mkdir(parents=True)
    (tmp_path / "way").symlink_to(tmp_path / "d/in")
    writer = LoneWriter({"/d": f"file://{tmp_path}/d", "/ro": f"file://{tmp_path}/way/ro"})
    for path in ("/d/in", "/d"):
        with pytest.raises(DeniedError, match="read-only"):
            writer.writes.delete_directory(path)
    assert (tmp_path / "d/in/ro").is_dir()
