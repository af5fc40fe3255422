"""An in-memory stand-in for a running cache, for the tests of the command line: a small lake, blocks of 4 bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raycache.cli.session import Session
from raycache.client.neighbour.endpoints import Endpoint
from raycache.errors import ConflictError, InvalidRequestError, NotFoundError
from raycache.results import (
    Amount,
    CachedDataset,
    CheckResult,
    Entry,
    Failure,
    FileLocation,
    FreeResult,
    Held,
    LoadPlan,
    MapExport,
    MapImport,
    Missing,
    MountEntry,
    NodeStats,
    PathRule,
    Progress,
    Setting,
    Stats,
    Status,
    SyncResult,
    Usage,
    WorkerStatus,
)
from raycache.settings import parse_size
from raycache.ufs.shown_options import shown_option

BLOCK_BYTES = 4
NODE = "a1" * 28
MTIME = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def blocks_of(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES)


class FakeJob:
    """A load that ends at its third look, or stays unfinished until `stop`."""

    def __init__(self, cache: FakeCache, paths: list[str]) -> None:
        self.id = "load-1"
        self.looks = 0
        self.stopped = False
        self._cache = cache
        self._paths = paths

    def stop(self) -> None:
        self.stopped = True

    def resume(self) -> None:
        self.stopped = False

    def progress(self) -> Progress:
        self.looks += 1
        if self._cache.on_look:
            self._cache.on_look(self.looks)
        sizes = {path: self._cache.files[path] for path in self._paths}
        bad = {path: reason for path, reason in self._cache.broken.items() if path in sizes}
        finished = self.looks >= 3
        good = [path for path in sizes if path not in bad] if finished else []
        if finished:
            self._cache.cached.update(good)
        total, done = sum(sizes.values()), sum(sizes[path] for path in good)
        failed = len(bad) if finished else 0
        return Progress(
            state="STOPPED" if self.stopped else "RUNNING" if not finished else "FAILED" if bad else "SUCCEEDED",
            files_total=len(sizes),
            files_done=len(good),
            files_failed=failed,
            blocks_total=sum(map(blocks_of, sizes.values())),
            blocks_done=sum(blocks_of(sizes[path]) for path in good),
            blocks_failed=0,
            bytes_total=total,
            bytes_done=done,
            bytes_failed=total - done if finished else 0,
            bytes_already=0,
            elapsed_s=2.0,
            rate_bytes_s=done / 2,
            eta_s=None,
            failures=tuple(Failure(path, reason) for path, reason in bad.items()) if finished else (),
            paths=("/lake",),
            bytes_over=max(0, total - self._cache.room_bytes),
        )

    def wait(self, timeout_s: float | None = None) -> Progress:
        del timeout_s
        while not (progress := self.progress()).finished:
            pass
        return progress


class FakeCache:
    """What the verbs call of `raycache.cache.Cache`, over a dict of sizes."""

    def __init__(self, files: Mapping[str, int] | None = None) -> None:
        #: What functions of a client get; those are replaced in the tests.
        self.client = self
        self.files: dict[str, int] = dict(files or {"/lake/a": 10, "/lake/b/c": 2048})
        self.cached: set[str] = set()
        #: Of all that is cached, since it was loaded.
        self.age_s = 60.0
        self.pins: list[str] = []
        self.dropped: list[str] = []
        #: Of syncs and imports.
        self.bandwidths: list[str | None] = []
        self.others: list[PathRule] = []
        #: Path -> why it cannot be loaded.
        self.broken: dict[str, str] = {}
        self.mounted: dict[str, MountEntry] = {}
        #: The options of each mount as they arrived, by path.
        self.options: dict[str, dict[str, Any]] = {}
        self.room_bytes = 1 << 40
        self.load_options: dict[str, Any] = {}
        self.started: FakeJob | None = None
        self.on_look: Callable[[int], None] | None = None
        self.fail_with: BaseException | None = None

    def mount(self, path: str, uri: str, options: Any, metadata_ttl_s: float | None, readonly: bool) -> None:
        self._raise()
        if not path.startswith("/"):
            raise InvalidRequestError(f"path {path!r} is not absolute; write it like /lake")
        self.options[path] = options
        shown = {key: shown_option(key, value) for key, value in options.items()}
        self.mounted[path] = MountEntry(path, uri, readonly, 60.0 if metadata_ttl_s is None else metadata_ttl_s, shown)

    def unmount(self, path: str, force: bool = False) -> None:
        if path not in self.mounted:
            raise NotFoundError(f"nothing is mounted at {path}; see `raycache mounts`")
        if path == "/busy" and not force:
            raise ConflictError("a load of /busy is running; stop it, or unmount with force")
        del self.mounted[path]

    def mounts(self) -> list[MountEntry]:
        return [self.mounted[path] for path in sorted(self.mounted)]

    def endpoint(self) -> Endpoint:
        return Endpoint("http://127.0.0.1:8269", "KEY", "the secret")

    def local_path(self, path: str, *, memory: bool = False) -> Path:
        return Path(f"/local/{'memory' if memory else 'disk'}{path}")

    def ls(self, path: str, detail: bool = False, recursive: bool = False) -> list[Entry]:
        self._raise()
        assert detail
        if path in self.files:
            return [self.stat(path)]
        base = path.rstrip("/") + "/"
        below = [name for name in sorted(self.files) if name.startswith(base)]
        if not below:
            raise NotFoundError(f"no such file or directory: {path}")
        if not recursive:
            below = sorted({base + name.removeprefix(base).split("/")[0] for name in below})
        return [self.stat(name) for name in below]

    def stat(self, path: str) -> Entry:
        self._raise()
        name, uri = path.rpartition("/")[2], f"s3://bucket{path}"
        if path in self.files:
            return Entry(path, name, "file", self.files[path], MTIME, '"e1"', uri)
        return Entry(path, name, "directory", 0, None, "", uri)

    def du(self, path: str) -> Usage:
        result = self.check([path])
        return Usage(path, result.files, result.bytes_total, result.bytes_cached)

    def locate(self, paths: list[str]) -> list[FileLocation]:
        return [
            FileLocation(
                name,
                self.files[name],
                blocks_of(self.files[name]),
                {NODE: Held(blocks_of(self.files[name]), self.files[name])} if name in self.cached else {},
            )
            for name in self._expand(paths)
        ]

    def load(self, paths: list[str], *, dry_run: bool = False, **options: Any) -> Any:
        self._raise()
        names = self._expand(paths)
        sizes = {name: self.files[name] for name in names}
        if dry_run:
            over = max(0, sum(sizes.values()) - self.room_bytes)
            held = [name for name in names if name in self.cached]
            held_bytes = sum(sizes[name] for name in held)
            return LoadPlan(
                files=len(names),
                blocks=sum(map(blocks_of, sizes.values())),
                bytes=sum(sizes.values()),
                files_cached=len(held),
                bytes_cached=held_bytes,
                bytes_to_move=sum(sizes.values()) - held_bytes,
                capacity_bytes=self.room_bytes,
                fits=not over,
                bytes_over=over,
                files_over=int(over > 0),
                over=tuple(names[-1:]) if over else (),
            )
        self.load_options = options
        self.started = FakeJob(self, names)
        return self.started

    def jobs(self) -> list[tuple[str, Progress]]:
        return [(self.started.id, self.started.progress())] if self.started else []

    def job(self, job_id: str) -> FakeJob:
        if self.started is None or job_id != self.started.id:
            raise NotFoundError(f"load {job_id!r} is unknown; see `raycache jobs`")
        return self.started

    def cached_datasets(self) -> list[CachedDataset]:
        counts = {"hits": 40, "made": 10, "waited": 2, "taken_over": 0, "lost": 1}
        return [
            CachedDataset(
                name, f"/cached/{name}", 10, 5 << 20, 1200, **counts, cpu_s=12.5, saved_cpu_s=75.0, idle_s=idle_s
            )
            for name, idle_s in (("ReadImage-decode-0a1b", 3.0), ("tokens-2c3d", None))
            if name not in self.dropped
        ]

    def drop_cached(self, name: str) -> int:
        if name not in {row.name for row in self.cached_datasets()}:
            raise NotFoundError(f"no cached dataset is called {name!r}", path=name)
        self.dropped.append(name)
        return 10

    def check(self, paths: list[str]) -> CheckResult:
        names = self._expand(paths)
        held = [name for name in names if name in self.cached]
        return CheckResult(
            files=len(names),
            files_complete=len(held),
            blocks=sum(blocks_of(self.files[name]) for name in names),
            blocks_cached=sum(blocks_of(self.files[name]) for name in held),
            bytes_total=sum(self.files[name] for name in names),
            bytes_cached=sum(self.files[name] for name in held),
            missing_files=tuple(
                Missing(name, blocks_of(self.files[name]), self.files[name]) for name in names if name not in held
            ),
        )

    def free(self, paths: list[str], force: bool = False, older_than_s: float = 0.0) -> FreeResult:
        names = [name for name in self._expand(paths) if name in self.cached and self.age_s >= older_than_s]
        kept = [name for name in names if not force and any(name.startswith(pin) for pin in self.pins)]
        gone = [name for name in names if name not in kept]
        self.cached.difference_update(gone)
        figures = [
            (sum(blocks_of(self.files[name]) for name in some), sum(self.files[name] for name in some))
            for some in (gone, kept)
        ]
        return FreeResult(*figures[0], *figures[1])

    def pin(self, paths: list[str]) -> None:
        self.pins += paths

    def unpin(self, paths: list[str]) -> None:
        self.pins = [pin for pin in self.pins if pin not in paths]

    def set_ttl(self, paths: list[str], ttl_s: float | None) -> None:
        self.others += [PathRule("ttl", path, ttl_s) for path in paths]

    def set_quota(self, path: str, bytes: str | int | None) -> None:  # noqa: A002
        self.others.append(PathRule("quota", path, None if bytes is None else parse_size(bytes)))

    def sync(
        self,
        paths: list[str],
        dry_run: bool = False,
        load: bool = False,
        watch: float | None = None,
        bandwidth: str | None = None,
    ) -> Any:
        """Everything is new; what is broken cannot be loaded."""
        self.bandwidths.append(bandwidth)
        names = self._expand(paths)
        good = [name for name in names if load and name not in self.broken]
        result = SyncResult(
            added=Amount(len(names), sum(self.files[name] for name in names)),
            changed=Amount(),
            removed=Amount(),
            unchanged=Amount(),
            loaded=Amount(len(good), sum(self.files[name] for name in good)),
            dry_run=dry_run,
            elapsed_s=0.5,
            differences=tuple(names),
            removed_paths=(),
            failures=tuple(Failure(path, reason) for path, reason in self.broken.items() if load),
        )
        return result if watch is None else iter([result] * 2)

    def export_map(self, uri: str) -> MapExport:
        self._raise()
        return MapExport(uri, len(self.cached), sum(self.files[name] for name in self.cached), 0.1)

    def import_map(self, uri: str, pins: bool = True, bandwidth: str | None = None) -> MapImport:
        self._raise()
        self.bandwidths.append(bandwidth)
        everything = Amount(len(self.files), sum(self.files.values()))
        failures = tuple(Failure(path, reason) for path, reason in self.broken.items())
        nothing = Amount()
        self.pins += ["/lake/a"] if pins else []
        return MapImport(uri, everything, everything, nothing, nothing, nothing, nothing, (), failures, 0.1)

    def rules(self) -> list[PathRule]:
        return [*(PathRule("pin", path, 1) for path in self.pins), *self.others]

    def stats(self) -> Stats:
        node = NodeStats(hits=3, misses=1, bytes_memory=3 << 20, bytes_ufs=1 << 20, bytes_local=4 << 20)
        return Stats(node, {NODE: node})

    def status(self) -> Status:
        worker = WorkerStatus(NODE, 7, "LIVE", 1 << 20, 1 << 30, 0, 10 << 30, 0.25)
        return Status("alive", 3700.0, len(self.mounted), len(self.files), (worker,))

    def settings(self) -> list[Setting]:
        return [
            Setting("memory", "30%", "argument"),
            Setting("block_size_bytes", 8 << 20, "environment RAYCACHE_BLOCK_SIZE_BYTES"),
            Setting("lease_s", 30.0, "default"),
            Setting("journal", "", "default"),
        ]

    def _expand(self, paths: list[str]) -> list[str]:
        self._raise()
        names = [name for path in paths for name in sorted(self.files) if name == path or name.startswith(path + "/")]
        if not names:
            raise NotFoundError(f"no such file or directory: {paths[0]}")
        return names

    def _raise(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with


class FakeBackend:
    """A Ray cluster in which a cache runs, or does not."""

    def __init__(self, cache: FakeCache | None = None) -> None:
        self.cache = cache
        self.address: str | None = None
        self.settings: dict[str, Any] = {}
        #: (port, host, anonymous) of the endpoint.
        self.endpoint_asked: tuple[int | None, str | None, bool] | None = None
        #: (port, host, token, names) of the dashboard.
        self.served: tuple[int | None, str | None, str | None, Sequence[str] | None] = (None, None, None, None)

    def connect(self, address: str | None) -> Any:
        self.address = address
        if self.cache is None:
            raise NotFoundError("no cache runs in this Ray cluster; run `raycache start`")
        return self.cache

    def start(self, address: str | None, settings: Mapping[str, Any]) -> Any:
        self.settings = dict(settings)
        self.cache = self.cache or FakeCache()
        return self.connect(address)

    def stop(self, address: str | None) -> bool:
        self.address = address
        running, self.cache = self.cache is not None, None
        return running

    def dashboard(
        self, address: str | None, port: int | None, host: str | None, token: str | None, names: Sequence[str] | None
    ) -> str:
        self.connect(address)
        self.served = (port, host, token, names)
        return f"http://{host or '127.0.0.1'}:{port or 8268}/"

    def placement(self) -> tuple[str, str, str]:
        return "hook", "self-test passed on Ray 2.60.0; parquet by datasource V2", "2.60.0"

    def stop_dashboard(self, address: str | None) -> None:
        self.address = address
        self.served = None

    def endpoint(self, address: str | None, port: int | None, host: str | None, anonymous: bool) -> Endpoint:
        self.connect(address)
        self.endpoint_asked = (port, host, anonymous)
        return Endpoint(f"http://{host or '127.0.0.1'}:{port or 8269}", "KEY", "the secret")

    def stop_endpoint(self, address: str | None) -> None:
        self.address = address
        self.endpoint_asked = None


def session_of(cache: FakeCache | None = None) -> Session:
    """A session on a running fake cache that never sleeps."""
    return Session(FakeBackend(cache or FakeCache()), sleep=lambda _: None)
