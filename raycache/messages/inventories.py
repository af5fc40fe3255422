"""Client to master: compare with the lake. Master and clients to workers: what do you hold?"""

from __future__ import annotations

from typing import NamedTuple

from raycache.messages.encoding import FileColumns
from raycache.rules import Pattern
from raycache.types import VersionId


class SyncRequest(NamedTuple):
    """Compare what these patterns name with the lake, and drop versions it no longer has."""

    patterns: list[Pattern]
    #: Drop nothing, and remember nothing of what the lake says.
    dry_run: bool
    #: How many files that were added or changed the reply should list.
    files_max: int


class Tally(NamedTuple):
    """A number of files, and their bytes in all."""

    files: int = 0
    bytes: int = 0

    def plus(self, other: Tally) -> Tally:
        """The sum."""
        return Tally(self.files + other.files, self.bytes + other.bytes)


class SyncReply(NamedTuple):
    """What is different."""

    #: In the lake, and not known before.
    added: Tally
    #: In the lake in another version; the bytes are the new one's.
    changed: Tally
    #: No longer in the lake; the bytes are those of the version that was known.
    removed: Tally
    unchanged: Tally
    #: What was added or changed, at most `files_max`; fewer than the two tallies say: there are more.
    files: FileColumns
    #: URIs of what was removed, at most `files_max`.
    removed_uris: list[str]


class InventoryRequest(NamedTuple):
    """List the files of which you hold blocks, a page at a time."""

    patterns: list[Pattern]
    #: The last (uri, version) of the page before; None begins.
    after: tuple[str, VersionId] | None
    limit: int


class InventoryReply(NamedTuple):
    """One page, sorted by (uri, version); shape (F,) each."""

    files: FileColumns
    #: The blocks held, as bit masks.
    masks: list[int]
    #: How often the segments of the file were used since this worker started, and how long ago last (-1: never).
    uses: list[int]
    idle_s: list[float]
    pinned: list[bool]
    #: Pass it back for the next page; None at the end.
    after: tuple[str, VersionId] | None
