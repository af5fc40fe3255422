"""Carries a `Load` out: ranged reads from the under storage, in parallel.

Adjacent blocks of one file are fetched with one read of up to `request_bytes_max`, or with several where a link is slow
(`link_speed.py`); from another worker with a single read, since it hands over what it holds as a whole. The segment's pieces
are what the reads brought, when the tier can put them together; otherwise they are copied into one buffer. What is here of a
block in pages is not read again. A read that fails spoils its own blocks only; their bytes are zeroed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from typing_extensions import Buffer

from raycache.clock import Clock, SystemClock
from raycache.errors import ConflictError, NotFoundError, RaycacheError, UnavailableError
from raycache.messages import BlockState
from raycache.paths import split_uri
from raycache.types import FileVersion
from raycache.workers.effects import CachedPart, Load, LoadItem, LoadOutcome
from raycache.workers.stores.assembly import Bytes, joinable
from raycache.workers.stores.link_speed import LinkSpeeds

_Result = TypeVar("_Result")
#: Stores with threads of their own.
_POOLS_MAX = 64
#: What a read brought, and whether the lake gave it (or another worker).
Fetched: TypeAlias = tuple[Bytes, bool]


class BlockSource(Protocol):
    """Where blocks come from: an under storage, or another worker (whose `is_lake` says after a read where it went)."""

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """Read exactly `length` bytes of a version; see `UnderStorage.read`."""
        ...


#: The store to read a block from, and the object's key there.
StorageOf: TypeAlias = Callable[[LoadItem], tuple[BlockSource, str]]
#: The bytes of a part that is here; None when it is gone.
CachedOf: TypeAlias = Callable[[CachedPart], Bytes | None]


class Loader:
    """Safe to call from several threads.

    Args:
        storage_of: finds the store of a block.
        cached_of: gives what is here.
        request_bytes_max: of one read, unless a block is larger.
        threads: concurrent reads, all loads together.
        clock: measures how fast links are.
    """

    def __init__(
        self,
        storage_of: StorageOf,
        cached_of: CachedOf,
        request_bytes_max: int,
        threads: int,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._speeds = LinkSpeeds()
        self._storage_of = storage_of
        self._cached_of = cached_of
        self._request_bytes_max = request_bytes_max
        self._threads = threads
        #: By store: one that does not answer must not take the threads of others. The oldest of too many are shared.
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()
        #: By load: when it last got on.
        self._progress_s: dict[int, float] = {}

    def load(self, load: Load) -> tuple[list[Bytes], LoadOutcome]:
        """Fetch one segment. Never raises; blocks until all its reads have ended, which they do in bounded time.

        Returns:
            The segment in pieces that follow each other and are `joinable`, none when no item is good; and what became of
            each item.
        """
        self._progress_s[load.load_id] = self._clock.now_s()
        try:
            return self._load(load)
        finally:
            del self._progress_s[load.load_id]

    def stalled_s(self, load_id: int) -> float:
        """How long ago a running load last got on."""
        now_s = self._clock.now_s()
        return now_s - self._progress_s.get(load_id, now_s)

    def _load(self, load: Load) -> tuple[list[Bytes], LoadOutcome]:
        runs = _runs(load.items, self._request_bytes_max)
        sizes = [sum(item.length for item in run) for run in runs]
        results: list[bool | RaycacheError]
        if joinable(sizes):
            fetched = self._each(self._fetch, runs, load)
            pieces = [
                np.zeros(size, dtype=np.uint8) if isinstance(found, RaycacheError) else found[0]
                for size, found in zip(sizes, fetched, strict=True)
            ]
            results = [found if isinstance(found, RaycacheError) else found[1] for found in fetched]
        else:
            pieces = [np.empty(load.size_bytes, dtype=np.uint8)]
            results = self._each(lambda run: self._fetch_into(pieces[0], run), runs, load)
        outcome = _outcome(list(zip(runs, results, strict=True)))
        return (pieces if any(state.served for state in outcome.states) else []), outcome

    def close(self) -> None:
        """Stop taking loads; running ones end."""
        for pool in self._pools.values():
            pool.shutdown(wait=False)

    def _pool_of(self, store: str) -> ThreadPoolExecutor:
        with self._lock:
            pool = self._pools.get(store)
            if pool is None:
                if len(self._pools) >= _POOLS_MAX:
                    return next(iter(self._pools.values()))
                pool = ThreadPoolExecutor(self._threads, thread_name_prefix="raycache-fetch")
                self._pools[store] = pool
            return pool

    def _each(
        self, work: Callable[[list[LoadItem]], _Result], runs: Sequence[list[LoadItem]], load: Load
    ) -> list[_Result]:
        """Do the work for each run. There is a future for each thread, not for each run: a future takes a kilobyte."""
        results: list[Any] = [None] * len(runs)
        numbers = iter(range(len(runs)))

        def take() -> None:
            # All threads take from one iterator.
            for number in numbers:
                results[number] = work(runs[number])
                self._progress_s[load.load_id] = self._clock.now_s()

        pool = self._pool_of(load.store)
        for taken in [pool.submit(take) for _ in range(min(self._threads, len(runs)))]:
            taken.result()
        return results

    def _fetch_into(self, buffer: Bytes, run: Sequence[LoadItem]) -> bool | RaycacheError:
        start = run[0].offset_in_segment
        part = buffer[start : start + sum(item.length for item in run)]
        result = self._fetch(run)
        if isinstance(result, RaycacheError):
            part[:] = 0
            return result
        part[:] = result[0]
        return result[1]

    def _fetch(self, run: Sequence[LoadItem]) -> Fetched | RaycacheError:
        first, length = run[0], sum(item.length for item in run)
        found = [(part, data) for item in run for part in item.cached if (data := self._cached_of(part)) is not None]
        if not found:
            return self._read(first, first.file_offset, length)
        buffer = np.empty(length, dtype=np.uint8)
        gaps: list[tuple[int, int]] = []
        position = 0
        for part, data in found:
            start = part.file_offset - first.file_offset
            gaps.append((position, start))
            position = start + part.length
            buffer[start:position] = data
        for start, end in (*gaps, (position, length)):
            if start < end:
                between = self._read(first, first.file_offset + start, end - start)
                if isinstance(between, RaycacheError):
                    return between
                buffer[start:end] = between[0]
        return buffer, True

    def _read(self, first: LoadItem, offset: int, length: int) -> Fetched | RaycacheError:
        try:
            storage, key = self._storage_of(first)
            found = self._read_ranges(storage, key, offset, length, first)
        except RaycacheError as error:
            return error
        except Exception as error:
            # A bug in a store must cost its own reads, not the worker.
            return UnavailableError(
                f"reading {first.version.uri} failed unexpectedly ({type(error).__name__}); read it directly",
                uri=first.version.uri,
            )
        if found.size != length:
            return UnavailableError(
                f"{first.version.uri} gave {found.size} bytes instead of {length} at {offset}; try again",
                uri=first.version.uri,
            )
        return found, getattr(storage, "is_lake", True)

    def _read_ranges(self, storage: BlockSource, key: str, offset: int, length: int, first: LoadItem) -> Bytes:
        """Read with one request, or over a slow link with several, one behind the other."""
        link = "" if first.source_actor else split_uri(first.version.uri)[0]
        size = self._speeds.range_bytes(link, length) if link else length
        pieces: list[Bytes] = []
        for start in range(offset, offset + length, size):
            wanted = min(size, offset + length - start)
            started_s = self._clock.now_s()
            pieces.append(np.frombuffer(memoryview(storage.read(key, start, wanted, first.version)), dtype=np.uint8))
            if link:
                self._speeds.note(link, wanted, self._clock.now_s() - started_s)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _runs(items: Sequence[LoadItem], request_bytes_max: int) -> list[list[LoadItem]]:
    """Group items that follow each other in one file."""
    runs: list[list[LoadItem]] = []
    run_bytes = 0
    for item in items:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and last.block.version == item.block.version
            and last.source_actor == item.source_actor
            and last.file_offset + last.length == item.file_offset
            and (item.source_actor or run_bytes + item.length <= request_bytes_max)
        ):
            runs[-1].append(item)
            run_bytes += item.length
        else:
            runs.append([item])
            run_bytes = item.length
    return runs


def _outcome(results: Sequence[tuple[Sequence[LoadItem], bool | RaycacheError]]) -> LoadOutcome:
    states: list[BlockState] = []
    errors: dict[int, RaycacheError] = {}
    for run, result in results:
        for _ in run:
            if isinstance(result, RaycacheError):
                errors[len(states)] = result
            states.append(_state(result))
    return LoadOutcome(tuple(states), errors)


def _state(result: bool | RaycacheError) -> BlockState:
    match result:
        case bool(is_lake):
            return BlockState.LOADED if is_lake else BlockState.COPIED
        case ConflictError():
            return BlockState.CHANGED
        case NotFoundError():
            return BlockState.GONE
        case _:
            return BlockState.FAILED
