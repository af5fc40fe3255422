"""The fingerprint of a value, the same in every process: of functions, classes and objects by all that they depend on.

Theory of operation. A value is walked, and everything it consists of goes into one hash. A function is its code, its default
arguments, what its closure holds, its attributes, and the values of all global names that it and the functions inside it use,
walked in turn; a class is its attributes and bases; an object is its class and what pickling would store of it. Installed code
(`libraries`) counts by name and version. A user's module counts by those of its attributes whose names occur anywhere in the
code that was walked, so it is walked last.

Errors are on one side: two values that differ must not have one fingerprint, while equal ones may have two. So what cannot be
seen through (a connection, a lock, code that changes its globals) is refused, as is what is different each time.
With a key the user vouches for such things, and they count by their type; everything else counts as ever.

Only mutable things are remembered while walking: whether two equal constants are one object differs from process to process.
"""

from __future__ import annotations

import copyreg
import datetime as dt
import decimal
import enum
import functools
import importlib
import pathlib
import re
import struct
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from raycache.errors import InvalidRequestError
from raycache.fingerprints.bytecode import CHANCE_MODULES, chance, refusal, uses_of
from raycache.fingerprints.libraries import is_library, resolves_to, version_of

_ADVICE = 'give key="...", and change it whenever the result should be made again'
_ATOMS = (bool, int, str, bytes, bytearray, type(None), type(Ellipsis), type(NotImplemented))
_BY_TEXT = (dt.date, dt.time, dt.timedelta, decimal.Decimal, pathlib.PurePath, uuid.UUID, range)
#: Attributes of classes that say nothing of what they do, or that pickling by value leaves out.
_UNSAID = frozenset(
    {
        "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__slotnames__", "__firstlineno__",
        "__static_attributes__", "_abc_impl", "__abstractmethods__", "__orig_bases__", "__parameters__", "__match_args__",
    }
)  # fmt: skip
_BUILTIN_METHODS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)
_SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType)


def fingerprint(value: Any, what: str, *, vouched: bool = False) -> str:
    """The fingerprint of a value: 32 hex digits.

    Args:
        value: anything.
        what: how it is called in errors.
        vouched: the user has given a key, which stands for what cannot be seen.

    Raises:
        InvalidRequestError: it cannot be seen through, or leaves things to chance.
    """
    walk = _Walk(what, vouched=vouched)
    try:
        walk.add(value)
        walk.add_modules()
    except RecursionError:
        raise InvalidRequestError(f"{what} cannot be told by what it is: it is nested too deeply; {_ADVICE}") from None
    return walk.hexdigest()


class _Walk:
    """One value being walked."""

    def __init__(self, what: str, *, vouched: bool) -> None:
        self._hash = xxhash.xxh3_128()
        self._what = what
        self._vouched = vouched
        #: By id, its number, and the object itself, so that the id stays its own.
        self._seen: dict[int, tuple[int, Any]] = {}
        #: User's modules by name; with the attributes that are in the hash.
        self._modules: dict[str, tuple[types.ModuleType, set[str]]] = {}
        self._attributes: set[str] = set()
        self._by_value = False
        self._path: list[str] = []

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: Any) -> None:
        """Take a value in."""
        if isinstance(value, _ATOMS) and type(value) in _ATOMS:
            self._atom(value)
        elif type(value) in (float, complex):
            self._feed(type(value).__name__, struct.pack("<dd", complex(value).real, complex(value).imag))
        elif type(value) is tuple:
            self._many("tuple", value)
        elif type(value) in (set, frozenset):
            self._feed(type(value).__name__, *sorted(self._apart(each) for each in value))
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.ModuleType):
            self._module(value)
        elif type(value) in _BY_TEXT or (isinstance(value, _BY_TEXT) and is_library(type(value).__module__)):
            self._feed(type(value).__qualname__, repr(value))
        elif isinstance(value, re.Pattern):
            self._feed("pattern", value.flags)
            self.add(value.pattern)
        else:
            self._remembered(value)

    def add_modules(self) -> None:
        """Take the users' modules in, as far as the code may look at them."""
        while True:
            open_names = [
                (module, name)
                for module, (found, done) in sorted(self._modules.items())
                for name in sorted(vars(found))
                if name not in done and (name in self._attributes or (self._by_value and not name.startswith("__")))
            ]
            if not open_names:
                return
            for module, name in open_names:
                found, done = self._modules[module]
                done.add(name)
                self._feed("attribute", module, name)
                self._at(f"{module}.{name}", vars(found)[name])

    # --- plain values -------------------------------------------------------------------------------------------------

    def _atom(self, value: Any) -> None:
        if isinstance(value, str):
            self._feed("str", value)
        elif isinstance(value, (bytes, bytearray)):
            self._feed(type(value).__name__, bytes(value))
        else:
            self._feed(type(value).__name__, repr(value))

    def _many(self, kind: str, values: Iterable[Any]) -> None:
        values = list(values)
        self._feed(kind, len(values))
        for each in values:
            self.add(each)

    def _apart(self, value: Any) -> str:
        """The fingerprint of an element of a set, by itself; what it uses of modules is looked at with the rest."""
        inner = _Walk(self._what, vouched=self._vouched)
        inner._path = self._path
        inner.add(value)
        inner.add_modules()
        return inner.hexdigest()

    def _remembered(self, value: Any) -> None:
        if (known := self._seen.get(id(value))) is not None:
            self._feed("again", known[0])
            return
        self._seen[id(value)] = len(self._seen), value
        if type(value) is list:
            self._many("list", value)
        elif type(value) is dict or isinstance(value, types.MappingProxyType):
            self._items("dict", dict(value))
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, (np.generic, np.dtype)):
            self._feed(type(value).__name__, str(getattr(value, "dtype", value)), repr(value))
        elif isinstance(value, (pa.DataType, pa.Schema, pa.Field)):
            schema = value if isinstance(value, pa.Schema) else pa.schema([("", value)] if isinstance(value, pa.DataType) else [value])  # fmt: skip
            self._feed("schema", schema.serialize().to_pybytes())
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._feed("method")
            self.add(value.__func__)
            self._at("self", value.__self__)
        elif isinstance(value, (functools.partial, functools.partialmethod)):
            self._feed(type(value).__name__)
            self.add([value.func, value.args, value.keywords])
        elif isinstance(value, (staticmethod, classmethod)):
            self._feed(type(value).__name__)
            self.add(value.__func__)
        elif isinstance(value, property):
            self._feed("property")
            self.add([value.fget, value.fset, value.fdel])
        elif isinstance(value, functools.cached_property):
            self._feed("cached_property")
            self.add(value.func)
        elif type(value).__name__ == "_lru_cache_wrapper":
            self._feed("lru_cache", repr(value.cache_parameters()))
            self.add(value.__wrapped__)
        elif isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            self._builtin(value)
        elif isinstance(value, _BUILTIN_METHODS):
            self._feed("builtin", value.__objclass__.__module__, value.__qualname__)
        elif isinstance(value, types.CellType):
            self._cell(value)
        elif isinstance(value, enum.Enum):
            self._feed("enum", value.name)
            self.add(type(value))
        else:
            self._object(value)

    def _items(self, kind: str, items: Mapping[Any, Any]) -> None:
        self._feed(kind, len(items))
        for key, each in items.items():
            self.add(key)
            self._at(str(key)[:40], each)

    def _array(self, value: Any) -> None:
        if type(value) is not np.ndarray and not is_library(type(value).__module__):
            self.add(type(value))
        self._feed("array", type(value).__qualname__, str(value.dtype.descr), *value.shape)
        if value.dtype.hasobject:
            self._many("elements", value.ravel().tolist())
        else:
            self._feed("bytes", np.ascontiguousarray(value).tobytes())

    # --- code ---------------------------------------------------------------------------------------------------------

    def _function(self, value: types.FunctionType) -> None:
        module = str(value.__globals__.get("__name__", ""))
        if is_library(module) and resolves_to(module, value.__qualname__, value):
            self._library(module, value.__qualname__)
            return
        self._feed("function", value.__name__)
        with self._inside(f"{value.__name__}()"):
            self._body(value, is_library(module), module)

    def _body(self, value: types.FunctionType, of_library: bool, module: str) -> None:
        uses = uses_of(value.__code__)
        known: dict[str, Any] = {}
        builtins: Any = value.__globals__.get("__builtins__", {})
        builtins = vars(builtins) if isinstance(builtins, types.ModuleType) else builtins
        for name in uses.globals:
            if name in value.__globals__:
                known[name] = value.__globals__[name]
            elif name in builtins:
                known[name] = builtins[name]
        imported = {name: self._imported(name) for name in uses.imports if not of_library}
        seen = {**known, **{name: found for name, found in imported.items() if found is not None}}
        if of_library:
            # What a library has made for the user: its own names go by its version.
            self._library(module, value.__qualname__)
        elif said := refusal(uses):
            self._refuse(said)
        if of_library:
            seen = {}
        if by_chance := chance(value.__code__, {**seen, **{n.partition(".")[0]: m for n, m in imported.items() if m}}):
            self._refuse(f"it uses {by_chance!r}, so that results are different each time", frozen=True)
        self._code(value.__code__)
        self.add(value.__defaults__)
        self.add(value.__kwdefaults__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self._at(name, cell)
        self._items("attributes", {name: found for name, found in vars(value).items() if not name.startswith("__ray")})
        if of_library:
            return
        self._attributes |= uses.attributes
        self._by_value |= uses.by_value
        for name in uses.globals:
            if name in value.__globals__:
                self._feed("global", name)
                self._at(name, value.__globals__[name])
            else:
                self._feed("builtin" if name in builtins else "absent", name)
        for name, found in imported.items():
            self._feed("import", name)
            if found is not None:
                self._module(found)

    def _code(self, code: types.CodeType) -> None:
        flags = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        table = getattr(code, "co_exceptiontable", b"")
        self._feed("code", code.co_name, code.co_code, table, *flags)
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self._feed("names", *names)
        self._many("constants", code.co_consts)

    def _cell(self, cell: types.CellType) -> None:
        try:
            held = cell.cell_contents
        except ValueError:
            self._feed("empty cell")
            return
        self._feed("cell")
        self.add(held)

    def _class(self, value: type) -> None:
        if is_library(value.__module__) and resolves_to(value.__module__, value.__qualname__, value):
            self._library(value.__module__, value.__qualname__)
            self._known_chance(value)
            return
        self._feed("class", value.__qualname__)
        with self._inside(value.__name__):
            self._many("bases", (*value.__bases__, type(value)))
            for name, held in sorted(vars(value).items()):
                if isinstance(held, _SLOTS):
                    self._feed("slot", name)
                elif name not in _UNSAID:
                    self._feed("attribute", name)
                    self._at(name, held)

    def _builtin(self, value: Any) -> None:
        owner = value.__self__
        if owner is None or isinstance(owner, types.ModuleType):
            module = value.__module__ or ""
            self._library(module, value.__qualname__)
            if module.partition(".")[0].lstrip("_") in CHANCE_MODULES:
                self._refuse(f"it uses {value.__qualname__!r}, so that results are different each time", frozen=True)
        else:
            self._feed("bound", value.__name__)
            self.add(owner)

    def _module(self, value: types.ModuleType) -> None:
        if is_library(value.__name__):
            self._library(value.__name__, "")
        else:
            self._feed("module", value.__name__)
            self._modules.setdefault(value.__name__, (value, set()))

    def _imported(self, name: str) -> types.ModuleType | None:
        if name not in sys.modules:
            try:
                return importlib.import_module(name)
            except Exception as error:  # whatever a user's module does when it is imported
                self._refuse(f"it imports {name}, which fails here ({type(error).__name__})")
                return None
        return sys.modules[name]

    def _library(self, module: str, name: str) -> None:
        self._feed("library", module, name, version_of(module) if module else "")

    # --- objects ------------------------------------------------------------------------------------------------------

    def _object(self, value: Any) -> None:
        kind = type(value)
        of_torch = kind.__module__.partition(".")[0] == "torch" and hasattr(value, "detach")
        if of_torch and hasattr(value, "numpy"):
            self._feed("tensor", str(value.dtype), kind.__qualname__)
            self.add(value.detach().cpu().contiguous().view(-1).numpy() if value.numel() else tuple(value.shape))
            self.add(tuple(value.shape))
            return
        self._known_chance(kind)
        if kind.__module__.partition(".")[0] == "ray" and kind.__name__ in ("ObjectRef", "ActorHandle", "Dataset"):
            self._refuse(f"{kind.__name__} means something in one Ray cluster only")
            self._feed("opaque", kind.__qualname__)
            return
        try:
            reduced = self._reduced(value)
        except Exception as error:  # whatever a class does that cannot be pickled
            self._refuse(f"{kind.__module__}.{kind.__qualname__} cannot be looked into ({type(error).__name__})")
            self._feed("opaque", kind.__module__, kind.__qualname__)
            return
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None) or kind.__module__
            if not (is_library(module) and resolves_to(module, reduced, value)):
                self._refuse(f"{kind.__qualname__} {reduced!r} is known by its name only")
            self._library(module, reduced)
            return
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        self._feed("object")
        with self._inside(kind.__name__):
            self.add(kind)
            self.add(make)
            self._many("arguments", arguments)
            self.add(state)
            self._many("list items", items or ())
            self._items("dict items", dict(pairs or ()))

    @staticmethod
    def _reduced(value: Any) -> Any:
        registered: Callable[[Any], Any] | None = copyreg.dispatch_table.get(type(value))
        return registered(value) if registered is not None else value.__reduce_ex__(4)

    def _known_chance(self, kind: type) -> None:
        by_name = kind.__name__.startswith("Random") and is_library(kind.__module__)
        if by_name or kind.__module__ in CHANCE_MODULES or kind.__module__.startswith("numpy.random."):
            self._refuse(f"{kind.__qualname__} gives something else each time", frozen=True)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _feed(self, *parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
            self._hash.update(b"%d%d:" % (type(part) is bytes, len(data)))
            self._hash.update(data)

    def _at(self, step: str, value: Any) -> None:
        with self._inside(step):
            self.add(value)

    def _inside(self, step: str) -> _Step:
        return _Step(self._path, step)

    def _refuse(self, why: str, *, frozen: bool = False) -> None:
        if self._vouched:
            return
        where = " > ".join(self._path[-4:]) or "its value"
        end = (
            'to freeze one result of it, give key="..."; what should vary belongs behind cached' if frozen else _ADVICE
        )
        raise InvalidRequestError(f"{self._what} cannot be told by what it is, at {where}: {why}; {end}")


class _Step:
    """A step of the way to the value that is walked, for errors."""

    def __init__(self, path: list[str], step: str) -> None:
        self._path = path
        self._step = step

    def __enter__(self) -> None:
        self._path.append(self._step)

    def __exit__(self, *_: object) -> None:
        self._path.pop()
