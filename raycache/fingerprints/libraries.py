"""Which code is installed, and in which version: it counts by that, while a user's own counts by what it is."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
import sysconfig
from collections.abc import Mapping
from types import ModuleType

#: Parts of the project itself and of Ray, wherever they lie: a checkout of them is no user's code.
_OURS = ("raycache", "ray")


def is_library(module: str) -> bool:
    """Whether a module is installed, or part of Python; not so of one that cannot be found, or `__main__`."""
    root = module.partition(".")[0]
    if root in _OURS or root in sys.builtin_module_names:
        return True
    found = sys.modules.get(module)
    if found is None or module == "__main__":
        return root in sys.stdlib_module_names
    path = getattr(found, "__file__", None)
    if path is None:
        # Built in, frozen, or a folder without `__init__`.
        origin = getattr(getattr(found, "__spec__", None), "origin", None)
        return origin in ("built-in", "frozen") or root in sys.stdlib_module_names
    return str(path).startswith(_installed())


@functools.cache
def _installed() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({f"{sysconfig.get_paths()[name].rstrip('/')}/" for name in names})


def version_of(module: str) -> str:
    """The version of what a module belongs to: Python's own for the standard library."""
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names:
        return platform.python_version()
    said = [str(getattr(sys.modules.get(root), "__version__", ""))]
    for name in sorted(set(_distributions().get(root, ()))):
        try:
            said.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            said.append(name)
    return ", ".join(said)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def resolves_to(module: str, qualified_name: str, value: object) -> bool:
    """Whether a value is what its name says: `module.qualified_name` leads to it."""
    found: object = sys.modules.get(module)
    for part in qualified_name.split("."):
        if not isinstance(found, (ModuleType, type)):
            return False
        found = getattr(found, part, None)
    return found is value
