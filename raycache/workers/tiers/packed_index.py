"""A number for each version, packed: some 25 bytes a version, where a `dict` takes a hundred and leaves memory in pieces.

Theory of operation. A hash table whose buckets are rows of (version, number), one after the other, searched by
`bytes.find`. A version is a hash, so its first bytes choose the bucket. When the buckets hold more than `_MEAN_ROWS` on
average, the next one in turn is split in two (linear hashing: Litwin, VLDB 1980), so no addition takes long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raycache.types import VersionId

_VERSION_BYTES = 16
_ROW_BYTES = _VERSION_BYTES + 4
_MEAN_ROWS = 24


class PackedIndex:
    """Versions have 16 bytes, numbers are below 2**32."""

    __slots__ = ("_buckets", "_count", "_mask", "_split")

    def __init__(self) -> None:
        self._buckets = [bytearray()]
        self._count = 0
        #: The buckets below `_split` have been split in this round, in which each of `_mask + 1` is.
        self._mask = self._split = 0

    def items(self) -> Iterator[tuple[VersionId, int]]:
        """(version, number), in no order."""
        for bucket in self._buckets:
            for start in range(0, len(bucket), _ROW_BYTES):
                yield bytes(bucket[start : start + _VERSION_BYTES]), _number(bucket, start)

    def get(self, version: VersionId) -> int | None:
        """The number of a version; None when there is none."""
        bucket, start = self._find(version)
        return None if start < 0 else _number(bucket, start)

    def add(self, version: VersionId, number: int) -> None:
        """Give a number to a version that has none."""
        self.add_all([version], number)

    def add_all(self, versions: Sequence[VersionId], number: int) -> None:
        """Give a number to versions that have none, none of them twice."""
        tail = number.to_bytes(_ROW_BYTES - _VERSION_BYTES, "big")
        start = 0
        while start < len(versions):
            # As many as may come before a bucket is split.
            room = max(1, _MEAN_ROWS * len(self._buckets) - self._count)
            buckets, split, mask = self._buckets, self._split, self._mask
            for version in versions[start : start + room]:
                place = int.from_bytes(version[:4], "big")
                at = place & mask
                buckets[at if at >= split else place & (2 * mask + 1)] += version + tail
            added = min(room, len(versions) - start)
            start += added
            self._count += added
            if self._count >= _MEAN_ROWS * len(self._buckets):
                self._split_one()

    def known_of(self, versions: Sequence[VersionId]) -> list[VersionId]:
        """Those that have a number."""
        if not self._count:
            return []
        buckets, split, mask = self._buckets, self._split, self._mask
        found: list[VersionId] = []
        for version in versions:
            place = int.from_bytes(version[:4], "big")
            at = place & mask
            if (
                buckets[at if at >= split else place & (2 * mask + 1)].find(version) >= 0
                and self._find(version)[1] >= 0
            ):
                found.append(version)
        return found

    def pop(self, version: VersionId) -> int | None:
        """Take a version out; None when it is not here."""
        bucket, start = self._find(version)
        if start < 0:
            return None
        number = _number(bucket, start)
        del bucket[start : start + _ROW_BYTES]
        self._count -= 1
        return number

    def _bucket(self, version: VersionId | bytearray) -> bytearray:
        place = int.from_bytes(version[:4], "big")
        at = place & self._mask
        return self._buckets[at if at >= self._split else place & (2 * self._mask + 1)]

    def _find(self, version: VersionId) -> tuple[bytearray, int]:
        bucket = self._bucket(version)
        start = bucket.find(version)
        # The same bytes may also lie across two rows.
        while start > 0 and start % _ROW_BYTES:
            start = bucket.find(version, start + 1)
        return bucket, start

    def _split_one(self) -> None:
        old, bit = self._buckets[self._split], self._mask + 1
        low, high = bytearray(), bytearray()
        for start in range(0, len(old), _ROW_BYTES):
            row = old[start : start + _ROW_BYTES]
            if int.from_bytes(row[:4], "big") & bit:
                high += row
            else:
                low += row
        self._buckets[self._split] = low
        self._buckets.append(high)
        self._split += 1
        if self._split > self._mask:
            self._split, self._mask = 0, 2 * self._mask + 1


def _number(bucket: bytearray, start: int) -> int:
    return int.from_bytes(bucket[start + _VERSION_BYTES : start + _ROW_BYTES], "big")
