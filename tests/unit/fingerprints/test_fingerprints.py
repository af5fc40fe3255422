"""Fingerprints: what differs has another one, what is the same has the same in every process, the rest is refused."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import importlib
import io
import random
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from raycache.errors import InvalidRequestError
from raycache.fingerprints.objects import fingerprint

SCALE = 2
TABLE = {"a": 1}


def of(value: Any, **named: Any) -> str:
    return fingerprint(value, "map(f)", **named)


def helper(x: int) -> int:
    return x * SCALE


def uses_helper(row: dict[str, Any]) -> dict[str, Any]:
    return {"a": helper(row["a"])}


def uses_table(row: dict[str, Any]) -> dict[str, Any]:
    return {"a": [TABLE[name] for name in row]}


def decorated(by: int) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(row: Any) -> Any:
            return function(row) + by

        return wrapper

    return decorate


def closing_over(value: Any) -> Any:
    return lambda row: (row, value)


class Scaler:
    offset = 1

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, row: Any) -> Any:
        return row * self.factor + self.offset

    def apply(self, row: Any) -> Any:
        return self(row)


class Child(Scaler):
    pass


@dataclasses.dataclass(frozen=True)
class Options:
    size: int = 3
    names: tuple[str, ...] = ("a",)


class Kind(enum.Enum):
    BIG = 1
    SMALL = 2


class Pair(NamedTuple):
    left: int
    right: int = 2


def default_1(row: Any, by: int = 1) -> Any:
    return row + by


default_2 = types.FunctionType(default_1.__code__, globals(), "default_1", (2,))


# fmt: off
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "constants": (lambda r: r + 1, lambda r: r + 2),
    "a constant's type": (lambda r: r * 1, lambda r: r * 1.0),
    "the sign of zero": (lambda r: r * 0.0, lambda r: r * -0.0),
    "True and 1": (lambda r: (r, True), lambda r: (r, 1)),
    "operators": (lambda r: r + 1, lambda r: r - 1),
    "names of attributes": (lambda r: r.left, lambda r: r.right),
    "inner functions": (lambda r: [x + 1 for x in r], lambda r: [x + 2 for x in r]),
    "closures": (closing_over(1), closing_over(2)),
    "closures over lists": (closing_over([1, 2]), closing_over([2, 1])),
    "closures over sets": (closing_over({1, 2}), closing_over({1, 3})),
    "closures over functions": (closing_over(lambda: 1), closing_over(lambda: 2)),
    "default arguments": (default_1, default_2),
    "keyword defaults": (lambda r, *, by=1: r + by, lambda r, *, by=2: r + by),
    "arguments of decorators": (decorated(1)(len), decorated(2)(len)),
    "what is decorated": (decorated(1)(lambda r: r), decorated(1)(lambda r: -r)),
    "decorated or not": (decorated(0)(helper), helper),
    "partials": (functools.partial(helper, 1), functools.partial(helper, 2)),
    "keywords of partials": (functools.partial(helper, x=1), functools.partial(helper, y=1)),
    "owners of methods": (Scaler(1).apply, Scaler(2).apply),
    "classes of owners": (Scaler(1).apply, Child(1).apply),
    "objects that are called": (Scaler(1), Scaler(2)),
    "caches around functions": (functools.lru_cache(len), functools.lru_cache(repr)),
    "arrays": (np.arange(3), np.arange(3)[::-1]),
    "types of arrays": (np.zeros(2, np.int32), np.zeros(2, np.uint32)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "tables": (pa.table({"a": [1]}), pa.table({"a": [2]})),
    "schemas": (pa.schema([("a", pa.int8())]), pa.schema([("a", pa.int16())])),
    "dataclasses": (Options(), Options(names=("b",))),
    "members of enums": (Kind.BIG, Kind.SMALL),
    "named tuples": (Pair(1), Pair(1, 3)),
    "patterns": (re.compile("a"), re.compile("a", re.IGNORECASE)),
    "text and bytes": ("a", b"a"),
    "where texts end": (["ab", "c"], ["a", "bc"]),
    "nesting": ([[1], 2], [[1, 2]]),
    "the same twice, and two": ([[1]] * 2 + [[2]], [[1], [2], [2]]),
    "builtin functions": (len, sum),
    "methods of builtins": (str.upper, str.lower),
    "library functions": (np.sum, np.mean),
    "paths": (Path("a"), Path("b")),
}
# fmt: on


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_has_another_fingerprint(pair: tuple[Any, Any]) -> None:
    """Two things that give different results never have one fingerprint."""
    assert of(pair[0]) != of(pair[1])


def test_globals_count_through_other_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A global that a function uses by way of another one is part of it, and so is that other one."""
    before = of(uses_helper)
    monkeypatch.setitem(globals(), "SCALE", 3)
    changed = of(uses_helper)
    monkeypatch.setitem(globals(), "helper", lambda x: x * SCALE + 0)
    assert len({before, changed, of(uses_helper)}) == 3


def test_globals_count_by_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """A global that is changed in place counts as it is now."""
    before = of(uses_table)
    monkeypatch.setitem(TABLE, "a", 2)
    assert of(uses_table) != before


def test_attributes_of_classes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a class has, or inherits, is part of its objects."""
    before = of(Child(1)), of(Child)
    monkeypatch.setattr(Scaler, "offset", 5)
    after = of(Child(1)), of(Child)
    monkeypatch.setattr(Scaler, "apply", lambda self, row: row)
    assert len({*before, *after, of(Child(1)), of(Child)}) == 6


MODULE = "FACTOR = {factor}\nUNUSED = {unused}\ndef scale(x):\n    return x * FACTOR\ndef of(module):\n    return module.FACTOR\n"


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a user's module, and give it as it is imported then."""
    monkeypatch.syspath_prepend(tmp_path)
    numbers = iter(range(100))

    def write(**values: int) -> Any:
        (tmp_path / "users_own.py").write_text(MODULE.format(**values) + "#" * next(numbers))
        importlib.invalidate_caches()
        if "users_own" in sys.modules:
            return importlib.reload(sys.modules["users_own"])
        return importlib.import_module("users_own")

    yield write
    sys.modules.pop("users_own", None)


@pytest.mark.parametrize(
    "make",
    [
        lambda module: lambda row: [module.scale(row)],
        lambda module: lambda row: getattr(module, "FACTOR"),  # noqa: B009
        lambda module: lambda row, name="FACT": getattr(module, name + "OR"),
        lambda module: lambda row: module.of(module),
        lambda module: module.scale,
        lambda _: lambda row: [imports_inside(row)],
    ],
)
def test_modules_of_the_user_count_by_what_is_used(make: Any, write_module: Any) -> None:
    """A module that was edited and loaded again gives another fingerprint, by whatever way it is used."""
    before = of(make(write_module(factor=1, unused=1)))
    assert of(make(write_module(factor=2, unused=1))) != before
    assert of(make(write_module(factor=1, unused=1))) == before


def imports_inside(row: Any) -> Any:
    import users_own  # type: ignore[import-not-found]

    return users_own.scale(row)


def test_what_a_module_has_besides_does_not_count(write_module: Any) -> None:
    """An edit elsewhere in a module costs nothing."""
    before = of(write_module(factor=1, unused=1).scale)
    assert of(write_module(factor=1, unused=2).scale) == before


def test_versions_of_libraries_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a library that is used is another result, however it is used."""
    uses: list[Any] = [lambda row: [np.mean(row)], np.mean, functools.partial(np.mean, axis=0), closing_over(np)]
    before = list(map(of, uses))
    monkeypatch.setattr(np, "__version__", "0.0.1")
    assert not set(before) & set(map(of, uses))


def test_other_processes_agree() -> None:
    """Hash seeds, the order of sets, ids and the place in the file do not matter."""
    source = """
from raycache.fingerprints.objects import fingerprint
NAMES = {'b', 'a', 'cc'}
class C:
    kinds = frozenset({'x', 'y'})
    def __call__(self, r): return r in NAMES or r in {'p', 'q', 'z'}
print(fingerprint(C(), 'c'))
"""
    seen = set()
    for seed, before in (("1", ""), ("2", "\n\n\nimport json\n")):
        run = [sys.executable, "-c", before + source]
        environment = {"PYTHONHASHSEED": seed, "PATH": ""}
        done = subprocess.run(run, capture_output=True, text=True, env=environment, check=True)
        seen.add(done.stdout)
    assert len(seen) == 1


counted = 0


def counts(row: Any) -> Any:
    global counted  # noqa: PLW0603
    counted += 1
    return row


def remembers() -> Any:
    seen = 0

    def function(row: Any) -> Any:
        nonlocal seen
        seen += 1
        return seen

    return function


LOCK = threading.Lock()
REFUSED: dict[str, tuple[Any, str]] = {
    "locks": (lambda r: LOCK.acquire(), "LOCK"),
    "open files": (closing_over(io.TextIOWrapper(io.BytesIO())), "TextIOWrapper"),
    "generators": (closing_over(x for x in "a"), "generator"),
    "code that counts": (counts, "counted"),
    "code that remembers": (remembers(), "seen"),
    "eval": (lambda r: [eval(r)], "eval"),
    "the environment": (lambda r: __import__("os").environ[r], "environ|__import__"),
    "numpy.random": (lambda r: np.random.rand(), "rand"),  # noqa: NPY002
    "random": (lambda r: random.random(), "random"),
    "functions of random": (random.random, "Random"),
    "generators of numpy": (closing_over(np.random.default_rng(0)), "Generator"),
    "clocks": (lambda r: time.time(), "time.time"),
    "clocks by name": (lambda r: getattr(time, "monotonic")(), "time.monotonic"),  # noqa: B009
    "hashes of texts": (lambda r: [hash(r)], "hash"),
    "samples": (lambda r: r.sample(frac=0.5), "sample"),
    "chance in a helper": (lambda r: [throws_dice(r)], "randint"),
}


def throws_dice(row: Any) -> Any:
    return random.randint(1, row)


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_seen_is_refused(refused: tuple[Any, str]) -> None:
    """The error is one line that says where, why, and to give a key; with a key the rest counts still."""
    value, said = refused
    with pytest.raises(InvalidRequestError, match=said) as error:
        of(value)
    assert "key=" in str(error.value)
    assert "\n" not in str(error.value)
    assert of(value, vouched=True) == of(value, vouched=True)
    assert of([value, 1], vouched=True) != of([value, 2], vouched=True)


def test_a_module_is_not_what_is_in_it_by_the_same_name() -> None:
    """To make a time of its parts is no chance, although the module `time` has a `time`."""
    assert of(lambda r: [time.mktime(r), r])


def test_cycles_end() -> None:
    """A value that holds itself has a fingerprint, too."""
    first: list[Any] = [1]
    first.append(first)
    second: list[Any] = [2]
    second.append(second)
    assert of(first) != of(second)
    tree: Any = collections.defaultdict(list)
    tree["a"] = tree
    assert of(tree)
