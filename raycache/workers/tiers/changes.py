"""Which versions the master has not heard of since their blocks came or went. Pure.

What has come is noted by segment: one note for thousands of small files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from raycache.ranges import is_page
from raycache.types import SegmentId, VersionId
from raycache.workers.tiers.segment import Segment


class Changes:
    """Taken a bounded number at a time.

    Args:
        segments: all that are here.
    """

    def __init__(self, segments: Mapping[SegmentId, Segment]) -> None:
        self._segments = segments
        self._versions: dict[VersionId, None] = {}
        self._arrived: OrderedDict[SegmentId, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._versions or self._arrived)

    def came(self, segment: Segment) -> None:
        """All blocks of a segment are new here."""
        self._arrived[segment.id] = None

    def went(self, version: VersionId) -> None:
        """A block is not here any more."""
        self._versions[version] = None

    def clear(self) -> None:
        """Everything is said anyway."""
        self._versions.clear()
        self._arrived.clear()

    def take(self, count: int) -> list[VersionId]:
        """At most so many versions that changed since they were taken last; a version may come twice."""
        taken: list[VersionId] = []
        while len(taken) < count and (self._versions or self._unpack()):
            if len(taken) + len(self._versions) <= count:
                taken += self._versions
                self._versions = {}
            else:
                # From the end: to take away the beginning of a large dictionary costs all of it.
                taken.append(self._versions.popitem()[0])
        return taken

    def _unpack(self) -> bool:
        """Replace a segment's note by its versions; False when there is none."""
        while self._arrived and not self._versions:
            segment = self._segments.get(self._arrived.popitem(last=False)[0])
            if segment is not None:
                self._versions = {block.version: None for block in segment.entries if not is_page(block.block_index)}
        return bool(self._versions)
