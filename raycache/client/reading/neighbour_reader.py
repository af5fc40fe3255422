"""Reading in a process that is no part of the Ray cluster: what is not mapped here is asked of the node's endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from raycache.client.file_meta import FileMeta
from raycache.client.neighbour.neighbour_calls import NeighbourCalls, NeighbourRead
from raycache.client.reading.reader import Request
from raycache.errors import ConflictError

_NOTHING = pa.py_buffer(b"")


class NeighbourReader:
    """As `Reader`, for a process without Ray. The endpoint counts what is read.

    Args:
        calls: to the endpoint.
        outdated: told of paths that are another version by now.
    """

    def __init__(self, calls: NeighbourCalls, outdated: Callable[[list[str]], None]) -> None:
        self._calls = calls
        self._outdated = outdated

    def in_place(self, meta: FileMeta, offset: int, length: int, now_s: float) -> pa.Buffer | None:
        """Nothing is mapped here."""
        del meta, offset, length, now_s
        return None

    def read(self, requests: Sequence[Request]) -> list[pa.Buffer]:
        """See `Reader.read`."""
        wanted = [NeighbourRead(r.meta.path, r.meta.version, r.offset, r.length) for r in requests if r.length]
        try:
            found = iter(self._calls.read(wanted) if wanted else [])
        except ConflictError as error:
            self._outdated(error.fields.get("paths", [r.path for r in wanted]))
            raise
        return [next(found) if request.length else _NOTHING for request in requests]

    def picks(self, request: Request) -> bool:
        """The endpoint sees for itself how a file is read."""
        del request
        return True

    def map_held(self, meta: FileMeta) -> None:
        """Nothing is mapped here."""
        del meta
