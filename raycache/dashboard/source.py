"""What the server needs to know and to do, and how the cache gives it. All calls may block; the server uses threads.

A browser may ask for any path, and its user is not always a user of the cache. So the dashboard looks below mounts only, and
mounts nothing for a look. A `file://` that has mounted itself is the head node's whole disk, and nobody has asked to show
that: local files are shown below the paths at which their directories were mounted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from raycache import paths as names
from raycache.admin import browsing
from raycache.admin.browsing import CachedEntry, HeatRow
from raycache.admin.overview import Overview
from raycache.admin.sizing.advice import Advice
from raycache.cache import Cache
from raycache.clock import Clock, SystemClock
from raycache.errors import DeniedError, InvalidRequestError, NotFoundError
from raycache.results import CachedDataset, Entry, MountEntry, Setting, Usage

#: A listing is shown again without asking for this long, so that turning pages is quick.
_LISTING_S = 10.0
_LISTINGS_MAX = 8
_HEAT_ROWS = 10
_HEAT_S = 5.0
#: Where local files mount themselves.
_DISK = "file://"


class Source(Protocol):
    """Answers and actions. Errors are `RaycacheError`s."""

    def overview(self) -> Overview:
        """The figures of now."""
        ...

    def list_directory(self, path: str) -> list[Entry]:
        """What stands in a directory below a mount."""
        ...

    def with_residency(self, entries: Sequence[Entry]) -> list[CachedEntry]:
        """What is cached of these."""
        ...

    def usage(self, path: str) -> Usage:
        """Size of everything below a path, and how much of it is cached."""
        ...

    def heat(self) -> tuple[list[HeatRow], list[HeatRow]]:
        """The hottest and the coldest files."""
        ...

    def kept_datasets(self) -> list[CachedDataset]:
        """What is kept of datasets after their transforms."""
        ...

    def advice(self) -> Advice:
        """What other sizes would give, and the eviction policies in force."""
        ...

    def act(self, action: str, argument: str) -> dict[str, Any]:
        """Do something: see `ACTIONS`."""
        ...


#: What a token allows, and what its argument is.
ACTIONS = {
    "load": "a path", "free": "a path", "pin": "a path", "unpin": "a path",
    "stop": "the id of a load", "resume": "the id of a load",
}  # fmt: skip


class CacheSource:
    """The running cache, for a process that only looks: from now on no store mounts itself in it."""

    def __init__(self, cache: Cache, clock: Clock | None = None) -> None:
        self._cache = cache
        cache.client.locator.mounts_by_itself = False
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._listings: OrderedDict[str, tuple[float, list[Entry]]] = OrderedDict()
        self._advice: tuple[float, Advice] | None = None
        self._heat: tuple[float, tuple[list[HeatRow], list[HeatRow]]] = (float("-inf"), ([], []))

    def settings(self) -> list[Setting]:
        """Of the cache."""
        return self._cache.settings()

    def overview(self) -> Overview:
        """See `Source`."""
        return self._cache.overview()

    def list_directory(self, path: str) -> list[Entry]:
        """See `Source`. The top is the list of mounts, and below it the namespace."""
        now_s = self._clock.now_s()
        with self._lock:
            known = self._listings.get(path)
            if known is not None and now_s - known[0] < _LISTING_S:
                return known[1]
        mounts = self._cache.mounts() if path == "/" else []
        if path == "/" and all(mount.path != "/" for mount in mounts):
            found = mount_entries(mounts)
        else:
            found = browsing.list_directory(self._cache.client, self._visible(path))
        with self._lock:
            self._listings[path] = (now_s, found)
            self._listings.move_to_end(path)
            while len(self._listings) > _LISTINGS_MAX:
                self._listings.popitem(last=False)
        return found

    def with_residency(self, entries: Sequence[Entry]) -> list[CachedEntry]:
        """See `Source`."""
        if entries and entries[0].kind == "mount":
            return [CachedEntry(entry, None, None, None, {}) for entry in entries]
        return browsing.with_residency(self._cache.client, entries)

    def usage(self, path: str) -> Usage:
        """See `Source`."""
        return self._cache.du(self._visible(path))

    def heat(self) -> tuple[list[HeatRow], list[HeatRow]]:
        """See `Source`; at most every few seconds the workers are asked."""
        now_s = self._clock.now_s()
        if now_s - self._heat[0] >= _HEAT_S:
            self._heat = (now_s, browsing.heat(self._cache.client, _HEAT_ROWS))
        return self._heat[1]

    def kept_datasets(self) -> list[CachedDataset]:
        """See `Source`."""
        return self._cache.cached_datasets()

    def advice(self) -> Advice:
        """See `Source`; at most every few seconds the workers are asked."""
        now_s = self._clock.now_s()
        known = self._advice
        if known is None or now_s - known[0] >= _HEAT_S:
            known = self._advice = (now_s, self._cache.advise())
        return known[1]

    def act(self, action: str, argument: str) -> dict[str, Any]:
        """See `Source`."""
        match action:
            case "load":
                return {"job": self._cache.load(self._visible(argument)).id}
            case "free":
                return self._cache.free(argument).as_dict()
            case "pin":
                self._cache.pin(argument)
                return {"pinned": argument}
            case "unpin":
                self._cache.unpin(argument)
                return {"unpinned": argument}
            case "resume":
                self._cache.job(argument).resume()
                return {"job": argument}
            case "stop":
                self._cache.job(argument).stop()
                return {"job": argument}
        raise InvalidRequestError(f"unknown action {action[:40]!r}; known are {', '.join(ACTIONS)}")

    def _visible(self, path: str) -> str:
        """A path that may be looked at, normalised: below a mount, or a directory that mounts are below.

        Raises:
            NotFoundError: it is below no mount.
            DeniedError: it is on a disk that has mounted itself.
        """
        name = names.normalise(path)
        self._cache.client.refresh_view()  # another process may have mounted it just now
        table = self._cache.client.locator.mounts
        mount = table.of_path(name)
        if mount is None and not any(mount.path.startswith(f"{name.rstrip('/')}/") for mount in table.mounts):
            raise NotFoundError(f"{name} is below no mount; see `raycache mounts` for what can be looked at")
        if mount is not None and mount.path == _DISK:
            raise DeniedError(f"{name} is not shown; mount its directory at a path such as /data to look at it here")
        return name


def mount_entries(mounts: Sequence[MountEntry]) -> list[Entry]:
    """The mounts as a directory: what stands at the top."""
    return [
        Entry(mount.path, mount.path, "mount", 0, None, "read-only" if mount.readonly else "writable", mount.uri)
        for mount in sorted(mounts, key=lambda mount: mount.path)
    ]
