"""The files of a load: a million of them in some 40 MB.

Theory of operation. Files come as they are listed, a page of at most `PAGE_ROWS` at a time. A page is packed at once into
one compressed blob and is unpacked again only when its turn comes to be loaded: so the whole listing never exists as
objects. Beside the blobs there are eight bytes a file, a digest of its version, by which a later listing is compared.
A load that is given its files gets them packed already (`messages.pack_files`), and keeps them so.
"""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from raycache import paths
from raycache.errors import InvalidRequestError
from raycache.master.namespace import entries
from raycache.messages import unpack_files
from raycache.ranges import block_count, block_length
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

    versions: list[FileVersion]
    ids: list[VersionId]
    #: Of listed files; None: the files were given, and their URIs are their names.
    origin: Origin | None
    #: Of given files: the blocks wanted, as bit masks; None: all.
    masks: list[int | None] | None = None

    @classmethod
    def of(cls, origin: Origin, keys: list[str], packed: list[bytes]) -> Page:
        """Unpack listed rows."""
        versions = [entries.version(origin.root_uri, key, entry) for key, entry in zip(keys, packed, strict=True)]
        return cls(versions, [version.id() for version in versions], origin)

    @classmethod
    def given(cls, blob: bytes) -> Page:
        """Unpack given files."""
        versions, masks = unpack_files(blob)
        return cls(versions, [version.id() for version in versions], None, masks)

    def path(self, row: int) -> str:
        """The user's name of a file."""
        uri = self.versions[row].uri
        return uri if self.origin is None else self.origin.path_of(uri[len(self.origin.root_uri) + 1 :])

    def roots(self) -> list[str]:
        """URIs that end in a slash, so that each file is below one of them."""
        if self.origin is not None:
            return [f"{self.origin.root_uri}/{self.origin.prefix}"]
        above: dict[str, str] = {}
        for version in self.versions:
            root_uri = paths.split_uri(version.uri)[0]
            known = above.get(root_uri, version.uri)
            above[root_uri] = os.path.commonprefix([known, version.uri])  # noqa: RUF071  # cut at a slash below
        return [prefix[: prefix.rfind("/") + 1] for prefix in above.values()]

    def wanted(self, row: int, block_size_bytes: int) -> int:
        """The blocks wanted of a file, as a bit mask."""
        every = (1 << block_count(self.versions[row].size_bytes, block_size_bytes)) - 1
        wanted = None if self.masks is None else self.masks[row]
        return every if wanted is None else wanted & every

    def length(self, row: int, block: int, block_size_bytes: int) -> int:
        """Bytes in a block of a file."""
        return block_length(block, self.versions[row].size_bytes, block_size_bytes)


class FileTable:
    """All files of one load.

    Args:
        given: whether they come packed; see `add_packed`.
    """

    def __init__(self, *, given: bool = False) -> None:
        self._given = given
        self._blobs: list[bytes] = []
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
            self._refuse_too_many(len(part))
            keys, packed = [key for key, _ in part], [entry for _, entry in part]
            page = Page.of(origin, keys, packed)
            self._blobs.append(zlib.compress(pickle.dumps((origin, keys, packed), protocol=5), level=1))
            self._digests.append(digests(page.ids))
            self.files += len(part)
            pages.append(page)
        return pages

    def add_packed(self, blob: bytes) -> Page:
        """Take a page of given files in.

        Raises:
            InvalidRequestError: more than `FILES_MAX`.
        """
        page = Page.given(blob)
        self._refuse_too_many(len(page.versions))
        self._blobs.append(blob)
        self.files += len(page.versions)
        return page

    def page(self, index: int) -> Page:
        """Unpack one page. About 3 ms."""
        if self._given:
            return Page.given(self._blobs[index])
        return Page.of(*pickle.loads(zlib.decompress(self._blobs[index])))

    def absent_from(self, listed: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
        """(page, row) of the files whose versions are not in a later listing.

        Args:
            listed: shape (L,), digests of that listing.
        """
        for index, known in enumerate(self._digests):
            for row in np.flatnonzero(~np.isin(known, listed)).tolist():
                yield index, row

    def _refuse_too_many(self, more: int) -> None:
        if self.files + more > FILES_MAX:
            raise InvalidRequestError(f"more than {FILES_MAX} files; load the directories below one by one")


def digests_of(origin: Origin, rows: Iterable[Row]) -> npt.NDArray[np.uint64]:
    """`digests` of listed files."""
    return digests(entries.version(origin.root_uri, key, entry).id() for key, entry in rows)


def digests(ids: Iterable[VersionId]) -> npt.NDArray[np.uint64]:
    """Eight bytes of each version's identity; shape (F,)."""
    return np.frombuffer(b"".join(version[:8] for version in ids), dtype=np.uint64)
