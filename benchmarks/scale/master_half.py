"""One master at a thousand workers: what a file, a heartbeat, a plan, a mount and a rule cost, and how soon it is back.

The services are the real ones; workers are rows of a view, files are names. Figures of this kind are processor time of one
core and bytes of one process, so they are compared with bars, not with another system.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Finding
from raycache.hashing import place_many
from raycache.master.journal.opening import begin
from raycache.master.journal.records import line_of
from raycache.master.journal.scribe import Scribe
from raycache.master.journal.ufs_journal import UfsJournal
from raycache.master.loads.board import JobBoard
from raycache.master.loads.files import Origin
from raycache.master.namespace import entries
from raycache.master.namespace.lookups import ListNeed, NeedResult
from raycache.master.service import MasterService
from raycache.messages import (
    BlockReply,
    BlockReport,
    BlockState,
    Heartbeat,
    LoadRequest,
    MountInfo,
    ReadCounters,
    WorkerStats,
)
from raycache.rules import Matcher, Pattern, Rule, RuleKind
from raycache.settings import Settings
from raycache.types import FileVersion, MembershipView, WorkerView
from raycache.ufs.base import ObjectInfo
from raycache.ufs.memory import MemoryStorage
from raycache.ufs.trees import pages

WORKERS = 1_000
QUOTAS = 50
MOUNTS = RULES = 10_000
LOAD_FILES = 1_000_000
MEMORY_FILES = 1_000_000
RECORDS = 20_000
REQUEST_S = 0.025
STORES = 100
_GIB = 1 << 30
#: Of this process: what else the machine does meanwhile does not count.
cpu_s = time.process_time


def measure() -> list[Finding]:
    """All figures."""
    parts: list[Callable[[], Iterator[Finding]]] = [
        memory,
        heartbeats,
        boards,
        rules_and_mounts,
        placing,
        plans,
        restarts,
    ]
    found: list[Finding] = []
    for part in parts:
        for finding in part():
            print(f"{finding.what}: {finding.figure} ({finding.bound or 'no bar'})", flush=True)
            found.append(finding)
    return found


def workers(count: int = WORKERS) -> tuple[WorkerView, ...]:
    draw = random.Random(count)
    return tuple(WorkerView(f"node{i:05}", 1, draw.randint(50, 100) * _GIB, f"actor-{i}") for i in range(count))


def bar(what: str, measured: str, limit: str, *, met: bool | None) -> Finding:
    return Finding(what, measured, limit, met)


# --- memory -----------------------------------------------------------------------------------------------------------


def memory() -> Iterator[Finding]:
    """Bytes a file, as the slope between one size and twice that."""
    sizes = [in_own_process(_namespace_bytes, files) for files in (MEMORY_FILES, 2 * MEMORY_FILES)]
    slope = (sizes[1] - sizes[0]) / MEMORY_FILES
    files = 20e9 / slope
    said = f"{slope:.0f} B (so 20 GB hold {files / 1e6:.0f} M files)"
    yield bar("memory of the master for a file that is listed and cached", said, "<= 120 B", met=slope <= 120)


def _namespace_bytes(files: int) -> int:
    """What a service takes for files in ten mounts, listed, each held by one of a thousand workers."""
    service, root = MasterService(Settings(), start_ns=1), "s3://bucket-of-some-name"
    service.catalog.remembered_max = 1 << 40
    view = workers()
    for number in range(10):
        mount = MountInfo(f"/m{number}", f"{root}/dataset{number}", {}, 60.0, readonly=True)
        service.apply(service.mount(f"r{number}", mount))
    before = resident_bytes()
    per_directory, per_mount = 1_000, files // 10
    for number in range(10):
        mount = service.mounts.at(f"/m{number}")
        for start in range(0, per_mount, per_directory):
            prefix = f"dataset{number}/train/shard-{start // per_directory:05}/"
            found = {}
            for at in range(start, min(start + per_directory, per_mount)):
                key = f"{prefix}sample-{at:08}.jpg"
                found[key] = entries.pack(
                    ObjectInfo(key, 100_000 + at, f'"{random.getrandbits(128):032x}"', at * 10**9)
                )
            need = ListNeed(mount, mount.path, root, prefix, recursive=False, generation=0, asked_s=0.0)
            service.fetched(need, NeedResult(found=found, is_directory=True))
            ids = [entries.version(root, key, entry).id() for key, entry in found.items()]
            name = view[random.randrange(WORKERS)].worker
            service.locations.apply(name, BlockReport(False, ids, [1] * len(ids)))
    return resident_bytes() - before


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# --- events -----------------------------------------------------------------------------------------------------------


def a_cluster(quotas: int) -> tuple[MasterService, dict[str, int]]:
    """A service whose thousand workers have spoken, and their epochs."""
    service = MasterService(Settings(), start_ns=1)
    names = [worker.worker for worker in workers()]
    epochs = {effect.worker: effect.epoch for effect in service.nodes_changed(names, 0.0)}
    rules = [Rule(RuleKind.QUOTA, Pattern(f"s3://bucket/q{number}"), 1000.0 * _GIB) for number in range(quotas)]
    if rules:
        service.apply(service.add_rules("q", rules))
    stats = WorkerStats()._replace(memory_capacity_bytes=64 * _GIB, disk_capacity_bytes=512 * _GIB)
    for name, epoch in epochs.items():
        service.heartbeat(Heartbeat(name, epoch, 1, BlockReport(True, [], []), stats, ReadCounters(), 0, 0), 0.0)
    return service, epochs


def heartbeats() -> Iterator[Finding]:
    """A heartbeat with nothing new, of each worker in turn, some rounds."""
    for quotas in (0, QUOTAS):
        service, epochs = a_cluster(quotas)
        stats = WorkerStats()._replace(memory_capacity_bytes=64 * _GIB, disk_capacity_bytes=512 * _GIB)
        said: dict[str, dict[str, int]] = {name: {} for name in epochs}
        used = {f"s3://bucket/q{number}": 5 * _GIB for number in range(quotas)}
        times: list[float] = []
        for sequence in range(2, 6):
            for name, epoch in epochs.items():
                beat = Heartbeat(
                    name, epoch, sequence, BlockReport(False, [], []), stats, ReadCounters(),
                    service.membership.view().view_id, service.mounts.version, rules_version=service.rules.version,
                    quota_limits=said[name], quota_used=used,
                )  # fmt: skip
                started = cpu_s()
                reply = service.heartbeat(beat, float(sequence))
                times.append(cpu_s() - started)
                said[name] = reply.shares.limits if reply.shares else {}
        median_s = statistics.median(times[len(epochs) :])
        what = f"a heartbeat at {WORKERS:,} workers, {quotas} quotas"
        yield bar(what, f"{median_s * 1e6:.0f} us", "<= 100 us", met=median_s <= 100e-6)


def boards() -> Iterator[Finding]:
    """A look at the board of four loads when every worker has all that it may have."""
    view = MembershipView(1, workers())
    board = JobBoard(Settings(), lambda _: ())
    for number in range(4):
        board.start(f"job{number}", LoadRequest([f"/m{number}"]), 0.0)
        list_files(board, view, f"job{number}", 100_000)
    while board.next_batches(view, 1, 0.0) or board.is_planning:
        pass
    times = []
    for _ in range(200):
        started = cpu_s()
        assert not board.next_batches(view, 1, 0.0)
        times.append(cpu_s() - started)
    median_s = statistics.median(times)
    what = f"a look at the board with nothing to send, {WORKERS:,} workers, 4 loads"
    yield bar(what, f"{median_s * 1e6:.0f} us", "<= 50 us", met=median_s <= 50e-6)


def list_files(board: JobBoard, view: MembershipView, job_id: str, files: int) -> list[float]:
    """Give a load its listing, in pages of a thousand; how long each took."""
    job = next(job for job in board.live() if job.job_id == job_id)
    turns = []
    origin = Origin("s3://bucket", f"{job_id}/", f"/{job_id}")
    for start in range(0, files, 1_000):
        names = [f"{job_id}/{at:08}.jpg" for at in range(start, min(start + 1_000, files))]
        rows = [
            (name, entries.pack(ObjectInfo(name, 100_000, f'"{hash(name) & (1 << 62):032x}"', 0))) for name in names
        ]
        started = cpu_s()
        job.add(origin, rows, view)
        turns.append(cpu_s() - started)
    job.all_listed(0.0)
    return turns


def plans() -> Iterator[Finding]:
    """A load of a million files: its listing taken in, planned, cut into batches, and all answered."""
    total_s, planned_s, turn_s, peak = in_own_process(_plan)
    what = f"planning a load of {LOAD_FILES:,} files at {WORKERS:,} workers"
    yield bar(f"{what}: taken in and planned", f"{planned_s:.1f} s", "<= 5 s", met=planned_s <= 5)
    yield bar(f"{what}: with all batches cut and answered", f"{total_s:.1f} s", "", met=None)
    yield bar(f"{what}: memory", f"{peak / 1e6:.0f} MB", "<= 300 MB", met=peak <= 300e6)
    yield bar(f"{what}: longest turn", f"{turn_s * 1e3:.0f} ms", "<= 100 ms", met=turn_s <= 0.1)


def _plan() -> tuple[float, float, float, int]:
    view = MembershipView(1, workers())
    board = JobBoard(Settings(), lambda _: ())
    before = most = resident_bytes()
    board.start("job", LoadRequest(["/job"]), 0.0)
    turns = list_files(board, view, "job", LOAD_FILES)
    listed_s = sum(turns)
    answered_s = 0.0
    while board.live() and not board.live()[0].finished:
        started = cpu_s()
        batches = board.next_batches(view, 1, 0.0)
        turns.append(cpu_s() - started)
        most = max(most, resident_bytes())
        for job, batch in batches:
            count = len(batch.request.block_index)
            states = [int(BlockState.LOADED)] * count
            reply = BlockReply(batch.worker.worker, 1, 1, states, [-1] * count, [0] * count, [], {})
            started = cpu_s()
            board.replied(job, batch, reply, 1.0)
            answered_s += cpu_s() - started
    return sum(turns) + answered_s, listed_s + sum(turns[LOAD_FILES // 1_000 :]), max(turns), most - before


def placing() -> Iterator[Finding]:
    """Where a hundred thousand files belong."""
    seconds, peak = in_own_process(_place)
    what = f"placing 100,000 files on {WORKERS:,} nodes"
    yield bar(what, f"{seconds:.2f} s, {peak / 1e6:.0f} MB", "<= 100 MB", met=peak <= 100e6)


def _place() -> tuple[float, int]:
    view = workers()
    keys = np.random.default_rng(1).integers(0, 1 << 63, 100_000, dtype=np.int64).astype(np.uint64)
    place_many(keys[:10], view)
    before = resident_bytes()
    started = cpu_s()
    place_many(keys, view)
    return cpu_s() - started, resident_bytes() - before


# --- the journal ------------------------------------------------------------------------------------------------------


def a_large_journal() -> list[dict[str, Any]]:
    """Ten thousand mounts and ten thousand rules."""
    service = MasterService(Settings(), start_ns=1)
    records: list[dict[str, Any]] = []
    for number in range(MOUNTS):
        uri = f"s3://bucket{number % STORES}/team{number // 100}/dataset{number}"
        mount = MountInfo(f"/lake/team{number // 100}/dataset{number}", uri, {}, 60.0, readonly=True)
        said = service.mount(f"m{number}", mount)
        service.apply(said)
        records += said
    for number in range(RULES):
        glob = "*.parquet" if number % 2 else ""
        pattern = Pattern(f"s3://bucket{number % STORES}/team{number // 100}/dataset{number}", glob)
        said = service.add_rules(f"p{number}", [Rule(RuleKind.PIN, pattern, 1.0)])
        service.apply(said)
        records += said
    return records


def rules_and_mounts() -> Iterator[Finding]:
    """Replaying ten thousand of each, and finding one among them."""
    records = a_large_journal()
    started = cpu_s()
    service = MasterService(Settings(), records, start_ns=1)
    table, matcher = service.mounts.table(), Matcher(service.rules)
    seconds = cpu_s() - started
    yield bar(f"replay of {MOUNTS:,} mounts and {RULES:,} rules", f"{seconds:.2f} s", "<= 3 s", met=seconds <= 3)
    draw = random.Random(1)
    numbers = draw.sample(range(MOUNTS), 2_000)
    uris = [f"s3://bucket{n % STORES}/team{n // 100}/dataset{n}/part-{n}.parquet" for n in numbers]
    names = [f"/lake/team{n // 100}/dataset{n}/part-{n}.parquet" for n in numbers]
    table.of_uri(uris[0])
    looks: list[tuple[str, Callable[[str], Any], list[str]]] = [
        ("the mount of a path, in the master", service.mounts.resolve, names),
        ("the mount of a URI, in a worker", table.of_uri, uris),
        ("the rules of a file, in a worker", matcher.of, uris),
    ]
    for what, look, of in looks:
        started = cpu_s()
        for one in of:
            look(one)
        one_s = (cpu_s() - started) / len(of)
        yield bar(f"finding {what}, among {MOUNTS:,}", f"{one_s * 1e6:.1f} us", "<= 20 us", met=one_s <= 20e-6)


class SlowStore(MemoryStorage):
    """A store each of whose answers takes as long as one from across a region."""

    answer_s = 0.0

    def list(self, prefix: str, **more: Any) -> Any:
        time.sleep(self.answer_s)
        return super().list(prefix, **more)

    def head(self, key: str) -> ObjectInfo:
        time.sleep(self.answer_s)
        return super().head(key)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Any:
        time.sleep(self.answer_s)
        return super().read(key, offset, length, version)

    def put(self, key: str, data: Any) -> ObjectInfo:
        time.sleep(self.answer_s)
        return super().put(key, data)


def restarts() -> Iterator[Finding]:
    """From nothing to a service that answers, over a journal in a store whose every answer takes 25 ms."""
    records = a_large_journal()
    compacted = SlowStore("memory://journal")
    asyncio.run(_write(compacted, records))
    single = SlowStore("memory://journal")
    for number, record in enumerate(records):
        single.put(f"j/{number:020d}.record", line_of(record, 0, "c.1"))
    for how, store, limit_s in (("as a running master leaves them", compacted, 5.0), ("an object each", single, None)):
        objects = sum(len(page.objects) for page in pages(store, "j/"))
        store.answer_s = REQUEST_S
        started = time.perf_counter()
        journal = UfsJournal(store, "j", "c.2")
        found = begin(journal, "c", 2)
        service = MasterService(Settings(), found.records, start_ns=2)
        JobBoard(Settings(), service.locations.holders).replay(found.records, 0.0)
        seconds = time.perf_counter() - started
        assert len(service.mounts.table().mounts) == MOUNTS
        what = f"restart with {RECORDS:,} records at {REQUEST_S * 1e3:g} ms an answer, {how} ({objects:,} objects)"
        met = None if limit_s is None else seconds <= limit_s
        yield bar(what, f"{seconds:.1f} s", f"<= {limit_s:g} s" if limit_s else "", met=met)


async def _write(store: SlowStore, records: list[dict[str, Any]]) -> None:
    """Write as a master does that makes these changes one by one, and looks after its journal every few seconds."""
    journal = UfsJournal(store, "j", "c.1")
    begin(journal, "c", 1)
    service = MasterService(Settings(), start_ns=1)
    scribe = Scribe(journal, service.snapshot)
    for number, record in enumerate(records):
        await scribe.write([record])
        service.apply([record])
        if number % 500 == 0:
            await scribe.tend()
