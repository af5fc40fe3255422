"""What one process has mapped, another maps by itself: the same bytes, for as long as the lease lasts."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raycache.client.counters import Counters
from raycache.client.file_meta import FileMeta
from raycache.client.neighbour.neighbour_calls import NeighbourRead, NeighbourReply
from raycache.client.reading.leases import Leases, MappedSegment
from raycache.client.reading.neighbour_reader import NeighbourReader
from raycache.client.reading.reader import Request
from raycache.clock import SystemClock
from raycache.endpoint import shares
from raycache.endpoint.shares import SegmentShares
from raycache.types import FileKind, FileVersion, Tier

BLOCK = 1 << 16
DATA = os.urandom(4 * BLOCK)
FILE = FileVersion("s3://b/x", 2 * BLOCK, '"e"', 0)


def leased(memory: pa.Buffer, tier: Tier) -> Leases:
    """A segment of two blocks of a file, which lie at its start."""
    found = Leases(1 << 30)
    keys = [(FILE.id(), 0), (FILE.id(), 1)]
    expires_at_s = time.monotonic() + 60.0
    mapped = MappedSegment("segment", "worker", memory, tier, local=True, expires_at_s=expires_at_s, keys=keys)
    found.share(mapped, [(*key, key[1] * BLOCK, BLOCK) for key in keys])
    return found


class Endpoint:
    """Answers as the endpoint of the node does."""

    def __init__(self, endpoint: SegmentShares) -> None:
        self._shares = endpoint
        self.asked = 0

    def read(self, reads: list[NeighbourRead]) -> NeighbourReply:
        self.asked += 1
        shared = self._shares.of(reads[0].version, reads[0].offset // BLOCK, time.monotonic())
        pieces = [pa.py_buffer(DATA[read.offset : read.offset + read.length]) for read in reads]
        return NeighbourReply(pieces, [shared] if shared is not None else [])


class LaterClock(SystemClock):
    """The machine's, or some time later."""

    later_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.later_s


def neighbour(endpoint: Endpoint, clock: SystemClock | None = None) -> tuple[NeighbourReader, Counters]:
    counters: Any = Counters()
    calls: Any = endpoint
    reader = NeighbourReader(
        calls, lambda _: None, Leases(1 << 30), counters, BLOCK, clock or SystemClock(), on_read=lambda: None
    )
    return reader, counters


def meta() -> FileMeta:
    return FileMeta("/lake/x", FileKind.FILE, FILE, (), 1e18)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pa.Buffer:
    """A file without a name, mapped, as the object store's is; the process that has it open is this one."""
    path = tmp_path / "plasma"
    path.write_bytes(b"before" * 1000 + DATA)
    file = os.open(path, os.O_RDONLY)
    mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    path.unlink()
    monkeypatch.setattr(shares.os, "getppid", os.getpid)
    return pa.py_buffer(memoryview(mapped)[6000 : 6000 + 2 * BLOCK])


def test_memory_is_mapped_and_copied(store: pa.Buffer) -> None:
    """Asked once, the neighbour reads what lies beside by itself, and counts it."""
    endpoint = Endpoint(SegmentShares(leased(store, Tier.MEMORY)))
    reader, counters = neighbour(endpoint)
    for offset, length in ((0, 100), (BLOCK + 5, 1000), (BLOCK - 10, 20), (0, 2 * BLOCK)):
        (found,) = reader.read([Request(meta(), offset, length)])
        assert DATA[offset : offset + length] == found.to_pybytes()
    assert 1 == endpoint.asked
    assert 3 <= sum(counts.hits for _, counts in counters.take().readers)


def test_after_the_lease_it_asks_again(store: pa.Buffer) -> None:
    """The memory may be another's by then."""
    endpoint, clock = Endpoint(SegmentShares(leased(store, Tier.MEMORY))), LaterClock()
    reader, _ = neighbour(endpoint, clock)
    reader.read([Request(meta(), 0, 100)])
    reader.read([Request(meta(), 0, 100)])
    assert 1 == endpoint.asked
    clock.later_s = 61.0
    reader.read([Request(meta(), 0, 100)])
    assert 2 == endpoint.asked


def test_a_file_on_disk_is_read_in_place(tmp_path: Path) -> None:
    """Also after it was removed."""
    path = tmp_path / "x.segment"
    path.write_bytes(DATA)
    with pa.memory_map(str(path), "r") as source:
        memory = source.read_buffer(2 * BLOCK)
    endpoint = Endpoint(SegmentShares(leased(memory, Tier.DISK)))
    reader, _ = neighbour(endpoint)
    reader.read([Request(meta(), 0, 100)])
    path.unlink()
    (found,) = reader.read([Request(meta(), 10, BLOCK)])
    assert (1, DATA[10 : 10 + BLOCK]) == (endpoint.asked, found.to_pybytes())


def test_what_cannot_be_shared_is_sent(store: pa.Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody else has the file open, and where it is plain memory."""
    monkeypatch.setattr(shares, "_open_elsewhere", lambda *_: None)
    for memory in (store, pa.py_buffer(DATA[: 2 * BLOCK])):
        endpoint = Endpoint(SegmentShares(leased(memory, Tier.MEMORY)))
        reader, _ = neighbour(endpoint)
        for _ in range(2):
            (found,) = reader.read([Request(meta(), 3, 500)])
            assert DATA[3:503] == found.to_pybytes()
        assert 2 == endpoint.asked
