"""The dashboard's actor: serves the page until it is stopped. Ray restarts it when it dies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from aiohttp import web

from raycache.cache import connect
from raycache.dashboard.security import LOOPBACK, Guard
from raycache.dashboard.server import Dashboard
from raycache.dashboard.source import CacheSource
from raycache.dashboard.views import Prices
from raycache.errors import UnavailableError
from raycache.messages import encode

T = TypeVar("T")
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound


class Place(NamedTuple):
    """Where and how the page is served."""

    host: str
    #: 0: any free one.
    port: int
    #: What actions need; empty: none are allowed.
    token: str
    #: Further names that browsers may ask for.
    names: tuple[str, ...] = ()

    def url(self, port: int, machine: str) -> str:
        """What to type into a browser; `machine` is the head node's address, for when every address is served."""
        host = machine if self.host in _ANY_ADDRESS and machine else self.host
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class DashboardActor:
    """Serves the page; see `Place` for the arguments."""

    def __init__(self, host: str, port: int, token: str, names: tuple[str, ...] = ()) -> None:
        self._place = Place(host, port, token, names)
        self._serving: asyncio.Task[int] = asyncio.get_running_loop().create_task(self._serve())

    async def where(self) -> bytes:
        """A blob of (True, (place without its token, port)), or of (False, error) when it cannot serve."""
        try:
            port = await asyncio.shield(self._serving)
        except OSError as error:
            reason = f"cannot serve the dashboard at {self._place.host}:{self._place.port}: {error.strerror or error}"
            return encode((False, UnavailableError(f"{reason}; choose another port, or 0 for any")))
        return encode((True, (self._place._replace(token=""), port)))

    async def _serve(self) -> int:
        source = CacheSource(await _in_thread(connect))
        settings = {setting.name: setting.value for setting in await _in_thread(source.settings)}
        prices = Prices(settings["price_per_1000_requests"], settings["price_per_gb"])
        host, _, token, names = self._place
        if host not in LOOPBACK:
            names += (socket.gethostname(), await _in_thread(socket.getfqdn))
        app = Dashboard(source, Guard(host, token, names), prices).application()
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, self._place.port).start()
        return int(runner.addresses[0][1])


async def _in_thread(function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function)
