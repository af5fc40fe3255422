"""What a worker may use and hold, from the settings and the node it stands on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raycache.errors import InvalidRequestError
from raycache.ranges import Grid
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


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """The numbers a worker lives by; see `Settings` for most of them."""

    block_size_bytes: int
    segment_size_bytes: int
    memory_bytes: int
    #: 0 = no disk tier.
    disk_bytes: int
    lease_s: float
    loads_inflight_max: int
    load_bytes_inflight_max: int
    memory_high_watermark: float
    memory_low_watermark: float
    promote_after_hits: int
    #: The block size: no pages.
    page_size_bytes: int
    #: What is placed, and claimed, together.
    extent_size_bytes: int

    @classmethod
    def of(cls, settings: Settings, memory_bytes: int, disk_bytes: int) -> WorkerLimits:
        """Those of a worker with tiers of these sizes."""
        return cls(
            block_size_bytes=settings.block_size_bytes,
            segment_size_bytes=settings.segment_size_bytes,
            memory_bytes=memory_bytes,
            disk_bytes=disk_bytes,
            lease_s=settings.lease_s,
            loads_inflight_max=settings.loads_inflight_max,
            load_bytes_inflight_max=settings.load_bytes_inflight_max,
            memory_high_watermark=settings.memory_high_watermark,
            memory_low_watermark=settings.memory_low_watermark,
            promote_after_hits=settings.promote_after_hits,
            page_size_bytes=settings.grid.page_size_bytes,
            extent_size_bytes=settings.extent_size_bytes,
        )

    @property
    def grid(self) -> Grid:
        """How files are cut."""
        return Grid(self.block_size_bytes, self.page_size_bytes)


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
