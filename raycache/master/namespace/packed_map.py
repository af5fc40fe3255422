"""A sorted map from text to bytes, for millions of them: a key costs what it has that its neighbours have not, and a few bytes.

Theory of operation. Sorted keys are cut into chunks of a hundred or two. A chunk that is not being changed is *packed*: what all
its keys begin with, once; the rests of the keys and the values, as two texts of bytes with the places where each ends. A look-up
is a binary search over the chunks' first keys, then one within a chunk, without unpacking it. A chunk that is changed is opened,
as two lists; a few stay open, the last ones changed, so that many changes in one place unpack and pack it once.

UTF-8 sorts as code points do, so rests are compared as bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from os.path import commonprefix
from typing import Any, overload

from sortedcontainers import SortedDict

#: Keys in a chunk; one that grows beyond is cut in two.
_CHUNK_MAX = 256
#: Chunks that stay open.
_OPEN_MAX = 32
#: The character after "/": `prefix[:-1] + "0"` is the first key behind everything below `prefix`.
AFTER_SLASH = "0"


class _Chunk:
    """Some neighbours: packed or open."""

    __slots__ = ("_key_ends", "_prefix", "_rests", "_value_ends", "_values", "keys", "values")

    def __init__(self, keys: list[str], values: list[bytes]) -> None:
        #: None while it is packed.
        self.keys: list[str] | None = keys
        self.values: list[bytes] = values
        self._prefix = ""
        self._rests = self._values = b""
        self._key_ends = self._value_ends = array("I")

    def __len__(self) -> int:
        return len(self._key_ends) if self.keys is None else len(self.keys)

    def find(self, key: str) -> int:
        """Where a key is, or would be."""
        if self.keys is not None:
            return bisect_left(self.keys, key)
        prefix = self._prefix
        if not key.startswith(prefix):
            return 0 if key < prefix else len(self._key_ends)
        rest, rests, ends = key[len(prefix) :].encode("utf-8", "surrogatepass"), self._rests, self._key_ends
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high) // 2
            if rests[ends[middle - 1] if middle else 0 : ends[middle]] < rest:
                low = middle + 1
            else:
                high = middle
        return low

    def key(self, at: int) -> str:
        if self.keys is not None:
            return self.keys[at]
        rest = self._rests[self._key_ends[at - 1] if at else 0 : self._key_ends[at]]
        return self._prefix + rest.decode("utf-8", "surrogatepass")

    def value(self, at: int) -> bytes:
        if self.keys is not None:
            return self.values[at]
        return self._values[self._value_ends[at - 1] if at else 0 : self._value_ends[at]]

    def open(self) -> tuple[list[str], list[bytes]]:
        """Its keys and values, to be changed."""
        if self.keys is None:
            count = len(self._key_ends)
            self.keys, self.values = [self.key(at) for at in range(count)], [self.value(at) for at in range(count)]
            self._rests = self._values = b""
            self._key_ends = self._value_ends = array("I")
        return self.keys, self.values

    def pack(self) -> None:
        if self.keys is None:
            return
        self._prefix = commonprefix((self.keys[0], self.keys[-1])) if self.keys else ""  # noqa: RUF071  # of text
        start = len(self._prefix)
        rests = [key[start:].encode("utf-8", "surrogatepass") for key in self.keys]
        self._rests, self._key_ends = b"".join(rests), _ends(rests)
        self._values, self._value_ends = b"".join(self.values), _ends(self.values)
        self.keys, self.values = None, []


class PackedMap:
    """What of a `SortedDict` the namespace needs. To be changed only between iterations."""

    def __init__(self) -> None:
        self._chunks = [_Chunk([], [])]
        #: Of each chunk: not larger than its keys, and larger than all before.
        self._firsts = [""]
        self._count = 0
        #: Chunks that are open, the last one changed last.
        self._opened: OrderedDict[int, _Chunk] = OrderedDict()
        #: The key that was iterated to last, and where it is.
        self._here: tuple[str, _Chunk, int] | None = None

    def __len__(self) -> int:
        """Keys."""
        return self._count

    def __contains__(self, key: str) -> bool:
        """Whether it has a value."""
        return self.get(key) is not None

    def __getitem__(self, key: str) -> bytes:
        """Its value; KeyError without."""
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: str, value: bytes) -> None:
        """Give it a value, in place of the one it has."""
        number = self._number(key)
        keys, values = self._open(number)
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            values[at] = value
            return
        keys.insert(at, key)
        values.insert(at, value)
        self._count += 1
        if len(keys) > _CHUNK_MAX:
            self._cut(number, keys, values)

    def __delitem__(self, key: str) -> None:
        """Take it out; KeyError when it is not there."""
        number = self._number(key)
        keys, values = self._open(number)
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            raise KeyError(key)
        del keys[at], values[at]
        self._count -= 1
        if not keys and number:
            self._opened.pop(id(self._chunks[number]), None)
            del self._chunks[number], self._firsts[number]

    @overload
    def get(self, key: str) -> bytes | None: ...

    @overload
    def get(self, key: str, default: bytes) -> bytes: ...

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        """Its value, or another one."""
        here = self._here
        if here is not None and here[0] is key:  # it has just been iterated to
            return here[1].value(here[2])
        chunk = self._chunks[self._number(key)]
        at = chunk.find(key)
        return chunk.value(at) if at < len(chunk) and chunk.key(at) == key else default

    def setdefault(self, key: str, value: bytes) -> None:
        """Give it a value unless it has one."""
        if key not in self:
            self[key] = value

    def update(self, found: Mapping[str, bytes]) -> None:
        """Give many their values."""
        for key in sorted(found):
            self[key] = found[key]

    def irange(
        self, minimum: str | None = None, maximum: str | None = None, inclusive: tuple[bool, bool] = (True, True)
    ) -> Iterator[str]:
        """Sorted keys between two; None: no bound."""
        low = minimum or ""
        first = self._number(low)
        at = self._chunks[first].find(low)
        for number in range(first, len(self._chunks)):
            chunk = self._chunks[number]
            for place in range(at, len(chunk)):
                key = chunk.key(place)
                if maximum is not None and (key > maximum or (key == maximum and not inclusive[1])):
                    self._here = None
                    return
                if key != minimum or inclusive[0]:
                    self._here = key, chunk, place
                    yield key
            at = 0
        self._here = None

    def _number(self, key: str) -> int:
        """The chunk that a key is in, or would be."""
        return max(0, bisect_right(self._firsts, key) - 1)

    def _open(self, number: int) -> tuple[list[str], list[bytes]]:
        self._here = None
        chunk = self._chunks[number]
        self._opened[id(chunk)] = chunk
        self._opened.move_to_end(id(chunk))
        if len(self._opened) > _OPEN_MAX:
            self._opened.popitem(last=False)[1].pack()
        return chunk.open()

    def _cut(self, number: int, keys: list[str], values: list[bytes]) -> None:
        middle = len(keys) // 2
        other = _Chunk(keys[middle:], values[middle:])
        del keys[middle:], values[middle:]
        self._chunks.insert(number + 1, other)
        self._firsts.insert(number + 1, other.key(0))
        self._open(number + 1)


def between(keys: SortedDict[str, bytes] | PackedMap, after: str, until: str | None, prefix: str) -> Iterator[str]:
    """Sorted keys of a part of a prefix.

    Args:
        keys: what to look in.
        after: not itself; "" begins with the prefix.
        until: itself, too; None is the end of the prefix.
        prefix: "" or ends in "/"; or a key, and then only that key is meant.
    """
    if prefix and not prefix.endswith("/"):
        return iter([prefix] if prefix in keys else [])
    start = max(after, prefix)
    end = until if until is not None else (prefix[:-1] + AFTER_SLASH if prefix else None)
    found: Iterator[str] = keys.irange(start, end, inclusive=(start != after or not after, until is not None))
    return found


def keys_below(keys: SortedDict[str, Any] | PackedMap, start: str, prefix: str) -> Iterator[str]:
    """Sorted keys of a prefix, from one on."""
    end = prefix[:-1] + AFTER_SLASH if prefix else None
    found: Iterator[str] = keys.irange(start, end, inclusive=(True, False))
    return found


def _ends(parts: list[bytes]) -> array[int]:
    ends, end = array("I"), 0
    for part in parts:
        end += len(part)
        ends.append(end)
    return ends if end >= 1 << 16 else array("H", ends)
