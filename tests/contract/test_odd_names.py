"""Filesystems do with odd names what fsspec's and pyarrow's own do on a local disk."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.local import LocalFileSystem

from raycache.filesystems.pyarrow import CacheHandler
from tests.support.lone_filesystem import LoneFileSystem
from tests.support.lone_writer import LoneWriter

ODD_NAMES = [
    " space ",
    "50% off",
    "a%20b",
    "a+b",
    "a#b",
    "a=b",
    "a&b;c",
    "~",
    ".hidden",
    "dots..",
    "..dots",
    "...",
    "back\\slash",
    "new\nline",
    "tab\t",
    "quote'\"",
    "[brackets]",
    "star*",
    "what?",
    "a:b",
    "http:",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "日本",
    "😀",
    "l" * 200,
]
#: Names that are globs as well: there fsspec's own takes the letters for a glob, and the cache does not.
GLOBS = {name for name in ODD_NAMES if set(name) & set("*?[")}
TAKEN_FOR_GLOBS = {"cat", "cat all", "mapping", "move", "rm", "rm all"}

#: By name: something to do in a directory that holds `name/name` and `plain`, and how that is spelled.
Work = Callable[[Any, str, str, Path], Any]
FSSPEC: dict[str, Work] = {
    "ls": lambda fs, base, name, _: (fs.ls(base, detail=False), fs.ls(f"{base}/{name}", detail=False)),
    "ls of a file": lambda fs, base, name, _: fs.ls(f"{base}/{name}/{name}", detail=False),
    "info": lambda fs, base, name, _: [
        fs.info(f"{base}/{path}")[key] for path in (name, f"{name}/{name}") for key in ("name", "type")
    ],
    "size": lambda fs, base, name, _: fs.size(f"{base}/{name}/{name}"),
    "what it is": lambda fs, base, name, _: [
        ask(f"{base}/{path}")
        for ask in (fs.exists, fs.isdir, fs.isfile)
        for path in (name, f"{name}/{name}", f"{name}x", f"{name}/{name}/x")
    ],
    "find": lambda fs, base, name, _: (fs.find(base), fs.find(f"{base}/{name}"), fs.find(f"{base}/{name}/{name}")),
    "walk": lambda fs, base, name, _: sorted((top, sorted(a), sorted(b)) for top, a, b in fs.walk(base)),
    "glob": lambda fs, base, name, _: (fs.glob(f"{base}/*/*"), fs.glob(f"{base}/**")),
    "du": lambda fs, base, name, _: sum(fs.du(base, total=False).values()),
    "cat": lambda fs, base, name, _: fs.cat(f"{base}/{name}/{name}"),
    "cat all": lambda fs, base, name, _: fs.cat(base, recursive=True, on_error="omit"),
    "cat_ranges": lambda fs, base, name, _: fs.cat_ranges([f"{base}/{name}/{name}"], [1], [3]),
    "head and tail": lambda fs, base, name, _: (
        fs.head(f"{base}/{name}/{name}", 2),
        fs.tail(f"{base}/{name}/{name}", 2),
    ),
    "open": lambda fs, base, name, _: fs.open(f"{base}/{name}/{name}").read(),
    "pipe": lambda fs, base, name, _: (fs.pipe(f"{base}/{name}/new{name}", b"new"), fs.find(base)),
    "touch": lambda fs, base, name, _: (fs.touch(f"{base}/{name}/new{name}"), fs.find(base)),
    "makedirs": lambda fs, base, name, _: (fs.makedirs(f"{base}/new{name}/{name}"), fs.find(base, withdirs=True)),
    "mkdir": lambda fs, base, name, _: (fs.mkdir(f"{base}/new{name}"), fs.isdir(f"{base}/new{name}")),
    "copy": lambda fs, base, name, _: (fs.cp_file(f"{base}/{name}/{name}", f"{base}/x{name}"), fs.find(base)),
    "copy all": lambda fs, base, name, _: (fs.copy(f"{base}/", f"{base}copy/", recursive=True), fs.find(f"{base}copy")),
    "move": lambda fs, base, name, _: (fs.mv(f"{base}/{name}/{name}", f"{base}/x{name}"), fs.find(base)),
    "get": lambda fs, base, name, out: (fs.get(f"{base}/", f"{out}/", recursive=True), _tree(out)),
    "get a file": lambda fs, base, name, out: (fs.get_file(f"{base}/{name}/{name}", f"{out}/x"), _tree(out)),
    "put": lambda fs, base, name, out: (
        _plant(out, name),
        fs.put(f"{out}/", f"{base}put/", recursive=True),
        fs.find(f"{base}put"),
    ),
    "rm": lambda fs, base, name, _: (fs.rm(f"{base}/{name}/{name}"), fs.find(base)),
    "rm all": lambda fs, base, name, _: (fs.rm(f"{base}/{name}", recursive=True), fs.find(base)),
    "mapping": lambda fs, base, name, _: sorted(fs.get_mapper(base).items()),
    "a missing file": lambda fs, base, name, _: fs.cat_file(f"{base}/{name}/no{name}"),
    "a directory read": lambda fs, base, name, _: fs.cat_file(f"{base}/{name}"),
}
ARROW: dict[str, Work] = {
    "info": lambda fs, base, name, _: [
        (info.path, info.type, info.size) for info in fs.get_file_info([f"{base}/{name}", f"{base}/{name}/{name}"])
    ],
    "selector": lambda fs, base, name, _: sorted(
        (info.path, info.type) for info in fs.get_file_info(pafs.FileSelector(base, recursive=True))
    ),
    "read": lambda fs, base, name, _: fs.open_input_file(f"{base}/{name}/{name}").read(),
    "write": lambda fs, base, name, _: (_arrow_write(fs, f"{base}/{name}/new"), _arrow_tree(fs, base)),
    "copy": lambda fs, base, name, _: (fs.copy_file(f"{base}/{name}/{name}", f"{base}/x{name}"), _arrow_tree(fs, base)),
    "move": lambda fs, base, name, _: (fs.move(f"{base}/{name}/{name}", f"{base}/x{name}"), _arrow_tree(fs, base)),
    "delete": lambda fs, base, name, _: (fs.delete_file(f"{base}/{name}/{name}"), _arrow_tree(fs, base)),
    "delete all": lambda fs, base, name, _: (fs.delete_dir(f"{base}/{name}"), _arrow_tree(fs, base)),
    "create": lambda fs, base, name, _: (fs.create_dir(f"{base}/new{name}"), _arrow_tree(fs, base)),
    "a missing file": lambda fs, base, name, _: fs.open_input_file(f"{base}/{name}/no").read(),
}


def _plant(directory: Path, name: str) -> None:
    (directory / name).mkdir(parents=True)
    (directory / name / name).write_bytes(b"content")
    (directory / "plain").write_bytes(b"plain")


def _tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def _arrow_write(fs: Any, path: str) -> None:
    with fs.open_output_stream(path) as file:
        file.write(b"new")


def _arrow_tree(fs: Any, base: str) -> list[str]:
    return sorted(info.path for info in fs.get_file_info(pafs.FileSelector(base, recursive=True)))


def _outcome(work: Work, fs: Any, base: str, name: str, out: Path) -> Any:
    """What it gives with the base left out, or which kind of error callers can tell."""
    out.mkdir()
    try:
        return _relative(work(fs, base, name, out), base)
    except OSError as error:
        kinds = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
        return next((kind for kind in kinds if isinstance(error, kind)), OSError)


def _relative(found: Any, base: str) -> Any:
    if isinstance(found, str):
        return found.removeprefix(base)
    if isinstance(found, dict):
        return {_relative(key, base): value for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        listed = [_relative(item, base) for item in found]
        return sorted(listed) if all(isinstance(item, str) for item in listed) else listed
    return found


@pytest.fixture
def fs(tmp_path: Path) -> LoneFileSystem:
    return LoneFileSystem(LoneWriter({"/disk": f"file://{tmp_path}"}))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_what_fsspec_makes_of_them(fs: LoneFileSystem, tmp_path: Path, name: str) -> None:
    """Results and kinds of errors, for everything in the table."""
    assert {} == _differing(FSSPEC, fs, LocalFileSystem(), tmp_path, name)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_what_arrow_makes_of_them(fs: LoneFileSystem, tmp_path: Path, name: str) -> None:
    """Results and kinds of errors, for everything in the table."""
    assert {} == _differing(ARROW, pafs.PyFileSystem(CacheHandler(fs)), pafs.LocalFileSystem(), tmp_path, name)


def _differing(table: dict[str, Work], ours: Any, stock: Any, tmp_path: Path, name: str) -> dict[str, Any]:
    """What comes out otherwise than on the local file system: (ours, wanted) by title."""
    differing = {}
    for number, (title, work) in enumerate(table.items()):
        if name in GLOBS and title in TAKEN_FOR_GLOBS:
            continue  # see GLOBS
        for side in ("ours", "stock"):
            _plant(tmp_path / side / str(number), name)
        base = f"{tmp_path}/stock/{number}"
        wanted = _outcome(work, stock, base, name, tmp_path / f"stock-{number}")
        found = _outcome(work, ours, f"/disk/ours/{number}", name, tmp_path / f"ours-{number}")
        if wanted != found:
            differing[title] = (found, wanted)
    return differing
