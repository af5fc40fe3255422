"""A number for each of many digests, in some 25 bytes each, where a dictionary takes over a hundred.

Theory of operation. A hash table with linear probing in two flat arrays: the first eight bytes of the digest as a key,
and the number. The digest is uniform, so its own bits say where to look first; a removal moves later ones of the run
back, so there are no tombstones. It is cut into parts by the first byte, which double one by one: so no call takes long,
and growth never needs the memory of two whole tables. Two digests that begin alike count as one, which at ten million
happens once in some 400,000 tables: for hints only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping

_PLACES_MIN = 8
#: Of the places, at most this share is taken; above, the part doubles.
_FULL_SHARE = 0.75
_FREE = 0


class _Part:
    """Keys of 64 bits, of which the lowest are uniform, and numbers from 1."""

    __slots__ = ("count", "keys", "values")

    def __init__(self, places: int = _PLACES_MIN) -> None:
        self.count = 0
        self.keys = array("Q", bytes(8 * places))
        self.values = array("I", bytes(4 * places))

    def find(self, key: int) -> int:
        """Where a key is, or the free place where it would be."""
        keys, values, mask = self.keys, self.values, len(self.keys) - 1
        place = key & mask
        while values[place] != _FREE and keys[place] != key:
            place = (place + 1) & mask
        return place

    def put(self, key: int, value: int) -> None:
        place = self.find(key)
        if self.values[place] == _FREE:
            if self.count >= _FULL_SHARE * len(self.keys):
                self._refill(2 * len(self.keys))
                place = self.find(key)
            self.count += 1
        self.keys[place] = key
        self.values[place] = value

    def remove(self, key: int) -> None:
        keys, values, mask = self.keys, self.values, len(self.keys) - 1
        hole = self.find(key)
        if values[hole] == _FREE:
            return
        self.count -= 1
        later = (hole + 1) & mask
        while values[later] != _FREE:
            # It moves back to the hole, unless its own place comes after that.
            if (later - keys[later]) & mask >= (later - hole) & mask:
                keys[hole], values[hole] = keys[later], values[later]
                hole = later
            later = (later + 1) & mask
        values[hole] = _FREE

    def items(self) -> Iterator[tuple[int, int]]:
        return ((key, value) for key, value in zip(self.keys, self.values, strict=True) if value != _FREE)

    def _refill(self, places: int) -> None:
        larger = _Part(places)
        for key, value in self.items():
            larger.put(key, value)
        self.keys, self.values = larger.keys, larger.values


class DigestTable:
    """Digest (uniform, at least 8 bytes) -> number, 0 <= number < 2**32 - 1. All calls but `renumber` are O(1)."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._count = 0

    def __len__(self) -> int:
        """Digests with a number."""
        return self._count

    def get(self, digest: bytes) -> int | None:
        """The number of a digest; None when it has none."""
        part = self._parts.get(digest[0])
        if part is None:
            return None
        value = part.values[part.find(_key(digest))]
        return value - 1 if value != _FREE else None

    def put(self, digest: bytes, number: int) -> None:
        """Give a digest a number, in place of the one it has."""
        part = self._parts.get(digest[0])
        if part is None:
            part = self._parts[digest[0]] = _Part()
        self._count -= part.count
        part.put(_key(digest), number + 1)
        self._count += part.count

    def remove(self, digest: bytes) -> None:
        """Forget a digest; one without a number is ignored."""
        part = self._parts.get(digest[0])
        if part is not None:
            self._count -= part.count
            part.remove(_key(digest))
            self._count += part.count

    def renumber(self, numbers: Mapping[int, int], removed: Iterable[int]) -> None:
        """Give the digests of some numbers other numbers, and forget those of others, all at once. O(size)."""
        new = {number + 1: other + 1 for number, other in numbers.items()} | {number + 1: _FREE for number in removed}
        for first, old in self._parts.items():
            part = self._parts[first] = _Part()
            for key, value in old.items():
                if (kept := new.get(value, value)) != _FREE:
                    part.put(key, kept)
        self._count = sum(part.count for part in self._parts.values())


def _key(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")
