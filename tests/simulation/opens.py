"""The checker of close-to-open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .checkers import Checker, _slice

if TYPE_CHECKING:
    from .client import SimulatedClient


class OpensSeeWhatWasClosed(Checker):
    """A file that is opened after a writer through the cache has closed it is read as it was written, or later."""

    def read_ended(
        self,
        client: SimulatedClient,
        keys: Sequence[str],
        ranges: Sequence[tuple[int, int | None]],
        started_s: float,
        outcome: Sequence[bytes] | None,
    ) -> None:
        """Compare with what was closed before; an outcome of None: a file was not found."""
        if self.cluster.plan.lake_failing:
            return  # where the lake does not answer, what is known from before is used rather than failing
        for number, (key, (offset, size)) in enumerate(zip(keys, ranges, strict=True)):
            if not self.cluster.lake.closed.get(key):
                if outcome is None:
                    return
                continue  # whether it is one version is for another checker
            versions = self.cluster.lake.since_closed(key, started_s)
            if outcome is None:
                if None in versions:
                    return
                continue
            slices = [_slice(content, offset, size) for content in versions if content is not None]
            story = f"{client.name} opened {key} at {started_s} and got {outcome[number]!r}, not of {slices!r}"
            self.require(outcome[number] in slices, story)
        self.require(outcome is not None, f"{client.name} did not find any of {list(keys)}, which were closed")
