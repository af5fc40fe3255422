"""`Cache`: the public face. Each method says what it asks; the work is done by the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa

from raycache import paths as names
from raycache.admin import mounts, residency
from raycache.admin.loads import Loads
from raycache.admin.overview import Overview, overview_of
from raycache.admin.upkeep import Upkeep
from raycache.client.calls import in_worker, task_identity
from raycache.client.counters import Counters
from raycache.client.expanding import as_list, expand
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.flusher import Flusher
from raycache.client.locator import Locator
from raycache.client.ports import ActorCalls
from raycache.client.reading.file import CacheFile
from raycache.client.reading.leases import Leases
from raycache.client.reading.pages import is_small
from raycache.client.reading.prefetch import Gathering, prefetch_calls
from raycache.client.reading.reader import Reader, Request
from raycache.client.reading.small_files import Following
from raycache.client.topology import Topology
from raycache.client.writes import CacheWriter, Writes
from raycache.clock import SystemClock
from raycache.errors import ConflictError, InvalidRequestError, NotFoundError
from raycache.messages import Hello, Selector
from raycache.placement.whereabouts import Scheduling
from raycache.ranges import block_count, clip
from raycache.results import (
    CheckResult,
    Entry,
    FileLocation,
    MountEntry,
    Setting,
    Stats,
    Status,
    Usage,
)
from raycache.rules import Pattern
from raycache.settings import Settings
from raycache.types import FileKind, FileVersion
from raycache.ufs.open import open_storage

if TYPE_CHECKING:
    import pyarrow.fs

#: How often a read starts again on a newer version of its file before it gives up.
READ_ATTEMPTS_MAX = 4
#: What an open file that is read in order announces at a time.
_READ_AHEAD_BYTES_MAX = 64 << 20


class Cache(Loads, Scheduling, Upkeep):
    """A connection of this process to the cache of its Ray cluster. Safe to use from several threads.

    Not made by hand: `raycache.start()` and `raycache.connect()` return it. It pickles as "connect again".
    """

    def __init__(self, calls: ActorCalls, hello: Hello, node: str) -> None:
        self.id = hello.cache_id
        self._calls = calls
        self._settings = Settings(**hello.settings)
        self._origins = hello.origins
        self._node = node
        self._clock = SystemClock()
        self._counters = Counters()
        self._table = Leases(self._settings.client_mapped_bytes_max)
        self._locator = Locator(
            calls, open_storage, mounts.environment_options, self._clock, self._settings.client_paths_max
        )
        self._locator.learn(hello.view, hello.mounts)
        self._following = Following(lambda path: self._locator.cached(path, self._clock.now_s()), self._settings.grid)
        self._flusher = Flusher(
            calls,
            self._locator,
            self._table,
            self._counters,
            self._clock,
            node,
            lambda: self._settings.lease_s,
            on_wake=lambda: self.count_for(*task_identity()),
        )
        self._reader = Reader(
            calls,
            self._locator,
            self._table,
            self._counters,
            self._clock,
            self.topology,
            on_read=self._flusher.wake,
            claims=in_worker,
        )
        #: Writing through to the lake, on mounts with `readonly=False`.
        self.writes = Writes(self._locator, calls)

    def __reduce__(self) -> tuple[Any, ...]:
        from raycache.client.connection import connect

        return (connect, ())

    def __repr__(self) -> str:
        return f"Cache({self.id!r}, workers={len(self._locator.view.workers)})"

    # --- mounts -------------------------------------------------------------------------------------------------------

    def mount(
        self,
        path: str,
        uri: str,
        options: dict[str, Any] | None = None,
        metadata_ttl_s: float | None = None,
        readonly: bool = True,
    ) -> None:
        """Bind a UFS URI to a path of the namespace.

        Args:
            path: absolute, such as "/lake".
            uri: `s3://bucket/prefix`, `gs://`, `hdfs://`, `file:///dir`.
            options: of the store: endpoint_url, access_key_id, ...; without keys, this process's environment counts.
            metadata_ttl_s: how long listings and versions are trusted; None: the cache's setting.
            readonly: False lets the filesystems write through to the lake.

        Raises:
            AlreadyExistsError: something else is mounted there.
            NotFoundError, DeniedError, UnavailableError: the store does not answer as it should.
            InvalidRequestError: a path, URI or option that cannot be.
        """
        ttl_s = self._settings.metadata_ttl_s if metadata_ttl_s is None else float(metadata_ttl_s)
        table = mounts.mount(self._calls, path, uri, options or {}, ttl_s, readonly=readonly)
        self._locator.learn(None, table)
        self._locator.forget_all()

    def unmount(self, path: str, force: bool = False) -> None:
        """Take a mount away; its blocks are freed.

        Raises:
            NotFoundError: nothing is mounted there.
            ConflictError: a load of it is running and `force` is not given.
        """
        uri, table = mounts.unmount(self._calls, path, force=force)
        self._locator.learn(None, table)
        self._drop(Selector([Pattern(uri.rstrip("/"))]), force=True)

    def mounts(self) -> list[MountEntry]:
        """All mounts, by path; secrets are not shown."""
        return [MountEntry(*row) for row in self._calls.master("mounts")]

    # --- metadata -----------------------------------------------------------------------------------------------------

    @overload
    def ls(self, path: str, detail: Literal[False] = False, recursive: bool = False) -> list[str]: ...

    @overload
    def ls(self, path: str, detail: Literal[True], recursive: bool = False) -> list[Entry]: ...

    @overload
    def ls(self, path: str, detail: bool, recursive: bool = False) -> list[str] | list[Entry]: ...

    def ls(self, path: str, detail: bool = False, recursive: bool = False) -> list[str] | list[Entry]:
        """List a directory, or name a file.

        Returns:
            Sorted paths, or with `detail` their `Entry`s.

        Raises:
            NotFoundError: nothing is there.
        """
        meta = self._locator.resolve([path])[0]
        if meta.kind is FileKind.FILE:
            return [mounts.entry_of(meta)] if detail else [meta.path]
        if meta.kind is FileKind.MISSING:
            require_file(meta, path)
        reply = self._locator.listing(path, recursive=recursive)
        entries = mounts.entries_of(meta.path, reply)
        return entries if detail else [entry.path for entry in entries]

    def stat(self, path: str) -> Entry:
        """Describe a file or a directory.

        Raises:
            NotFoundError: nothing is there.
        """
        meta = self._locator.resolve([path])[0]
        if meta.kind is FileKind.DIRECTORY:
            return mounts.entry_of(meta)
        return mounts.entry_of(require_file(meta, path))

    def exists(self, path: str) -> bool:
        """Whether a file or a directory stands at a path.

        Raises:
            UnavailableError, DeniedError: it cannot be told.
        """
        meta = self._locator.resolve([path])[0]
        if meta.error is not None and not isinstance(meta.error, NotFoundError):
            raise meta.error
        return meta.kind is not FileKind.MISSING

    def du(self, path: str) -> Usage:
        """Size of everything below a path, and how much of it is cached."""
        result = self.check(path)
        return Usage(names.normalise(path), result.files, result.bytes_total, result.bytes_cached)

    def locate(self, paths: str | Sequence[str]) -> list[FileLocation]:
        """Which node holds what of each file, as the workers say now."""
        files, held = self._resident(paths)
        return residency.locations(files, held, self._settings.block_size_bytes)

    def check(self, paths: str | Sequence[str]) -> CheckResult:
        """Exact residency of files, directories and globs at this moment."""
        files, held = self._resident(paths)
        return residency.check(files, held, self._settings.block_size_bytes)

    # --- reading ------------------------------------------------------------------------------------------------------

    @overload
    def open(self, path: str, mode: Literal["r", "rb"] = "rb") -> CacheFile: ...

    @overload
    def open(self, path: str, mode: Literal["w", "wb"]) -> CacheWriter: ...

    @overload
    def open(self, path: str, mode: str) -> CacheFile | CacheWriter: ...

    def open(self, path: str, mode: str = "rb") -> CacheFile | CacheWriter:
        """Open a file.

        Args:
            path: of a file.
            mode: "rb"; or "wb" on a mount with `readonly=False`: the file appears in the lake, whole, at close.

        Returns:
            A file object; its `read_at` and `read_buffer` give buffers without a copy.
        """
        if mode in ("r", "rb"):
            return self.open_meta(self._locator.file(path), read_ahead=True)
        if mode in ("w", "wb"):
            return self.writes.open(path)
        raise InvalidRequestError(f"mode {mode!r} is not supported; use 'rb' or 'wb'")

    def open_meta(self, meta: FileMeta, *, read_ahead: bool = False) -> CacheFile:
        """Open a resolved file."""
        announce = (lambda blocks: self._announce([(meta, blocks)], _READ_AHEAD_BYTES_MAX)) if read_ahead else None
        return CacheFile(meta, self._reader, self._clock, self._settings.grid, announce)

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
        if buffer is None and size <= self._settings.segment_size_bytes:
            mask = (1 << block_count(size, self._settings.block_size_bytes)) - 1
            held = meta.places.mask_of(self._node)
            if held & mask == mask and self._table.get(meta.version, 0, now_s) is None:
                self._reader.map_held(meta)
                buffer = self._reader.in_place(meta, 0, size, now_s)
        if buffer is None and is_small(size, self._settings.grid):
            self._gather(self._following.after(meta))
        return buffer

    def read(self, path: str, offset: int = 0, size: int | None = None) -> pa.Buffer:
        """Read a file or a range of it.

        Args:
            path: of a file.
            offset: >= 0; past the end gives an empty buffer.
            size: bytes; None for the rest. Clipped to the file.

        Returns:
            A buffer of one version of the file, zero-copy when the range lies in one local segment.

        Raises:
            NotFoundError, IsADirectoryRequestError: no file stands at the path.
            InvalidRequestError: a path, an offset or a size that cannot be.
            ConflictError: the file kept changing during several attempts.
        """
        # The hot path: a file that is known, and mapped in one piece.
        now_s = self._clock.now_s()
        meta = self._locator.cached(path, now_s)
        if meta is not None:
            whole = size is None and not offset
            start, length = (0, meta.file.size_bytes) if whole else clip(offset, size, meta.file.size_bytes)
            buffer = self._reader.in_place(meta, start, length, now_s) if length else None
            if buffer is not None:
                return buffer
        return self.read_ranges([path], [(offset, size)])[0]

    def read_many(self, paths: Sequence[str]) -> list[pa.Buffer]:
        """Read whole files: one round trip per worker, not per file. In the order of `paths`."""
        paths = as_list(paths)
        return self.read_ranges(paths, [(0, None)] * len(paths))

    def read_ranges(self, paths: Sequence[str], ranges: Sequence[tuple[int, int | None]]) -> list[pa.Buffer]:
        """Read one range (offset, size) of each path, all in one round trip per worker; see `read`."""
        metas = self._locator.resolve(paths)
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
                self._locator.forget([meta.path for meta in metas])
                metas = self._locator.resolve(paths, fresh=True)
        raise AssertionError("unreachable")

    def prefetch(self, paths: str | Sequence[str], bytes_max: int = 256 << 20) -> None:
        """Say which files will be read soon: what is missing of them is loaded in the background.

        A hint: nobody waits for it, and nothing says whether it was followed. For certainty, `load`.

        Args:
            paths: of files; others are left out.
            bytes_max: no more than about this much is asked for.

        Raises:
            InvalidRequestError: a path is not one.
        """
        size = self._settings.block_size_bytes
        metas = self._locator.resolve(as_list(paths))
        self._announce([(meta, range(block_count(meta.file.size_bytes, size))) for meta in metas], bytes_max)

    def _announce(self, wanted: Iterable[tuple[FileMeta, Iterable[int]]], bytes_max: int) -> None:
        self._calls.tell_workers(prefetch_calls(wanted, bytes_max, self.topology()))

    def _gather(self, metas: Sequence[FileMeta]) -> None:
        """Have small files that will be opened soon brought together, in the background."""
        now_s = self._clock.now_s()
        metas = [meta for meta in metas if self._table.get(meta.version, 0, now_s) is None]
        if len(metas) > 1:
            gathering = Gathering(metas, self.topology())
            if in_worker():
                gathering.claim(self._calls.workers)
            self._calls.tell_workers(gathering.calls())

    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The cache as a pyarrow filesystem; pickles, so Ray Data and dask take it."""
        from raycache.filesystems.pyarrow import filesystem

        return filesystem()

    # --- filling and emptying -----------------------------------------------------------------------------------------

    # --- watching -----------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Counters and sizes per node and in total; this process's own reads are included."""
        self._flusher.flush()
        return mounts.stats_of(self._calls.master("stats"))

    def overview(self) -> Overview:
        """What is shown of the cache, with windows of time, readers and jobs: cheap, and about a second old."""
        self._flusher.flush()
        return overview_of(self._calls.master("overview"))

    def status(self) -> Status:
        """The master and the workers, as the master sees them."""
        return mounts.status_of(self._calls.master("status"), self._calls.master("stats"))

    def settings(self) -> list[Setting]:
        """Every setting, its value and where that came from."""
        return [Setting(name, value, self._origins[name]) for name, value in self._settings.as_dict().items()]

    # --- inside -------------------------------------------------------------------------------------------------------

    def topology(self) -> Topology:
        """Where blocks go, as this process knows it now."""
        locator, settings = self._locator, self._settings
        sizes = (settings.grid, settings.extent_size_bytes, settings.replicas_max)
        return Topology(locator.view, self._node, locator.mounts.version, *sizes)

    @property
    def calls(self) -> ActorCalls:
        """To the actors, for what is beside this class."""
        return self._calls

    @property
    def block_size_bytes(self) -> int:
        """Of this cache."""
        return self._settings.block_size_bytes

    def count_for(self, job: str, task: str) -> None:
        """From now on this process reads for this Ray job and task."""
        self._counters.run_for(job, task)

    @property
    def locator(self) -> Locator:
        """Path resolution, for the filesystems."""
        return self._locator

    def close(self) -> None:
        """Deliver the last counters and let go of all mapped segments."""
        self._flusher.close()
        self._table.clear()

    def _resident(self, paths: str | Sequence[str]) -> tuple[list[tuple[str, FileVersion]], residency.Residency]:
        files = expand(self._locator, paths)
        self.refresh_view()
        return files, residency.ask(self._calls, self._locator.view, [file for _, file in files])
