"""Why a block is not here: what this worker remembers of the blocks it has let go. Pure.

Bounded: the oldest memories go first, and what is forgotten counts as cold.
"""

from __future__ import annotations

from collections import OrderedDict

from raycache.messages import MissReason
from raycache.types import BlockId, FileVersion, VersionId

REMEMBERED_MAX = 1 << 16


class Absences:
    """Of every block that went, why; and of every file, the version that was here last."""

    def __init__(self) -> None:
        self._gone: OrderedDict[BlockId, MissReason] = OrderedDict()
        self._versions: OrderedDict[str, VersionId] = OrderedDict()

    def arrived(self, block: BlockId, file: FileVersion) -> None:
        """The block is here (again)."""
        self._gone.pop(block, None)
        self._versions[file.uri] = block.version
        self._versions.move_to_end(file.uri)
        if len(self._versions) > REMEMBERED_MAX:
            self._versions.popitem(last=False)

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
        return MissReason.COLD if self._versions.get(file.uri, block.version) == block.version else MissReason.CHANGED
