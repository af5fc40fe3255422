"""Which segments are being copied, and which blocks they lose meanwhile. Pure.

A copy has all that its segment had when it was begun. Blocks that are taken out of the segment while the copy is made must
be taken out of the copy, too, when it has arrived: until then they are remembered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raycache.types import BlockId, SegmentId
from raycache.workers.tiers.segment import Operation, Segment


class Copies:
    """The segments that are being copied, by operation; a check is no copy."""

    def __init__(self) -> None:
        self._segments: dict[Operation, dict[SegmentId, Segment]] = {
            operation: {} for operation in (Operation.DEMOTE, Operation.PROMOTE, Operation.COMPACT)
        }
        self._lost: dict[SegmentId, list[BlockId]] = {}

    def under(self, operation: Operation) -> Mapping[SegmentId, Segment]:
        """The segments that are being copied so."""
        return self._segments[operation]

    def bytes_under(self, operation: Operation) -> int:
        """Bytes of all of them."""
        return sum(segment.size_bytes for segment in self._segments[operation].values())

    def begin(self, segment: Segment, operation: Operation) -> None:
        """A thread copies the segment from now on."""
        segment.operation = operation
        self._segments[operation][segment.id] = segment

    def lose(self, segment: Segment, blocks: Iterable[BlockId]) -> None:
        """Blocks were taken out of a segment."""
        if segment.operation in self._segments:
            self._lost.setdefault(segment.id, []).extend(blocks)

    def end(self, name: SegmentId, operation: Operation) -> tuple[Segment, list[BlockId]] | None:
        """The segment, and the blocks it has lost meanwhile; None for a late or duplicate word."""
        segment = self._segments[operation].pop(name, None)
        if segment is None:
            return None
        segment.operation = None
        return segment, self._lost.pop(name, [])

    def validate(self, segments: Mapping[SegmentId, Segment]) -> None:
        """Check that what is copied is here, and says so itself."""
        for operation, copied in self._segments.items():
            for name, segment in copied.items():
                assert segments.get(name) is segment, f"{name} is gone while {operation.value} runs"
                assert segment.operation is operation, f"{name} is in {operation.value}, and says {segment.operation}"
