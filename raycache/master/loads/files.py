"""The files of a load: a million of them in some 40 MB.

Theory of operation. Files come as they are listed, a page of at most `PAGE_ROWS` at a time. A page is packed at once into
one compressed blob and is unpacked again only when its turn comes to be loaded: so the whole listing never exists as
objects. Beside the blobs there are eight bytes a file, a digest of its version, by which a later listing is compared.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from raycache import paths
from raycache.errors import InvalidRequestError
from raycache.master.namespace import entries
from raycache.ranges import block_length
from raycache.types import FileVersion, VersionId

PAGE_ROWS = 1_000
FILES_MAX = 10_000_000


class Origin(NamedTuple):
    """Where keys lie, and how the user calls that."""

    #: `s3://bucket`.
    root_uri: str
    #: "" or ending in "/": what the keys have in common.
    prefix: str
    #: What the user calls the prefix, without a slash at its end.
    path: str

    def path_of(self, key: str) -> str:
        """The user's name of a key below the prefix."""
        return paths.join(self.path, key[len(self.prefix) :])


#: (key, packed entry of it); see `entries`.
Row: TypeAlias = tuple[str, bytes]


class Page(NamedTuple):
    """One page, unpacked; shape (R,) each."""

    origin: Origin
    keys: list[str]
    versions: list[FileVersion]
    ids: list[VersionId]

    @classmethod
    def of(cls, origin: Origin, keys: list[str], packed: list[bytes]) -> Page:
        """Unpack rows."""
        versions = [entries.version(origin.root_uri, key, entry) for key, entry in zip(keys, packed, strict=True)]
        return cls(origin, keys, versions, [version.id() for version in versions])

    def path(self, row: int) -> str:
        """The user's name of a file."""
        return self.origin.path_of(self.keys[row])

    def length(self, row: int, block: int, block_size_bytes: int) -> int:
        """Bytes in a block of a file."""
        return block_length(block, self.versions[row].size_bytes, block_size_bytes)


class FileTable:
    """All files of one load."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []
        self._rows: list[int] = []
        self._digests: list[npt.NDArray[np.uint64]] = []
        self.files = 0

    def __len__(self) -> int:
        """Pages."""
        return len(self._blobs)

    def add(self, origin: Origin, rows: Iterable[Row]) -> list[Page]:
        """Take files in, whose keys begin with the origin's prefix; returns them as pages.

        Raises:
            InvalidRequestError: more than `FILES_MAX`.
        """
        added = list(rows)
        pages: list[Page] = []
        for start in range(0, len(added), PAGE_ROWS):
            part = added[start : start + PAGE_ROWS]
            if self.files + len(part) > FILES_MAX:
                raise InvalidRequestError(f"more than {FILES_MAX} files; load the directories below one by one")
            keys, packed = [key for key, _ in part], [entry for _, entry in part]
            page = Page.of(origin, keys, packed)
            self._blobs.append(zlib.compress(pickle.dumps((origin, keys, packed), protocol=5), level=1))
            self._rows.append(len(part))
            self._digests.append(digests(page.ids))
            self.files += len(part)
            pages.append(page)
        return pages

    def page(self, index: int) -> Page:
        """Unpack one page. About 3 ms."""
        return Page.of(*pickle.loads(zlib.decompress(self._blobs[index])))

    def absent_from(self, listed: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
        """(page, row) of the files whose versions are not in a later listing.

        Args:
            listed: shape (L,), digests of that listing.
        """
        for index, known in enumerate(self._digests):
            for row in np.flatnonzero(~np.isin(known, listed)).tolist():
                yield index, row


def digests_of(origin: Origin, rows: Iterable[Row]) -> npt.NDArray[np.uint64]:
    """`digests` of listed files."""
    return digests(entries.version(origin.root_uri, key, entry).id() for key, entry in rows)


def digests(ids: Iterable[VersionId]) -> npt.NDArray[np.uint64]:
    """Eight bytes of each version's identity; shape (F,)."""
    return np.frombuffer(b"".join(version[:8] for version in ids), dtype=np.uint64)
