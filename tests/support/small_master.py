"""A master's service over a lake in memory, as the processes of one test call it: without Ray, workers and loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raycache.cache import Cache
from raycache.client.client import Client, Parts
from raycache.client.ports import WorkerCall
from raycache.errors import RaycacheError, UnavailableError
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import Need
from raycache.master.service import MasterService
from raycache.messages import Hello, MountInfo, decode
from raycache.settings import Settings
from raycache.ufs.memory import MemoryStorage

_TTL_S = 60.0


class SmallMaster:
    """See `ports.ActorCalls`. Every call, and every store that is opened, is written down."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self.service = MasterService(self._settings, start_ns=1_000)
        self.now_s = 0.0
        #: Methods, in order.
        self.called: list[str] = []
        #: By root URI.
        self.stores: dict[str, MemoryStorage] = {}
        #: Raised instead of an answer.
        self.silent = False

    def mount(self, path: str, uri: str) -> MemoryStorage:
        """Mount a store in memory; the one it is on."""
        self.service.apply(self.service.mount(path, MountInfo(path, uri, {}, _TTL_S, readonly=True)))
        return self.open(uri)

    def open(self, uri: str) -> MemoryStorage:
        """The store that a URI is on."""
        root = "/".join(uri.split("/")[:3])
        return self.stores.setdefault(root, MemoryStorage(root))

    def cache(self) -> Cache:
        """A cache as a process has it."""
        hello = self.master("hello")
        parts = Parts.of(self, hello, "node", lambda: ("", "driver"), lambda: False)
        return Cache(Client(hello.cache_id, self._settings, {}, "node", parts))

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """See `ports.MasterCalls`."""
        del timeout_s
        self.called.append(method)
        if self.silent:
            raise UnavailableError("the cache master did not answer within 30 s")
        service = self.service
        match method:
            case "hello":
                return Hello("small", self._settings.as_dict(), {}, service.membership.view(), service.mounts.table())
            case "mounts":
                return service.mounts.redacted()
            case "auto_mount":
                service.apply(service.auto_mount(arguments[0], decode(arguments[1])))
                return service.mounts.table()
            case "rules":
                return service.rules
            case "status":
                return service.status(1.0, self.now_s)
            case "overview":
                return service.overview(1.0, self.now_s, {}, [])
            case "resolve":
                request = decode(arguments[0])
                errors = self._ask(service.catalog.resolve_needs(request, self.now_s))
                return service.resolve(request, errors, self.now_s)
            case "list_directory":
                request = decode(arguments[0])
                errors = self._ask(service.catalog.list_needs(request, self.now_s))
                return service.catalog.listing(request, errors, self.now_s)
        raise UnavailableError(f"there is no {method} here")

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        """See `ports.WorkerCalls`; there are none."""
        del timeout_s
        assert not calls
        return []

    def tell_workers(self, calls: Sequence[WorkerCall]) -> None:
        """See `ports.WorkerCalls`."""
        assert not calls

    def objects(self, references: Sequence[Any], peer: str = "", timeout_s: float | None = None) -> list[Any]:
        """See `ports.WorkerCalls`."""
        del timeout_s
        assert not references
        return []

    def _ask(self, needs: list[Need]) -> dict[Need, RaycacheError]:
        lister = Lister(lambda mount: self.open(mount.uri), 2)
        errors = {}
        for need, result in lister.fetch(needs).items():
            if result.error is not None:
                errors[need] = result.error
            else:
                self.service.fetched(need, result)
        lister.close()
        return errors
