"""Serves the processes of this node that are no part of the Ray cluster, over a Unix socket: a thread for each connection.

Their calls to the master and the workers are passed on as they are. What they read is read here, where it is mapped, and sent.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

from raycache.client.client import Client
from raycache.client.neighbour import frames
from raycache.client.neighbour.neighbour_calls import NeighbourRead, NeighbourReply, NeighbourRequest, SharedSegment
from raycache.client.reading.reader import Request
from raycache.endpoint.shares import SegmentShares
from raycache.errors import ConflictError, InvalidRequestError, RaycacheError

_log = logging.getLogger(__name__)
_CONNECTIONS_MAX = 1_024
_BACKLOG = 256


class Neighbours:
    """Answers them.

    Args:
        client: of this process.
        path: of the socket.
    """

    def __init__(self, client: Client, path: Path) -> None:
        self._client = client
        self._shares = SegmentShares(client.leases)
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(_BACKLOG)
        self._places = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        threading.Thread(target=self._accept, name="raycache-neighbours", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if not frames.is_own(connection) or not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="raycache-neighbour", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while True:
                    request: NeighbourRequest = frames.receive(connection)
                    frames.send(connection, self._reply(request))
        except (OSError, EOFError):
            return  # it has gone
        except Exception:  # one neighbour must not end the others
            _log.exception("a neighbour's request could not be read")
        finally:
            self._places.release()

    def _reply(self, request: NeighbourRequest) -> tuple[bool, Any]:
        try:
            return True, self._answer(request)
        except RaycacheError as error:
            return False, error
        except Exception as error:  # a neighbour hears of it, and the next request is answered
            _log.exception("a neighbour's request failed")
            return False, InvalidRequestError(f"the endpoint failed: {type(error).__name__}")

    def _answer(self, request: NeighbourRequest) -> Any:
        client, arguments = self._client, request.arguments
        if request.operation == "read":
            client.count_for("endpoint", request.reader)
            return self._read(arguments[0])
        if request.operation == "master":
            method, rest = arguments
            return client.calls.master(method, *rest, timeout_s=request.timeout_s)
        if request.operation == "workers":
            return client.calls.workers(arguments[0], timeout_s=request.timeout_s)
        if request.operation == "tell_workers":
            client.calls.tell_workers(arguments[0])
            return None
        raise InvalidRequestError(f"a neighbour asks for {request.operation!r}; its version is another")

    def _read(self, reads: list[NeighbourRead]) -> NeighbourReply:
        paths = [read.path for read in reads]
        metas = self._client.locator.resolve(paths)
        other = [read.path for read, meta in zip(reads, metas, strict=True) if read.version != meta.version]
        if other:
            # One of the two knows an older version: the lake says which.
            self._client.locator.outdated(other)
            metas = self._client.locator.resolve(paths)
            other = [read.path for read, meta in zip(reads, metas, strict=True) if read.version != meta.version]
        if other:
            raise ConflictError(f"{other[0]} was replaced in the lake; read it again", paths=other)
        wanted = [Request(meta, *read[2:]) for read, meta in zip(reads, metas, strict=True)]
        pieces = self._client.read_resolved(wanted)
        shared: dict[tuple[str, str], SharedSegment] = {}
        now_s, size = time.monotonic(), self._client.settings.block_size_bytes
        for request in wanted:
            for block in {request.offset // size, (request.offset + request.length - 1) // size}:
                found = self._shares.of(request.meta.version, block, now_s)
                if found is not None:
                    shared[found.actor_name, found.segment] = found
        return NeighbourReply(pieces, list(shared.values()))
