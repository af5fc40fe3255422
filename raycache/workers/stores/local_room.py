"""Room on a node's disk for whole local files: they count within the disk tier's quota, and what nobody uses gives way.

The files are made and used by readers, who lock them (`messages/local_shelf.py`); so what is there is looked at, and not remembered. Room
that was promised counts until its file is seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raycache.errors import NoSpaceError
from raycache.messages.blocks import Selector
from raycache.messages.local_shelf import LocalShelf, Shelved, memory_folder
from raycache.workers.capacity import Capacity
from raycache.workers.effects import Effect

#: Promised room is taken within this, or given up.
_PROMISE_S = 15.0
#: What is not used for this long gives way to segments, until local files take no more than this share of the disk tier.
_UNUSED_S = 60.0
_SHARE_MAX = 0.5
LOOK_PERIOD_S = 5.0
#: A file waits for segments that readers hold for so long: about a lease.
_WAIT_S = 40.0
_LOOK_S = 0.5


class LocalRoom:
    """The local files of one node.

    Args:
        capacity: of the node; its disk tier's quota holds the files.
        scratch: where they are without a path for that.
        cache_id, node: name the folder.
        set_local_bytes: of the worker's service: (bytes of local files, the time) -> (whether there is room, effects).
        run: carries effects out.
    """

    def __init__(
        self,
        capacity: Capacity,
        scratch: Path,
        cache_id: str,
        node: str,
        set_local_bytes: Callable[[int, float], tuple[bool, list[Effect]]],
        run: Callable[[list[Effect]], None],
    ) -> None:
        folder = (capacity.disk_path or scratch) / f"raycache-{cache_id}-local-{node[:16]}"
        #: On disk, and in memory.
        self._shelves = [LocalShelf(folder), LocalShelf(memory_folder(cache_id))]
        self._disk_bytes = capacity.disk_bytes
        self._set_local_bytes = set_local_bytes
        self._run = run
        #: By id: until when, and bytes.
        self._promised: dict[str, tuple[float, int]] = {}

    async def answer(self, size_bytes: int, name: str) -> tuple[bool, Any]:
        """(True, what `room` returns), or (False, its error)."""
        try:
            return True, await self._room(size_bytes, name)
        except NoSpaceError as error:
            return False, error

    async def _room(self, size_bytes: int, name: str) -> str:
        """Make room for a file of this size and id; the folder for it.

        Raises:
            NoSpaceError: there is no disk tier, or what is in use leaves too little.
        """
        shelf = self._shelves[0]
        if not self._disk_bytes:
            raise NoSpaceError("this node has no disk tier for local files; start with disk=..., or use memory=True")
        if not size_bytes:
            return str(shelf.folder)
        there: list[Shelved] = await asyncio.to_thread(shelf.all)
        self._promised.pop(name, None)  # whoever was to make it has not
        wanted_bytes = self._counted(there) + size_bytes
        deadline_s = time.monotonic() + _WAIT_S
        while wanted_bytes > self._disk_bytes or not self._apply(wanted_bytes):
            gone_bytes = await self._drop_one(there)
            if gone_bytes is None and wanted_bytes <= self._disk_bytes and time.monotonic() < deadline_s:
                # Segments that readers hold leases on.
                await asyncio.sleep(_LOOK_S)
                gone_bytes = 0
            if gone_bytes is None:
                self._apply(self._counted(there))
                raise NoSpaceError(
                    f"{size_bytes} bytes of local files do not fit the disk tier of {self._disk_bytes} bytes"
                )
            wanted_bytes -= gone_bytes
        self._promised[name] = (time.monotonic() + _PROMISE_S, size_bytes)
        return str(shelf.folder)

    async def look(self) -> None:
        """Count what is there; of too much, what nobody has used for a while goes."""
        there: list[Shelved] = await asyncio.to_thread(self._shelves[0].all)
        self._counted(there)  # promises that were kept end here, whatever becomes of the file
        unused = [entry for entry in there if time.time() - entry.used_at_s > _UNUSED_S and not entry.kept]
        if unused and sum(entry.size_bytes for entry in there) > _SHARE_MAX * self._disk_bytes:
            await self._drop_one(unused)
            there = await asyncio.to_thread(self._shelves[0].all)
        self._apply(min(self._counted(there), self._disk_bytes))

    async def free(self, selector: Selector) -> None:
        """Drop the files that a selector names, as far as nobody uses them; those that are not dropped elsewhere stay, too."""
        if selector.superseded:
            return
        versions = {version.hex() for version in selector.versions}
        for shelf in self._shelves:
            there: list[Shelved] = await asyncio.to_thread(shelf.all)
            if shelf is self._shelves[0]:
                self._counted(there)  # what has come is no longer promised, also when it goes now
            for entry in there:
                named = any(pattern.names(entry.uri) for pattern in selector.patterns)
                if named or entry.id in versions:
                    await asyncio.to_thread(_drop_kept, shelf, entry.id)

    def clear(self) -> None:
        """Remove all files."""
        for shelf in self._shelves:
            shelf.clear()

    def _apply(self, local_bytes: int) -> bool:
        good, effects = self._set_local_bytes(local_bytes, time.monotonic())
        self._run(effects)
        return good

    def _counted(self, there: list[Shelved]) -> int:
        """Bytes of the files that are there, and of those that are still to come."""
        now_s, sizes = time.monotonic(), {entry.id: entry.size_bytes for entry in there}
        self._promised = {
            name: (until_s, size)
            for name, (until_s, size) in self._promised.items()
            if until_s > now_s and sizes.get(name, 0) < size
        }
        return sum(sizes.values()) + sum(size - sizes.get(name, 0) for name, (_, size) in self._promised.items())

    async def _drop_one(self, there: list[Shelved]) -> int | None:
        """Drop the file that was unused for longest; its bytes, or None where all are in use."""
        while there:
            entry = there.pop(0)
            if await asyncio.to_thread(self._shelves[0].drop, entry.id):
                return entry.size_bytes
        return None


def _drop_kept(shelf: LocalShelf, name: str) -> bool:
    return shelf.drop(name, kept=True)
