"""`Cache`: the public face. Each method says what it asks; the work is done by functions of a `Client`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import pyarrow as pa

from raycache import results
from raycache.admin import browsing, loads, local_files, map_transfer, mounts, residency, stats, sync, upkeep
from raycache.admin.kept_datasets import drop_kept, kept_datasets
from raycache.admin.loads import Job
from raycache.admin.overview import Overview, overview_now
from raycache.admin.sizing import advice
from raycache.client import connection
from raycache.client.client import Client
from raycache.client.neighbour import endpoints
from raycache.client.reading.file import CacheFile
from raycache.client.writing.whole_file import CacheWriter
from raycache.errors import NoCacheError, NoCacheToConnectError
from raycache.placement import near
from raycache.placement.whereabouts import Whereabouts
from raycache.rules import RuleKind
from raycache.settings import parse_size

T = TypeVar("T")


class Cache:
    """A connection of this process to the cache of its Ray cluster. Safe to use from several threads.

    Not made by hand: `raycache.start()` and `raycache.connect()` return it. It pickles as "connect again".
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def client(self) -> Client:
        """What is below this face, for filesystems and readers; another one when the cache or Ray was started again."""
        if self._client.closed:
            self._client = connection.reconnect()
        return self._client

    @property
    def id(self) -> str:
        """Of the cache: another one after each start."""
        return self._client.id

    def __reduce__(self) -> tuple[Any, ...]:
        return (connect, ())

    def __repr__(self) -> str:
        return f"Cache({self.id!r}, workers={len(self._client.locator.view.workers)})"

    # --- mounts, and looking ------------------------------------------------------------------------------------------

    def mount(
        self, path: str, uri: str, options: dict[str, Any] | None = None, metadata_ttl_s: float | None = None,
        readonly: bool = True,
    ) -> None:  # fmt: skip
        """Bind a UFS URI to a path of the namespace; the same again is no error, and with other keys renews them.

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
        mounts.mount(self.client, path, uri, options or {}, metadata_ttl_s, readonly=readonly)

    def unmount(self, path: str, force: bool = False) -> None:
        """Take a mount away, and free its blocks; ConflictError while a load of it runs, unless `force` is given."""
        mounts.unmount(self.client, path, force=force)

    def mounts(self) -> list[results.MountEntry]:
        """All mounts, by path; secrets are not shown."""
        return mounts.mounts(self.client)

    @overload
    def ls(self, path: str, detail: Literal[False] = False, recursive: bool = False) -> list[str]: ...

    @overload
    def ls(self, path: str, detail: Literal[True], recursive: bool = False) -> list[results.Entry]: ...

    @overload
    def ls(self, path: str, detail: bool, recursive: bool = False) -> list[str] | list[results.Entry]: ...

    def ls(self, path: str, detail: bool = False, recursive: bool = False) -> list[str] | list[results.Entry]:
        """List a directory, or name a file.

        Returns:
            Sorted paths, or with `detail` their `Entry`s; NotFoundError when nothing is there.
        """
        return browsing.ls(self.client, path, detail=detail, recursive=recursive)

    def stat(self, path: str) -> results.Entry:
        """Describe a file or a directory; NotFoundError when nothing is there."""
        return browsing.stat(self.client, path)

    def exists(self, path: str) -> bool:
        """Whether a file or a directory stands at a path; UnavailableError or DeniedError when the lake does not say."""
        return browsing.exists(self.client, path)

    def expand(self, paths: str | Sequence[str]) -> list[results.PathInfo]:
        """The files that `paths` mean (files, directories, globs), with their sizes, from the cached listing."""
        return Whereabouts(self.client).expand(paths)

    def du(self, path: str) -> results.Usage:
        """Size of everything below a path, and how much of it is cached."""
        return residency.du(self.client, path)

    def locate(self, paths: str | Sequence[str]) -> list[results.FileLocation]:
        """Which node holds what of each file, as the workers say now."""
        return residency.locate(self.client, paths)

    def check(self, paths: str | Sequence[str]) -> results.CheckResult:
        """Exact residency of files, directories and globs at this moment."""
        return residency.check(self.client, paths)

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

        Raises:
            NotFoundError, IsADirectoryRequestError: no file stands at the path.
            DeniedError: writing, and the mount is read-only.
            InvalidRequestError: another mode, or a path that cannot be.
        """
        return self._twice(lambda client: client.open(path, mode))

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
        client = self._client  # the hot path: a call less than `self.client`
        try:
            return (self.client if client.closed else client).read(path, offset, size)
        except NoCacheError:  # without a lambda, whose variables would cost every read
            return self._again().read(path, offset, size)

    def read_many(self, paths: Sequence[str]) -> list[pa.Buffer]:
        """Read whole files, shape (F,): one round trip per worker, not per file; buffers and errors as of `read`."""
        return self._twice(lambda client: client.read_many(paths))

    def read_ranges(self, paths: Sequence[str], ranges: Sequence[tuple[int, int | None]]) -> list[pa.Buffer]:
        """Read one range (offset, size) of each path, shape (F,) each, as `read` does: one round trip per worker."""
        return self._twice(lambda client: client.read_ranges(paths, ranges))

    def prefetch(self, paths: str | Sequence[str], bytes_max: int = 256 << 20) -> None:
        """Have what is missing of these files loaded in the background, about `bytes_max` at most. It does not wait."""
        self.client.prefetch(paths, bytes_max)

    def plan_reads(self, paths: Sequence[str]) -> None:
        """Tell the order in which this process, or helpers of it, will read files, after what it has told before; no waiting.

        As far as that is known, what is read latest makes room first, and what comes next is loaded ahead: docs/larger.md.
        """
        self.client.plan.add(paths)

    def filesystem(self) -> pa.fs.FileSystem:
        """The cache as a pyarrow filesystem; pickles, so Ray Data and dask take it."""
        from raycache.filesystems.pyarrow import filesystem
        from raycache.raydata.modes import place_plain_reads

        return filesystem(place_plain_reads)

    def endpoint(self) -> endpoints.Endpoint:
        """The S3 endpoint of this node, with its keys, for clients that read by themselves; NotFoundError where none runs."""
        return endpoints.endpoint(self.client.id, self.client.node)

    def local(self, path: str, *, memory: bool = False) -> AbstractContextManager[Path]:
        """A file or a directory as real files of this node (in /dev/shm with `memory`), whole, while the block lasts."""
        return local_files.local(self.client, path, memory=memory)

    def local_path(self, path: str, *, memory: bool = False) -> Path:
        """The same until the path is freed or the cache stops."""
        return local_files.local_path(self.client, path, memory=memory)

    def _twice(self, read: Callable[[Client], T]) -> T:
        try:
            return read(self.client)
        except NoCacheError:
            return read(self._again())

    def _again(self) -> Client:
        """Where a read found that the connection had ended, the one to repeat it by; else what was raised goes on."""
        if not self._client.closed:
            raise  # noqa: PLE0704  # only called while an error is handled
        return self.client

    def near(self, paths: str | Sequence[str]) -> dict[str, Any]:
        """Ray options for a task or actor near these bytes, softly: `task.options(**cache.near(paths)).remote(...)`."""
        return near.near(Whereabouts(self.client), paths)

    def near_many(self, path_lists: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
        """Ray options for many tasks at once: balanced, and tasks that share files share a node."""
        return near.near_many(Whereabouts(self.client), path_lists)

    def direct(self, nodes: Mapping[str, str]) -> None:
        """Say where files should be loaded that no node holds yet, instead of where the hash would put them.

        Args:
            nodes: Ray node id by path. A node without a worker is ignored.
        """
        Whereabouts(self.client).direct(nodes)

    @overload
    def load(
        self, paths: str | Sequence[str], replicas: int = ..., *, metadata_only: bool = ...,
        bandwidth: str | int | None = ..., verify: bool = ..., priority: int = ..., dry_run: Literal[False] = ...,
    ) -> Job: ...  # fmt: skip

    @overload
    def load(
        self, paths: str | Sequence[str], replicas: int = ..., *, metadata_only: bool = ...,
        bandwidth: str | int | None = ..., verify: bool = ..., priority: int = ..., dry_run: Literal[True],
    ) -> results.LoadPlan: ...  # fmt: skip

    def load(
        self, paths: str | Sequence[str], replicas: int = 1, *, metadata_only: bool = False,
        bandwidth: str | int | None = None, verify: bool = False, priority: int = 0, dry_run: bool = False,
    ) -> Job | results.LoadPlan:  # fmt: skip
        """Start a warm-up; returns at once. It runs in the master, and goes on when this process ends.

        Args:
            paths: files, directories, globs. The master lists them again.
            replicas: copies of each block on different nodes, as far as there are nodes.
            metadata_only: only list the files, so that later look-ups do not ask the lake.
            bandwidth: bytes per second that leave the lake, all workers together: "500MiB/s", or a number. None: no limit.
            verify: afterwards compare the etags with the lake's, and check the checksums of what is on disk.
            priority: of several jobs, the one with the larger number goes first.
            dry_run: move nothing, and say what the load would do.

        Returns:
            The job; with `dry_run` what it would do.

        Raises:
            NotFoundError, InvalidRequestError: a path does not exist; replicas < 1, or no bandwidth.
            UnavailableError: too many loads run already.
        """
        request = loads.request_of(
            paths, replicas=replicas, metadata_only=metadata_only, bandwidth=bandwidth, verify=verify, priority=priority
        )
        return loads.survey(self.client, request) if dry_run else loads.load(self.client, request)

    def jobs(self) -> list[tuple[str, results.Progress]]:
        """The load jobs known, newest first: (id, progress)."""
        return loads.jobs(self.client)

    def job(self, job_id: str) -> Job:
        """A handle on a job by its id; NotFoundError when it is unknown."""
        return loads.job(self.client, job_id)

    def free(self, paths: str | Sequence[str], force: bool = False, older_than_s: float = 0.0) -> results.FreeResult:
        """Drop blocks from the cache, never from the lake. Readers that hold them finish undisturbed.

        Args:
            paths: files, directories (a mount's path is one) and globs, with all versions, also those that left the lake.
            force: also what is pinned. older_than_s: only blocks loaded at least this many seconds ago.
        """
        return upkeep.free(self.client, paths, force=force, older_than_s=older_than_s)

    def pin(self, paths: str | Sequence[str]) -> None:
        """Never evict files, directories or globs from now on, nor let them expire, also when they are loaded later.

        Where pinned files take all the room, loads of other files end without space, and reads of them go through.
        """
        upkeep.say(self.client, RuleKind.PIN, paths, 1)

    def unpin(self, paths: str | Sequence[str]) -> None:
        """Take pins away, also of a part of what was pinned."""
        upkeep.say(self.client, RuleKind.PIN, paths, None)

    def set_ttl(self, paths: str | Sequence[str], ttl_s: float | None) -> None:
        """Free blocks this many seconds after they were loaded; the lake is never touched.

        Args:
            paths: files, directories, globs; of two calls with the same path the later one holds. ttl_s: 0 or more; None: no end.
        """
        upkeep.say(self.client, RuleKind.TTL, paths, ttl_s)

    def set_quota(self, path: str, bytes: str | int | None) -> None:  # noqa: A002
        """Bound the bytes cached below a path, in all copies; the path's own oldest blocks make room.

        A worker's share of the quota is its share of the cluster's capacity.

        Args:
            path: a directory or a file. bytes: "200GiB", or bytes; None: no quota.
        """
        upkeep.say(self.client, RuleKind.QUOTA, path, None if bytes is None else parse_size(bytes))

    def rules(self) -> list[results.PathRule]:
        """All pins, TTLs and quotas, the oldest first."""
        return upkeep.rules(self.client)

    @overload
    def sync(
        self, paths: str | Sequence[str], dry_run: bool = ..., load: bool = ..., watch: None = ...,
        bandwidth: str | int | None = ...,
    ) -> results.SyncResult: ...  # fmt: skip

    @overload
    def sync(
        self, paths: str | Sequence[str], dry_run: bool = ..., load: bool = ..., *, watch: float,
        bandwidth: str | int | None = ...,
    ) -> Iterator[results.SyncResult]: ...  # fmt: skip

    def sync(
        self, paths: str | Sequence[str], dry_run: bool = False, load: bool = False, watch: float | None = None,
        bandwidth: str | int | None = None,
    ) -> results.SyncResult | Iterator[results.SyncResult]:  # fmt: skip
        """Compare files, directories or globs with the lake, listing it once: what was added, changed, removed?

        Versions that the lake no longer has are dropped, when their readers are done. A file counts as changed when its
        size or etag (its mtime, where the store has no etags) differs from what it was when the cache last listed or
        compared the path. Of a path that it never listed, the cache knows what it holds.

        Args:
            paths: what to compare. dry_run: only compare.
            load: bring in what was added or changed, and nothing else. It is a load job, and this waits for its end; the job
                goes on when this process ends.
            watch: repeat, this many seconds after each end.
            bandwidth: of that load; see `load`.

        Returns:
            The differences; with `watch` an iterator that yields those of each round, without an end.

        Raises:
            NotFoundError: a path is under no mount, or nothing is there, nor was.
            UnavailableError, DeniedError, InvalidRequestError: the lake cannot be listed; no bandwidth.
        """
        if watch is None:
            return sync.sync(self.client, paths, dry_run=dry_run, load=load, bandwidth=bandwidth)
        return sync.watch(self.client, paths, watch, dry_run=dry_run, load=load, bandwidth=bandwidth)

    def export_map(self, uri: str) -> results.MapExport:
        """Write what is cached, with versions, heat and pins, to a parquet file, for `import_map` of another cluster.

        Args:
            uri: of the file, such as "s3://bucket/maps/x.parquet", or a path of the namespace. The credentials are those
                of the mount that covers it (which may be read-only), or else of this process's environment. DeniedError,
                UnavailableError, NoSpaceError and InvalidRequestError say why it cannot be written there.

        """
        return map_transfer.export_map(self.client, uri)

    def import_map(self, uri: str, pins: bool = True, bandwidth: str | int | None = None) -> results.MapImport:
        """Load what another cluster had cached, pinned files first, then the hottest, and wait for it.

        Files that changed, or are gone, are left out; what no longer fits is the coldest. A load job does it, which goes on.

        Args:
            uri: as given to `export_map`. pins: pin what the other cluster had pinned. bandwidth: see `load`.

        Raises:
            NotFoundError, DeniedError, UnavailableError, InvalidRequestError: the map or the lake cannot be read; it is no map.
        """
        return map_transfer.import_map(self.client, uri, pins=pins, bandwidth=bandwidth)

    def cached_datasets(self) -> list[results.CachedDataset]:
        """What is kept of datasets after their transforms, and of memoized functions."""
        return kept_datasets(self.client)

    def drop_cached(self, name: str) -> int:
        """Drop all results of one of them, also from disk; gives how many there were."""
        return drop_kept(self.client, name)

    def stats(self) -> results.Stats:
        """Counters and sizes per node and in total; this process's own reads are included."""
        return stats.stats(self.client)

    def advise(self) -> advice.Advice:
        """What other sizes of memory and disk would give, and the eviction policy in force: from samples of what is read."""
        return advice.advise(self.client)

    def overview(self) -> Overview:
        """What is shown of the cache, with windows of time, readers and jobs: cheap, and about a second old."""
        return overview_now(self.client)

    def status(self) -> results.Status:
        """The master and the workers, as the master sees them."""
        return stats.status(self.client)

    def settings(self) -> list[results.Setting]:
        """Every setting, its value and where that came from."""
        return stats.settings(self.client)


#: The face of this process's connection; there is one of both.
_face: Cache | None = None


def connect(address: str | None = None) -> Cache:
    """Connect to the cache that runs in this Ray cluster; from a driver, a task, an actor, or a plain process.

    Args:
        address: of the Ray cluster, when this process has not called `ray.init` yet; None finds a running one.

    Raises:
        UnavailableError: no Ray cluster, or the master does not answer.
        NoCacheError, which here is a NotFoundError, too: no cache runs there; call `raycache.start()`.
        InvalidRequestError: this process is on Ray Client (`ray://`).
    """
    global _face  # noqa: PLW0603  # one connection a process is the point
    try:
        client = connection.connect(address)
    except NoCacheError as error:
        raise NoCacheToConnectError(str(error)) from error
    if _face is None or _face._client is not client:  # noqa: SLF001  # its own class, above
        _face = Cache(client)
    return _face
