"""Has an endpoint on every live node, also on those that join later, and starts those that died again.

It is an actor on the head node, which Ray restarts when it dies; the endpoints outlive it, and are found again by their names.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycache.endpoint.actor import EndpointActor, ServingTerms
from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import RAY_NAMESPACE, decode, encode

_log = logging.getLogger(__name__)
_NODES_PERIOD_S = 0.5
_START_TIMEOUT_S = 60.0
_AGAIN_S = 2.0
_CALLS_MAX = 1_000


class EndpointKeeper:
    """Keeps endpoints.

    Args:
        terms: of all of them.
        head: the node whose endpoint decides the port.
    """

    def __init__(self, terms: ServingTerms, head: str) -> None:
        self._terms = terms
        self._head = head
        self._port: int | None = None
        self._kept: dict[str, asyncio.Task[None]] = {}
        self._ports: dict[str, int] = {}
        self._failed: dict[str, RaycacheError] = {}
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def terms(self) -> ServingTerms:
        """Of all endpoints, with the port that they have."""
        return self._terms if self._port is None else self._terms._replace(port=self._port)

    async def ready(self) -> bytes:
        """A blob of (True, ports by node) when every live node has one, or of (False, why not)."""
        deadline_s = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline_s:
            if self._failed:
                return encode((False, next(iter(self._failed.values()))))
            if self._kept and self._kept.keys() == self._ports.keys():
                return encode((True, dict(self._ports)))
            await asyncio.sleep(_NODES_PERIOD_S / 10)
        return encode((False, UnavailableError("not every node has an endpoint yet; see Ray's logs")))

    async def stop(self) -> None:
        """End all of them; the keeper is killed afterwards."""
        self._keeping.cancel()
        names = [self._name(node) for node in self._kept]
        for task in self._kept.values():
            task.cancel()
        for name in names:
            with contextlib.suppress(ValueError):
                handle = ray.get_actor(name, namespace=RAY_NAMESPACE)
                with contextlib.suppress(Exception):  # whoever does not answer is killed all the same
                    await asyncio.wait_for(handle.stop.remote(), _AGAIN_S)
                    await asyncio.wait_for(handle.watch.remote(), _AGAIN_S)
                ray.kill(handle)

    async def _keep(self) -> None:
        while True:
            try:
                nodes = await asyncio.get_running_loop().run_in_executor(None, ray.nodes)
            except Exception:  # the head is busy: asked again
                nodes = []
            live = [node["NodeID"] for node in nodes if node["Alive"]]
            # The head's decides the port of all.
            for node in sorted(live, key=lambda node: node != self._head):
                if node not in self._kept and (node == self._head or self._head not in live or self._port is not None):
                    self._kept[node] = asyncio.get_running_loop().create_task(self._stay_with(node))
            for node in [node for node in self._kept if nodes and node not in live]:
                self._kept.pop(node).cancel()
                self._ports.pop(node, None)
                self._failed.pop(node, None)
            await asyncio.sleep(_NODES_PERIOD_S)

    async def _stay_with(self, node: str) -> None:
        """Start a node's endpoint, or find it, and start it again when it ends."""
        while True:
            try:
                handle = (
                    ray.remote(EndpointActor)
                    .options(
                        name=self._name(node),
                        namespace=RAY_NAMESPACE,
                        lifetime="detached",
                        get_if_exists=True,
                        num_cpus=0,
                        max_restarts=0,
                        max_concurrency=_CALLS_MAX,
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                    )
                    .remote(node, await self.terms())
                )
                good, found = decode(await asyncio.wait_for(handle.where.remote(), _START_TIMEOUT_S))
                if good:
                    self._failed.pop(node, None)
                    self._ports[node] = found
                    self._port = self._port or found
                    await handle.watch.remote()
                else:
                    self._failed[node] = found
                    ray.kill(handle)
            except Exception as error:  # it died, or its node did: the next look at the nodes says which
                _log.warning("the endpoint of node %s ended: %s", node[:8], type(error).__name__)
            await asyncio.sleep(_AGAIN_S)

    def _name(self, node: str) -> str:
        return f"raycache-endpoint-{self._terms.cache_id}-{node[:32]}"


def keeper(terms: ServingTerms, options: dict[str, Any], head: str) -> Any:
    """Start the keeper's actor, or find it."""
    return ray.remote(EndpointKeeper).options(**options).remote(terms, head)
