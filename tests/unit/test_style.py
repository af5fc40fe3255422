"""The style that no linter checks, enforced on every file: each rule is a function from a source to its breaches."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 500
#: The only files that may import Ray, now or at their first call. Everything else works where Ray is not installed.
RAY_FILES = (
    "raycache/*/actor.py",
    "raycache/cluster.py",
    "raycache/workers/figures/exporter.py",
    "raycache/workers/master_link.py",
    "raycache/workers/stores/plasma.py",
    "raycache/workers/stores/peers.py",
    "raycache/dashboard/launch.py",
    "raycache/endpoint/keeper.py",
    "raycache/endpoint/lifecycle.py",
    "raycache/client/calls.py",
    "raycache/client/connection.py",
    "raycache/client/ray_side/ray_address.py",
    "raycache/client/ray_side/ray_core.py",
    "raycache/placement/near.py",
    "raycache/placement/strategies.py",
    "raycache/raydata/*.py",
    "raycache/testing/*.py",
    "raycache/demo.py",
    "tests/ray/*.py",
    "tests/hosts/*.py",
    "tests/dist/user_program.py",
    "tests/support/*.py",
    "examples/*.py",
    "benchmarks/*.py",
)
#: The only files of the package that may write to standard output.
PRINT_FILES = ("raycache/cli/*.py", "raycache/demo.py", "raycache/testing/*.py")


def python_files() -> list[str]:
    folders = ("raycache", "tests", "examples", "benchmarks")
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def among(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


@functools.lru_cache(maxsize=1)
def nodes_of(source: str) -> tuple[ast.AST, ...]:
    """All nodes of a source, parsed once for all rules."""
    return tuple(ast.walk(ast.parse(source)))


def too_long(path: str, source: str) -> Iterator[str]:
    count = source.count("\n")
    if count > LINES_MAX:
        yield f"{path}: {count} lines; split it, at most {LINES_MAX}"


def prints(path: str, source: str) -> Iterator[str]:
    if not path.startswith("raycache/") or among(path, PRINT_FILES):
        return
    for node in nodes_of(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{path}:{node.lineno}: print; only the command line, the demo and the test tools speak"


def catches_all_without_reason(path: str, source: str) -> Iterator[str]:
    lines = source.splitlines()
    for node in nodes_of(source):
        if not isinstance(node, ast.ExceptHandler) or not _catches_all(node.type):
            continue
        # The reason stands on the line itself, or is a comment right above or right below.
        around = (
            lines[node.lineno - 1],
            *(lines[i].strip() for i in (node.lineno - 2, node.lineno) if 0 <= i < len(lines)),
        )
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        if not raises and "#" not in around[0] and not any(line.startswith("#") for line in around[1:]):
            yield f"{path}:{node.lineno}: catches everything and goes on; say why in a comment"


def _catches_all(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_catches_all(item) for item in kind.elts)
    return kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))


def imports_ray(path: str, source: str) -> Iterator[str]:
    if among(path, RAY_FILES):
        return
    for node in nodes_of(source):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        if any(name == "ray" or name.startswith("ray.") for name in names):
            yield f"{path}:{node.lineno}: imports ray; keep the rule here and the call in one of the files that may"


def lacks_a_docstring(path: str, source: str) -> Iterator[str]:
    if source.strip() and not ast.get_docstring(nodes_of(source)[0]):
        yield f"{path}: no docstring; its first line says what the module is"


def lacks_a_promise(path: str, source: str) -> Iterator[str]:
    if not fnmatch(path, "tests/*test_*.py"):
        return
    for node in nodes_of(source):
        is_test = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
        if is_test and not ast.get_docstring(node):  # type: ignore[arg-type]
            yield f"{path}:{node.lineno}: a test without a docstring; write its promise in one sentence"  # type: ignore[attr-defined]


RULES: tuple[Callable[[str, str], Iterator[str]], ...] = (
    too_long,
    prints,
    catches_all_without_reason,
    imports_ray,
    lacks_a_docstring,
    lacks_a_promise,
)


@functools.cache
def breaches() -> dict[str, list[str]]:
    """What breaks each rule, by its name."""
    paths = python_files()
    assert "raycache/types.py" in paths
    found: dict[str, list[str]] = {rule.__name__: [] for rule in RULES}
    for path in paths:
        source = (ROOT / path).read_text(encoding="utf-8")
        for rule in RULES:
            found[rule.__name__] += rule(path, source)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Callable[[str, str], Iterator[str]]) -> None:
    """No file of the project breaks the rule."""
    assert not breaches()[rule.__name__], "\n" + "\n".join(breaches()[rule.__name__])


BROKEN = {
    too_long: '"""Doc."""\n' * (LINES_MAX + 1),
    prints: "print(1)",
    catches_all_without_reason: "try:\n    f()\nexcept (ValueError, Exception):\n    pass",
    imports_ray: "def f():\n    from ray.util import scheduling_strategies",
    lacks_a_docstring: "x = 1",
}


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_every_rule_can_be_broken(rule: Callable[[str, str], Iterator[str]]) -> None:
    """A source that breaks the rule is found, once."""
    assert len(list(rule("raycache/ufs/x.py", BROKEN[rule]))) == 1


def test_a_test_without_a_promise_is_found() -> None:
    """A test function needs a docstring; a helper does not."""
    source = "def helper():\n    pass\n\n\ndef test_x():\n    pass\n"
    assert len(list(lacks_a_promise("tests/unit/test_x.py", source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception:  # the actor's top loop\n    pass",
        "try:\n    f()\nexcept Exception:\n    # a lost worker is no reason to stop\n    pass",
        "try:\n    f()\nexcept Exception as error:\n    raise ValueError from error",
        "try:\n    f()\nexcept ValueError:\n    pass",
    ],
)
def test_catching_all_with_a_reason_is_allowed(source: str) -> None:
    """A comment, or raising again, is reason enough to catch everything."""
    assert list(catches_all_without_reason("raycache/x.py", source)) == []


def test_ray_may_be_imported_where_it_is_named() -> None:
    """An actor may import Ray; a module whose name only starts alike is not Ray."""
    assert list(imports_ray("raycache/workers/actor.py", "import ray")) == []
    assert list(imports_ray("raycache/ufs/x.py", "import raycache.types\nfrom raycache import errors")) == []
