"""Starting and stopping the endpoints of all nodes."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

import ray

from raycache.cache import connect
from raycache.client.calls import unwrap
from raycache.client.connection import HEAD_RESOURCE, head_actor_options
from raycache.client.neighbour.endpoints import Endpoint
from raycache.errors import AlreadyExistsError, UnavailableError
from raycache.messages import RAY_NAMESPACE

ENDPOINT_HOST, ENDPOINT_PORT = "127.0.0.1", 8269
_NAME = "raycache-endpoints"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05
_CALLS_MAX = 1_000


def start_endpoint(port: int | None = None, host: str | None = None, *, anonymous: bool = False) -> Endpoint:
    """Serve S3 from every node, also from those that join later. One that runs already is kept.

    Args:
        port: the same on every node; default 8269, or another where that is taken; 0 takes a free one.
        host: the address to serve on each node; default 127.0.0.1: only the node itself.
        anonymous: serve requests without a signature, too: whoever reaches the address reads everything that is mounted.

    Returns:
        The endpoint of this process's node, with its keys.

    Raises:
        NoCacheError: no cache is running.
        AlreadyExistsError: it runs with another port or address.
        UnavailableError: the port is taken, or an actor does not start.
    """
    from raycache.endpoint.actor import ServingTerms  # brings a web server: only where it is wanted
    from raycache.endpoint.keeper import keeper

    cache = connect()
    terms = ServingTerms(
        cache.id,
        host or ENDPOINT_HOST,
        ENDPOINT_PORT if port is None else port,
        f"RAYCACHE{secrets.token_hex(6).upper()}",
        secrets.token_urlsafe(30),
        anonymous,
        any_port=port is None,
    )
    actor = _running()
    if actor is None:
        heads = [node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD_RESOURCE in node["Resources"]]
        actor = keeper(terms, head_actor_options(_NAME, _CALLS_MAX), heads[0] if heads else "")
    elif (port, host, anonymous) != (None, None, False):
        _refuse_another(actor, terms, port, host)
    try:
        unwrap(ray.get(actor.ready.remote(), timeout=_START_TIMEOUT_S))
    except UnavailableError:
        stop_endpoint()
        raise
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise UnavailableError(f"the endpoint did not start; see Ray's logs: {' '.join(reason)}") from error
    return cache.endpoint()


def stop_endpoint() -> None:
    """End the endpoints of all nodes; nothing to do where none run."""
    actor = _running()
    if actor is None:
        return
    with contextlib.suppress(ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
        ray.get(actor.stop.remote(), timeout=_STOP_TIMEOUT_S)
    ray.kill(actor)
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while _running() is not None and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)


def _refuse_another(actor: Any, wanted: Any, port: int | None, host: str | None) -> None:
    running = ray.get(actor.terms.remote(), timeout=_START_TIMEOUT_S)
    same = running.anonymous == wanted.anonymous and host in (None, running.host) and port in (None, 0, running.port)
    if not same:
        raise AlreadyExistsError(
            f"an endpoint runs at {running.host}:{running.port}; run `raycache endpoint stop` first to change it"
        )


def _running() -> Any:
    with contextlib.suppress(ValueError):
        return ray.get_actor(_NAME, namespace=RAY_NAMESPACE)
    return None
