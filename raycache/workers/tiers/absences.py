"""Why a block is not here: what this worker remembers of the blocks it has let go. Pure.

Bounded: the oldest memories go first, and what is forgotten counts as cold. Of every file the version that was here last
is remembered as a number of 31 bits, in two tables: when the newer one is full it takes the place of the older one.
"""

from __future__ import annotations

from collections import OrderedDict

import xxhash

from raycache.digests import DigestTable
from raycache.messages import MissReason
from raycache.types import BlockId, FileVersion, VersionId

REMEMBERED_MAX = 1 << 16


class Absences:
    """Of every block that went, why; and of every file, the version that was here last."""

    def __init__(self) -> None:
        self._gone: OrderedDict[BlockId, MissReason] = OrderedDict()
        self._newer = DigestTable()
        self._older = DigestTable()

    def arrived(self, block: BlockId, file: FileVersion) -> None:
        """The block is here (again)."""
        self._gone.pop(block, None)
        self._newer.put(_digest(file), _version_number(block.version))
        if len(self._newer) > REMEMBERED_MAX:
            self._older, self._newer = self._newer, DigestTable()

    def went(self, block: BlockId, reason: MissReason) -> None:
        """The block is no longer here."""
        self._gone[block] = reason
        self._gone.move_to_end(block)
        if len(self._gone) > REMEMBERED_MAX:
            self._gone.popitem(last=False)

    def why(self, block: BlockId, file: FileVersion) -> MissReason:
        """The reason why a block of a file is missing now."""
        known = self._gone.get(block)
        if known is not None:
            return known
        digest = _digest(file)
        last = self._newer.get(digest)
        if last is None:
            last = self._older.get(digest)
        return MissReason.COLD if last in (None, _version_number(block.version)) else MissReason.CHANGED


def _digest(file: FileVersion) -> bytes:
    return xxhash.xxh3_64_digest(file.uri.encode("utf-8", "surrogatepass"))


def _version_number(version: VersionId) -> int:
    """As much of a version as a `DigestTable` takes."""
    return int.from_bytes(version[:4], "big") >> 1
