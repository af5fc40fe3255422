"""How much memory and disk a worker may use, from the settings and the node it stands on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from raycache.errors import InvalidRequestError
from raycache.settings import Settings, parse_size

#: Without a size, the disk tier takes this share of what is free.
_DISK_SHARE = 0.1


class Capacity(NamedTuple):
    """Bytes of both tiers; `disk_path` is None when there is no disk tier."""

    memory_bytes: int
    disk_bytes: int
    disk_path: Path | None

    @property
    def weight_bytes(self) -> int:
        """What placement weighs a worker by."""
        return max(1, self.memory_bytes + self.disk_bytes)


def capacity_of(settings: Settings, object_store_bytes: int, default_directory: Path) -> Capacity:
    """Work a node's capacity out.

    Args:
        settings: `memory` and `disk` count.
        object_store_bytes: of this node's object store.
        default_directory: where disk segments go when no path is set.

    Raises:
        InvalidRequestError: a size that cannot be, or more memory than the object store has.
    """
    memory_bytes = memory_bytes_of(settings, object_store_bytes)
    path, size = split_disk(settings.disk)
    if size == "off":
        return Capacity(memory_bytes, 0, None)
    directory = Path(path) if path else default_directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(directory).free
    except OSError:
        # A disk that cannot even be looked at is no disk tier; reads go on without it.
        return Capacity(memory_bytes, 0, None)
    disk_bytes = parse_size(size, whole_bytes=free_bytes) if size else int(free_bytes * _DISK_SHARE)
    return Capacity(memory_bytes, disk_bytes, directory)


def memory_bytes_of(settings: Settings, object_store_bytes: int) -> int:
    """The memory tier's quota on a node with such an object store.

    Raises:
        InvalidRequestError: a size that cannot be, or more than the object store has.
    """
    memory_bytes = parse_size(settings.memory, whole_bytes=object_store_bytes)
    if memory_bytes > object_store_bytes:
        raise InvalidRequestError(
            f"memory={settings.memory!r} is more than the node's object store of {object_store_bytes} bytes; "
            "give less, or start Ray with a larger --object-store-memory"
        )
    return memory_bytes


def split_disk(disk: str) -> tuple[str, str]:
    """Take "PATH:SIZE", "PATH", "SIZE", "off" or "" apart into (path, size); what is missing is empty.

    Raises:
        InvalidRequestError: none of these.
    """
    text = disk.strip()
    if not text:
        return "", ""
    if text in ("off", "none", "0"):
        return "", "off"
    if text.startswith(("/", "~", ".")):
        path, colon, size = text.rpartition(":")
        if colon and not size.startswith("/"):
            parse_size(size, whole_bytes=1 << 40)
            return str(Path(path).expanduser()), size
        return str(Path(text).expanduser()), ""
    parse_size(text, whole_bytes=1 << 40)
    return "", text
