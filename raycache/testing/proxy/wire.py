"""The HTTP/1.1 that a transparent proxy needs: message heads, body framing, and moving bodies from socket to socket.

Heads are passed on byte for byte (signatures cover them); only what decides the framing is looked at. A body of known
length goes through a kernel pipe with `splice`, without being copied into Python: the price of a GET is that of its
head. Sockets are blocking with kernel time-outs (SO_RCVTIMEO, SO_SNDTIMEO), as `splice` needs; one that strikes shows
as BlockingIOError.

Source: RFC 9112, section 6 (message body length) and 7.1 (chunked coding).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from typing import NamedTuple, Protocol

_PIPE_BYTES = 1 << 20
_HEAD_BYTES_MAX = 256 << 10
_RECEIVE_BYTES = 64 << 10


class Gate(Protocol):
    """Lets the pieces of a body pass."""

    @property
    def piece_bytes(self) -> int:
        """The largest piece."""
        ...

    def __call__(self, length: int) -> None:
        """Hear the length of the next piece before it is sent on; may wait, to pace."""
        ...


class ClosedError(Exception):
    """The peer closed where a message should start or go on."""


class MalformedError(Exception):
    """Not HTTP/1.1 as S3 clients and servers speak it."""


class Head(NamedTuple):
    """The first line and the fields of one message."""

    raw: bytes
    first_line: tuple[str, str, str]
    #: Names in lower case; of repeated fields the last.
    fields: dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        """Whether the sender leaves the connection open after this message."""
        return self.fields.get("connection", "").lower() != "close" and "HTTP/1.0" not in self.first_line

    @property
    def chunked(self) -> bool:
        """Whether the body is in chunks."""
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """Content-Length, None when absent."""
        text = self.fields.get("content-length")
        if text is None:
            return None
        if not text.isdigit():
            raise MalformedError(f"Content-Length {text!r}")
        return int(text)

    @property
    def status(self) -> int:
        """Of a response."""
        if not self.first_line[1].isdigit():
            raise MalformedError(f"status {self.first_line[1]!r}")
        return int(self.first_line[1])


class Wire:
    """One socket with what was read from it too early, and the pipe its bodies go through.

    Args:
        connection: connected; becomes blocking.
        timeout_s: of each receive and each send.
    """

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        connection.setblocking(True)
        interval = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._buffer = bytearray()
        self._pipe: tuple[int, int] | None = None

    def close(self, *, reset: bool = False) -> None:
        """Close; with `reset` the peer sees a connection reset instead of an end."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def send(self, data: bytes | bytearray | memoryview, *, more: bool = False) -> None:
        """Send all of it; `more` lets it share a packet with what follows."""
        self.socket.sendall(data, socket.MSG_MORE if more else 0)

    def read_head(self) -> Head:
        """Read up to the blank line.

        Raises:
            ClosedError: nothing came, or only a part.
            MalformedError: too long, or no head of a message.
        """
        searched = 0
        while (end := self._buffer.find(b"\r\n\r\n", searched)) < 0:
            if len(self._buffer) > _HEAD_BYTES_MAX:
                raise MalformedError(f"a head longer than {_HEAD_BYTES_MAX} bytes")
            searched = max(0, len(self._buffer) - 3)
            self._receive()
        return _parse_head(self._take(end + 4))

    def has_input(self) -> bool:
        """Whether a byte or the peer's close is waiting; does not wait."""
        if self._buffer:
            return True
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def relay_exactly(self, target: Wire, length: int, gate: Gate) -> None:
        """Move the next `length` bytes to `target`, passing each piece's size to `gate` first.

        Raises:
            ClosedError: this side closed before that.
        """
        left = length
        while left and self._buffer:
            piece = self._take(min(left, len(self._buffer), gate.piece_bytes))
            left -= len(piece)
            gate(len(piece))
            target.send(piece, more=left > 0)
        if left:
            source_end, target_end = self._open_pipe()
            while left:
                moved = os.splice(self.socket.fileno(), target_end, min(left, _PIPE_BYTES, gate.piece_bytes))
                if moved == 0:
                    raise ClosedError
                left -= moved
                gate(moved)
                while moved:
                    flags = os.SPLICE_F_MORE if left else 0
                    moved -= os.splice(source_end, target.socket.fileno(), moved, flags=flags)

    def relay_chunked(self, target: Wire, gate: Gate) -> None:
        """Move a body in chunks, with its sizes, extensions and trailers as they are."""
        while True:
            line = self._read_line()
            target.send(line, more=True)
            digits = line.split(b";")[0].strip()
            try:
                size = int(digits, 16)
            except ValueError as error:
                raise MalformedError(f"chunk size {digits!r}") from error
            if size == 0:
                break
            self.relay_exactly(target, size, gate)
            target.send(self._read_line(), more=True)
        while (line := self._read_line()) != b"\r\n":
            target.send(line, more=True)
        target.send(line)

    def relay_to_end(self, target: Wire, gate: Gate) -> None:
        """Move everything up to this side's close."""
        while True:
            if not self._buffer:
                try:
                    self._receive()
                except ClosedError:
                    return
            piece = self._take(min(len(self._buffer), gate.piece_bytes))
            gate(len(piece))
            target.send(piece)

    def _open_pipe(self) -> tuple[int, int]:
        if self._pipe is None:
            self._pipe = os.pipe()
            with contextlib.suppress(OSError):  # the user's share of pipe memory is used up: the usual 64 KiB also do
                fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self._pipe

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _HEAD_BYTES_MAX:
                raise MalformedError("a line without an end")
            self._receive()
        return self._take(end + 1)

    def _receive(self) -> None:
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ClosedError
        self._buffer += data

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def _parse_head(raw: bytes) -> Head:
    lines = raw.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) == 2 and words[0].startswith("HTTP/"):
        words.append("")  # a status line without a reason
    if len(words) != 3:
        raise MalformedError(f"first line {lines[0][:100]!r}")
    fields = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedError(f"field {line[:100]!r}")
        fields[name.strip().lower()] = value.strip()
    return Head(raw, (words[0], words[1], words[2]), fields)
