"""What a function's code uses, seen from its instructions: names, imports, and whether it leaves things to chance.

A function is what its instructions and constants say, those of the functions inside it included; where it stands in a file,
and how its text is laid out, does not matter.
"""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any, NamedTuple

#: Modules that give other values each time. What is imported from them is as they are.
CHANCE_MODULES = frozenset({"random", "secrets", "numpy.random", "torch.random"})
_CHANCE = frozenset(
    {
        "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
        "os.urandom", "os.getpid", "uuid.uuid1", "uuid.uuid4", "datetime.now", "datetime.utcnow", "datetime.today",
        "numpy.random", "torch.bernoulli", "torch.multinomial", "torch.normal", "torch.empty",
    }
)  # fmt: skip
#: Methods in which objects may well look at what differs from process to process.
_OWN = ("__hash__", "__eq__", "__repr__", "__str__")
#: Whatever they are looked up in.
_CHANCE_NAMES = re.compile(
    r"rand|rand_like|randn|randn_like|randint|randint_like|randperm|randrange|random_sample|default_rng|getrandbits|urandom"
    r"|shuffle|sample|permutation|permuted|RandomState|uuid1|uuid4|token_hex|token_bytes|utcnow"
)
#: What a function sees of the world besides its arguments.
_WORLD = frozenset({"environ", "environb", "getenv", "getenvb"})
#: With these a function can reach anything by a name that it makes up.
_ANYTHING = frozenset({"globals", "locals", "eval", "exec", "__import__", "import_module"})


class Uses(NamedTuple):
    """What a piece of code uses, that of the functions inside it included."""

    #: Names looked up in the module, or else among the builtins; sorted.
    globals: list[str]
    #: Everything that may be the name of an attribute.
    attributes: frozenset[str]
    #: Names of modules that are imported while it runs; sorted.
    imports: list[str]
    #: Globals, and variables of the function around it, that it sets.
    sets: frozenset[str]
    #: Whether it looks attributes up by names that are values.
    by_value: bool


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """A piece of code, and all those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


def uses_of(code: CodeType) -> Uses:
    """What the code uses."""
    names: set[str] = set()
    attributes: set[str] = set()
    imports: set[str] = set()
    changed: set[str] = set()
    for each in codes_in(code):
        attributes.update(each.co_names)
        attributes.update(text for text in each.co_consts if isinstance(text, str) and text.isidentifier())
        for step in dis.get_instructions(each):
            match step.opname:
                case "LOAD_GLOBAL" | "LOAD_NAME":
                    names.add(step.argval)
                case "STORE_GLOBAL" | "DELETE_GLOBAL":
                    changed.add(step.argval)
                case "STORE_DEREF" | "DELETE_DEREF" if step.argval in code.co_freevars:
                    changed.add(step.argval)
                case "IMPORT_NAME":
                    imports.add(step.argval)
    return Uses(
        sorted(names), frozenset(attributes), sorted(imports), frozenset(changed), bool({"getattr", "vars"} & names)
    )


def refusal(uses: Uses) -> str | None:
    """Why a result of this code cannot be told by the code, if that is so."""
    if uses.sets:
        return f"it changes {min(uses.sets)!r}, so that results depend on what ran before"
    if seen := _ANYTHING & (set(uses.globals) | uses.attributes):
        return f"it uses {min(seen)!r}, so that what it depends on cannot be seen"
    if seen := _WORLD & (set(uses.globals) | uses.attributes):
        return f"it looks at {min(seen)!r}, which differs from process to process"
    return None


def chance(code: CodeType, values: Mapping[str, Any]) -> str | None:
    """What makes the code give another result each time, as far as can be seen: its name.

    Args:
        code: of a function.
        values: its globals, builtins and imports that are known, by name.
    """
    for each in codes_in(code):
        for name in each.co_names:
            if _CHANCE_NAMES.fullmatch(name):
                return name
        for name in each.co_names:
            value = values.get(name)
            if isinstance(value, ModuleType) and value.__name__ in CHANCE_MODULES:
                return value.__name__
            if name in ("hash", "id") and getattr(value, "__module__", "") == "builtins" and each.co_name not in _OWN:
                return name
            if isinstance(value, (ModuleType, type)):
                found = sorted({f"{value.__name__}.{other}" for other in _reached(each)} & _CHANCE)
                if found:
                    return found[0]
            if getattr(value, "__module__", None) in ("time", "os", "uuid") and (
                f"{value.__module__}.{getattr(value, '__name__', '')}" in _CHANCE
            ):
                return name
        if "datetime" in each.co_names and {"now", "utcnow", "today"} & set(each.co_names):
            return "datetime.now"
    return None


def _reached(code: CodeType) -> set[str]:
    """Names that are looked up in something; a module's own name, which may be that of something in it, is none for that."""
    found = {text for text in code.co_consts if isinstance(text, str)}
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            found.add(step.argval)
    return found
