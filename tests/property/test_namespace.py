"""The namespace against a naive model: a dictionary of the objects in the lake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raycache.errors import NotADirectoryRequestError, NotFoundError, UnavailableError
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import Need, NeedResult
from raycache.master.service import MasterService
from raycache.messages import ListRequest, MountInfo, ResolveRequest
from raycache.settings import Settings
from raycache.types import FileKind
from raycache.ufs.memory import MemoryStorage

#: Few, so that questions meet what was written; "." and "-" sort before "/", "0" right after it.
_PARTS = st.sampled_from(["a", "a", "b", "a.", "a0", "% é", ""])
#: Keys of objects; those that end in "/" are markers.
_KEYS = st.lists(_PARTS, min_size=1, max_size=3).map("/".join).filter(lambda key: key.strip("/"))
_FILES = _KEYS.filter(lambda key: not key.endswith("/"))
_DIRECTORIES = st.one_of(st.just(""), _FILES)


def _only_marks(lake: dict[str, int], key: str) -> bool:
    """Whether an object has no bytes, and keys below it: then it is a directory."""
    return lake.get(key) == 0 and any(other.startswith(key + "/") for other in lake)


def _kind(lake: dict[str, int], key: str) -> FileKind:
    if key in lake and not _only_marks(lake, key):
        return FileKind.FILE
    return FileKind.DIRECTORY if any(other.startswith(key + "/") for other in lake) else FileKind.MISSING


def _tree(lake: dict[str, int], key: str) -> list[tuple[str, FileKind, int]]:
    prefix = key + "/" if key else ""
    rows = []
    for other, size in lake.items():
        name = other[len(prefix) :].removesuffix("/")
        if not other.startswith(prefix):
            continue
        if not other.endswith("/"):
            if not _only_marks(lake, other):
                rows.append((name, FileKind.FILE, size))
        elif name and not name.endswith("/") and not any(one.startswith(other) for one in lake if one != other):
            rows.append((name, FileKind.DIRECTORY, 0))
    return sorted(rows)


def _level(lake: dict[str, int], key: str) -> list[tuple[str, FileKind, int]]:
    prefix = key + "/" if key else ""
    rows = set()
    for other, size in lake.items():
        if not other.startswith(prefix) or other == prefix:
            continue
        name, slash, _ = other[len(prefix) :].partition("/")
        if slash or (name and not _only_marks(lake, other)):
            rows.add((name, FileKind.DIRECTORY, 0) if slash else (name, FileKind.FILE, size))
    return sorted(rows)


class _Lakes(RuleBasedStateMachine):
    """Random writes and questions; every answer must be what a direct look would give."""

    metadata_ttl_s = 0.0
    #: Whether writes are told to the master.
    told = False
    #: Whether an answer may be that it was forgotten before it could be given.
    forgetful = False

    @initialize()
    def begin(self) -> None:
        self.lake: dict[str, int] = {}
        self.storage = MemoryStorage("memory://x")
        self.service = MasterService(Settings(), start_ns=1)
        self.service.apply(self.service.mount("r", MountInfo("/m", "memory://x", {}, self.metadata_ttl_s, True)))
        self.lister = Lister(lambda _: self.storage, 2)
        self.now_s = 0.0
        self.late: list[tuple[Need, NeedResult]] = []

    def teardown(self) -> None:
        self.lister.close()

    @rule(key=_KEYS, size=st.integers(0, 3))
    def write(self, key: str, size: int) -> None:
        self.storage.put(key, b"x" * (0 if key.endswith("/") else size))
        self.lake[key] = 0 if key.endswith("/") else size
        self._tell([key])

    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        if self.lake:
            key = data.draw(st.sampled_from(sorted(self.lake)))
            self.storage.delete([key])
            del self.lake[key]
            self._tell([key])

    @rule(key=_FILES)
    def delete_tree(self, key: str) -> None:
        doomed = [other for other in self.lake if other == key or other.startswith(key + "/")]
        self.storage.delete(doomed)
        for other in doomed:
            del self.lake[other]
        self._tell([key])

    @rule(keys=st.lists(_FILES, min_size=1, max_size=12))
    def stat(self, keys: list[str]) -> None:
        request = ResolveRequest([f"/m/{key}" for key in keys], 0, 0)
        self._ask(lambda: self.service.catalog.resolve_needs(request, self.now_s))
        reply = self.service.resolve(request, {}, self.now_s)
        assert self.forgetful or {} == reply.errors
        assert all("was forgotten while" in str(error) for error in reply.errors.values())
        for position, (key, kind) in enumerate(zip(keys, reply.kinds, strict=True)):
            if position not in reply.errors:
                found = FileKind(kind), reply.files.sizes_bytes[position]
                assert (_kind(self.lake, key), self.lake.get(key, 0)) == found

    @rule(key=_DIRECTORIES, recursive=st.booleans())
    def list(self, key: str, recursive: bool) -> None:
        request = ListRequest(f"/m/{key}" if key else "/m", recursive)
        self._ask(lambda: self.service.catalog.list_needs(request, self.now_s))
        expected: Any = _tree(self.lake, key) if recursive else _level(self.lake, key)
        if not expected and key and not any(other.startswith(key + "/") for other in self.lake):
            expected = NotADirectoryRequestError if key in self.lake else NotFoundError
        try:
            reply = self.service.catalog.listing(request, {}, self.now_s)
            actual: Any = [
                (n, FileKind(k), s) for n, k, s in zip(reply.names, reply.kinds, reply.sizes_bytes, strict=True)
            ]
            actual.sort()
        except (NotFoundError, NotADirectoryRequestError) as error:
            actual = type(error)
        except UnavailableError:
            assert self.forgetful
            return
        if key in self.lake and expected == []:
            # An object beside an empty marker of the same name is a file, and as good an empty directory.
            assert actual in ([], NotADirectoryRequestError)
        else:
            assert expected == actual

    @rule(keys=st.lists(_FILES, min_size=1, max_size=9), key=_DIRECTORIES, recursive=st.booleans())
    def ask_and_be_slow(self, keys: list[str], key: str, recursive: bool) -> None:
        """Somebody asks, and the lake's answer arrives later, after further writes and answers."""
        path = f"/m/{key}" if key else "/m"
        needs = self.service.catalog.resolve_needs(ResolveRequest([f"/m/{one}" for one in keys], 0, 0), self.now_s)
        needs += self.service.catalog.list_needs(ListRequest(path, recursive), self.now_s)
        self.late += self.lister.fetch(needs).items()

    @rule(data=st.data())
    def arrive(self, data: Any) -> None:
        if self.late:
            need, result = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
            self.service.fetched(need, result)

    @invariant()
    def time_passes(self) -> None:
        self.now_s += 1.0

    def _tell(self, keys: Any) -> None:
        if self.told:
            self.service.wrote([(f"/m/{key}", False) for key in keys])

    def _ask(self, needs_of: Callable[[], Any]) -> None:
        for need, result in self.lister.fetch(needs_of()).items():
            assert result.error is None
            self.service.fetched(need, result)


class _NothingIsRemembered(_Lakes):
    """With a TTL of 0, writes behind the master's back are seen at once."""


class _WritesAreTold(_Lakes):
    """With an endless TTL, writes that are told are seen at once, whatever answers are late."""

    metadata_ttl_s = 1e9
    told = True


class _MuchIsForgotten(_WritesAreTold):
    """The hand goes over the keys at any time: no answer is another one for it."""

    @rule(steps=st.integers(1, 12), look_ups=st.integers(0, 2))
    def forget(self, steps: int, look_ups: int) -> None:
        catalog = self.service.catalog
        for root_uri, store in catalog._stores.items():
            store.forget_look_ups(look_ups, kept=0)
            catalog._hands[root_uri].turn(steps)


class _LittleIsRemembered(_MuchIsForgotten):
    """The bound is kept by every answer that comes."""

    forgetful = True

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.service.catalog.remembered_max = 6


_SETTINGS = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestNothingIsRemembered = _NothingIsRemembered.TestCase
TestNothingIsRemembered.settings = _SETTINGS
TestWritesAreTold = _WritesAreTold.TestCase
TestWritesAreTold.settings = _SETTINGS
TestMuchIsForgotten = _MuchIsForgotten.TestCase
TestMuchIsForgotten.settings = _SETTINGS
TestLittleIsRemembered = _LittleIsRemembered.TestCase
TestLittleIsRemembered.settings = _SETTINGS
