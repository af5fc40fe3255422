"""What the documents name is there: files, folders, tests."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("raycache/", "tests/", "docs/", "benchmarks/", "examples/")
#: Not in the repository.
MADE = ("benchmarks/results/",)


def references(text: str) -> Iterator[str]:
    """What stands between backticks and names a file or a folder of the repository, or a test."""
    for token in re.findall(r"`([\w./:\[\]-]+)`", text):
        if token.startswith(MADE) or "://" in token or token.startswith(("/", "~")):
            continue
        if token.startswith(FOLDERS) or token.partition("::")[0].endswith(".py"):
            yield token


def is_there(reference: str) -> bool:
    """A path from the root, from the package, or the mere name of a module; a test by its pytest id."""
    path, _, test = reference.partition("::")
    if test:
        return (ROOT / path).is_file() and test in ids_in(ROOT / path)
    if "/" not in path:
        return any((ROOT / "raycache").rglob(path))
    return (ROOT / path).exists() or (ROOT / "raycache" / path).exists()


@functools.cache
def ids_in(path: Path) -> set[str]:
    """The ids of a file's tests, behind its name."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + item.name for item in inner if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    """Every file, folder and test that a page names exists."""
    missing = [found for found in references(page.read_text(encoding="utf-8")) if not is_there(found)]
    assert missing == []


def test_every_promise_of_the_semantics_names_a_test() -> None:
    """Each promise to readers and in upkeep and to writers has at least one test below it."""
    text = (ROOT / "docs/semantics.md").read_text(encoding="utf-8")
    promises = re.split(r"^(?=\*\*)", text, flags=re.MULTILINE)[1:]
    assert len(promises) > 10
    assert [promise.partition("\n")[0] for promise in promises if "\n* `tests/" not in promise] == []


@pytest.mark.parametrize(
    "written",
    [
        "`raycache/nowhere.py`",
        "`docs/nowhere.md`",
        "`client/nowhere.py`",
        "`nowhere.py`",
        "`tests/nowhere`",
        "`tests/unit/test_rules.py::test_nowhere`",
        "`tests/contract/test_ufs.py::test_appears_at_close`",
        "`tests/contract/test_ufs.py::TestWriters::test_nowhere`",
    ],
)
def test_what_is_missing_is_found(written: str) -> None:
    """A file, a folder, a module and a test that do not exist are noticed, a test in a class without its class included."""
    (found,) = references(written)
    assert not is_there(found)


@pytest.mark.parametrize(
    "written",
    [
        "`raycache/rules.py`",
        "`rules.py`",
        "`docs/images`",
        "`tests/unit/test_rules.py::test_the_later_word_holds`",
        "`tests/contract/test_ufs.py::TestWriters::test_appears_at_close`",
    ],
)
def test_what_exists_is_found(written: str) -> None:
    """Paths from the root, names of modules, and pytest's ids are understood."""
    (found,) = references(written)
    assert is_there(found)


@pytest.mark.parametrize(
    "written", ["`s3://bucket/x.py`", "`/lake/x`", "`benchmarks/results/`", "`cache.read`", "`a/b`"]
)
def test_what_is_no_reference_is_passed_over(written: str) -> None:
    """Paths of a lake, calls, and what only a run makes are no files of the repository."""
    assert list(references(written)) == []
