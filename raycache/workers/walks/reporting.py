"""Saying to the master what is here: everything, or what has changed, a bounded number of versions a report. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from raycache.messages import BlockReport
from raycache.types import VersionId
from raycache.workers.tiers.segments import SegmentTable

#: Versions in one report.
REPORTED_MAX = 4096


class Reporting:
    """What the master has not been told yet.

    Args:
        table: what is here.
    """

    def __init__(self, table: SegmentTable) -> None:
        self._table = table
        #: What is left of saying everything.
        self._everything: Iterator[VersionId] = iter(())
        self._saying_everything = False

    def report(self, full: bool) -> BlockReport:
        """The next versions: of all, or of those that changed since the last report of either kind."""
        if full:
            self._table.changes.clear()
            self._everything, self._saying_everything = self._all(), True
        versions: list[VersionId] = []
        masks: list[int] = []
        if self._saying_everything:
            for version in self._everything:
                mask = self._table.mask(version)
                if mask:
                    versions.append(version)
                    masks.append(mask)
                if len(versions) >= REPORTED_MAX:
                    break
            else:
                self._saying_everything = False
        changed = self._table.changes.take(REPORTED_MAX - len(versions))
        versions += changed
        masks += [self._table.mask(version) for version in changed]
        return BlockReport(full, versions, masks, more=self._saying_everything or bool(self._table.changes))

    def _all(self) -> Iterator[VersionId]:
        """All versions of now. What comes, moves or goes while they are said is among the changes."""
        for segment in self._table.since(-1):
            for version in dict.fromkeys(block.version for block in segment.entries):
                if self._table.is_first(segment, version):
                    yield version
