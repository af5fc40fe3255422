"""What is known of the footers of parquet files: kept for whoever plans a read, as bytes that only they understand.

A table speaks of several file versions. It is kept as a whole until there is too much, the one least lately wanted first.
All of it is lost with the master, and then found out again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from raycache.messages import VERSION_ID_BYTES
from raycache.types import VersionId

#: Kept at most, with what it takes to find it.
BYTES_MAX = 64 << 20
#: Of each file, in the index, about.
_FILE_BYTES = 150


class FooterShelf:
    """Tables of footers, by the versions of their files.

    Args:
        bytes_max: kept at most.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        #: By number, (versions, content); least lately wanted first.
        self._tables: OrderedDict[int, tuple[list[VersionId], bytes]] = OrderedDict()
        self._table_of: dict[VersionId, int] = {}
        self._next = 0
        self.used_bytes = 0

    def keep(self, keys: bytes, content: bytes) -> None:
        """Keep a table.

        Args:
            keys: the versions of its files, 16 bytes each.
            content: whatever they should be answered with.
        """
        versions = _split(keys)
        if self._cost(versions, content) > self._bytes_max:
            return
        self._next += 1
        self._tables[self._next] = versions, content
        self._table_of.update(dict.fromkeys(versions, self._next))
        self.used_bytes += self._cost(versions, content)
        while self.used_bytes > self._bytes_max:
            number, (gone, old) = self._tables.popitem(last=False)
            self.used_bytes -= self._cost(gone, old)
            for version in gone:
                if self._table_of.get(version) == number:
                    del self._table_of[version]

    def find(self, keys: bytes) -> list[bytes]:
        """The tables that speak of some of these versions; each once."""
        numbers = dict.fromkeys(self._numbers(keys))
        for number in numbers:
            self._tables.move_to_end(number)
        return [self._tables[number][1] for number in numbers]

    def _numbers(self, keys: bytes) -> Iterable[int]:
        return (self._table_of[version] for version in _split(keys) if version in self._table_of)

    @staticmethod
    def _cost(versions: list[VersionId], content: bytes) -> int:
        return len(content) + len(versions) * _FILE_BYTES


def _split(keys: bytes) -> list[VersionId]:
    return [keys[i : i + VERSION_ID_BYTES] for i in range(0, len(keys), VERSION_ID_BYTES)]
