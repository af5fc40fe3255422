"""Finding the cache of the Ray cluster this process belongs to."""

from __future__ import annotations

import threading
import time
from typing import Any

import ray

from raycache.client.cache import Cache
from raycache.client.calls import Calls, own_node_id, task_identity
from raycache.client.ray_address import find_cluster
from raycache.errors import UnavailableError
from raycache.messages import RAY_NAMESPACE, Hello
from raycache.settings import Settings

#: Ray marks its head node with this resource; the master stands there, by its journal.
HEAD_RESOURCE = "node:__internal_head__"
#: A connection that was good this recently is handed out again without asking.
_TRUST_S = 5.0

_lock = threading.Lock()
_current: tuple[str, float, Cache] | None = None


def connect(address: str | None = None) -> Cache:
    """Connect to the cache that runs in this Ray cluster; from a driver, a task, an actor, or a plain process.

    Args:
        address: of the Ray cluster, when this process has not called `ray.init` yet; None finds a running one.

    Returns:
        The one connection of this process.

    Raises:
        UnavailableError: no Ray cluster, or the master does not answer.
        NotFoundError: no cache runs there; call `raycache.start()`.
    """
    global _current  # noqa: PLW0603  # one connection a process is the point
    ensure_ray(address)
    session = ray.get_runtime_context().gcs_address
    with _lock:
        now_s = time.monotonic()
        if _current is not None and _current[0] == session and now_s - _current[1] < _TRUST_S:
            _current[2].count_for(*task_identity())
            return _current[2]
        defaults = Settings()
        calls = Calls(defaults.master_timeout_s, defaults.worker_timeout_s)
        hello: Hello = calls.master("hello")
        if _current is not None and _current[0] == session and _current[2].id == hello.cache_id:
            cache = _current[2]
            cache.locator.learn(hello.view, hello.mounts)
        else:
            settings = Settings(**hello.settings)
            calls = Calls(settings.master_timeout_s, settings.worker_timeout_s)
            cache = Cache(calls, hello, own_node_id())
        cache.count_for(*task_identity())
        _current = (session, now_s, cache)
        return cache


def current() -> Cache | None:
    """The connection this process has in its present Ray session, if it was good within the last seconds.

    Asks nobody, and costs a few microseconds.
    """
    known = _current
    if (
        known is None
        or time.monotonic() - known[1] > _TRUST_S
        or not ray.is_initialized()
        or ray.get_runtime_context().gcs_address != known[0]
    ):
        return None
    known[2].count_for(*task_identity())
    return known[2]


def disconnect() -> None:
    """Forget the connection, after its last counters are delivered."""
    global _current
    with _lock:
        known, _current = _current, None
    if known is not None:
        known[2].close()


def ensure_ray(address: str | None = None) -> None:
    """Join a running Ray cluster unless this process has done so.

    Raises:
        UnavailableError: there is none.
    """
    if ray.is_initialized():
        return
    found = find_cluster(address)
    try:
        ray.init(address=found, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UnavailableError(
            f"no Ray cluster at {found}; start one with `ray start --head`, or call ray.init()"
        ) from error


def head_actor_options(name: str, calls_max: int) -> dict[str, Any]:
    """Ray options of an actor of the cache that stands on the head node, and outlives who started it.

    Args:
        name: in the cache's Ray namespace; who starts a second one gets the first.
        calls_max: calls under way at once.
    """
    return {
        "name": name,
        "namespace": RAY_NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "resources": {HEAD_RESOURCE: 0.001} if HEAD_RESOURCE in ray.cluster_resources() else None,
        "max_restarts": -1,
        "max_concurrency": calls_max,
    }
