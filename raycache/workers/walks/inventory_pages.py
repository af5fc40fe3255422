"""Naming the files of which blocks are here, by (uri, version), a bounded number a step. Pure.

Files that come or go while they are listed may be missing. A listing stays open between two pages: to begin one costs a
look into every segment.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from raycache.messages import FileColumns, InventoryReply, InventoryRequest
from raycache.types import FileVersion, VersionId
from raycache.workers.tiers.entry_table import spans_of
from raycache.workers.tiers.segments import SegmentTable

#: Segments opened, which sorts their names, a millisecond each; and files named, in one step.
_SEGMENTS_MAX = 32
_FILES_MAX = 128
#: OpenInventories that wait for their next page.
OPEN_MAX = 4

_Named = tuple[str, VersionId]


class InventoryWalk:
    """One listing, page by page.

    Args:
        request: of the first page, or of any other.
        table: what is here.
    """

    def __init__(self, request: InventoryRequest, table: SegmentTable) -> None:
        self.request = request
        self._table = table
        self._names = self._walk()
        self._open_page(request.limit)

    def go_on(self, request: InventoryRequest) -> None:
        """Begin the next page."""
        self.request = request
        self._open_page(request.limit)

    def step(self, now_s: float) -> None:
        """Go on for a bounded time; `done` says whether the page is whole."""
        for _ in range(_FILES_MAX):
            if len(self._files) >= self._limit:
                self.done = True
                return
            try:
                found = next(self._names)
            except StopIteration:
                self.done = self._ended = True
                return
            if found is None:
                return
            self._take(found, now_s)

    def reply(self) -> InventoryReply:
        """The page."""
        last = self._files[-1] if self._files and not self._ended else None
        return InventoryReply(
            files=FileColumns.of(self._files),
            masks=self._masks,
            uses=self._uses,
            idle_s=self._idle_s,
            pinned=[self._table.rule_books.of(file.uri).pinned for file in self._files],
            after=None if last is None else (last.uri, last.id()),
        )

    def _open_page(self, limit: int) -> None:
        self._limit = limit
        self.done = self._ended = False
        self._files: list[FileVersion] = []
        self._masks: list[int] = []
        self._uses: list[int] = []
        self._idle_s: list[float] = []

    def _take(self, named: _Named, now_s: float) -> None:
        version = named[1]
        if version not in self._table:
            return
        segments = self._table.segments_of(version)
        used_at_s = max(segment.used_at_s for segment in segments)
        self._files.append(self._table.file(version))
        self._masks.append(self._table.mask(version))
        self._uses.append(sum(segment.uses for segment in segments))
        self._idle_s.append(now_s - used_at_s if used_at_s > float("-inf") else -1.0)

    def _walk(self) -> Iterator[_Named | None]:
        """Names in order, each once; None: that was work enough for one step."""
        after = self.request.after or ("", b"")
        patterns = self.request.patterns
        spans = [(max(start, after[0]), end) for start, end in spans_of(patterns) if end is None or end > after[0]]
        heads: list[tuple[_Named, int, Iterator[_Named]]] = []
        for number, segment in enumerate(self._table.since(-1), 1):
            names: Iterator[_Named] = ((uri, blocks[0].version) for uri, blocks in segment.entries.named(spans))
            first = next(names, None)
            if first is not None:
                heads.append((first, segment.number, names))
            if number % _SEGMENTS_MAX == 0:
                yield None
        heapq.heapify(heads)
        while heads:
            named, number, names = heads[0]
            following = next(names, None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following, number, names))
            # A file may lie in several segments.
            if named > after and any(pattern.names(named[0]) for pattern in patterns):
                after = named
                yield named
            else:
                yield None


class OpenInventories:
    """Those that are open, the oldest first to be forgotten: it is begun again then, where it was."""

    def __init__(self, table: SegmentTable) -> None:
        self._table = table
        self._open: dict[InventoryKey, InventoryWalk] = {}

    def resume(self, request: InventoryRequest) -> InventoryWalk:
        """A listing that stands where the request wants to go on."""
        found = self._open.pop(_key(request), None) if request.after is not None else None
        if found is None:
            return InventoryWalk(request, self._table)
        found.go_on(request)
        return found

    def keep(self, listing: InventoryWalk, reply: InventoryReply) -> None:
        """The page was made; the next one may be asked for."""
        if reply.after is not None:
            self._open[_key(listing.request._replace(after=reply.after))] = listing
            if len(self._open) > OPEN_MAX:
                del self._open[next(iter(self._open))]


InventoryKey = tuple[tuple[object, ...], _Named | None]


def _key(request: InventoryRequest) -> InventoryKey:
    return tuple(request.patterns), request.after
