"""One run of the command line: how it was asked to speak, which cache it speaks to, and what it must not say.

The cache is reached through a `Backend`, so every verb runs in tests without Ray. Secrets that the user gave are kept
here, only to be taken out of everything that is shown, tracebacks included.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from raycache.cli.output import Output
from raycache.errors import NotFoundError

if TYPE_CHECKING:
    from raycache.cache import Cache
    from raycache.client.neighbour.endpoints import Endpoint

#: Shorter values are not taken out of the output: they are no secrets, and words would lose their letters.
_SECRET_LENGTH_MIN = 3


class Backend(Protocol):
    """What the verbs need of raycache."""

    def connect(self, address: str | None) -> Cache:
        """Connect to the running cache; `address` is the Ray cluster's, None finds one."""
        ...

    def start(self, address: str | None, settings: Mapping[str, Any]) -> Cache:
        """Start the cache in a running Ray cluster."""
        ...

    def stop(self, address: str | None) -> bool:
        """End the cache; False when none was running."""
        ...

    def dashboard(
        self, address: str | None, port: int | None, host: str | None, token: str | None, names: Sequence[str] | None
    ) -> str:
        """Serve the dashboard; returns its URL."""
        ...

    def stop_dashboard(self, address: str | None) -> None:
        """End the dashboard."""
        ...

    def endpoint(self, address: str | None, port: int | None, host: str | None, anonymous: bool) -> Endpoint:
        """Serve S3 from every node; returns this node's."""
        ...

    def stop_endpoint(self, address: str | None) -> None:
        """End all of them."""
        ...

    def placement(self) -> tuple[str, str, str]:
        """How read tasks are placed here: (mode, why, version of Ray)."""
        ...


class RayBackend:
    """The real one. Ray is imported when it is first needed: `raycache --help` must not wait for it."""

    def __init__(self) -> None:
        self._joined = False

    def connect(self, address: str | None) -> Cache:
        """Connect, without the logs of Ray."""
        from raycache.cache import connect

        self._join(address)
        return connect()

    def start(self, address: str | None, settings: Mapping[str, Any]) -> Cache:
        """Start the cache. A Ray cluster must be running: one of this process's own would end with the command."""
        from raycache.cluster import start

        self._join(address)
        return start(**settings)

    def stop(self, address: str | None) -> bool:
        """End the cache, also one whose master does not answer."""
        from raycache.cluster import stop
        from raycache.errors import UnavailableError

        self._join(address)
        try:
            self.connect(address)
            running = True
        except NotFoundError:
            running = False
        except UnavailableError:
            # There is a master, and it hangs: a reason to stop it.
            running = True
        stop()
        return running

    def dashboard(
        self, address: str | None, port: int | None, host: str | None, token: str | None, names: Sequence[str] | None
    ) -> str:
        """See `start_dashboard`."""
        from raycache.dashboard.launch import start_dashboard

        self._join(address)
        return start_dashboard(port, host, token, names)

    def stop_dashboard(self, address: str | None) -> None:
        """End the dashboard; nothing to do where none runs."""
        from raycache.dashboard.launch import stop_dashboard

        self._join(address)
        stop_dashboard()

    def endpoint(self, address: str | None, port: int | None, host: str | None, anonymous: bool) -> Endpoint:
        """See `start_endpoint`."""
        from raycache.endpoint.lifecycle import start_endpoint

        self._join(address)
        return start_endpoint(port, host, anonymous=anonymous)

    def stop_endpoint(self, address: str | None) -> None:
        """End the endpoints; nothing to do where none run."""
        from raycache.endpoint.lifecycle import stop_endpoint

        self._join(address)
        stop_endpoint()

    def placement(self) -> tuple[str, str, str]:
        """See `client.placement`."""
        from raycache.raydata.modes import placement_mode, ray_version

        placement = placement_mode()
        return placement.mode.value, placement.reason, ray_version()

    def _join(self, address: str | None) -> None:
        from raycache.client.connection import ensure_ray
        from raycache.client.ray_side.ray_address import find_cluster

        if not self._joined:
            ensure_ray(find_cluster(address))
            self._joined = True


@dataclasses.dataclass
class Session:
    """The state of one run; every verb is handed it."""

    backend: Backend = dataclasses.field(default_factory=RayBackend)
    #: Pauses between two looks at a job, in seconds.
    sleep: Callable[[float], None] = time.sleep
    #: Of the Ray cluster; None: RAY_ADDRESS, else the one on this machine.
    address: str | None = None
    #: Speak JSON.
    json: bool = False
    #: Show tracebacks.
    debug: bool = False
    secrets: list[str] = dataclasses.field(default_factory=list, repr=False)
    #: Ctrl-C was pressed.
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.output = Output(self.redact)

    def cache(self) -> Cache:
        """The running cache."""
        return self.backend.connect(self.address)

    def interrupt(self, *_: object) -> None:
        """What Ctrl-C does: a signal handler.

        Raises:
            KeyboardInterrupt: always. It may be lost, where Python can only print it (while an object is finalised).
        """
        self.interrupted = True
        raise KeyboardInterrupt

    def pause(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            KeyboardInterrupt: Ctrl-C is pressed, or was, and was lost.
        """
        self.sleep(seconds)
        if self.interrupted:
            raise KeyboardInterrupt

    def redact(self, text: str) -> str:
        """Take the user's secrets out of a text."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_LENGTH_MIN:
                for spelling in (secret, repr(secret)[1:-1], quote(secret, safe="")):
                    text = text.replace(spelling, "***")
        return text
