"""`Client`: the connection of one process to the cache. It reads, and holds the parts that reading needs.

`raycache.Cache` is the public face above it; filesystems, Ray Data's readers and all verbs are functions of a `Client`. It
knows nothing of Ray: the way to the actors, and what Ray says of the running task, are handed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import pyarrow as pa

from raycache.client.counters import Counters
from raycache.client.expanding import as_list
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.flusher import Flusher
from raycache.client.locator import Locator
from raycache.client.mount_options import environment_options
from raycache.client.neighbour.neighbour_calls import NeighbourCalls
from raycache.client.ports import ActorCalls
from raycache.client.reading.file import CacheFile
from raycache.client.reading.leases import Leases
from raycache.client.reading.neighbour_reader import NeighbourReader
from raycache.client.reading.pages import is_small
from raycache.client.reading.prefetch import Gathering, prefetch_calls
from raycache.client.reading.read_plan import ReadPlan
from raycache.client.reading.reader import Reader, Request
from raycache.client.reading.small_files import Following
from raycache.client.topology import Topology
from raycache.client.writes import Writes
from raycache.client.writing.whole_file import CacheWriter
from raycache.clock import Clock, SystemClock
from raycache.errors import ConflictError, InvalidRequestError
from raycache.invalidations import InvalidationFeed, log_path
from raycache.messages import Hello
from raycache.ranges import block_count, clip
from raycache.settings import Settings
from raycache.types import MembershipView, WorkerId
from raycache.ufs.open import open_storage

#: How often a read starts again on a newer version of its file before it gives up.
READ_ATTEMPTS_MAX = 4
#: What an open file that is read in order announces at a time.
_READ_AHEAD_BYTES_MAX = 64 << 20


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a `Client` is put together of."""

    calls: ActorCalls
    clock: Clock
    counters: Counters
    leases: Leases
    locator: Locator
    flusher: Flusher
    reader: Reader | NeighbourReader
    #: Whether this process runs tasks, so that its node should have what it reads.
    in_worker: Callable[[], bool]

    @classmethod
    def of_neighbour(cls, calls: NeighbourCalls, hello: Hello, node: WorkerId) -> Parts:
        """The parts of a process without Ray, on a node with an endpoint."""
        settings, clock, counters = Settings(**hello.settings), SystemClock(), Counters()
        leases = Leases(settings.client_mapped_bytes_max)
        feed = InvalidationFeed.at(log_path(hello.cache_id, node))
        locator = Locator(calls, open_storage, environment_options, clock, settings.client_paths_max, feed)
        locator.learn(hello.view, hello.mounts)
        # What stands at a path is never asked of the lake itself: a store's threads do not survive a fork.
        locator.mounts_by_itself = False
        flusher = Flusher(calls, locator, leases, counters, clock, node, lambda: settings.lease_s)
        reader = NeighbourReader(
            calls, locator.outdated, leases, counters, settings.block_size_bytes, clock, on_read=flusher.wake
        )
        return cls(calls, clock, counters, leases, locator, flusher, reader, lambda: False)

    @classmethod
    def of(
        cls,
        calls: ActorCalls,
        hello: Hello,
        node: WorkerId,
        task_identity: Callable[[], tuple[str, str]],
        in_worker: Callable[[], bool],
    ) -> Parts:
        """The parts of a process that belongs to the cache that said `hello`."""
        settings, clock, counters = Settings(**hello.settings), SystemClock(), Counters()
        leases = Leases(settings.client_mapped_bytes_max)
        feed = InvalidationFeed.at(log_path(hello.cache_id, node))
        locator = Locator(calls, open_storage, environment_options, clock, settings.client_paths_max, feed)
        locator.learn(hello.view, hello.mounts)
        flusher = Flusher(
            calls,
            locator,
            leases,
            counters,
            clock,
            node,
            lambda: settings.lease_s,
            on_wake=lambda: counters.run_for(*task_identity()),
        )
        reader = Reader(
            calls,
            locator,
            leases,
            counters,
            clock,
            lambda: topology_of(locator, settings, node),
            on_read=flusher.wake,
            claims=in_worker,
        )
        return cls(calls, clock, counters, leases, locator, flusher, reader, in_worker)


def topology_of(locator: Locator, settings: Settings, node: WorkerId) -> Topology:
    """Where blocks go, as a locator knows it."""
    sizes = (settings.grid, settings.extent_size_bytes, settings.replicas_max)
    return Topology(locator.view, node, locator.mounts.version, *sizes)


class Client:
    """A connection of this process to the cache of its Ray cluster. Safe to use from several threads.

    Args:
        cache_id: of the cache.
        settings: of the cache.
        origins: where each setting came from.
        node: this process's Ray node id.
        parts: see `Parts`.
    """

    def __init__(
        self, cache_id: str, settings: Settings, origins: Mapping[str, str], node: WorkerId, parts: Parts
    ) -> None:
        self.id = cache_id
        #: Whoever reads by it should connect again: it was closed, or its cache, its Ray session or its process is another.
        self.closed = False
        self.settings = settings
        self.origins = origins
        self.node = node
        #: To the actors.
        self.calls = parts.calls
        #: Path resolution.
        self.locator = parts.locator
        #: The segments mapped here.
        self.leases = parts.leases
        self.flusher = parts.flusher
        #: Writing through to the lake, on mounts with `readonly=False`.
        self.writes = Writes(parts.locator, parts.calls)
        self._clock = parts.clock
        self._counters = parts.counters
        self._reader = parts.reader
        self._in_worker = parts.in_worker
        #: In which order this process will read.
        self.plan = ReadPlan(parts.calls, lambda: self.locator.view.workers, self.locator.resolve, self._announce_files)
        self._small_files = Following(lambda path: self.locator.cached(path, self._clock.now_s()), settings.grid)

    # --- reading ------------------------------------------------------------------------------------------------------

    def open(self, path: str, mode: str = "rb") -> CacheFile | CacheWriter:
        """Open a file; see `Cache.open`."""
        if mode in ("r", "rb"):
            return self.open_meta(self.locator.opened(path), read_ahead=True)
        if mode in ("w", "wb"):
            return self.writes.open(path)
        raise InvalidRequestError(f"mode {mode!r} is not supported; use 'rb' or 'wb'")

    def open_meta(self, meta: FileMeta, *, read_ahead: bool = False) -> CacheFile:
        """Open a resolved file."""
        announce = (lambda blocks: self._announce([(meta, blocks)], _READ_AHEAD_BYTES_MAX)) if read_ahead else None
        return CacheFile(meta, self._reader, self._clock, self.settings.grid, announce)

    def whole(self, meta: FileMeta) -> pa.Buffer | None:
        """A resolved file as memory of this node, counted as read; None when it has to be read in pieces.

        It costs a call where the node's worker should hold all of the file, and nothing of it is mapped yet; what is not
        there after all is not loaded for it.
        """
        size = meta.file.size_bytes
        if not size:
            return None
        now_s = self._clock.now_s()
        buffer = self._reader.in_place(meta, 0, size, now_s)
        if buffer is None and size <= self.settings.segment_size_bytes:
            mask = (1 << block_count(size, self.settings.block_size_bytes)) - 1
            held = meta.places.mask_of(self.node)
            if held & mask == mask and self.leases.get(meta.version, 0, now_s) is None:
                self._reader.map_held(meta)
                buffer = self._reader.in_place(meta, 0, size, now_s)
        if buffer is None and is_small(size, self.settings.grid):
            self._gather(self._small_files.after(meta))
        return buffer

    def in_place(self, meta: FileMeta, offset: int, length: int) -> pa.Buffer | None:
        """A range of a resolved file that is mapped in one piece, counted as read; None when it has to be fetched. No waiting."""
        return self._reader.in_place(meta, offset, length, self._clock.now_s())

    def read(self, path: str, offset: int = 0, size: int | None = None) -> pa.Buffer:
        """Read a file or a range of it; see `Cache.read`."""
        # The hot path: a file that is known, and mapped in one piece.
        now_s = self._clock.now_s()
        meta = self.locator.cached(path, now_s)
        if meta is not None:
            whole = size is None and not offset
            start, length = (0, meta.file.size_bytes) if whole else clip(offset, size, meta.file.size_bytes)
            buffer = self._reader.in_place(meta, start, length, now_s) if length else None
            if buffer is not None:
                return buffer
        return self.read_ranges([path], [(offset, size)])[0]

    def read_many(self, paths: Sequence[str]) -> list[pa.Buffer]:
        """Read whole files; see `Cache.read_many`."""
        paths = as_list(paths)
        return self.read_ranges(paths, [(0, None)] * len(paths))

    def read_ranges(self, paths: Sequence[str], ranges: Sequence[tuple[int, int | None]]) -> list[pa.Buffer]:
        """Read one range (offset, size) of each path; see `Cache.read_ranges`."""
        metas = self.locator.resolve(paths)
        for attempt in range(1, READ_ATTEMPTS_MAX + 1):
            requests = [
                Request(require_file(meta, path), *clip(offset, size, meta.file.size_bytes))
                for meta, path, (offset, size) in zip(metas, paths, ranges, strict=True)
            ]
            try:
                return self._reader.read(requests)
            except ConflictError:
                if attempt == READ_ATTEMPTS_MAX:
                    raise
                self.locator.forget([meta.path for meta in metas])
                metas = self.locator.resolve(paths, fresh=True)
        raise AssertionError("unreachable")

    def read_resolved(self, requests: Sequence[Request]) -> list[pa.Buffer]:
        """Read ranges of resolved files, each of its own version.

        Raises:
            ConflictError: a file is another version by now.
        """
        return self._reader.read(requests)

    def prefetch(self, paths: str | Sequence[str], bytes_max: int, *, epoch_age_s: float | None = None) -> None:
        """Have what is missing of these files loaded in the background; see `Cache.prefetch`, and `BlockRequest`."""
        self._announce_files(self.locator.resolve(as_list(paths)), bytes_max, epoch_age_s)

    # --- the process --------------------------------------------------------------------------------------------------

    def refresh_view(self) -> MembershipView:
        """Ask the master which workers are alive now."""
        hello: Hello = self.calls.master("hello")
        self.locator.learn(hello.view, hello.mounts)
        return self.locator.view

    def topology(self) -> Topology:
        """Where blocks go, as this process knows it."""
        return topology_of(self.locator, self.settings, self.node)

    def fresh_topology(self) -> Topology:
        """Where blocks go, as the master says now."""
        self.refresh_view()
        return self.topology()

    def count_task(self, path: str, *, out_of_turn: bool) -> None:
        """A placed read has started a task, whose first file this is; see `ReadCounters`."""
        self._counters.task_started(self.locator.resolve([path])[0].dataset, out_of_turn=out_of_turn)
        self.flusher.wake()

    def count_for(self, job: str, task: str) -> None:
        """From now on this process reads for this Ray job and task."""
        self._counters.run_for(job, task)

    def close(self) -> None:
        """Deliver the last counters and let go of all mapped segments."""
        self.closed = True
        self.plan.close()
        self.flusher.close()
        self.leases.clear()

    def abandon(self) -> None:
        """There is nobody to deliver anything to. From any thread, whatever that holds."""
        self.closed = True
        self.plan.close()
        self.flusher.abandon()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _announce_files(self, metas: Sequence[FileMeta], bytes_max: int, epoch_age_s: float | None = None) -> None:
        size = self.settings.block_size_bytes
        wanted = [(meta, range(block_count(meta.file.size_bytes, size))) for meta in metas]
        self._announce(wanted, bytes_max, epoch_age_s)

    def _announce(
        self, wanted: Iterable[tuple[FileMeta, Iterable[int]]], bytes_max: int, epoch_age_s: float | None = None
    ) -> None:
        self.calls.tell_workers(prefetch_calls(wanted, bytes_max, self.topology(), epoch_age_s))

    def _gather(self, metas: Sequence[FileMeta]) -> None:
        """Have small files that will be opened soon brought together, in the background."""
        now_s = self._clock.now_s()
        metas = [meta for meta in metas if self.leases.get(meta.version, 0, now_s) is None]
        if len(metas) > 1:
            gathering = Gathering(metas, self.topology())
            if self._in_worker():
                gathering.claim(self.calls.workers)
            self.calls.tell_workers(gathering.calls())
