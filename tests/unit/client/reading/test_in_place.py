"""Reads of what is mapped: in place, without a call, counted exactly; to pyarrow as native files."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raycache.client.client import Client, Parts
from raycache.client.counters import Counters
from raycache.client.file_meta import FileMeta
from raycache.client.ports import WorkerCall
from raycache.client.reading.file import CacheFile
from raycache.client.reading.leases import Leases
from raycache.client.reading.reader import Reader, Request
from raycache.client.reading.to_bytes import bytes_of
from raycache.client.topology import Topology
from raycache.clock import ManualClock
from raycache.errors import InvalidRequestError
from raycache.filesystems.pyarrow import CacheHandler
from raycache.messages import BlockReply, BlockRequest, BlockState, Grant, GrantKind, Purpose, decode, encode
from raycache.ranges import Grid
from raycache.settings import Settings
from raycache.types import FileKind, FileVersion, MembershipView, Tier, WorkerView

BLOCK = 8
WHOLE = bytes(range(20))


class Surroundings:
    """A worker with one segment, if any, a lake, and a locator that knows one file. What is asked of them is kept."""

    mounts = SimpleNamespace(version=0)

    def __init__(self, meta: FileMeta) -> None:
        self.view = MembershipView(0, ())
        self.meta = meta
        self.grant: Grant | None = None
        self.array = np.zeros(0, np.uint8)
        self.calls = 0
        self.requests: list[BlockRequest] = []
        #: (offset, length) of the file.
        self.reads: list[tuple[int, int]] = []

    def file(self, path: str) -> FileMeta:
        assert self.meta.path == path
        return self.meta

    opened = file

    def outdated(self, paths: Sequence[str]) -> None:
        pass

    def resolve(self, paths: Sequence[str]) -> list[FileMeta]:
        return [self.file(path) for path in paths]

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        del timeout_s
        self.calls += 1
        (call,) = calls
        request: BlockRequest = decode(call.arguments[0])
        self.requests.append(request)
        count = len(request.block_index)
        if self.grant is None:
            assert request.purpose == Purpose.READ_HELD, "nothing is to be loaded here"
            refused = [int(BlockState.NO_SPACE)] * count
            return [(encode(BlockReply("n", 1, 0, refused, [-1] * count, [0] * count, [], {})), [])]
        offsets = [self.grant.entry_offsets[self.grant.entry_blocks.index(block)] for block in request.block_index]
        states = [int(BlockState.HIT_MEMORY)] * count
        return [(encode(BlockReply("n", 1, 0, states, [0] * count, offsets, [self.grant], {})), [self.array])]

    def objects(self, references: Sequence[Any], peer: str = "") -> list[Any]:
        return list(references)

    def storage(self, uri: str) -> tuple[Any, str]:
        return self, uri

    def read(self, key: str, offset: int, length: int, version: FileVersion) -> bytes:
        assert self.meta.file is version
        assert version.uri == key
        self.reads.append((offset, length))
        return WHOLE[offset : offset + length]


class Place:
    """A reader, a file of three blocks, and the segments that are put before it."""

    def __init__(self) -> None:
        self.meta = FileMeta("/lake/x", FileKind.FILE, FileVersion("s3://b/x", len(WHOLE), "e", 0), (), 1e9)
        self.around: Any = Surroundings(self.meta)
        self.clock = ManualClock()
        self.counters = Counters()
        self.table = Leases(1000)
        self.reads = 0
        self.reader = self.reader_of(Grid(BLOCK, BLOCK))
        self.file = CacheFile(self.meta, self.reader, self.clock, Grid(BLOCK, BLOCK))

    def reader_of(self, grid: Grid) -> Reader:
        """A reader of all this, of files cut in some way."""
        return Reader(
            self.around, self.around, self.table, self.counters, self.clock,
            lambda: Topology(self.around.view, "n", self.around.mounts.version, grid, 64, 1), on_read=self._read,
        )  # fmt: skip

    def _read(self) -> None:
        self.reads += 1

    def segment(self, name: str, blocks: Sequence[int], tier: Tier = Tier.MEMORY) -> tuple[Grant, bytes]:
        """A segment of these blocks, one after the other behind three bytes of others."""
        parts = [WHOLE[block * BLOCK : (block + 1) * BLOCK] for block in blocks]
        content = b"abc" + b"".join(parts)
        lengths = [len(part) for part in parts]
        offsets = [3 + sum(lengths[:position]) for position in range(len(parts))]
        versions = [self.meta.version] * len(parts)
        plasma, size = GrantKind.PLASMA, len(content)
        return Grant(name, tier, plasma, size, "", 12.0, versions, list(blocks), offsets, lengths), content

    def map(self, name: str, blocks: Sequence[int], tier: Tier = Tier.MEMORY) -> pa.Buffer:
        """Map such a segment; returns all of it."""
        grant, content = self.segment(name, blocks, tier)
        buffer = pa.py_buffer(content)
        self.table.add(grant, "actor", buffer, local=True, now_s=self.clock.now_s())
        return buffer

    def counted(self) -> tuple[int, int, int, int]:
        """(hits, bypasses, bytes from memory, bytes from disk) since the last time."""
        total = self.counters.take().total()
        return total.hits, total.bypasses, total.bytes_memory, total.bytes_disk


@pytest.fixture
def place() -> Place:
    return Place()


def test_blocks_in_one_piece_are_read_in_place(place: Place) -> None:
    """Any range of them, across blocks too, is a slice of the segment; each block counts once, each byte once."""
    base = place.map("s", [0, 1, 2])
    (whole,) = place.reader.read([Request(place.meta, 0, 20)])
    assert (WHOLE, base.address + 3) == (whole.to_pybytes(), whole.address)
    assert (3, 0, 20, 0) == place.counted()
    part = place.file.read_at(7, 2)
    assert (WHOLE[7:9], base.address + 10) == (part.to_pybytes(), part.address)
    assert (2, 0, 2, 0) == place.counted()
    assert WHOLE[16:] == place.file.read_at(16, None).to_pybytes()
    assert (1, 0, 4, 0) == place.counted()


def test_every_read_in_place_makes_counters_and_renewals_go_out(place: Place) -> None:
    """The flusher learns of it."""
    place.map("s", [0, 1, 2])
    place.file.read_at(0, 1)
    place.file.read_at(0, 20)
    assert 2 == place.reads
    assert {"actor": ["s"]} == place.table.take_used()
    place.file.read_at(9, 1)
    assert {"actor": ["s"]} == place.table.take_used()


def test_blocks_of_several_segments_are_stitched(place: Place) -> None:
    """A range that lies in two segments, or out of order in one, is put together; each block counts where it was."""
    place.map("s", [0], Tier.DISK)
    place.map("t", [2, 1])
    assert WHOLE[6:18] == place.file.read_at(6, 12).to_pybytes()
    assert (3, 0, 10, 2) == place.counted()
    assert [] == place.around.reads


def test_only_what_is_not_mapped_is_read_elsewhere(place: Place) -> None:
    """The mapped part of a range is a hit all the same, and not read again."""
    place.map("s", [0, 1])
    one, two = place.reader.read([Request(place.meta, 4, 16), Request(place.meta, 0, 8)])
    assert (WHOLE[4:], WHOLE[:8]) == (one.to_pybytes(), two.to_pybytes())
    assert [(16, 4)] == place.around.reads
    assert (3, 1, 20, 0) == place.counted()


def test_nothing_is_read_in_place_after_the_lease(place: Place) -> None:
    """Then the range is asked for again; what was handed out stays as it was."""
    place.map("s", [0, 1, 2])
    handed_out = place.file.read_at(0, 20)
    place.clock.advance(11.0)
    assert place.reader.in_place(place.meta, 0, 20, place.clock.now_s()) is None
    assert (WHOLE, 0) == (handed_out.to_pybytes(), place.table.mapped_bytes)
    assert WHOLE == place.file.read_at(0, 20).to_pybytes()
    assert [(0, 20)] == place.around.reads


def test_a_file_is_read_by_position(place: Place) -> None:
    """Seek, tell, read, readinto and the end of the file; an empty read counts nothing."""
    place.map("s", [0, 1, 2])
    place.file.seek(18)
    assert (WHOLE[18:], b"", 20) == (place.file.read(9), place.file.read(), place.file.tell())
    target = bytearray(5)
    assert (11, 5, WHOLE[11:16]) == (place.file.seek(-9, 2), place.file.readinto(target), bytes(target))
    assert (16, 15) == (place.file.tell(), place.file.seek(-1, 1))
    place.counted()
    assert 0 == place.file.read_at(25, 3).size == place.file.read_at(3, 0).size
    assert (0, 0, 0, 0) == place.counted()
    with pytest.raises(InvalidRequestError, match="negative"):
        place.file.seek(-1)
    with pytest.raises(InvalidRequestError, match="whence"):
        place.file.seek(0, 9)


def test_large_copies_are_exact() -> None:
    """Whatever the size and the alignment, small ones and large ones."""
    data = bytes(range(251)) * 20_000
    buffer = pa.py_buffer(data)
    for offset, size in ((0, 0), (1, 1), (3, 2 << 20), (7, (2 << 20) + 1), (5, 5_000_000), (0, len(data))):
        copy = bytes_of(buffer.slice(offset, size))
        assert data[offset : offset + size] == copy
        assert hash(data[offset : offset + size]) == hash(copy)


def _client(place: Place) -> Client:
    """The real client, put together of the parts of a `Place`."""
    settings = Settings(block_size_bytes=BLOCK, segment_size_bytes=3 * BLOCK, extent_size_bytes=3 * BLOCK)
    around: Any = place.around
    nobody: Any = None
    parts = Parts(
        around, place.clock, place.counters, place.table, around, nobody, place.reader, in_worker=lambda: False
    )
    return Client("c", settings, {}, "n", parts)


def _handler(place: Place) -> CacheHandler:
    """The pyarrow side of a cache."""
    return CacheHandler(SimpleNamespace(client=_client(place), protocol="raycache"))  # type: ignore[arg-type]


def test_a_file_in_one_piece_is_a_native_file(place: Place) -> None:
    """pyarrow gets the segment's memory; it is counted whole at opening, and never after; it outlives the segment."""
    base = place.map("s", [0, 1, 2])
    file = _handler(place).open_input_file("/lake/x")
    assert isinstance(file, pa.BufferReader)
    assert (3, 0, 20, 0) == place.counted()
    place.table.clear()
    part = file.read_buffer(6)
    assert (WHOLE[:6], base.address + 3) == (part.to_pybytes(), part.address)
    assert (20, WHOLE[9:12]) == (file.size(), file.read_at(3, 9))
    assert (0, 0, 0, 0) == place.counted()


def test_a_file_in_several_pieces_is_read_through_the_cache(place: Place) -> None:
    """Each read is counted by itself, and nothing at opening."""
    place.map("s", [0])
    place.map("t", [1, 2])
    file = _handler(place).open_input_stream("/lake/x")
    assert isinstance(file, pa.PythonFile)
    assert (0, 0, 0, 0) == place.counted()
    assert WHOLE[:5] == file.read(5)
    assert (1, 0, 5, 0) == place.counted()


def test_what_the_node_holds_is_mapped_at_opening(place: Place) -> None:
    """One call, which loads nothing; counted once, as read."""
    place.around.view = MembershipView(0, (WorkerView("n", 1, 1, "actor"),))
    place.around.grant, content = place.segment("s", [0, 1, 2])
    place.around.array = np.frombuffer(content, np.uint8)
    handler = _handler(place)
    place.meta.places.holders = (("n", 0b011),)
    assert isinstance(handler.open_input_file("/lake/x"), pa.PythonFile)
    assert ((0, 0, 0, 0), 0) == (place.counted(), place.around.calls)
    place.meta.places.holders = (("other", 0b111), ("n", 0b111))
    file = handler.open_input_file("/lake/x")
    assert (True, WHOLE) == (isinstance(file, pa.BufferReader), file.read())
    assert ((3, 0, 20, 0), 1) == (place.counted(), place.around.calls)
    assert isinstance(handler.open_input_stream("/lake/x"), pa.BufferReader)
    assert ((3, 0, 20, 0), 1) == (place.counted(), place.around.calls)


def test_who_comes_from_a_block_that_was_read_in_place_goes_on(place: Place) -> None:
    """What an answer has mapped besides was never asked for: the block behind it is wanted whole all the same."""
    place.map("s", [0])
    assert not place.reader_of(Grid(BLOCK, 2)).picks(Request(place.meta, BLOCK, 1))
    other = Place()
    other.map("s", [2])
    assert other.reader_of(Grid(BLOCK, 2)).picks(Request(other.meta, BLOCK, 1))


def test_a_read_that_ends_in_the_next_block_does_not_go_on(place: Place) -> None:
    """A column that reaches into another block is followed by one that nobody wants."""
    place.map("s", [0])
    reader = place.reader_of(Grid(BLOCK, 2))
    assert reader.picks(Request(place.meta, 1, BLOCK))
    assert not reader.picks(Request(place.meta, 1, BLOCK, in_order=True))


@pytest.mark.parametrize(
    ("reads", "in_order"),
    [
        ([(0, 3), (3, 8), (11, 1)], [True, True, True]),
        ([(0, 3), (4, 8), (3, 2)], [True, False, True]),
        ([(4, 1), (0, 3)], [False, False]),
    ],
)
def test_reads_from_the_front_without_a_gap_are_in_order(
    place: Place, monkeypatch: pytest.MonkeyPatch, reads: list[tuple[int, int]], in_order: list[bool]
) -> None:
    """They reach into block after block whatever their size; a column, or what follows it, does not come from the front."""
    seen: list[bool] = []
    read = place.reader.read
    monkeypatch.setattr(
        place.reader, "read", lambda requests: (seen.extend(r.in_order for r in requests), read(requests))[1]
    )
    for offset, length in reads:
        assert WHOLE[offset : offset + length] == place.file.read_at(offset, length).to_pybytes()
    assert in_order == seen


def test_a_hint_that_is_no_longer_true_loads_nothing(place: Place) -> None:
    """A file that the node's worker has given up is not loaded whole because somebody opened it."""
    place.around.view = MembershipView(0, (WorkerView("n", 1, 1, "actor"),))
    place.meta.places.holders = (("n", 0b111),)
    file = _handler(place).open_input_file("/lake/x")
    assert isinstance(file, pa.PythonFile)
    assert [Purpose.READ_HELD] == [request.purpose for request in place.around.requests]
    assert ([], (0, 0, 0, 0)) == (place.around.reads, place.counted())
