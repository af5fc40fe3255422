"""The process of an endpoint on one node: a Ray actor, so that it reads as every process of the cluster does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
from typing import NamedTuple

from raycache.cache import connect
from raycache.client.client import Client
from raycache.client.connection import read_as
from raycache.client.neighbour.node_file import Announcement, NodeEndpoint, find, own_folder
from raycache.endpoint.http_server import EndpointServer
from raycache.endpoint.neighbours import Neighbours
from raycache.endpoint.protocol.signatures import Verifier
from raycache.errors import UnavailableError
from raycache.messages import encode

_FILES_MAX = 65_536
_BACKLOG = 4_096
_CHECK_S = 1.0


class ServingTerms(NamedTuple):
    """How an endpoint serves; the same on every node."""

    cache_id: str
    #: The address that is served.
    host: str
    #: 0: any free one.
    port: int
    access_key: str
    secret_key: str
    anonymous: bool
    #: Take another port where this one is taken: whoever asked for none in particular.
    any_port: bool

    def __repr__(self) -> str:
        return f"ServingTerms(cache_id={self.cache_id!r}, host={self.host!r}, port={self.port})"


class EndpointActor:
    """Serves one node.

    Args:
        node: Ray's id of it.
        terms: see `ServingTerms`.
    """

    def __init__(self, node: str, terms: ServingTerms) -> None:
        self._node = node
        self._terms = terms
        self._stopped = asyncio.Event()
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def where(self) -> bytes:
        """A blob of (True, port), or of (False, error) when it cannot serve."""
        try:
            port = await asyncio.shield(self._serving)
        except OSError as error:
            place = f"{self._terms.host}:{self._terms.port}"
            reason = f"cannot serve the endpoint at {place} on node {self._node[:8]}: {error.strerror or error}"
            return encode((False, UnavailableError(f"{reason}; choose another port, or 0 for any")))
        except UnavailableError as error:
            return encode((False, error))
        return encode((True, port))

    async def watch(self) -> None:
        """Returns when it was told to stop; whoever waits learns at once when the process dies."""
        await self._stopped.wait()

    async def stop(self) -> None:
        """Serve no more."""
        self._stopped.set()

    async def _serve(self) -> int:
        terms = self._terms
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _FILES_MAX)), hard))
        # Before the connection: its reads are those of the programs that ask, which say who they are with each request.
        read_as(lambda: ("endpoint", ""))
        loop = asyncio.get_running_loop()
        client: Client = (await loop.run_in_executor(None, connect)).client
        # A bucket is what is mounted: nothing mounts itself because a stranger asks for its name.
        client.locator.mounts_by_itself = False
        verifier = Verifier({terms.access_key: terms.secret_key}, anonymous=terms.anonymous)
        self._server = EndpointServer(client, verifier)
        factory = self._server.protocol_factory()
        try:
            server = await loop.create_server(factory, terms.host, terms.port, backlog=_BACKLOG)
        except OSError as error:
            # Several nodes on one machine cannot have one port: the first has it.
            if error.errno != errno.EADDRINUSE or not (terms.any_port or find(terms.cache_id)):
                raise
            server = await loop.create_server(factory, terms.host, 0, backlog=_BACKLOG)
        port = int(server.sockets[0].getsockname()[1])
        url = f"http://[{terms.host}]:{port}" if ":" in terms.host else f"http://{terms.host}:{port}"
        place = own_folder() / f"{terms.cache_id[:12]}-{self._node[:16]}.sock"  # such a name has 107 bytes at most
        neighbours = Neighbours(client, place)
        found = NodeEndpoint(
            terms.cache_id, self._node, url, terms.access_key, terms.secret_key, terms.anonymous, str(place)
        )
        announcement = Announcement(found)
        self._life = loop.create_task(self._live(server, neighbours, announcement, client))
        return port

    async def _live(
        self, server: asyncio.Server, neighbours: Neighbours, announcement: Announcement, client: Client
    ) -> None:
        """Until it is told to stop, or its cache was."""
        while not self._stopped.is_set() and not client.closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _CHECK_S)
        announcement.withdraw()
        neighbours.close()
        self._server.close()
        server.close()
        self._stopped.set()
