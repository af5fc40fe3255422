"""The proxy before S3, against a small HTTP server in this process."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from raycache.errors import InvalidRequestError, UnavailableError
from raycache.testing.proxy.policy import Faults, Pacer, classify
from raycache.testing.proxy.proxy import Fault, FaultKind, ProxyCounters, RequestKind, S3Proxy

BIG = bytes(range(256)) * 12_000  # larger than pipe and socket buffers


class Lake(BaseHTTPRequestHandler):
    """Answers as S3 does where framing matters; keeps what it was sent in `seen`."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, bytes]]] = []
    connections: ClassVar[set[tuple[str, int]]] = set()

    def do_GET(self) -> None:
        Lake.connections.add(self.client_address)
        Lake.seen.append((self.path, self.headers["Host"], b""))
        name = urlsplit(self.path).path
        if name == "/b":
            self._send_chunked([b"<List>", b"x" * 70_000, b"</List>"])
        elif name == "/b/unchanged":
            self._send(304, b"")
        elif name == "/b/missing":
            self._send(404, b"<Error/>")
        elif name == "/b/until-close":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(BIG)
            self.close_connection = True
        else:
            self._send(200, BIG)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BIG)))
        self.end_headers()

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        Lake.seen.append((self.path, self.headers["Host"], body))
        self._send(200, b"")

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def handle_expect_100(self) -> bool:
        if "refused" in self.path:
            self._send(403, b"<Error/>")
            return False
        return super().handle_expect_100()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_chunked(self, pieces: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


class LakeServer(ThreadingHTTPServer):
    """Keeps quiet about connections that the proxy breaks."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@pytest.fixture(scope="module")
def running() -> Iterator[S3Proxy]:
    server = LakeServer(("127.0.0.1", 0), Lake)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with S3Proxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
        yield proxy
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(running: S3Proxy) -> Iterator[S3Proxy]:
    running.reset()
    Lake.seen.clear()
    Lake.connections.clear()
    yield running
    running.inject()
    running.shape()
    running.down(False)


@pytest.fixture
def connection(proxy: S3Proxy) -> Iterator[http.client.HTTPConnection]:
    opened = connect(proxy)
    yield opened
    opened.close()


def connect(proxy: S3Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=20)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection.request(method, target, body, headers or {})  # type: ignore[arg-type]
    response = connection.getresponse()
    return response.status, response.read()


def test_bodies_arrive_unchanged(connection):
    """A body of known length, one in chunks, and one that ends with the connection all arrive as they were sent."""
    assert (200, BIG) == ask(connection, "GET", "/b/k")
    assert (200, b"<List>" + b"x" * 70_000 + b"</List>") == ask(connection, "GET", "/b?list-type=2")
    assert (200, BIG) == ask(connection, "GET", "/b/until-close")


def test_answers_without_body(connection):
    """HEAD, 204 and 304 have no body, and the connection goes on after each."""
    assert (200, b"") == ask(connection, "HEAD", "/b/k")
    assert (204, b"") == ask(connection, "DELETE", "/b/k")
    assert (304, b"") == ask(connection, "GET", "/b/unchanged")
    assert (200, BIG) == ask(connection, "GET", "/b/k")


def test_upload_bodies_arrive_unchanged(connection):
    """PUT bodies of known length and in chunks reach the server as they were sent."""
    assert (200, b"") == ask(connection, "PUT", "/b/a", BIG)
    assert (200, b"") == ask(connection, "PUT", "/b/c", iter([b"abc", b"defg"]))
    assert [BIG, b"abcdefg"] == [body for _, _, body in Lake.seen]


def test_expect_continue(proxy):
    """The client is told to go on only when the server says so, and hears a refusal without sending the body."""
    head = "PUT /b/{} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    accepted, refused = connect(proxy), connect(proxy)
    for connection, name in ((accepted, "k"), (refused, "refused")):
        connection.connect()
        connection.sock.sendall(head.format(name).encode())
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == accepted.sock.recv(1000)
    assert refused.sock.recv(1000).startswith(b"HTTP/1.1 403")
    accepted.sock.sendall(b"abc")
    assert accepted.sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert [b"abc"] == [body for _, _, body in Lake.seen]
    accepted.close()
    refused.close()


def test_host_and_target_pass_unchanged(proxy, connection):
    """The server sees the proxy's own address as Host and the target as it was encoded: signatures stay valid."""
    ask(connection, "GET", "/b/a%20b%2Fc?x-id=GetObject&versionId=")
    assert [("/b/a%20b%2Fc?x-id=GetObject&versionId=", urlsplit(proxy.endpoint_url).netloc, b"")] == Lake.seen


def test_connections_are_kept_alive_on_both_sides(connection):
    """Requests on one client connection travel on one server connection."""
    for _ in range(3):
        ask(connection, "GET", "/b/k")
    assert 1 == len(Lake.connections)


def test_counts_by_kind_and_key(proxy, connection):
    """Each request is counted under its kind, and data requests with their bytes under their key."""
    ask(connection, "GET", "/b/a%20b")
    ask(connection, "GET", "/b/a%20b", headers={"Range": "bytes=0-1"})
    ask(connection, "GET", "/b/missing")
    ask(connection, "GET", "/b?list-type=2&prefix=x")
    ask(connection, "HEAD", "/b/a")
    ask(connection, "PUT", "/b/a", b"x")
    ask(connection, "DELETE", "/b/a")
    expected = ProxyCounters(3, 1, 1, 1, 1, 2 * len(BIG), {"b/a b": (2, 2 * len(BIG)), "b/missing": (1, 0)}, 0)
    assert expected == proxy.counters()
    proxy.reset()
    assert ProxyCounters() == proxy.counters()


def test_error_fault_answers_in_place_of_the_server(proxy, connection):
    """A key that is to fail always fails at once, others pass, and the server never sees the failed request."""
    proxy.inject(Fault(FaultKind.SLOW_DOWN, key_pattern="b/bad"), Fault(FaultKind.INTERNAL_ERROR, key_pattern="b/x*"))
    assert 503 == ask(connection, "GET", "/b/bad")[0]
    assert 500 == ask(connection, "GET", "/b/x1")[0]
    assert 200 == ask(connection, "GET", "/b/good")[0]
    assert ["/b/good"] == [path for path, _, _ in Lake.seen]
    assert (3, 2) == (proxy.counters().data_requests, proxy.counters().faults_injected)


def test_error_fault_on_an_upload_is_readable(proxy, connection):
    """A client that sends a large body before it reads still gets the injected answer."""
    proxy.inject(Fault(FaultKind.SLOW_DOWN, requests=(RequestKind.PUT,)))
    assert 503 == ask(connection, "PUT", "/b/k", BIG * 10)[0]  # more than all socket buffers hold
    assert [] == Lake.seen


def test_reset_fault(proxy, connection):
    """The client sees its connection reset, not merely closed."""
    proxy.inject(Fault(FaultKind.RESET))
    with pytest.raises(ConnectionResetError) as caught:
        ask(connection, "GET", "/b/k")
    assert caught.type is ConnectionResetError  # RemoteDisconnected, the mere close, is a subclass


def test_truncate_fault(proxy, connection):
    """The head promises the whole body, half of it arrives, and only that half is counted."""
    proxy.inject(Fault(FaultKind.TRUNCATE))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(connection, "GET", "/b/k")
    assert BIG[: len(BIG) // 2] == caught.value.partial
    assert len(BIG) // 2 == proxy.counters().data_bytes


def test_cleared_faults_no_longer_strike(proxy, connection):
    """`inject()` without faults clears those before."""
    proxy.inject(Fault(FaultKind.SLOW_DOWN))
    proxy.inject()
    assert 200 == ask(connection, "GET", "/b/k")[0]


def test_down_refuses_and_up_serves_on_the_same_port(proxy, connection):
    """While down, open connections end and new ones are refused; afterwards the same address serves."""
    ask(connection, "GET", "/b/k")
    proxy.down(True)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(connection, "GET", "/b/k")
    with pytest.raises(ConnectionRefusedError):
        ask(connect(proxy), "GET", "/b/k")
    proxy.down(False)
    assert 200 == ask(connect(proxy), "GET", "/b/k")[0]


def test_unreachable_server_is_a_bad_gateway():
    """With nothing behind it the proxy answers 502 instead of hanging."""
    with S3Proxy("http://127.0.0.1:1") as proxy:
        assert 502 == ask(connect(proxy), "GET", "/b/k")[0]


def test_body_is_whole_under_a_bandwidth_limit(proxy, connection):
    """Pacing delays a body and does not change it."""
    proxy.shape(latency_s=0.001, connection_bytes_per_s=100e6, total_bytes_per_s=60e6)
    assert (200, BIG) == ask(connection, "GET", "/b/k")


def test_stopped_proxy_says_so():
    """A control call on a stopped proxy is an UnavailableError."""
    proxy = S3Proxy("http://127.0.0.1:1")
    with pytest.raises(UnavailableError):
        proxy.counters()


@pytest.mark.parametrize("url", ["https://h:1", "http://h", "h:1"])
def test_other_targets_are_refused(url):
    """Only plain http with a port can be proxied."""
    with pytest.raises(InvalidRequestError):
        S3Proxy(url)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/b/k/l", (RequestKind.DATA, "b/k/l")),
        ("GET", "/b/a%2Bb%20c?x-id=GetObject&partNumber=1", (RequestKind.DATA, "b/a+b c")),
        ("GET", "/b/k?uploadId=u", (RequestKind.OTHER, "b/k")),
        ("GET", "/b/k?acl", (RequestKind.OTHER, "b/k")),
        ("GET", "/b", (RequestKind.LIST, "")),
        ("GET", "/b/?list-type=2&prefix=a%2F", (RequestKind.LIST, "")),
        ("GET", "/b?location", (RequestKind.OTHER, "")),
        ("GET", "/", (RequestKind.OTHER, "")),
        ("HEAD", "/b/k", (RequestKind.HEAD, "b/k")),
        ("HEAD", "/b", (RequestKind.HEAD, "")),
        ("PUT", "/b/k", (RequestKind.PUT, "b/k")),
        ("PUT", "/b/k?partNumber=2&uploadId=u", (RequestKind.PUT, "b/k")),
        ("PUT", "/b/k?tagging", (RequestKind.OTHER, "b/k")),
        ("PUT", "/b", (RequestKind.OTHER, "")),
        ("POST", "/b?delete", (RequestKind.OTHER, "")),
        ("DELETE", "/b/k", (RequestKind.OTHER, "b/k")),
    ],
)
def test_classify(method, target, expected):
    """Every S3 request falls under the kind that the counters promise."""
    assert expected == classify(method, target)


def test_faults_do_not_depend_on_arrival_order():
    """The n-th request for the same bytes meets the same fate, whatever other requests come between."""
    names = [f"b/{i}" for i in range(50)]
    rules = [Fault(FaultKind.RESET, probability=0.3)]
    one, other = Faults(rules, seed=4), Faults(rules, seed=4)
    fates = {name: one.draw(RequestKind.DATA, name, "") for name in names}
    assert fates == {name: other.draw(RequestKind.DATA, name, "") for name in reversed(names)}
    assert {None, FaultKind.RESET} == set(fates.values())
    again = {name: one.draw(RequestKind.DATA, name, "") for name in names}
    assert fates != again


def test_fault_probability_is_checked():
    """A probability outside 0..1 is refused where it is given."""
    with pytest.raises(InvalidRequestError):
        Faults([Fault(FaultKind.RESET, probability=1.5)])


def test_pacer_spreads_bytes():
    """Reservations follow each other at the rate, and idle time is not saved up."""
    pacer = Pacer()
    assert [11.0, 13.0] == [pacer.reserve(100, 100.0, 10.0), pacer.reserve(200, 100.0, 10.5)]
    assert 51.0 == pacer.reserve(100, 100.0, 50.0)
    assert 5.0 == pacer.reserve(100, 0.0, 5.0)
