"""A mounted store as workers read it: an absent disk is told from an absent file."""

from __future__ import annotations

import os

from typing_extensions import Buffer

from raycache.errors import NotFoundError, UnavailableError
from raycache.messages import MountInfo
from raycache.types import FileVersion
from raycache.workers.stores.loader import BlockSource

_LOCAL = "file://"


class MountedSource:
    """Reads of one mount.

    Args:
        storage: holds the bytes.
        mount: says where.
    """

    def __init__(self, storage: BlockSource, mount: MountInfo) -> None:
        self._storage = storage
        self._mount = mount

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `BlockSource`.

        Raises:
            UnavailableError: what is mounted is not there on this node. Elsewhere it may be, so nothing is known of the file.
        """
        try:
            return self._storage.read(key, offset, length, version)
        except NotFoundError as error:
            if self._mount.uri.startswith(_LOCAL) and not _has_files(self._mount.uri.removeprefix(_LOCAL)):
                raise UnavailableError(
                    f"{self._mount.uri} is empty or missing on this node; mount that disk on every node",
                    uri=self._mount.uri,
                ) from error
            raise


def _has_files(directory: str) -> bool:
    """Whether anything is there: an empty directory is also what a disk leaves behind that is not mounted."""
    try:
        with os.scandir(directory) as found:
            return next(found, None) is not None
    except NotADirectoryError:
        return True
    except OSError:
        return False
