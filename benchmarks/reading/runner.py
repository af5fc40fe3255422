"""Runs the workloads on all targets, interleaved, in one run on the same data; starts and stops what they need."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from benchmarks.measure import Target, interleave
from benchmarks.reading import columns, peers, processes, tables
from benchmarks.reading.data import Digests, upload
from benchmarks.reading.report import Results, Section, elapsed_s, say
from benchmarks.reading.stage import Stage, cluster, disk_tier, memory_tier, s3_store, stage
from benchmarks.reading.targets import CacheReads, FsspecReads, LocalFiles, MappedFiles
from benchmarks.reading.workloads import BATCH_FILES, WORKLOADS, Workload
from raycache.cache import Cache


class Size(NamedTuple):
    """How much is read."""

    large_files: int = 8
    small_files: int = 20_000
    #: S3 and JuiceFS read the first so many of the small files, in the same order.
    peer_files: int = 1_000
    rounds: int = 3
    #: Of one run.
    seconds_max: float = 0.5
    tables: tables.Amount = tables.Amount(256_000_000, 4, 400, 3)


SHORT = Size()
FULL = Size(peer_files=20_000, rounds=5, seconds_max=5.0, tables=tables.Amount(1_000_000_000, 20, 1_000, 3))
FSSPEC_FILES = 500
PARTS = ("memory", "processes", "tables", "columns", "disk")


class _Reading(NamedTuple):
    """A target, and what is special about it."""

    target: Any
    #: Called with the names that a run may read, untimed.
    before: Callable[[Sequence[str]], None] | None = None
    #: How many of the small files it has to read; 0: all.
    files: int = 0
    #: Whether it has to read everything once before it is measured.
    warms: bool = True
    #: Workloads that say nothing new about it.
    without: tuple[str, ...] = ()


def measure(size: Size, results: Results, parts: Sequence[str] = PARTS) -> None:
    """Run everything, or some parts; results are added as they come, so that an error loses no others."""
    results.notes.append(
        f"{size.large_files} files of 64 MB and {size.small_files:,} of 100 KB, random bytes of a seed; one Ray node; "
        f"medians of {size.rounds} interleaved rounds of at most {size.seconds_max:g} s; every byte is hashed (xxh3), and "
        "the hashes are compared."
    )
    results.notes.append(
        f"Of the small files, S3 and JuiceFS have the first {size.peer_files:,} to read, in the same order, and fsspec's "
        f"caches the first {FSSPEC_FILES:,}: they write their whole index with every file they take in."
    )
    with contextlib.ExitStack() as stack:
        say("starting S3, writing the data")
        found = stack.enter_context(stage(size.large_files, size.small_files))
        digests = Digests(found.data)
        volume: Future[str] | None = None
        lake: Future[tables.Lake] | None = None
        # Alone: the memory of its object store is touched.
        say("starting Ray")
        stack.enter_context(cluster(found, 4 * size.tables.parquet_bytes))
        with ThreadPoolExecutor(3) as pool:
            say("uploading the data")
            uploaded = pool.submit(upload, found.data, s3_store(found.server))
            if "tables" in parts:
                lake = pool.submit(tables.write, found, size.tables)
            if missing := peers.juicefs_missing():
                results.notes.append(missing)
            elif "memory" in parts:
                names = [*found.data.large.names, *found.data.shuffled[: size.peer_files]]
                volume = pool.submit(peers.juicefs_volume, found, names)
            uploaded.result()
        if set(parts) - {"disk"}:
            say("loading the data into memory")
            with memory_tier(found) as cache:
                if "memory" in parts:
                    say("filling the caches of the others")
                    with peers.juicefs(found, volume.result()) if volume else contextlib.nullcontext() as mount:
                        _memory(found, cache, mount, digests, size, results)
                if "processes" in parts:
                    results.sections.append(_processes(found, size))
                if lake is not None:
                    say("Ray Data")
                    tables.measure(found, lake.result(), cache, size.tables, results)
                if "columns" in parts:
                    say("columns")
                    results.found.extend(columns.measure(found, cache))
        if "disk" in parts:
            say("loading the data onto the disk")
            with disk_tier(found) as cache:
                _disk(found, cache, digests, size, results)
    results.notes.append(f"The whole run took {elapsed_s():.0f} s.")


def _memory(found: Stage, cache: Cache, mount: Path | None, digests: Digests, size: Size, results: Results) -> None:
    readings = [
        *_ours(cache),
        *_local(found),
        *(_Reading(target, files=size.peer_files, warms=False) for target in peers.s3_directly(found)),
        *(_Reading(target, files=FSSPEC_FILES) for target in peers.fsspec_caches(found)),
        *(_Reading(*pair, size.peer_files, warms=False) for pair in (peers.juicefs_targets(mount) if mount else ())),
    ]
    _warm_up(readings, found)
    for workload in WORKLOADS:
        results.sections.append(_section(workload, readings, found, digests, size))


def _disk(found: Stage, cache: Cache, digests: Digests, size: Size, results: Results) -> None:
    readings = [*_ours(cache), *_local(found)]
    _warm_up(readings, found)
    for workload in WORKLOADS:
        section = _section(workload, readings, found, digests, size)
        title = f"Disk tier: {section.title}"
        results.sections.append(section._replace(key=f"disk-{section.key}", title=title, bars=workload.disk_bars))


def _ours(cache: Cache) -> list[_Reading]:
    return [
        _Reading(CacheReads("raycache", cache)),
        _Reading(FsspecReads("raycache, fsspec", fsspec.filesystem("raycache"), "/lake")),
    ]


def _local(found: Stage) -> list[_Reading]:
    return [
        _Reading(LocalFiles("local files", found.data.directory)),
        _Reading(MappedFiles("local files, mmap", found.data.directory), without=("pieces",)),
    ]


def _section(workload: Workload, readings: Sequence[_Reading], found: Stage, digests: Digests, size: Size) -> Section:
    say(workload.title)
    targets = []
    for reading in readings:
        if workload.key in reading.without:
            continue
        names = found.data.shuffled[: reading.files or None]
        data = found.data._replace(shuffled=names)
        touched = found.data.large.names if workload.key in ("sequential", "pieces") else names

        def run(reading: _Reading = reading, data: Any = data) -> Any:
            return workload.run(reading.target, data, digests, size.seconds_max)

        def before(reading: _Reading = reading, touched: Sequence[str] = touched) -> None:
            if reading.before is not None:
                reading.before(touched)

        targets.append(Target(reading.target.name, run, before))
    interleave(targets, size.rounds)
    for target in targets:
        say(f"  {target.name}: {target.rate:,.0f} {workload.unit}/s")
    return Section(workload.key, workload.title, workload.unit, targets, workload.bars)


def _warm_up(readings: Sequence[_Reading], found: Stage) -> None:
    """Read once all that the runs may read."""
    for reading in readings:
        if reading.warms:
            for name in found.data.large.names:
                reading.target.hash_file(name)
            names = found.data.shuffled[: reading.files or None]
            for start in range(0, len(names), BATCH_FILES):
                reading.target.read_many(names[start : start + BATCH_FILES])


def _processes(found: Stage, size: Size) -> Section:
    say(f"{processes.COUNT} processes")
    # JuiceFS is left out: it has the first of the small files only, and the two cores are busy without its daemon.
    targets = processes.targets(found.data, size.seconds_max)
    interleave(targets, size.rounds)
    for target in targets:
        say(f"  {target.name}: {target.rate:,.0f} files/s")
    title = "100 KB files in random order, batches of 256, several processes"
    return Section("processes", title, "files", targets, processes.BARS, base="local files, 1 process")
