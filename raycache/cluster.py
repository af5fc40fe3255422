"""Starting and stopping the cache: the only file that knows both actors."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycache.cache import Cache, connect
from raycache.client.calls import unwrap
from raycache.client.connection import disconnect, ensure_ray, head_actor_options
from raycache.dashboard.launch import start_dashboard, stop_dashboard
from raycache.endpoint.lifecycle import start_endpoint, stop_endpoint
from raycache.errors import AlreadyExistsError, NotFoundError, RaycacheError, UnavailableError
from raycache.master.actor import MasterActor
from raycache.messages import MASTER_NAME, RAY_NAMESPACE, WORKER_NAME_PREFIX, Hello
from raycache.settings import Settings
from raycache.types import WorkerId
from raycache.workers.actor import WorkerActor
from raycache.workers.capacity import memory_bytes_of, split_disk

_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05
_CALLS_INFLIGHT_MAX = 10_000


@dataclasses.dataclass(frozen=True)
class WorkerLauncher:
    """Starts worker actors pinned to their nodes, detached, so that they outlive a restart of the master."""

    #: Ray's session directory, below which disk segments go by default.
    session_directory: str

    def start(self, cache_id: str, worker: WorkerId, epoch: int, actor_name: str, settings: dict[str, Any]) -> Any:
        """Start a worker on its node; returns the handle at once."""
        scratch = str(Path(self.session_directory) / "raycache")
        actor = ray.remote(WorkerActor).options(
            name=actor_name,
            namespace=RAY_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=0,
            max_concurrency=_CALLS_INFLIGHT_MAX,
            scheduling_strategy=NodeAffinitySchedulingStrategy(worker, soft=False),
        )
        return actor.remote(cache_id, worker, epoch, settings, scratch)

    def find(self, actor_name: str) -> Any:
        """The handle of a running worker, or None."""
        try:
            return ray.get_actor(actor_name, namespace=RAY_NAMESPACE)
        except ValueError:
            return None

    def end(self, actor_name: str) -> None:
        """End a worker that may run still, whatever it is doing."""
        handle = self.find(actor_name)
        if handle is not None:
            ray.kill(handle)


def start(
    memory: str | int | None = None,
    disk: str | None = None,
    *,
    dashboard: bool = False,
    endpoint: bool = False,
    **settings: Any,
) -> Cache:
    """Start the cache in the current Ray cluster, or in a local one when none is running.

    Args:
        memory: of each node's object store, "30%", or bytes.
        disk: "PATH:SIZE", "PATH", "SIZE" or "off".
        dashboard: also serve the dashboard, read-only, at its default address; see `start_dashboard` for another.
        endpoint: also serve S3 from every node's loopback, at its default port; see `start_endpoint` for another.
        settings: any other field of `raycache.settings.Settings`.

    Returns:
        A connection. Where a cache with these settings is running already, a connection to that one.

    Raises:
        AlreadyExistsError: a cache with other settings is running; `raycache.stop()` first.
        InvalidRequestError: an unknown setting, or a bad value.
        UnavailableError: the workers did not come up in time.
    """
    cache = _start({"memory": memory, "disk": disk, **settings})
    if dashboard:
        start_dashboard()
    if endpoint:
        start_endpoint()
    return cache


def _start(wanted: dict[str, Any]) -> Cache:
    if not ray.is_initialized():
        try:
            ensure_ray()
        except UnavailableError:
            ray.init(logging_level="ERROR", log_to_driver=False)
    values, origins = Settings.load(wanted)
    running = _running()
    if running is not None:
        given = {name for name, value in wanted.items() if value is not None}
        for name in sorted(given):
            if running.settings[name] != getattr(values, name):
                raise AlreadyExistsError(
                    f"a cache with {name}={running.settings[name]!r} is running; call raycache.stop() first"
                )
        return connect()
    split_disk(values.disk)
    for node in ray.nodes():
        object_store_bytes = int(node["Resources"].get("object_store_memory", 0))
        if node["Alive"] and object_store_bytes:
            # Said here, at once: in a worker it would only be a worker that does not come up.
            memory_bytes_of(values, object_store_bytes)
    session_directory = _session_directory()
    cache_id = uuid.uuid4().hex[:12]
    if not values.journal:
        values = dataclasses.replace(values, journal=str(Path(session_directory) / f"raycache-journal-{cache_id}"))
    master = (
        ray.remote(MasterActor)
        .options(**head_actor_options(MASTER_NAME, _CALLS_INFLIGHT_MAX), max_task_retries=-1)
        .remote(cache_id, values.as_dict(), origins, WorkerLauncher(session_directory))
    )
    _wait_ready(master)
    return connect()


@contextlib.contextmanager
def session(
    load: str | Sequence[str] | None = None,
    export: str | None = None,
    import_map: str | None = None,
    mounts: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[Cache]:
    """A cache for the length of a `with` block: started and filled before it, stopped after it, whatever happens.

    Args:
        load: paths to load before the block begins.
        export: where to write a map of what is cached at the end.
        import_map: a map to load before the block begins, and before `load`; where there is none yet, nothing.
        mounts: URI by path; for mounts with options, mount them in the block.
        settings: as `start` takes them.

    Raises:
        AlreadyExistsError: a cache is running: it is not this block's to stop.
        UnavailableError: not all of `load` could be loaded.
    """
    if ray.is_initialized() and _running() is not None:
        raise AlreadyExistsError("a cache is running in this Ray cluster; use raycache.connect(), or stop it first")
    cache = start(**settings)
    try:
        for path, uri in (mounts or {}).items():
            cache.mount(path, uri)
        if import_map is not None:
            with contextlib.suppress(NotFoundError):
                cache.import_map(import_map)
        if load is not None:
            _load_all(cache, load)
        yield cache
        if export is not None:
            cache.export_map(export)
    finally:
        stop()


def _load_all(cache: Cache, paths: str | Sequence[str]) -> None:
    progress = cache.load(paths).wait()
    if progress.state != "SUCCEEDED":
        first = f": {progress.failures[0].path}: {progress.failures[0].reason}" if progress.failures else ""
        raise UnavailableError(
            f"the load {progress.state.lower()} with {progress.files_done} of {progress.files_total} files{first}"
        )


def stop() -> None:
    """End the cache: its actors, its memory, its files on disk, its journal. The lake is untouched.

    Nothing running is no error.

    Raises:
        UnavailableError: all has ended, but the journal could not be emptied.
    """
    disconnect()
    if not ray.is_initialized():
        try:
            ensure_ray()
        except UnavailableError:
            return
    stop_dashboard()
    stop_endpoint()
    try:
        master = ray.get_actor(MASTER_NAME, namespace=RAY_NAMESPACE)
    except ValueError:
        return
    left = _empty_journal(master)
    ray.kill(master)
    handles = [WorkerLauncher("").find(name) for name in _worker_names()]
    handles = [handle for handle in handles if handle is not None]
    if handles:
        ray.wait([handle.shutdown.remote() for handle in handles], num_returns=len(handles), timeout=_STOP_TIMEOUT_S)
    for handle in handles:
        ray.kill(handle)
    if left:
        raise UnavailableError(f"the cache has ended, but its journal is still there: {left}; remove it by hand")


def _empty_journal(master: Any) -> str:
    """Have the journal emptied; why that failed, or "". A journal that belongs to another cache by now is left alone."""
    try:
        unwrap(ray.get(master.shutdown.remote(), timeout=_STOP_TIMEOUT_S))
    except RaycacheError as error:
        return str(error)
    except ray.exceptions.RayError as error:
        return f"the master did not answer ({type(error).__name__})"
    return ""


def _worker_names() -> list[str]:
    """The actors of all workers of this Ray cluster, those included that no view has any more."""
    found = ray.util.list_named_actors(all_namespaces=True)
    names = [actor["name"] for actor in found if actor["namespace"] == RAY_NAMESPACE]
    return [name for name in names if name.startswith(WORKER_NAME_PREFIX)]


def _running() -> Hello | None:
    try:
        master = ray.get_actor(MASTER_NAME, namespace=RAY_NAMESPACE)
        hello: Hello = unwrap(ray.get(master.hello.remote(), timeout=_STOP_TIMEOUT_S))
    except (ValueError, ray.exceptions.RayError):
        return None
    return hello


def _wait_ready(master: Any) -> None:
    """Wait until every live node has its worker."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    missing, alive = 1, 0
    while time.monotonic() < deadline:
        try:
            missing, alive = unwrap(ray.get(master.ready.remote(), timeout=_START_TIMEOUT_S))
        except RaycacheError as error:
            ray.kill(master)
            raise UnavailableError(f"the cache master failed to start: {error}") from error
        except ray.exceptions.RayActorError as error:
            lines = str(error).strip().splitlines()
            raise UnavailableError(f"the cache master failed to start: {lines[-1] if lines else error}") from error
        except ray.exceptions.GetTimeoutError:
            continue
        if not missing:
            return
        time.sleep(_POLL_S)
    if alive:
        return  # the others are started as soon as their nodes allow; reads work meanwhile
    raise UnavailableError(f"no worker came up within {_START_TIMEOUT_S:g} s on any of {missing} nodes; see Ray's logs")


def _session_directory() -> str:
    node = ray._private.worker._global_node  # noqa: SLF001  # the session directory has no public name
    return str(node.get_session_dir_path()) if node is not None else tempfile.gettempdir()
