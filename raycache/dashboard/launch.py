"""Starting and stopping the dashboard's actor."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import ray

from raycache.client.calls import unwrap
from raycache.client.connection import HEAD_RESOURCE, connect, head_actor_options
from raycache.errors import UnavailableError
from raycache.messages import RAY_NAMESPACE

DASHBOARD_HOST, DASHBOARD_PORT = "127.0.0.1", 8268
_NAME = "raycache-dashboard"
_START_TIMEOUT_S = 60.0
_POLL_S = 0.05
_CALLS_MAX = 1_000


def start_dashboard(
    port: int | None = None, host: str | None = None, token: str | None = None, names: Sequence[str] | None = None
) -> str:
    """Serve the dashboard from the head node. One that runs already is kept if no argument is given, else replaced.

    Args:
        port: default 8268; 0 takes a free one.
        host: the address to serve; default 127.0.0.1: only the head node itself. Anybody who reaches it may look.
        token: allows actions (load, free, pin, stop) to everybody who knows it; default: none are allowed.
        names: further names under which browsers may ask for the page, such as a proxy's. `localhost` is always known;
            unless `host` is local, so are addresses and the head node's own names.

    Returns:
        The URL of the page.

    Raises:
        NoCacheError: no cache is running.
        UnavailableError: the port is taken, or the actor does not start.
    """
    from raycache.dashboard.actor import DashboardActor, Place  # brings a web server: only where it is wanted

    connect()
    actor = _running()
    if actor is not None and (port, host, token, names) != (None, None, None, None):
        stop_dashboard()
        actor = None
    if actor is None:
        port = DASHBOARD_PORT if port is None else port
        place = Place(host or DASHBOARD_HOST, port, token or "", tuple(names or ()))
        actor = ray.remote(DashboardActor).options(**head_actor_options(_NAME, _CALLS_MAX)).remote(*place)
    try:
        served, found_port = unwrap(ray.get(actor.where.remote(), timeout=_START_TIMEOUT_S))
    except UnavailableError:
        ray.kill(actor)
        raise
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise UnavailableError(f"the dashboard did not start; see Ray's logs: {' '.join(reason)}") from error
    heads = [node["NodeManagerAddress"] for node in ray.nodes() if HEAD_RESOURCE in node["Resources"]]
    url: str = served.url(found_port, heads[0] if heads else "")
    return url


def stop_dashboard() -> None:
    """End it; nothing to do where none runs."""
    actor = _running()
    if actor is None:
        return
    ray.kill(actor)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while _running() is not None and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _running() -> Any:
    with contextlib.suppress(ValueError):
        return ray.get_actor(_NAME, namespace=RAY_NAMESPACE)
    return None
