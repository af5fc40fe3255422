"""The fsspec filesystem without a cluster, as far as it writes: over a `LoneWriter`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from raycache.filesystems.fsspec import RaycacheFileSystem
from tests.support.lone_writer import LoneWriter


class LoneFileSystem(RaycacheFileSystem):
    """Takes the paths that the writer's mounts have."""

    cachable = False

    def __init__(self, writer: LoneWriter) -> None:
        super().__init__()
        self._lone_client: Any = SimpleNamespace(writes=writer.writes, locator=writer.locator)

    @property
    def client(self) -> Any:
        return self._lone_client
