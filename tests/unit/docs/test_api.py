"""`docs/api.md` names everything that is public; `make docs` fills in the docstrings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import raycache
from raycache import errors, results

PAGE = Path(__file__).resolve().parents[3] / "docs/api.md"


def test_every_public_name_is_on_the_page() -> None:
    """Each name of `raycache` is on the page, by itself or with the module of all errors; and nothing is there twice."""
    shown = re.findall(r"^::: (\S+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    with_module = {name for name in raycache.__all__ if getattr(raycache, name).__module__ == errors.__name__}
    assert {errors.__name__, results.__name__} <= set(shown)
    assert {f"raycache.{name}" for name in set(raycache.__all__) - with_module} <= set(shown)
    assert len(shown) == len(set(shown))


def docstrings() -> dict[str, str]:
    """What the page shows of the functions of `raycache`, and of the methods of `Cache` and `Job`."""
    public = {name: getattr(raycache, name) for name in raycache.__all__}
    methods = {
        f"{kind.__name__}.{name}": method
        for kind in (raycache.Cache, raycache.Job)
        for name, method in inspect.getmembers(kind)
        if not name.startswith("_")
    }
    return {name: inspect.getdoc(value) or "" for name, value in {**public, **methods}.items()}


def test_every_public_name_has_a_docstring() -> None:
    """What the page shows says what it is for."""
    assert [name for name, text in docstrings().items() if not text] == []


def test_every_error_says_when() -> None:
    """Below `Raises:`, each line names classes, and says after a colon when they are raised."""
    wrong = [
        f"{name}: {line.strip()}"
        for name, text in docstrings().items()
        for line in re.findall(r"^ {4}(\S.*)$", text.partition("Raises:\n")[2].partition("\n\n")[0], re.MULTILINE)
        if not re.match(r"[\w, ]+: \S", line)
    ]
    assert wrong == []
