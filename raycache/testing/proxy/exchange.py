"""One client connection of the proxy, and the upstream connection that belongs to it.

Both are kept alive. An upstream connection that has been idle may have been closed by the server: it is looked at
before reuse, and a request without a body is sent once more when a reused one gave no byte of an answer.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time

from raycache.testing.proxy.controls import BodyGate, Controls
from raycache.testing.proxy.policy import FaultKind, Pacer, RequestKind, classify
from raycache.testing.proxy.wire import ClosedError, Head, MalformedError, Wire

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_TRANSFER_TIMEOUT_S = 120.0
_LINGER_S = 5.0

_ERRORS = {
    FaultKind.INTERNAL_ERROR: ("500 Internal Server Error", "InternalError"),
    FaultKind.SLOW_DOWN: ("503 Slow Down", "SlowDown"),
}


class _EndedError(Exception):
    """The connection is to end now."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class Exchange:
    """Serves one client connection.

    Args:
        client: the accepted connection.
        target: (host, port) of the server.
        controls: the shared state.
    """

    def __init__(self, client: socket.socket, target: tuple[str, int], controls: Controls) -> None:
        self._client = Wire(client, _TRANSFER_TIMEOUT_S)
        self._upstream: Wire | None = None
        self._target = target
        self._controls = controls
        self._pacer = Pacer()

    def run(self) -> None:
        """Serve requests until either side ends the connection."""
        reset = False
        try:
            while True:
                self._serve_one()
        except _EndedError as end:
            reset = end.reset
        except MalformedError as error:
            _log.warning("malformed message: %s", error)
        except (ClosedError, OSError) as error:
            # A peer went away or fell silent, or the proxy went down: the client sees a closed connection.
            _log.debug("a connection has ended: %s", error)
        finally:
            self._drop_upstream()
            self._client.close(reset=reset)

    def end(self) -> None:
        """Make `run` return; from another thread."""
        with contextlib.suppress(OSError):
            self._client.socket.shutdown(socket.SHUT_RDWR)

    def _serve_one(self) -> None:
        request = self._client.read_head()
        arrival_s = time.monotonic()
        method, target, _ = request.first_line
        kind, name = classify(method, target)
        fate = self._controls.begin(kind, name, request.fields.get("range", ""))
        if fate is FaultKind.RESET:
            raise _EndedError(reset=True)
        if fate in _ERRORS:
            self._wait_latency(arrival_s)
            self._answer_error(request, *_ERRORS[fate], last=_has_body(request))
            return
        try:
            upstream, response, body_taken = self._ask(request)
        except (ClosedError, OSError):
            # No answer from the server, and the request's body may be half read: this connection cannot go on.
            self._answer_error(request, "502 Bad Gateway", "BadGateway", last=True)
            return
        self._wait_latency(arrival_s)
        counts = kind is RequestKind.DATA and 200 <= response.status < 300
        gate = BodyGate(self._controls, self._pacer, name if counts else None)
        self._relay_response(method, upstream, response, gate, truncate=fate is FaultKind.TRUNCATE)
        if not (body_taken and request.keeps_alive):
            raise _EndedError

    def _ask(self, request: Head) -> tuple[Wire, Head, bool]:
        """Pass the request on; returns (upstream, final response's head, whether the request's body was read whole)."""
        reused = self._upstream is not None and not self._upstream.has_input()
        if not reused:
            self._connect()
        try:
            return self._ask_once(request)
        except (ClosedError, ConnectionError):
            if not reused or _has_body(request):
                raise
            self._connect()
            return self._ask_once(request)

    def _ask_once(self, request: Head) -> tuple[Wire, Head, bool]:
        upstream = self._upstream
        if upstream is None:
            raise ClosedError
        has_body = _has_body(request)
        upstream.send(request.raw, more=has_body and not _expects_continue(request))
        if has_body and _expects_continue(request):
            response = upstream.read_head()
            if response.status != 100:
                return upstream, response, False  # refused, but the client may send the body all the same
            self._client.send(response.raw)
        if has_body:
            gate = BodyGate(self._controls, self._pacer, None)
            try:
                if request.chunked:
                    self._client.relay_chunked(upstream, gate)
                else:
                    self._client.relay_exactly(upstream, request.length or 0, gate)
            except ConnectionError:
                # A server may answer before it has the whole body, and close; its answer is what the client should see.
                return upstream, upstream.read_head(), False
        while 100 <= (response := upstream.read_head()).status < 200:
            self._client.send(response.raw)
        return upstream, response, True

    def _relay_response(self, method: str, upstream: Wire, response: Head, gate: BodyGate, *, truncate: bool) -> None:
        length = response.length
        if method == "HEAD" or response.status in (204, 304) or length == 0:
            self._client.send(response.raw)
        elif response.chunked:
            self._client.send(response.raw, more=True)
            upstream.relay_chunked(self._client, gate)
        elif length is not None:
            self._client.send(response.raw, more=True)
            upstream.relay_exactly(self._client, length // 2 if truncate else length, gate)
            if truncate:
                raise _EndedError
        else:
            self._client.send(response.raw, more=True)
            upstream.relay_to_end(self._client, gate)
            raise _EndedError
        if not response.keeps_alive:
            raise _EndedError

    def _answer_error(self, request: Head, status: str, code: str, *, last: bool) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>from the test proxy</Message></Error>".encode()
        ending = "Connection: close\r\n" if last else ""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n{ending}\r\n"
        self._client.send(head.encode() + (b"" if request.first_line[0] == "HEAD" else body))
        if last:
            self._linger()
        if last or not request.keeps_alive:
            raise _EndedError

    def _linger(self) -> None:
        """Read on until the client has closed: closing with bytes unread resets, and takes the answer with it."""
        deadline_s = time.monotonic() + _LINGER_S
        self._client.socket.shutdown(socket.SHUT_WR)
        self._client.socket.settimeout(_LINGER_S)
        while time.monotonic() < deadline_s and self._client.socket.recv(1 << 20):
            pass

    def _wait_latency(self, arrival_s: float) -> None:
        wait_s = arrival_s + self._controls.shape.latency_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)

    def _connect(self) -> None:
        self._drop_upstream()
        self._upstream = Wire(socket.create_connection(self._target, _CONNECT_TIMEOUT_S), _TRANSFER_TIMEOUT_S)

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None


def _has_body(request: Head) -> bool:
    return request.chunked or bool(request.length)


def _expects_continue(request: Head) -> bool:
    return request.fields.get("expect", "").lower() == "100-continue"
