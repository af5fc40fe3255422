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


def test_every_public_method_has_a_docstring() -> None:
    """What the page shows of `Cache` and `Job` says what it is for."""
    silent = [
        f"{kind.__name__}.{name}"
        for kind in (raycache.Cache, raycache.Job)
        for name, method in inspect.getmembers(kind)
        if not name.startswith("_") and not inspect.getdoc(method)
    ]
    assert silent == []
