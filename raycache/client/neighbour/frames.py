"""Messages between processes of one user on one machine, over a Unix socket: a head, and buffers beside it.

    number of buffers, bytes of the head, bytes of each buffer   as 64-bit numbers
    head      the message, pickled; what supports it is left out, and follows as
    buffers   which go out of the sender's memory and into the receiver's without a further copy

The socket stands in a folder that is the user's alone, and both sides ask the kernel who the other is: it is pickles that they
exchange.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from typing import Any

import pyarrow as pa

_WORD = struct.Struct("<Q")
_START = struct.Struct("<QQ")
_BUFFERS_MAX = 1 << 16
_FRAME_BYTES_MAX = 1 << 36
_CREDENTIALS = struct.Struct("3i")


def is_own(connection: socket.socket) -> bool:
    """Whether a process of this user is at the other end."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(found)[1] in (os.getuid(), 0)


def send(connection: socket.socket, message: Any) -> None:
    """Send a message; what of it are buffers is not copied."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    start = _START.pack(len(views), len(head)) + b"".join(_WORD.pack(view.nbytes) for view in views)
    connection.sendall(start + head)
    for view in views:
        connection.sendall(view)


def receive(connection: socket.socket) -> Any:
    """The next message.

    Raises:
        ConnectionError: the other side has gone, or does not speak so.
    """
    count, head_bytes = _START.unpack(_read(connection, _START.size))
    if count > _BUFFERS_MAX or head_bytes > _FRAME_BYTES_MAX:
        raise ConnectionError("not a message of the cache")
    sizes = memoryview(_read(connection, count * _WORD.size)).cast("Q") if count else []
    head = _read(connection, head_bytes)
    if sum(sizes) > _FRAME_BYTES_MAX:
        raise ConnectionError("not a message of the cache")
    return pickle.loads(head, buffers=[_read(connection, size) for size in sizes])


def _read(connection: socket.socket, size: int) -> pa.Buffer:
    buffer = pa.allocate_buffer(size)
    left = memoryview(buffer).cast("B")
    while left:
        taken = connection.recv_into(left)
        if not taken:
            raise ConnectionError("the other side has closed the connection")
        left = left[taken:]
    return buffer
