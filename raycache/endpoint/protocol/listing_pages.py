"""Pages of a listing as S3 cuts them: keys in UTF-8 order, rolled up at a delimiter, a thousand at a time. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

from raycache.messages import ListedRow


class KeyPage(NamedTuple):
    """A page of a listing."""

    #: (key, row), in order.
    objects: list[tuple[str, ListedRow]]
    #: Common prefixes, in order.
    prefixes: list[str]
    #: What the next page starts after; empty: there is none.
    next_after: str


class SortedKeys:
    """All keys of a directory, in S3's order.

    Args:
        rows: (key, row), in any order; keys of directories that are objects end in a slash.
    """

    def __init__(self, rows: Sequence[tuple[str, ListedRow]]) -> None:
        # Code points are in the order of their UTF-8.
        self._rows = sorted(rows, key=lambda pair: pair[0])
        self._keys = [key for key, _ in self._rows]

    def __len__(self) -> int:
        return len(self._keys)

    def page(self, prefix: str, delimiter: str, after: str, keys_max: int) -> KeyPage:
        """Cut a page.

        Args:
            prefix: only keys that begin with it.
            delimiter: roll up what has it behind the prefix; empty: nothing.
            after: only keys and common prefixes greater than this.
            keys_max: objects and prefixes together.
        """
        objects: list[tuple[str, ListedRow]] = []
        prefixes: list[str] = []
        last = ""
        position = bisect.bisect_left(self._keys, prefix)
        if after:
            position = max(position, bisect.bisect_right(self._keys, after))
        while position < len(self._keys):
            key = self._keys[position]
            if not key.startswith(prefix):
                break
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            rolled = key[: end + len(delimiter)] if end >= 0 else ""
            if rolled and rolled <= after:
                # The page before ended with it, or inside it: a user may start after any key.
                position = bisect.bisect_left(self._keys, _behind(rolled), position)
                continue
            if len(objects) + len(prefixes) >= keys_max:
                return KeyPage(objects, prefixes, last)
            if rolled:
                prefixes.append(rolled)
                last = rolled
                position = bisect.bisect_left(self._keys, _behind(rolled), position)
            else:
                objects.append((key, self._rows[position][1]))
                last = key
                position += 1
        return KeyPage(objects, prefixes, "")


def _behind(prefix: str) -> str:
    """The first text behind all that begin with a prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if ord(prefix[-1]) < 0x10FFFF else prefix + chr(0x10FFFF)


def directory_of(prefix: str) -> str:
    """The directory that all keys with a prefix lie in, with its slash; "" for the bucket."""
    return prefix[: prefix.rfind("/") + 1]
