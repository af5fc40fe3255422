"""A machine: it may die, it has disks that outlive the workers on it, and disks may rot while nobody looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from raycache.invalidations import InvalidationLog, Words
from raycache.types import BlockId, SegmentId
from raycache.workers.effects import SegmentEntry
from raycache.workers.walks.adoption import DiskSegment
from tests.support.disk_segments import on_disk

if TYPE_CHECKING:
    from .worker import SimulatedWorker


@dataclass(slots=True)
class StoredSegment:
    """One segment file."""

    data: npt.NDArray[np.uint8]
    entries: list[SegmentEntry]
    #: Of the data as it was written.
    checksum: int
    #: Before it rotted.
    whole: npt.NDArray[np.uint8] | None = None

    @property
    def rotten(self) -> bool:
        """Whether the data is no longer what was written."""
        return self.whole is not None

    @property
    def granted(self) -> npt.NDArray[np.uint8]:
        """As it was when a worker last vouched for it."""
        return self.data if self.whole is None else self.whole


@dataclass(slots=True)
class Slot:
    """One worker's directory on the machine's disk; the next worker on the machine finds it."""

    path: str
    owner: SimulatedWorker | None = None
    files: dict[SegmentId, StoredSegment] = field(default_factory=dict)

    def write(self, segment: SegmentId, data: npt.NDArray[np.uint8], entries: Sequence[SegmentEntry]) -> None:
        """Store a segment whole."""
        self.files[segment] = StoredSegment(data.copy(), list(entries), xxhash.xxh3_64_intdigest(data.tobytes()))

    def forget(self, segment: SegmentId, blocks: Sequence[BlockId]) -> None:
        """Leave blocks out of what the next worker finds."""
        stored = self.files[segment]
        gone = dict.fromkeys(blocks)
        stored.entries = [e for e in stored.entries if BlockId(e.version.id(), e.block_index) not in gone]

    def verify(self, segment: SegmentId) -> bool:
        """Whether the data is what was written."""
        found = self.files.get(segment)
        return found is not None and xxhash.xxh3_64_intdigest(found.data.tobytes()) == found.checksum

    def scan(self) -> list[DiskSegment]:
        """What an earlier worker left."""
        return [on_disk(name, stored.data.size, list(stored.entries)) for name, stored in self.files.items()]

    def rot(self, segment: SegmentId, position: int) -> None:
        """Flip a bit, once."""
        stored = self.files[segment]
        if stored.rotten:
            return
        data = stored.data.copy()
        data[position % data.size] ^= 1
        self.files[segment] = StoredSegment(data, stored.entries, stored.checksum, stored.granted)


@dataclass(slots=True)
class Node:
    """One machine of the cluster."""

    name: str
    memory_bytes: int
    disk_bytes: int
    alive: bool = True
    slots: list[Slot] = field(default_factory=list)
    #: The memory of the log that stands now.
    log: Words | None = None

    def start_log(self) -> InvalidationLog:
        """As `InvalidationLog.create`."""
        if self.log is not None:
            InvalidationLog(self.log).close()
        self.log = Words.in_memory()
        return InvalidationLog(self.log)

    def find_log(self) -> Words:
        """The log that stands now."""
        if self.log is None:
            raise FileNotFoundError(self.name)
        return self.log

    def take_slot(self, owner: SimulatedWorker) -> Slot:
        """The first directory that no living worker has."""
        for slot in self.slots:
            if slot.owner is None or not slot.owner.alive:
                slot.owner = owner
                return slot
        slot = Slot(f"{self.name}/{len(self.slots)}", owner)
        self.slots.append(slot)
        return slot

    def map_file(self, path: str, length_bytes: int) -> pa.Buffer | None:
        """A segment file as a buffer; see `reader.mapped_file`."""
        slot_path, _, segment = path.rpartition("/")
        for slot in self.slots:
            if slot.path == slot_path and segment in slot.files:
                # What rots is what the next worker finds; a reader that was granted the file before gets it whole.
                data = slot.files[segment].granted
                return pa.py_buffer(data) if data.size == length_bytes else None
        return None
