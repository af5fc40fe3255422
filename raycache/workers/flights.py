"""Blocks on their way from the under storage: single flight, grouping into segments, bounds.

A block that is missing becomes a `Flight`; every request for it joins that flight until it lands. Flights are grouped
into batches, each meant to be one segment; batches start in the order they came, as long as the bounds on running loads
allow. So a flight is either *queued* (in exactly one batch) or *running* (in exactly one load).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from raycache.messages import MissReason, Need
from raycache.paths import store_of
from raycache.ranges import Grid, is_page
from raycache.rules import FileRules
from raycache.types import BlockId, FileVersion, VersionId
from raycache.workers.effects import CachedPart, Load, LoadItem
from raycache.workers.waiting_line import WaitingLine

#: Blocks waiting for their load to start. More are not worth waiting for: they are read through.
QUEUED_BLOCKS_MAX = 1 << 16
#: Blocks in one segment: whatever is done with a segment as a whole is done in one turn of the event loop.
SEGMENT_BLOCKS_MAX = 2048


@dataclass(slots=True)
class Flight:
    """One block on its way."""

    block: BlockId
    version: FileVersion
    length: int
    #: See `BlockRequest`.
    source_actor: str = ""
    #: Why it was not here.
    reason: MissReason = MissReason.COLD
    need: Need = Need.WELCOME
    #: See `BlockRequest.keep_since_s`.
    keep_since_s: float = float("-inf")
    #: See `BlockRequest.read_since_s`.
    read_since_s: float = float("inf")
    #: (ticket, position in its request).
    waiters: list[tuple[int, int]] = field(default_factory=list)

    @property
    def store(self) -> str:
        """Where it comes from: the root of the under storage, or the other worker."""
        return self.source_actor or store_of(self.version.uri)

    def join(self, waiter: tuple[int, int], need: Need, keep_since_s: float, read_since_s: float) -> None:
        """Take in an asker; the most urgent one decides what room is made."""
        self.waiters.append(waiter)
        self.need = max(self.need, need)
        self.keep_since_s = max(self.keep_since_s, keep_since_s)
        self.read_since_s = min(self.read_since_s, read_since_s)


def size_of(batch: Iterable[Flight]) -> int:
    """Bytes of a batch."""
    return sum(flight.length for flight in batch)


def items_of(
    batch: Iterable[Flight], grid: Grid, cached_of: Callable[[BlockId], tuple[CachedPart, ...]]
) -> tuple[LoadItem, ...]:
    """What to fetch for a batch, one block behind the other.

    Args:
        batch: the flights.
        grid: how files are cut.
        cached_of: tells what is here of a block that comes from the lake; another worker hands over whole blocks.
    """
    items: list[LoadItem] = []
    offset = 0
    for flight in batch:
        block, source = flight.block, flight.source_actor
        start = grid.offset(block.block_index)
        is_passive = flight.need is Need.WELCOME
        parts = () if source else cached_of(block)
        item = LoadItem(
            block, flight.version, block.block_index, start, offset, flight.length, source, is_passive, parts
        )
        items.append(item)
        offset += flight.length
    return tuple(items)


def prefix_count(batch: list[Flight], room_bytes: int) -> int:
    """How many blocks fit, from the front."""
    total = 0
    for count, flight in enumerate(batch):
        total += flight.length
        if total > room_bytes:
            return count
    return len(batch)


def alike(flights: Iterable[Flight], rules_of: Callable[[str], FileRules]) -> list[list[Flight]]:
    """Group flights of one store for which the same rules hold: only these share a load, and a segment.

    So each segment goes as a whole, and a store that does not answer keeps only its own waiting.
    """
    groups: dict[tuple[FileRules, str], list[Flight]] = {}
    for flight in flights:
        groups.setdefault((rules_of(flight.version.uri), flight.store), []).append(flight)
    return list(groups.values())


def batches_of(flights: Iterable[Flight], block_size_bytes: int, segment_size_bytes: int) -> list[list[Flight]]:
    """Group missing blocks into segments.

    Consecutive blocks of one file lie together, in order, so that a reader finds the file in one piece. Files smaller
    than a block are packed together, and so are pages, in the order asked for. Nothing is padded.

    Returns:
        Batches of at most `segment_size_bytes` and `SEGMENT_BLOCKS_MAX` blocks, in the order of the first block of each file.
    """
    batches: list[list[Flight]] = []
    small: list[Flight] = []
    small_bytes = 0
    large: dict[VersionId, list[Flight]] = {}
    for flight in flights:
        if flight.version.size_bytes >= block_size_bytes and not is_page(flight.block.block_index):
            large.setdefault(flight.block.version, []).append(flight)
            continue
        if small and (small_bytes + flight.length > segment_size_bytes or len(small) >= SEGMENT_BLOCKS_MAX):
            batches.append(small)
            small, small_bytes = [], 0
        small.append(flight)
        small_bytes += flight.length
    for run in large.values():
        batch: list[Flight] = []
        batch_bytes = 0
        for flight in sorted(run, key=lambda flight: flight.block.block_index):
            follows = batch and batch[-1].block.block_index + 1 == flight.block.block_index
            if batch and not (follows and batch_bytes + flight.length <= segment_size_bytes):
                batches.append(batch)
                batch, batch_bytes = [], 0
            batch.append(flight)
            batch_bytes += flight.length
        batches.append(batch)
    if small:
        batches.append(small)
    return batches


class FlightTable:
    """All flights, the queue, and the running loads.

    Args:
        loads_inflight_max: running loads of one store.
        load_bytes_inflight_max: bytes of running loads of one store; a larger one goes alone.
    """

    def __init__(self, loads_inflight_max: int, load_bytes_inflight_max: int) -> None:
        self._flights: dict[BlockId, Flight] = {}
        #: Not in line yet.
        self._opened: list[Flight] = []
        self._line: WaitingLine[Flight] = WaitingLine(loads_inflight_max, load_bytes_inflight_max)
        self.running: dict[int, Load] = {}
        self._next_load_id = 0

    def get(self, block: BlockId) -> Flight | None:
        """The flight of a block, to join it."""
        return self._flights.get(block)

    def open(self, flight: Flight) -> bool:
        """A new flight, not in line yet; False when too many wait already."""
        if self._line.count + len(self._opened) >= QUEUED_BLOCKS_MAX:
            return False
        assert flight.block not in self._flights, f"{flight.block} is on its way already"
        self._flights[flight.block] = flight
        self._opened.append(flight)
        return True

    def take_opened(self) -> list[Flight]:
        """The flights opened since the last call; `enqueue` must follow."""
        opened, self._opened = self._opened, []
        return opened

    def enqueue(self, batches: Iterable[list[Flight]]) -> None:
        """Put opened flights in line."""
        for batch in batches:
            self._line.append(batch)

    def next_batch(self) -> list[Flight] | None:
        """Take the next batch out of the line, if the bounds allow a load of its size to start."""
        return self._line.take()

    def put_back(self, batch: list[Flight]) -> None:
        """The rest of a batch that was split: first in line again."""
        if batch:
            self._line.put_back(batch)

    def new_load_id(self) -> int:
        """Unique in this worker incarnation."""
        self._next_load_id += 1
        return self._next_load_id

    def start(self, load: Load) -> None:
        """The load's flights are running."""
        self.running[load.load_id] = load
        self._line.started(load.store, load.size_bytes)

    def finish(self, load_id: int) -> Load | None:
        """The load has ended; its flights are to be landed. None for a late or duplicate word."""
        load = self.running.pop(load_id, None)
        if load is not None:
            self._line.ended(load.store, load.size_bytes)
        return load

    def land(self, block: BlockId) -> Flight:
        """The flight is over; those that wait are in it."""
        return self._flights.pop(block)

    def waiters(self) -> list[tuple[int, int]]:
        """All that wait for a block."""
        return [waiter for flight in self._flights.values() for waiter in flight.waiters]

    def stranded(self) -> list[BlockId]:
        """Blocks on their way that nothing brings: an event broke off in which their loads should have started or landed."""
        coming = {flight.block for batch in (*self._line, self._opened) for flight in batch}
        coming.update(item.block for load in self.running.values() for item in load.items)
        return [block for block in self._flights if block not in coming]

    def blocks(self) -> list[BlockId]:
        """Every block on its way."""
        return list(self._flights)

    def validate(self) -> None:
        """Check every invariant."""
        queued = [flight.block for batch in self._line for flight in batch]
        running = [item.block for load in self.running.values() for item in load.items]
        assert sorted(queued + running) == sorted(self._flights), "a flight is neither queued nor running, or twice"
        sizes: dict[str, list[int]] = {}
        for load in self.running.values():
            sizes.setdefault(load.store, []).append(load.size_bytes)
        self._line.validate(sizes)
