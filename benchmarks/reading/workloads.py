"""Workloads: what is read, in which order, and how much of it counts. Knows nothing of who reads.

A run reads until its list is through or its time is over, so that slow targets read a part of the same list; what is
compared is the rate. Every byte is hashed, and the hashes are compared with those of the files as written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.measure import Bar, Done
from benchmarks.reading.data import PIECE_BYTES, Data, Digests, digest
from benchmarks.reading.targets import ReadsBatches, ReadTarget

BATCH_FILES = 256
_CLOCK_EVERY = 64

T = TypeVar("T")


class Workload(NamedTuple):
    """One way to read."""

    key: str
    title: str
    unit: str
    #: (target, data, digests, seconds at most) -> what was done.
    run: Callable[[ReadTarget, Data, Digests, float], Done]
    #: What the memory tier must show, and the disk tier.
    bars: tuple[Bar, ...]
    disk_bars: tuple[Bar, ...]


def sequential(target: ReadTarget, data: Data, digests: Digests, seconds_max: float) -> Done:
    """Large files front to back."""
    total = 0
    done: list[str] = []
    started = time.perf_counter()
    ended = started
    for name in data.large.names:
        total ^= target.hash_file(name)
        done.append(name)
        ended = time.perf_counter()
        if ended - started > seconds_max:
            break
    digests.check(done, total)
    return Done(len(done) * data.large.size_bytes / 1e6, ended - started)


def batches(target: ReadsBatches, data: Data, digests: Digests, seconds_max: float) -> Done:
    """Small files in random order, a batch at a time, as a data loader does."""
    total = count = 0
    names = data.shuffled
    started = time.perf_counter()
    ended = started
    while count < len(names) and ended - started <= seconds_max:
        batch = names[count : count + BATCH_FILES]
        for buffer in target.read_many(batch):
            total ^= digest(buffer)
        count += len(batch)
        ended = time.perf_counter()
    digests.check(names[:count], total)
    return Done(count, ended - started)


def one_by_one(target: ReadTarget, data: Data, digests: Digests, seconds_max: float) -> Done:
    """Small files in random order, one at a time."""
    return read_each(target, data.shuffled, digests, seconds_max)


def _for_a_while(items: Iterable[T], seconds_max: float) -> Iterator[T]:
    """The items, until the time is over; the clock is looked at now and then."""
    end = time.perf_counter() + seconds_max
    for count, item in enumerate(items, 1):
        yield item
        if count % _CLOCK_EVERY == 0 and time.perf_counter() > end:
            return


def read_each(target: ReadTarget, names: Sequence[str], digests: Digests, seconds_max: float) -> Done:
    """Read these files, one at a time."""
    total = count = 0
    started = time.perf_counter()
    for name in _for_a_while(names, seconds_max):
        total ^= digest(target.read(name))
        count += 1
    ended = time.perf_counter()
    digests.check(list(names[:count]), total)
    return Done(count, ended - started)


def pieces(target: ReadTarget, data: Data, digests: Digests, seconds_max: float) -> Done:
    """Random pieces of large files, through file objects that stay open."""
    del digests  # pieces have none; the bytes are hashed all the same
    files = [target.open(name) for name in data.large.names]
    count = 0
    started = time.perf_counter()
    for index, offset in _for_a_while(data.pieces, seconds_max):
        file = files[index]
        file.seek(offset)
        digest(file.read(PIECE_BYTES))
        count += 1
    ended = time.perf_counter()
    for file in files:
        file.close()
    return Done(count, ended - started)


_OWN_JUICE = "JuiceFS, its own cache"
WORKLOADS = (
    Workload(
        "sequential", "64 MB files, front to back", "MB", sequential,
        (Bar("raycache", "local files", least=1.0), Bar("raycache", _OWN_JUICE, least=4.0)),
        (Bar("raycache", "local files", least=0.8),),
    ),
    Workload(
        "batches", "100 KB files in random order, batches of 256", "files", batches,
        (Bar("raycache", "local files", least=2.0, enough=50_000),),
        (Bar("raycache", "local files", least=0.8),),
    ),
    Workload(
        "one-by-one", "100 KB files in random order, one at a time", "files", one_by_one,
        (
            Bar("raycache", "local files", least=1.0), Bar("raycache, fsspec", "local files", least=1.0),
            Bar("raycache", _OWN_JUICE, least=5.0), Bar("raycache, fsspec", _OWN_JUICE, least=5.0),
        ),
        (Bar("raycache", "local files", least=0.8), Bar("raycache, fsspec", "local files", least=0.8)),
    ),
    Workload(
        "pieces", "random 4 KB pieces of 64 MB files, through file objects", "reads", pieces,
        (Bar("raycache", least=100_000),),
        (),
    ),
)  # fmt: skip
