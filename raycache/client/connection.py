"""Finding the cache of the Ray cluster this process belongs to."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray._private.worker import global_worker

from raycache.client.calls import Calls
from raycache.client.client import Client, Parts
from raycache.client.neighbour.neighbour_calls import NeighbourCalls, no_endpoint
from raycache.client.neighbour.node_file import find
from raycache.client.ray_side.ray_address import find_cluster
from raycache.client.ray_side.ray_core import in_worker, is_forked, own_node_id, ray_session, task_identity, task_name
from raycache.errors import InvalidRequestError, UnavailableError
from raycache.messages import RAY_NAMESPACE, Hello
from raycache.settings import Settings

#: Ray marks its head node with this resource; the master stands there, by its journal.
HEAD_RESOURCE = "node:__internal_head__"
#: A connection that was good this recently is handed out again without asking.
_TRUST_S = 5.0


class _Connection(NamedTuple):
    """What this process has."""

    #: See `ray_session`.
    session: Any
    #: Ray's job; a process works for one only.
    job: str
    good_at_s: float
    client: Client


#: Held while this process joins Ray; Ray says that it has joined before it is ready.
_joining = threading.Lock()
_lock = threading.Lock()
_current: _Connection | None = None
#: What stands for the session of Ray of a process that has none.
_WITHOUT_RAY = object()
#: (cache id, node) of the process that this one was forked from; empty: it was not, or that had no connection.
_parent = ("", "")
#: See `read_as`.
_identify = task_identity


def read_as(identify: Callable[[], tuple[str, str]]) -> None:
    """Count the reads of this process for others than Ray's running task. To be said before it connects.

    Args:
        identify: gives (job, task) of whoever reads now; an empty task is the one before it.
    """
    global _identify  # noqa: PLW0603  # one connection a process is the point
    _identify = identify


def connect(address: str | None = None) -> Client:
    """Connect to the cache that runs in this Ray cluster; from a driver, a task, an actor, or a plain process.

    Args:
        address: of the Ray cluster, when this process has not called `ray.init` yet; None finds a running one.

    Returns:
        The one connection of this process. Where it has not joined Ray and names no cluster, and its node has an endpoint,
        or where it was forked, it goes through that, without Ray.

    Raises:
        UnavailableError: no Ray cluster, or the master does not answer.
        NoCacheError: no cache runs there; call `raycache.start()`.
        InvalidRequestError: this process is on Ray Client.
    """
    global _current  # noqa: PLW0603  # one connection a process is the point
    if is_forked() or _goes_through_endpoint(address):
        return _through_endpoint()
    ensure_ray(address)
    session = ray_session()
    with _lock:
        now_s = time.monotonic()
        known = _current.client if _current is not None and _current.session is session else None
        if known is not None and known.closed:
            known = None
        if known is not None and _current is not None and now_s - _current.good_at_s < _TRUST_S:
            known.count_for(*_identify())
            return known
        defaults = Settings()
        calls = Calls(defaults.master_timeout_s, defaults.worker_timeout_s, defaults.hop_timeout_s)
        hello: Hello = calls.master("hello")
        if known is not None and known.id == hello.cache_id:
            client = known
            client.locator.learn(hello.view, hello.mounts)
        else:
            if _current is not None:
                _current.client.abandon()
            client = _client_of(calls, hello)
        job, task = _identify()
        client.count_for(job, task)
        _current = _Connection(session, job, now_s, client)
        return client


def _client_of(calls: Calls, hello: Hello) -> Client:
    """A new connection to the cache whose master said `hello`."""
    settings = Settings(**hello.settings)
    calls = calls.bound(hello, settings)
    node = own_node_id()

    def identify() -> tuple[str, str]:
        # The first read after a flush asks: so the next one after Ray was left is noticed, in the reader's own thread.
        calls.check()
        return _identify()

    client = Client(hello.cache_id, settings, hello.origins, node, Parts.of(calls, hello, node, identify, in_worker))
    calls.when_ended(client.abandon)
    return client


def _goes_through_endpoint(address: str | None) -> bool:
    """Whether this process, which has not joined Ray and names no cluster, is on a node with an endpoint."""
    if address is not None or "RAY_ADDRESS" in os.environ or ray.is_initialized():
        return False
    return (_current is not None and _current.session is _WITHOUT_RAY) or find() is not None


def _through_endpoint() -> Client:
    """The connection of a process without Ray.

    Raises:
        NoCacheError: there is no endpoint.
    """
    global _current  # noqa: PLW0603  # as in `connect`
    with _lock:
        now_s = time.monotonic()
        known = _current
        if known is not None and known.session is _WITHOUT_RAY and not known.client.closed:
            if now_s - known.good_at_s < _TRUST_S:
                return known.client
            if find(known.client.id, known.client.node) is not None:
                _current = known._replace(good_at_s=now_s)
                return known.client
            known.client.abandon()
        endpoint = find(*_parent) or find(node=_parent[1])
        if endpoint is None:
            if is_forked():
                ray_session()  # says what to do
            raise no_endpoint()
        cache_id, node = endpoint.cache_id, endpoint.node
        reader = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
        timeout_s = Settings().master_timeout_s
        calls = NeighbourCalls(endpoint, lambda: find(cache_id, node), timeout_s, reader)
        hello: Hello = calls.master("hello")
        client = Client(
            cache_id, Settings(**hello.settings), hello.origins, node, Parts.of_neighbour(calls, hello, node)
        )
        client.count_for("endpoint", reader)
        _current = _Connection(_WITHOUT_RAY, "", now_s, client)
        return client


def reconnect() -> Client:
    """Connect in place of a connection that has ended, without joining another Ray cluster.

    Raises:
        NoCacheError: this process has left Ray, or no cache runs.
        UnavailableError: the master does not answer.
    """
    if not is_forked() and (_current is None or _current.session is not _WITHOUT_RAY):
        ray_session()
    return connect()


def current() -> Client | None:
    """The connection this process has in its present Ray session, if it was good within the last seconds.

    Asks nobody. On the way of every read through fsspec, so it looks at Ray's own fields: about 0.7 us, where the public
    calls for the same come to 5.
    """
    known = _current
    if known is None or known.client.closed or time.monotonic() - known.good_at_s > _TRUST_S:
        return None
    if global_worker.connected and global_worker.gcs_client is known.session:
        known.client.count_for(known.job, task_name())
        return known.client
    if known.session is _WITHOUT_RAY and (not global_worker.connected or is_forked()):
        return known.client
    return None


def disconnect() -> None:
    """Forget the connection, after its last counters are delivered."""
    global _current
    with _lock:
        known, _current = _current, None
    if known is not None:
        known.client.close()


def _after_fork() -> None:
    """The connection was the parent's: its threads are not here, and Ray does not answer."""
    global _current, _joining, _lock, _parent  # noqa: PLW0603  # this process has other ones
    known, _current = _current, None
    _joining, _lock = threading.Lock(), threading.Lock()
    if known is not None:
        _parent = (known.client.id, known.client.node)
        # Nothing more: whatever else would be told may be locked by a thread that is not here.
        known.client.closed = True


os.register_at_fork(after_in_child=_after_fork)


def ensure_ray(address: str | None = None) -> None:
    """Join a running Ray cluster unless this process has done so.

    Raises:
        UnavailableError: there is none.
        NoCacheError: this process was forked from one that had joined.
        InvalidRequestError: the way there is Ray Client's.
    """
    with _joining:
        if ray.is_initialized():
            if not global_worker.connected:
                _refuse_ray_client()
            return
        found = find_cluster(address)
        if found.startswith("ray://"):
            _refuse_ray_client()
        try:
            ray.init(address=found, logging_level="ERROR", log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnavailableError(
                f"no Ray cluster at {found}; start one with `ray start --head`, or call ray.init()"
            ) from error


def _refuse_ray_client() -> None:
    raise InvalidRequestError(
        "a driver on Ray Client (ray://) is not in the cluster, so it cannot read through the cache; read in a task, call "
        "raycache.connect() there, or run the driver in the cluster: `ray job submit`"
    )


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
        # Not in the placement group of the task that starts it, which may capture what its tasks start, and ends earlier.
        "scheduling_strategy": "DEFAULT",
        "num_cpus": 0,
        "resources": {HEAD_RESOURCE: 0.001} if HEAD_RESOURCE in ray.cluster_resources() else None,
        "max_restarts": -1,
        "max_concurrency": calls_max,
    }
