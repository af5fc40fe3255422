"""What a host does in tests of the network: functions for an `Interpreter`. One connection for each process."""

from __future__ import annotations

import socket
import threading

_connection: socket.socket | None = None


def listen(address: str) -> int:
    """Send back whatever comes on one connection; returns the port."""
    server = socket.create_server((address, 0))

    def echo() -> None:
        connection, _ = server.accept()
        while data := connection.recv(1 << 16):
            connection.sendall(data)

    threading.Thread(target=echo, daemon=True).start()
    return int(server.getsockname()[1])


def connect(address: str, port: int) -> None:
    """Connect to what `listen` has started."""
    global _connection  # noqa: PLW0603  # of the process
    _connection = socket.create_connection((address, port), timeout=10)


def exchange(size: int, wait_s: float) -> int:
    """Send so many bytes; returns how many came back in time."""
    assert _connection is not None
    threading.Thread(target=_connection.sendall, args=(bytes(size),), daemon=True).start()
    return receive(size, wait_s)


def receive(size: int, wait_s: float) -> int:
    """Returns how many of so many bytes came in time, each within it of the one before."""
    assert _connection is not None
    _connection.settimeout(wait_s)
    received = 0
    try:
        while received < size:
            received += len(_connection.recv(size - received))
    except TimeoutError:
        return received
    return received


def divide(a: float, b: float) -> float:
    """Fails for b = 0."""
    return a / b
