"""A sample of what is asked for: the same blocks always, chosen by their names. Source: SHARDS, Waldspurger et al., FAST 2015.

Theory of operation. Names of blocks are hashed evenly; those below a threshold are the sample, and all references to them are
noted, none to others. A cache of a size scaled by the same share has the hit rate of the whole. The threshold is lowered when
the sample becomes too large, or has more references than may be looked at, and raised while it is small. Noting one costs
a comparison, and only those of the sample cost more: they are looked at later, together (`take`).
"""

from __future__ import annotations

from collections import OrderedDict

from raycache.types import BlockId, SegmentId
from raycache.workers.tiers.entry_table import EntryTable

#: The whole range of keys.
KEYS = 1 << 64
#: Blocks in the sample: lowered above, raised after a while below.
SAMPLE_MAX = 2048
SAMPLE_MIN = SAMPLE_MAX // 8
#: References between two looks at them; the others of a burst are not seen.
PENDING_MAX = 256
#: Looks with a small sample after which it is enlarged.
_PATIENCE = 20
#: Segments of which it is remembered what is of the sample.
_SEGMENTS_MAX = 4096
_GOLDEN = 0x9E3779B97F4A7C15


def key_of(block: BlockId) -> int:
    """A number below `KEYS`, evenly spread."""
    return (int.from_bytes(block.version[:8], "big") + block.block_index * _GOLDEN) & (KEYS - 1)


class References:
    """References to blocks of the sample, until they are taken."""

    def __init__(self) -> None:
        #: Keys below it are of the sample.
        self.threshold = KEYS
        self._pending: list[tuple[int, int]] = []
        self._overflowed = False
        self._small_looks = 0
        #: Of segments used in place, what of it is of the sample.
        self._by_segment: OrderedDict[SegmentId, list[tuple[int, int]]] = OrderedDict()

    @property
    def limit(self) -> bytes:
        """First blocks whose version is not below it are not of the sample."""
        return self.threshold.to_bytes(8, "big") if self.threshold < KEYS else b"\xff" * 17

    @property
    def share(self) -> float:
        """Of all blocks, those in the sample."""
        return self.threshold / KEYS

    def note(self, key: int, size_bytes: int) -> None:
        """A reader asks for a block of the sample.

        Args:
            key: of the block; below the threshold.
            size_bytes: of the block.
        """
        if len(self._pending) < PENDING_MAX:
            self._pending.append((key, size_bytes))
        else:
            self._overflowed = True

    def note_segment(self, segment: SegmentId, entries: EntryTable) -> None:
        """A reader has used a segment in place; which blocks of it, it does not say."""
        sampled = self._by_segment.get(segment)
        if sampled is None:
            keys = ((key_of(block), block) for block in entries)
            sampled = [(key, entries.place(block)[1]) for key, block in keys if key < self.threshold]
            self._by_segment[segment] = sampled
            if len(self._by_segment) > _SEGMENTS_MAX:
                self._by_segment.popitem(last=False)
        for key, size_bytes in sampled:
            if key < self.threshold:
                self.note(key, size_bytes)

    def take(self) -> list[tuple[int, int]]:
        """(key, bytes of the block) of each, in the order in which they were asked for."""
        taken, self._pending = self._pending, []
        return taken

    def adapt(self, sampled: int) -> bool:
        """Make the sample smaller or larger if that is called for.

        Args:
            sampled: blocks in the sample that are still of interest.

        Returns:
            Whether it was.
        """
        overflowed, self._overflowed = self._overflowed, False
        self._small_looks = self._small_looks + 1 if sampled < SAMPLE_MIN and not overflowed else 0
        if sampled > SAMPLE_MAX or (overflowed and sampled > 2 * SAMPLE_MIN):
            self.threshold //= 2
        elif self._small_looks >= _PATIENCE and self.threshold < KEYS:
            self._small_looks = 0
            self.threshold *= 2
            self._by_segment.clear()
        else:
            return False
        return True
