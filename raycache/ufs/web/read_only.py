"""What lakes behind HTTP that nobody writes have in common: each way to write is refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import Buffer

from raycache.ufs.base import ObjectInfo, UfsWriter


class ReadOnlyStorage(ABC):
    """The writing half of an `UnderStorage`."""

    def put(self, key: str, data: Buffer) -> ObjectInfo:  # noqa: ARG002
        """Refused: the lake is read-only."""
        self._refuse(key)

    def open_writer(self, key: str) -> UfsWriter:
        """Refused: the lake is read-only."""
        self._refuse(key)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:  # noqa: ARG002
        """Refused: the lake is read-only."""
        self._refuse(target_key)

    def delete(self, keys: Sequence[str]) -> None:
        """Refused: the lake is read-only."""
        if keys:
            self._refuse(keys[0])

    def make_directory(self, key: str) -> None:
        """Refused: the lake is read-only."""
        self._refuse(key)

    def remove_directory(self, key: str) -> None:
        """Refused: the lake is read-only."""
        self._refuse(key)

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:  # noqa: ARG002
        """Refused: the lake is read-only."""
        self._refuse(key)

    @abstractmethod
    def _refuse(self, key: str) -> NoReturn:
        """Raise the error of who writes a key."""
