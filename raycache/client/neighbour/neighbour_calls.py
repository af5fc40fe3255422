"""The way to the cache of a process that is no part of the Ray cluster: through the endpoint of its node.

It is the same to a `Client` as Ray's way (`client/calls.py`), except that reads are answered whole by the endpoint, which has
the bytes mapped, and that there are no objects of the object store.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from raycache.client.neighbour import frames
from raycache.client.neighbour.node_file import NodeEndpoint
from raycache.client.ports import WorkerCall
from raycache.errors import NoCacheError, RaycacheError, UnavailableError
from raycache.types import SegmentId, VersionId

_CONNECT_TIMEOUT_S = 1.0
#: A read may load gigabytes over a slow link; everything else is bounded by the endpoint's own time-outs.
_READ_TIMEOUT_S = 1_800.0
_MARGIN_S = 10.0
#: An endpoint that died is started again within seconds.
_AGAIN_S = 15.0
_POLL_S = 0.1
_IDLE_MAX = 16


class NeighbourRead(NamedTuple):
    """A range of a file that a process without Ray wants."""

    path: str
    version: VersionId
    offset: int
    length: int


class SharedSegment(NamedTuple):
    """A segment that a neighbour may map by itself for a while."""

    #: The worker that granted it.
    actor_name: str
    segment: SegmentId
    #: Of `Tier`.
    tier: int
    #: What to open, where the segment begins in it, and which file it must be.
    path: str
    offset: int
    size_bytes: int
    inode: int
    #: By the machine's monotonic clock. Until then its memory is not used for anything else.
    expires_at_s: float
    #: (version, block index, offset in the segment, length) of each block in it.
    entries: list[tuple[VersionId, int, int, int]]


class NeighbourReply(NamedTuple):
    """What a read has found."""

    #: Shape (reads,): the bytes.
    pieces: list[Any]
    #: Segments that they came from, so that there is no need to ask again.
    shared: list[SharedSegment]


class NeighbourRequest(NamedTuple):
    """What is sent to the endpoint; it answers (True, result) or (False, error)."""

    #: "master", "workers", "tell_workers" or "read".
    operation: str
    arguments: tuple[Any, ...]
    timeout_s: float
    #: What this process is called, where reads are counted.
    reader: str


class NeighbourCalls:
    """Calls through the endpoint of this node. Safe to use from several threads, and after a fork.

    Args:
        endpoint: as its file says.
        find_again: looks for an endpoint of the same cache, after this one has gone.
        timeout_s: of calls.
        reader: what this process is called.
    """

    def __init__(
        self, endpoint: NodeEndpoint, find_again: Callable[[], NodeEndpoint | None], timeout_s: float, reader: str
    ) -> None:
        self._endpoint = endpoint
        self._find_again = find_again
        self._timeout_s = timeout_s
        self._reader = reader
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._process = os.getpid()

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """See `MasterCalls`."""
        return self._call("master", (method, arguments), self._timeout_s if timeout_s is None else timeout_s)

    def tell_master(self, method: str, *arguments: Any) -> None:
        """See `MasterCalls`."""
        with contextlib.suppress(RaycacheError):
            self.master(method, *arguments)

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        """See `WorkerCalls`."""
        try:
            found: list[Any] = self._call("workers", (list(calls),), timeout_s or self._timeout_s)
        except RaycacheError as error:
            return [error] * len(calls)
        return found

    def tell_workers(self, calls: Sequence[WorkerCall]) -> None:
        """See `WorkerCalls`."""
        with contextlib.suppress(RaycacheError):
            self._call("tell_workers", (list(calls),), self._timeout_s)

    def objects(self, references: Sequence[Any], peer: str = "", timeout_s: float | None = None) -> list[Any]:
        """There are none without Ray."""
        del peer, timeout_s
        return [UnavailableError("a process without Ray has no object store") for _ in references]

    def read(self, reads: Sequence[NeighbourRead]) -> NeighbourReply:
        """Read ranges of files.

        Raises:
            ConflictError: a file is another version by now; `fields["paths"]` names them.
            RaycacheError: what the read ended with.
        """
        reply: NeighbourReply = self._call("read", (list(reads),), _READ_TIMEOUT_S)
        return reply

    def close(self) -> None:
        """Let go of idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _call(self, operation: str, arguments: tuple[Any, ...], timeout_s: float) -> Any:
        request = NeighbourRequest(operation, arguments, timeout_s, self._reader)
        deadline_s = time.monotonic() + _AGAIN_S
        while True:
            try:
                good, found = self._exchange(request)
            except TimeoutError as error:
                raise UnavailableError(f"the endpoint of this node did not answer within {timeout_s:g} s") from error
            except (OSError, EOFError) as error:
                # It has gone; where its cache goes on, there is another in seconds.
                self.close()
                if time.monotonic() > deadline_s or not self._is_found_again():
                    raise no_endpoint(self._endpoint.node) from error
                continue
            if not good:
                raise found
            return found

    def _is_found_again(self) -> bool:
        for _ in range(int(_AGAIN_S / _POLL_S)):
            found = self._find_again()
            if found is not None:
                self._endpoint = found
                time.sleep(_POLL_S)
                return True
            time.sleep(_POLL_S)
        return False

    def _exchange(self, request: NeighbourRequest) -> Any:
        connection = self._take()
        try:
            connection.settimeout(request.timeout_s + _MARGIN_S)
            frames.send(connection, request)
            reply = frames.receive(connection)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return reply

    def _take(self) -> socket.socket:
        if self._process != os.getpid():
            # A fork: the connections are the parent's, and so may be the lock.
            self._lock, self._idle, self._process = threading.Lock(), [], os.getpid()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_CONNECT_TIMEOUT_S)
            connection.connect(self._endpoint.socket)
            if not frames.is_own(connection):
                raise ConnectionRefusedError("somebody else serves there")
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()


def no_endpoint(node: str = "") -> NoCacheError:
    """What a process without Ray is told where it finds no endpoint."""
    where = f" (node {node[:8]})" if node else ""
    return NoCacheError(
        f"no endpoint of the cache runs on this machine{where}, and this process has no Ray; start the cache with "
        "raycache.start(endpoint=True), or run `raycache endpoint start`"
    )
