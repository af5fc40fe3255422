"""The house: no circle, no folder too full, names that mean one thing, and rooms that do without Ray."""

from __future__ import annotations

import ast
import configparser
import functools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES_MAX = 16
LINES_MAX = 450
#: Names that stand in several places, and why.
SHARED_NAMES = {
    "actor": "the shell of master, workers, dashboard and endpoint",
    "service": "the decisions of master and workers",
    "connection": "of a process to its cache, and of a store to its server",
    "errors": "the cache's own, and those of third parties on their way to them",
    "cluster": "starting the cache, and a Ray cluster to test it on: both public",
}


@functools.cache
def modules() -> dict[str, Path]:
    """All modules by dotted name; a package is its `__init__`."""
    found = {}
    for path in sorted((ROOT / "raycache").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports() -> dict[str, frozenset[str]]:
    """What each module imports of the project: at its top, inside functions, and for type checkers only."""
    known = modules()
    graph: dict[str, frozenset[str]] = {}
    for name, path in known.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names if alias.name in known)
            elif isinstance(node, ast.ImportFrom) and node.module in known:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found.update(inner & set(known) or {node.module})
        # The facade names everything, and loads it on first use.
        graph[name] = frozenset(found - {name}) if name != "raycache" else frozenset()
    return graph


def circles(graph: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """The groups of modules that reach each other."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        left = [start]
        while left:
            for following in graph.get(left.pop(), frozenset()) - seen:
                seen.add(following)
                left.append(following)
        reach[start] = seen
    found = {frozenset(n for n in reach[name] if name in reach[n]) for name in graph if name in reach[name]}
    return sorted(sorted(group) for group in found)


def test_no_import_circle() -> None:
    """Whoever opens a module can read downwards from there, and comes to an end."""
    assert [] == circles(imports())


def test_a_circle_is_found() -> None:
    """A planted one, through a third module."""
    graph = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("a"), "d": frozenset("a")}
    assert [["a", "b", "c"]] == circles(graph)


def test_lazy_and_type_only_imports_are_seen() -> None:
    """Such imports made the circles of the past."""
    assert "raycache.raydata.hook" in imports()["raycache.raydata.modes"]
    assert "raycache.client.reading.file" in imports()["raycache.filesystems.pyarrow"]


def test_no_folder_is_too_full() -> None:
    """A folder is one screen."""
    counts: dict[Path, int] = defaultdict(int)
    for path in modules().values():
        counts[path.parent] += 1
    assert {} == {str(folder): count for folder, count in counts.items() if count > MODULES_MAX}


def test_no_file_is_too_long() -> None:
    """A file is one sitting."""
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in modules().items()}
    assert {} == {name: count for name, count in lines.items() if count > LINES_MAX}


def test_a_name_means_one_thing() -> None:
    """File names and class names stand in one place, but for those with a reason; these are no more than five."""
    places: dict[str, set[str]] = defaultdict(set)
    for name, path in modules().items():
        if path.stem != "__init__":
            places[path.stem].add(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].add(name)
    several = {name: sorted(where) for name, where in places.items() if len(where) > 1}
    assert {} == {name: where for name, where in several.items() if name not in SHARED_NAMES}
    assert set(SHARED_NAMES) == set(several)
    assert len(SHARED_NAMES) <= 5


def modules_without_ray() -> list[str]:
    """Those the linter's contract names, with all below them."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    named = contracts["importlinter:contract:no-ray"]["source_modules"].split()
    return [name for name in modules() if any(name == top or name.startswith(f"{top}.") for top in named)]


def test_what_decides_imports_where_ray_is_missing() -> None:
    """In a process in which Ray cannot be imported, each module of the linter's contract can."""
    names = modules_without_ray()
    assert len(names) > 100
    code = (
        "import importlib, sys\n"
        "sys.modules['ray'] = None\n"
        "failed = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        failed[name] = str(error)\n"
        "print(failed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=120, check=False
    )
    assert ("{}", "") == (done.stdout.strip(), done.stderr)


@pytest.mark.parametrize("name", ["S3Proxy", "Fault", "FaultKind", "Shape"])
def test_import_paths_of_users_still_work(name: str) -> None:
    """`raycache.testing` is public."""
    import raycache.testing.proxy

    assert hasattr(raycache.testing.proxy, name)
