"""A number for each version, packed: some 25 bytes a version, where a `dict` takes a hundred and leaves memory in pieces.

Theory of operation. A hash table whose buckets are rows of (version, number), one after the other, searched by
`bytes.find`. A version is a hash, so its first bytes choose the bucket. When the buckets hold more than `_MEAN_ROWS` on
average there become twice as many.
"""

from __future__ import annotations

from collections.abc import Iterator

from raycache.types import VersionId

_VERSION_BYTES = 16
_ROW_BYTES = _VERSION_BYTES + 4
_MEAN_ROWS = 24


class PackedIndex:
    """Versions have 16 bytes, numbers are below 2**32."""

    __slots__ = ("_buckets", "_count")

    def __init__(self) -> None:
        self._buckets = [bytearray()]
        self._count = 0

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
        self._bucket(version).extend(version + number.to_bytes(_ROW_BYTES - _VERSION_BYTES, "big"))
        self._count += 1
        if self._count > _MEAN_ROWS * len(self._buckets):
            self._grow()

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
        return self._buckets[int.from_bytes(version[:4], "big") & (len(self._buckets) - 1)]

    def _find(self, version: VersionId) -> tuple[bytearray, int]:
        bucket = self._bucket(version)
        start = bucket.find(version)
        # The same bytes may also lie across two rows.
        while start > 0 and start % _ROW_BYTES:
            start = bucket.find(version, start + 1)
        return bucket, start

    def _grow(self) -> None:
        old = self._buckets
        self._buckets = [bytearray() for _ in range(2 * len(old))]
        for bucket in old:
            for start in range(0, len(bucket), _ROW_BYTES):
                row = bucket[start : start + _ROW_BYTES]
                self._bucket(row).extend(row)


def _number(bucket: bytearray, start: int) -> int:
    return int.from_bytes(bucket[start + _VERSION_BYTES : start + _ROW_BYTES], "big")
