"""A transparent HTTP proxy before an S3 server: it counts what passes, and makes the lake slow or faulty on demand.

It runs in a process of its own, so that what is measured does not share its interpreter, and moves bodies in the kernel
(`wire`). Heads pass byte for byte, `Host` included, so that a signature made for the proxy's address stays valid:
the server verifies it against the `Host` it receives.

The proxy counts a request when its head has arrived, and a byte of a body before sending it on: after an object was read
whole, all of it is counted. Faults are drawn by seed, key, range and attempt (`policy`), not by arrival order.

    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy:
        proxy.shape(latency_s=0.03, connection_bytes_per_s=60e6)
        proxy.inject(Fault(FaultKind.SLOW_DOWN, probability=0.1), seed=7)
        ...  # read through proxy.endpoint_url
        print(proxy.counters().data_requests)
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from raycache.errors import InvalidRequestError, UnavailableError
from raycache.testing.processes import ChildProcess
from raycache.testing.proxy.policy import Fault, FaultKind, Faults, ProxyCounters, RequestKind, Shape

__all__ = ["Fault", "FaultKind", "ProxyCounters", "RequestKind", "S3Proxy", "Shape"]

_CONTROL_TIMEOUT_S = 30.0


class S3Proxy:
    """The proxy as a context manager; `endpoint_url` takes the place of the server's.

    Args:
        target_url: of the server, `http://host:port`.

    Raises:
        InvalidRequestError: another kind of URL.
    """

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise InvalidRequestError(f"{target_url!r} cannot be proxied; give http://host:port")
        self._target = (parts.hostname, parts.port)
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._control: socket.socket | None = None
        self._directory: Path | None = None
        self._port = 0
        self._buffer = b""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"S3Proxy(port={self._port}, target={self._target})"

    @property
    def endpoint_url(self) -> str:
        """Where it listens, without a trailing slash."""
        if not self._port:
            raise UnavailableError("this proxy was never started; call start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process, None when it does not run."""
        return self._child.pid if self._child is not None and self._child.alive else None

    def start(self) -> None:
        """Start it on a free port.

        Raises:
            UnavailableError: it did not come up; the message ends with its log's last lines.
        """
        if self.pid is not None:
            return
        self._directory = Path(tempfile.mkdtemp(prefix="raycache-proxy-"))
        own_end, child_end = socket.socketpair()
        own_end.settimeout(_CONTROL_TIMEOUT_S)
        with child_end:
            command = [sys.executable, "-m", "raycache.testing.proxy.process", self._target[0], str(self._target[1])]
            self._child = ChildProcess(command, self._directory / "proxy.log", stdin=child_end.fileno())
        self._control = own_end
        self._buffer = b""
        try:
            self._port = self._receive()["port"]
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it. Twice is harmless."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._child is not None:
            self._child.stop(grace_s=2.0)
            self._child = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def counters(self) -> ProxyCounters:
        """What passed since the start or the last `reset`."""
        fields = self._ask({"op": "counters"})
        by_key = {name: (requests, length) for name, (requests, length) in fields.pop("by_key").items()}
        return ProxyCounters(**fields, by_key=by_key)

    def reset(self) -> None:
        """Count from zero; shape and faults stay."""
        self._ask({"op": "reset"})

    def shape(
        self, latency_s: float = 0.0, connection_bytes_per_s: float = 0.0, total_bytes_per_s: float = 0.0
    ) -> None:
        """Make the lake as slow as said from the next request on; what is not given is without limit."""
        shape = Shape(latency_s, connection_bytes_per_s, total_bytes_per_s)
        if min(shape) < 0:
            raise InvalidRequestError(f"{shape} has a negative number; give 0 for no limit")
        self._ask({"op": "shape", "shape": shape._asdict()})

    def inject(self, *faults: Fault, seed: int = 0) -> None:
        """Put these faults in force, in place of earlier ones; none clears them."""
        Faults(faults, seed)  # checks them here, where the caller sees the error
        self._ask({"op": "faults", "faults": faults, "seed": seed})

    def down(self, down: bool) -> None:
        """Refuse connections and close those there are, or accept them again."""
        self._ask({"op": "down", "down": down})

    def _ask(self, request: dict[str, Any]) -> Any:
        with self._lock:
            if self._control is None:
                raise UnavailableError("the proxy does not run; call start()")
            try:
                self._control.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                raise self._dead() from error
            return self._receive()["result"]

    def _receive(self) -> dict[str, Any]:
        if self._control is None:
            raise UnavailableError("the proxy does not run; call start()")
        while b"\n" not in self._buffer:
            try:
                data = self._control.recv(1 << 20)
            except OSError as error:
                raise self._dead() from error
            if not data:
                raise self._dead()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _dead(self) -> UnavailableError:
        log = self._child.log_tail() if self._child is not None else ""
        return UnavailableError(f"the proxy's process does not answer; its log ends:\n{log}")
