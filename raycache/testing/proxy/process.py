"""The proxy's own process: `python -m raycache.testing.proxy.process HOST PORT` (of the server), started by `S3Proxy`.

One thread for each client connection. Standard input is a socket to the parent, one JSON object a line: first
`{"port": P}` from here, then requests `{"op": ..., ...}` from there, each answered with `{"result": ...}`. Its end is the
end of the process, so a parent that dies takes the proxy with it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from typing import Any

from raycache.testing.proxy.controls import Controls
from raycache.testing.proxy.exchange import Exchange
from raycache.testing.proxy.policy import Fault, FaultKind, RequestKind, Shape

_CONNECTIONS_MAX = 1024


class Listener:
    """Accepts connections, or refuses them while down; the port stays its own either way.

    Args:
        target: (host, port) of the server.
        controls: the shared state.
    """

    def __init__(self, target: tuple[str, int], controls: Controls) -> None:
        self._target = target
        self._controls = controls
        self._lock = threading.Lock()
        self._exchanges: set[Exchange] = set()
        self._slots = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self._socket = _bound_socket(0)
        self.port: int = self._socket.getsockname()[1]
        self._up = False
        self.set_down(down=False)

    def set_down(self, *, down: bool) -> None:
        """Refuse connections and end those there are; or accept again."""
        if down == (not self._up):
            return
        self._up = not down
        if not down:
            self._socket.listen(_CONNECTIONS_MAX)
            threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()
            return
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._socket.close()
        self._socket = _bound_socket(self.port)  # bound but not listening: connections are refused
        with self._lock:
            exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.end()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            self._slots.acquire()
            try:
                connection, _ = listening.accept()
            except OSError:
                self._slots.release()
                return
            exchange = Exchange(connection, self._target, self._controls)
            with self._lock:
                self._exchanges.add(exchange)
            threading.Thread(target=self._serve, args=(exchange,), daemon=True).start()

    def _serve(self, exchange: Exchange) -> None:
        try:
            exchange.run()
        finally:
            with self._lock:
                self._exchanges.discard(exchange)
            self._slots.release()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _obey(request: dict[str, Any], controls: Controls, listener: Listener) -> Any:
    operation = request["op"]
    if operation == "counters":
        return controls.counters()
    if operation == "reset":
        controls.reset()
    elif operation == "shape":
        controls.shape = Shape(**request["shape"])
    elif operation == "faults":
        controls.inject([_fault(fields) for fields in request["faults"]], request["seed"])
    elif operation == "down":
        listener.set_down(down=request["down"])
    else:
        return f"unknown operation {operation}"
    return None


def _fault(fields: list[Any]) -> Fault:
    kind, probability, key_pattern, requests = fields
    return Fault(FaultKind(kind), probability, key_pattern, tuple(RequestKind(request) for request in requests))


def main() -> None:
    """Serve until standard input ends."""
    controls = Controls()
    listener = Listener((sys.argv[1], int(sys.argv[2])), controls)
    with socket.socket(fileno=0) as control, control.makefile("rw", encoding="utf-8") as lines:
        lines.write(json.dumps({"port": listener.port}) + "\n")
        lines.flush()
        for line in lines:
            lines.write(json.dumps({"result": _obey(json.loads(line), controls, listener)}) + "\n")
            lines.flush()
    os._exit(0)  # connections' threads may be waiting in the kernel


if __name__ == "__main__":
    main()
