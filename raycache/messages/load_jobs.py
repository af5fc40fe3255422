"""Client to master: load jobs.

A load is of paths, which the master lists, or it is *given* its files: versions and blocks, in the order in which they are
wanted. Given files travel in packed pages, some 40 bytes a file, and the master keeps and journals them as they came.
"""

from __future__ import annotations

import itertools
import pickle
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from raycache.messages.encoding import FileColumns
from raycache.types import FileVersion

_PAGE_FILES = 1_000
#: The reason of a file that failed only for want of room.
NO_ROOM = "did not fit: no room in the cache; free something, or give it more memory or disk"


class LoadRequest(NamedTuple):
    """Make the files that these paths mean resident. Kept in the journal, so of plain values only."""

    #: Normalised: files, directories (everything below), globs. The master lists them, unless the files are given.
    paths: list[str]
    #: Copies on different nodes, as far as there are nodes; >= 1.
    replicas: int = 1
    #: Only list the files, so that they are known; move no data.
    metadata_only: bool = False
    #: Bytes per second that may leave the lake, all workers together; 0 = as fast as it goes.
    bandwidth_bytes_s: int = 0
    #: Afterwards ask the lake for the etags again, and check the checksums of what is on disk.
    verify: bool = False
    #: Of two jobs, the one with the larger number goes first.
    priority: int = 0
    #: The files come with the request, and `paths` are only what the load is called by. Not with `verify` or `metadata_only`.
    given: bool = False


class WantedFile(NamedTuple):
    """One of the files that a load is given."""

    file: FileVersion
    #: Its blocks, as a bit mask; None: all of them.
    mask: int | None = None


def pack_files(wanted: Iterable[WantedFile]) -> list[bytes]:
    """Files in pages, the most urgent first."""
    pages: list[bytes] = []
    rows = iter(wanted)
    while page := list(itertools.islice(rows, _PAGE_FILES)):
        content = FileColumns.of(row.file for row in page), [row.mask for row in page]
        pages.append(zlib.compress(pickle.dumps(content, protocol=5), level=1))
    return pages


def unpack_files(page: bytes) -> tuple[list[FileVersion], list[int | None]]:
    """The files of a page, and the mask of each: see `WantedFile`. About 1 ms."""
    columns, masks = pickle.loads(zlib.decompress(page))
    return columns.versions(), masks


class LoadSurvey(NamedTuple):
    """What a load means, before it has moved anything."""

    files: int
    blocks: int
    #: Of one copy.
    bytes: int
    #: As the workers have said, half a second ago.
    files_cached: int
    bytes_cached: int
    #: All tiers of all workers, whatever is in them now.
    capacity_bytes: int
    #: Of all copies asked for: what the workers that should hold it have no room for, even when they give all else up.
    bytes_over: int
    files_over: int
    #: Paths of some of those files, at most 100.
    over: list[str]


class JobProgress(NamedTuple):
    """How far a load job is; see `client.results.Progress`, which has the same fields."""

    #: WAITING (for the listing, or for its turn), RUNNING, VERIFYING, SUCCEEDED, FAILED or STOPPED.
    state: str
    files_total: int
    files_done: int
    files_failed: int
    blocks_total: int
    blocks_done: int
    blocks_failed: int
    bytes_total: int
    bytes_done: int
    bytes_failed: int
    bytes_already: int
    elapsed_s: float
    rate_bytes_s: float
    eta_s: float | None
    #: (path, reason), at most 1,000.
    failures: list[tuple[str, str]]
    #: What was asked for: at most 10 of the paths.
    paths: list[str] = []  # noqa: RUF012  # a NamedTuple's default, never changed
    priority: int = 0
    #: Whether the totals are final: the lake has been listed.
    listed: bool = True
    #: Of all copies, what the cache has no room for; see `LoadSurvey`.
    bytes_over: int = 0
    #: While and after verifying: bytes found good, and bytes that had to be loaded again.
    bytes_verified: int = 0
    bytes_repaired: int = 0
