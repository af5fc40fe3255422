"""One object by two names: nothing is lost when both meet, and what one name changes the other does not go on knowing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs

from raycache.client.writes import Writes
from raycache.errors import ConflictError, InvalidRequestError
from raycache.types import FileVersion
from raycache.ufs.arrow import ArrowStorage
from raycache.ufs.base import ObjectInfo, UnderStorage
from raycache.ufs.local import LocalStorage
from raycache.ufs.memory import MemoryStorage
from raycache.ufs.open import store_of
from tests.support.lone_filesystem import LoneFileSystem
from tests.support.lone_writer import LoneWriter

COPY_OR_MOVE = pytest.mark.parametrize("operation", ["copy", "move"])


@pytest.fixture
def writer(tmp_path: Path) -> LoneWriter:
    """A directory `/d` with a file and a tree, mounted twice more: by a link, and from above."""
    (tmp_path / "d/tree/sub").mkdir(parents=True)
    for name in ("file", "tree/x", "tree/sub/y"):
        (tmp_path / "d" / name).write_text(name)
    (tmp_path / "link").symlink_to("d")
    mounts = {"/d": f"file://{tmp_path}/d", "/l": f"file://{tmp_path}/link", "/top": f"file://{tmp_path}"}
    return LoneWriter(mounts)


def contents(directory: Path) -> dict[str, str]:
    return {str(p.relative_to(directory)): p.read_text() for p in sorted(directory.rglob("*")) if p.is_file()}


def carry_out(writer: LoneWriter, operation: str, source: str, target: str, *, whole: bool) -> None:
    work: dict[tuple[str, bool], Callable[[Writes], None]] = {
        ("copy", False): lambda writes: writes.copy([(source, target)]),
        ("move", False): lambda writes: writes.move([(source, target)]),
        ("copy", True): lambda writes: writes.copy_directory(source, target),
        ("move", True): lambda writes: writes.move_directory(source, target),
    }
    work[operation, whole](writer.writes)


NAMES = ["/d/{}", "/l/{}", "/top/d/{}", "/top/link/{}", "/d/again/{}", "/d/{}-link", "{uri}/{}", "{uri}/../link/{}"]


@COPY_OR_MOVE
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", NAMES[:-1])
def test_onto_itself_by_another_name(
    name: str, whole: bool, operation: str, writer: LoneWriter, tmp_path: Path
) -> None:
    """A file or directory copied or moved onto itself stays, whatever the two names are: links, mounts, URIs."""
    what = "tree" if whole else "file"
    (tmp_path / "d/again").symlink_to(".")
    (tmp_path / f"d/{what}-link").symlink_to(what)
    before = contents(tmp_path / "d")
    other = name.format(what, uri=f"file://{tmp_path}/d")
    for source, target in ((f"/d/{what}", other), (other, f"/d/{what}")):
        carry_out(writer, operation, source, target, whole=whole)
        assert before == contents(tmp_path / "d")
    assert (tmp_path / f"d/{what}-link").is_symlink()


@COPY_OR_MOVE
def test_onto_a_hard_link(operation: str, writer: LoneWriter, tmp_path: Path) -> None:
    """A file is not moved onto a hard link of itself, as by rename; a tree that holds hard links of another may be."""
    os.link(tmp_path / "d/file", tmp_path / "d/hard")
    carry_out(writer, operation, "/d/file", "/d/hard", whole=False)
    assert contents(tmp_path / "d") == {
        "file": "file", "hard": "file", "tree/x": "tree/x", "tree/sub/y": "tree/sub/y",
    }  # fmt: skip
    (tmp_path / "d/twin/sub").mkdir(parents=True)
    os.link(tmp_path / "d/tree/sub/y", tmp_path / "d/twin/sub/y")
    carry_out(writer, operation, "/d/tree", "/d/twin", whole=True)
    assert contents(tmp_path / "d/twin") == {"x": "tree/x", "sub/y": "tree/sub/y"}
    assert (tmp_path / "d/tree").exists() == (operation == "copy")


@COPY_OR_MOVE
@pytest.mark.parametrize("target", ["/d/tree/new", "/d/tree/sub/new", "/d/way/new", "/l/tree/new", "/d/goal"])
def test_a_directory_into_itself(target: str, operation: str, writer: LoneWriter, tmp_path: Path) -> None:
    """A directory goes nowhere below itself: by its name, by a link to it, by another mount, by a link in the target."""
    (tmp_path / "d/way").symlink_to("tree/sub")
    (tmp_path / "d/goal").mkdir()
    (tmp_path / "d/goal/sub").symlink_to("../tree/sub")
    before = contents(tmp_path / "d")
    with pytest.raises(InvalidRequestError, match="lies in"):
        carry_out(writer, operation, "/d/tree", target, whole=True)
    assert before == contents(tmp_path / "d")


def test_a_target_that_is_a_source_by_another_name(writer: LoneWriter, tmp_path: Path) -> None:
    """Files cannot be moved in a circle, also when their names do not show it."""
    (tmp_path / "d/other").write_text("other")
    with pytest.raises(InvalidRequestError, match="both source and target"):
        writer.writes.move([("/d/file", "/d/other"), ("/l/other", "/d/file")])
    assert (contents(tmp_path / "d")["file"], contents(tmp_path / "d")["other"]) == ("file", "other")


def two_authorities(tmp_path: Path, one: str, other: str) -> LoneWriter:
    """One directory of a store, mounted by two of its authorities."""
    (tmp_path / "d/tree/sub").mkdir(parents=True)
    for name in ("file", "tree/x", "tree/sub/y"):
        (tmp_path / "d" / name).write_text(name)
    storages: dict[str, UnderStorage] = {
        uri: ArrowStorage(fs.LocalFileSystem(), uri, base=f"{tmp_path}/", store=store_of(uri)) for uri in (one, other)
    }
    return LoneWriter({"/d": f"{one}/d", "/e": f"{other}/d"}, storages)


AUTHORITIES = pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hdfs://", "hdfs://host"),
        ("hdfs://", "hdfs://HOST:8020"),
        ("hdfs://host:8020", "hdfs://host"),
        ("abfs://c@account", "abfs://c@account.dfs.core.windows.net"),
        ("abfs://c@account.blob.core.windows.net", "abfs://c@Account.dfs.core.windows.net"),
    ],
)


@pytest.fixture
def hadoop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of Hadoop that says which name node is meant where none is named."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/core-site.xml").write_text(
        "<configuration><property><name>fs.defaultFS</name><value>hdfs://host:8020</value></property></configuration>"
    )
    monkeypatch.delenv("CLASSPATH", raising=False)
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path / "conf"))


@AUTHORITIES
@COPY_OR_MOVE
@pytest.mark.usefixtures("hadoop")
def test_two_authorities_of_one_store(tmp_path: Path, operation: str, one: str, other: str) -> None:
    """What is one file or directory by both stays where it is, and goes nowhere below itself."""
    writer = two_authorities(tmp_path, one, other)
    before = contents(tmp_path / "d")
    carry_out(writer, operation, "/d/file", "/e/file", whole=False)
    carry_out(writer, operation, "/d/tree", f"{other}/d/tree", whole=True)
    with pytest.raises(InvalidRequestError, match="lies in"):
        carry_out(writer, operation, "/d/tree", "/e/tree/sub/deep", whole=True)
    assert before == contents(tmp_path / "d")


@AUTHORITIES
@pytest.mark.usefixtures("hadoop")
def test_a_change_is_forgotten_by_every_authority(tmp_path: Path, one: str, other: str) -> None:
    """Here, and by whoever is told of it."""
    writer = two_authorities(tmp_path, one, other)
    other_names = ["/d/file", "/e/file", f"{one}/d/file", f"{other}/d/file"]
    for written in other_names:
        writer.look(*other_names, "/e/tree/x")
        writer.writes.put(written, b"new")
        assert [False] * 4 == writer.knows(*other_names)
        assert {f"{one}/d/file", f"{other}/d/file"} <= set(writer.invalidated)
        assert [True] == writer.knows("/e/tree/x")


def test_authorities_of_different_stores_are_told_apart() -> None:
    """Other hosts, ports, containers and accounts; the account of a mount's options counts."""
    apart = ["hdfs://a", "hdfs://b", "hdfs://a:9000", "abfs://c@a", "abfs://d@a", "abfs://c@b", "s3://a", "gs://a"]
    assert len(apart) == len({store_of(uri) for uri in apart})
    assert store_of("abfs://c", {"account_name": "a"}) == store_of("abfs://c@a.dfs.core.windows.net")


def test_the_root_of_a_disk(tmp_path: Path) -> None:
    """It can be mounted and written as any directory, and what is changed by it is forgotten by the other names."""
    (tmp_path / "file").write_text("file")
    writer = LoneWriter({"/": "file://", "/all": "file://", "/d": f"file://{tmp_path}"})
    other_names = [f"/all{tmp_path}/file", f"{tmp_path}/file", f"file://{tmp_path}/file", "/d/file"]
    for written in other_names:
        writer.look(*other_names)
        writer.writes.put(written, written.encode())
        assert [False] * 4 == writer.knows(*other_names)
        assert written == (tmp_path / "file").read_text()
    assert [f"file://{tmp_path}/file"] == listed(writer, f"file://{tmp_path}")
    assert f"/all{tmp_path}/file" in listed(writer, f"/all{tmp_path}")


def listed(writer: LoneWriter, path: str) -> list[str]:
    return [name for name in LoneFileSystem(writer).ls(path, detail=False) if name.endswith("file")]


def test_a_move_between_two_names_of_one_store(tmp_path: Path) -> None:
    """Where nobody can tell that two names are one, a move finds out before it deletes: onto itself, into itself."""
    writer = two_authorities(tmp_path, "viewfs://", "viewfs://host")
    before = contents(tmp_path / "d")
    writer.writes.move([("/d/file", "/e/file")])
    writer.writes.move_directory("/d/tree", "/e/tree")
    assert before == contents(tmp_path / "d")
    with pytest.raises(ConflictError, match="changed while it was moved"):
        writer.writes.move_directory("/d/tree", "/e/tree/sub/deep")
    assert before.items() <= contents(tmp_path / "d").items()


class BusyStorage(MemoryStorage):
    """A store in which somebody else writes whenever something is copied."""

    def __init__(self, key: str) -> None:
        super().__init__("memory://m")
        self._key = key

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        info = super().copy(source_key, target_key)
        self.put(self._key, b"fresh")
        return info


@pytest.mark.parametrize("changed", ["t/x", "t/new"])
def test_what_others_write_during_a_move_is_not_deleted(changed: str) -> None:
    """A file that was replaced, or came, while a directory was copied keeps the directory from being deleted."""
    storage = BusyStorage(changed)
    for key in ("t/x", "t/y"):
        storage.put(key, b"old")
    writer = LoneWriter({"/m": "memory://m"}, {"memory://m": storage})
    with pytest.raises(ConflictError, match="/m/t was changed while it was moved"):
        writer.writes.move_directory("/m/t", "/m/u")
    assert {"t/x", "t/y", "u/x", "u/y"} <= {info.key for info in storage.list("").objects}
    assert bytes(storage.read(changed, 0, 5)) == b"fresh"


def test_a_file_that_was_changed_during_its_move_is_not_deleted() -> None:
    """A source that is no longer what was copied stays."""
    storage = BusyStorage("x")
    storage.put("x", b"old")
    writer = LoneWriter({"/m": "memory://m"}, {"memory://m": storage})
    with pytest.raises(ConflictError, match="/m/x was changed while it was moved"):
        writer.writes.move([("/m/x", "/m/y")])
    assert (bytes(storage.read("x", 0, 5)), bytes(storage.read("y", 0, 3))) == (b"fresh", b"old")


WRITES: dict[str, Callable[[Writes, str], None]] = {
    "put": lambda writes, path: writes.put(path, b"new"),
    "open": lambda writes, path: writes.open(path).close(),
    "copy": lambda writes, path: writes.copy([("/d/tree/x", path)]),
    "delete": lambda writes, path: writes.delete([path]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("written", ["/d/file", "/l/file", "/top/d/file", "/top/link/file"])
def test_a_change_is_forgotten_by_every_name(
    written: str, write: Callable[[Writes, str], None], writer: LoneWriter, tmp_path: Path
) -> None:
    """What a process knew of a file by other mounts, or by URI, is dropped when it changes the file by one of them."""
    other_names = ["/d/file", "/l/file", "/top/d/file", f"file://{tmp_path}/d/file", f"file://{tmp_path}/link/file"]
    writer.look(*other_names, "/d/tree/x", "/l/tree/x")
    write(writer.writes, written)
    assert [False] * 5 == writer.knows(*other_names)
    assert [True, True] == writer.knows("/d/tree/x", "/l/tree/x")
    assert {f"file://{tmp_path}/d/file", f"file://{tmp_path}/link/file"} <= set(writer.invalidated)


@pytest.mark.parametrize("path", ["/d/tree", "/l/tree", "/top/d"])
def test_a_deleted_directory_is_forgotten_by_every_name(path: str, writer: LoneWriter) -> None:
    """All that was known below a directory is dropped, by whatever mount it was looked up."""
    writer.look("/d/tree/sub/y", "/l/tree/x", "/top/d/tree/x")
    writer.writes.delete_directory(path)
    assert [False] * 3 == writer.knows("/d/tree/sub/y", "/l/tree/x", "/top/d/tree/x")


def test_one_prefix_of_a_bucket_under_two_mounts() -> None:
    """Where keys are only text, a mount of a bucket and one of a prefix in it know of each other's changes, too."""
    storage = MemoryStorage("memory://m")
    storage.put("p/q/x", b"old")
    writer = LoneWriter({"/m": "memory://m", "/p": "memory://m/p", "/q": "memory://m/p/q"}, {"memory://m": storage})
    other_names = ["/m/p/q/x", "/p/q/x", "/q/x", "memory://m/p/q/x"]
    for written in other_names:
        writer.look(*other_names)
        writer.writes.put(written, b"new")
        assert [False] * 4 == writer.knows(*other_names)
    writer.writes.move([("/q/x", "/p/q/x")])
    assert bytes(storage.read("p/q/x", 0, 3)) == b"new"


def test_a_copy_of_a_file_that_changes_is_no_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy on a disk of a file that is written in place meanwhile is a conflict, and nothing appears."""
    storage = LocalStorage(root=tmp_path)
    storage.put("x", b"a" * 3_000_000)
    fstat = os.fstat

    def fstat_then_change(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if status.st_size == 3_000_000:
            os.utime(tmp_path / "x", ns=(1, status.st_mtime_ns + 1))
        return status

    monkeypatch.setattr(os, "fstat", fstat_then_change)
    with pytest.raises(ConflictError):
        storage.copy("x", "y")
    assert [info.key for info in storage.list("").objects] == ["x"]
    assert FileVersion("", *storage.head("x")[1:]).size_bytes == 3_000_000
