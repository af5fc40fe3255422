"""A simulated cluster for the dashboard's tests and screenshots: as many workers, mounts and jobs as wanted."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from raycache.admin.browsing import CachedEntry, HeatRow
from raycache.admin.overview import Overview, overview_of
from raycache.admin.sizing.advice import FACTORS, Advice, combined
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.messages import (
    JobProgress,
    MissReason,
    NodeFigures,
    NodeOverview,
    OverviewReply,
    PolicyChange,
    PolicyReport,
    ReadCounters,
    ReadTag,
    WorkerStats,
    sum_counters,
)
from raycache.results import CachedDataset, Entry, Usage

GIB, MIB = 1 << 30, 1 << 20
EVIL = "<script>alert(1)</script>"
#: Names of directories that a careless page would run, misread, or lose its way by.
WILD = (
    '"><img src=x onerror=alert(1)>', "'; alert(1)--", "javascript:alert(1)", "a#b?c=d&e=f+g%20h", "%2e%2e", "${7*7}{{7*7}}",
    "new\nline", "\u202egnp.exe", "😀 ü 水", "constructor", "x" * 900,
)  # fmt: skip
MTIME = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
DATASETS = ("/lake/imagenet", "/lake/clicks", "/lake/embeddings", "s3://archive/logs")
TASKS = ("ReadParquet->MapBatches(decode)", "train_worker", "driver", f"evaluate{EVIL}", "ReadImages")


def read_counters(draw: random.Random, scale: int, hit_rate: float) -> ReadCounters:
    """Counters that add up."""
    hits = int(draw.uniform(0.5, 1.0) * scale * hit_rate)
    misses = int(draw.uniform(0.5, 1.0) * scale * (1 - hit_rate))
    bypasses = misses // 20
    disk = hits // 3
    sizes = [count * 8 * MIB for count in (hits - disk, disk, misses + bypasses)]
    remote = [sizes[0] // 9, sizes[1] // 7, sizes[2] // 4]
    bypassed = bypasses * 8 * MIB
    missed = [0] * len(MissReason)
    missed[MissReason.COLD] = misses - misses // 3
    missed[MissReason.EVICTED] = misses // 3 - misses // 9
    missed[MissReason.CHANGED] = misses // 9
    missed[MissReason.ADMISSION] = bypasses
    return ReadCounters(
        hits, misses, bypasses, *sizes, sum(sizes) - sum(remote) - bypassed, sum(remote), bypassed,
        bypasses, bypassed, remote[0], remote[1], *missed,
    )  # fmt: skip


def progress(state: str, done: float, failed: int = 0) -> JobProgress:
    files, size = 1200, 340 * GIB
    failures = [
        (f"/lake/clicks/day={number}/{EVIL}.parquet", "403 Forbidden: the key may not read this")
        for number in range(failed)
    ]
    moved = int(size * done)
    return JobProgress(
        state, files, int(files * done) - failed, failed, 40_000, int(40_000 * done), failed, size, moved, failed * MIB,
        12 * GIB, 187.4, 1.3 * GIB, None if state != "RUNNING" else 84.0, failures,
    )  # fmt: skip


class FakeSource:
    """See `raycache.dashboard.source.Source`. The same seed gives the same cluster; counters grow with every look."""

    def __init__(
        self, nodes: int = 8, mounts: int = 4, jobs: int = 4, readers: int = 12, seed: int = 1, *, evil: bool = True
    ) -> None:
        self._nodes, self._mounts, self._jobs, self._readers = nodes, mounts, jobs, readers
        self._seed = seed
        #: Whether names try to be scripts.
        self._evil = evil
        self.looks = 0
        self.acted: list[tuple[str, str]] = []
        #: Paths that were listed or measured.
        self.asked: list[str] = []
        self.fail_with: Exception | None = None
        #: Seconds that every look takes.
        self.slow_s = 0.0
        #: Set: figures come at once.
        self.visible = threading.Event()
        self.visible.set()
        #: Set: measuring a directory goes on at once.
        self.measurable = threading.Event()
        self.measurable.set()

    def overview(self) -> Overview:
        if self.fail_with is not None:
            raise self.fail_with
        time.sleep(self.slow_s)
        self.visible.wait()
        self.looks += 1
        draw = random.Random(self._seed)
        nodes = [self._node(draw, number) for number in range(self._nodes)]
        series = []
        for step in range(180):
            warm = min(1.0, step / 90)
            wave = 1 + 0.25 * draw.random()
            total = 9.5 * GIB * wave
            series.append(tuple(int(total * part) for part in (0.62 * warm, 0.18 * warm, 0.12 * warm, 1 - 0.92 * warm)))
        readers = [
            (
                ReadTag(f"0{1 + number % 3}000000", TASKS[number % len(TASKS)].replace("" if self._evil else EVIL, ""), DATASETS[number % 4] + ("" if number < 20 else str(number))),
                read_counters(draw, 40_000 // (1 + number), draw.uniform(0.5, 0.99)),
                draw.random() * 90,
            )
            for number in range(self._readers)
        ]  # fmt: skip
        kinds = [("RUNNING", 0.62, 0), ("FAILED", 1.0, 3), ("SUCCEEDED", 1.0, 0), ("STOPPED", 0.3, 0)]
        jobs = [
            (f"{number:012x}", progress(*kinds[number % len(kinds)])._replace(paths=[DATASETS[number % 4]]))
            for number in range(self._jobs)
        ]
        mounts = [(f"/mount-{number:04}", f"s3://bucket-{number}", True, 60.0) for number in range(self._mounts)]
        return overview_of(
            OverviewReply("5f2c90d1ab34", 7384.0 + self.looks, 184_302, mounts, nodes, series, 5.0, readers, jobs)
        )

    def _node(self, draw: random.Random, number: int) -> NodeOverview:
        node_id = f"{draw.getrandbits(224):056x}"
        alive = number != 5
        rate = draw.uniform(0.72, 0.995)
        ever = read_counters(draw, 60_000, rate)
        ever = sum_counters([ever, ReadCounters(hits=self.looks)])
        memory, disk = 24 * GIB, 200 * GIB
        stats = WorkerStats(
            memory_used_bytes=int(memory * draw.uniform(0.5, 0.95)), memory_capacity_bytes=memory,
            disk_used_bytes=int(disk * draw.uniform(0.2, 0.8)), disk_capacity_bytes=disk,
            evictions=draw.randrange(400), demotions=draw.randrange(900), promotions=draw.randrange(200),
            ufs_requests=ever.misses // 2, ufs_bytes=ever.misses * 8 * MIB, blocks=draw.randrange(9_000, 20_000),
            segments=2_000, loads_inflight=draw.randrange(9), refusals=ever.bypasses,
            plasma_used_bytes=int(80 * GIB * draw.uniform(0.3, 0.84)), plasma_capacity_bytes=80 * GIB,
        )  # fmt: skip
        spark = [int(1000 * min(1, rate * min(1, 0.4 + step / 20) * draw.uniform(0.96, 1.02))) for step in range(30)]
        return NodeOverview(
            NodeFigures(node_id, alive, ever, stats if alive else WorkerStats(evictions=stats.evictions)),
            read_counters(draw, 900, rate),
            read_counters(draw, 9_000, rate),
            spark,
            (1_764_000_000 + number, "live", draw.random() / 2) if alive else None,
            f"10.0.{number // 250}.{number % 250 + 4}" if alive else "",
        )

    def list_directory(self, path: str) -> list[Entry]:
        self.asked.append(path)
        if path == "/":
            return [
                Entry(
                    f"/mount-{number:04}", f"/mount-{number:04}", "mount", 0, None, "read-only", f"s3://bucket-{number}"
                )
                for number in range(self._mounts)
            ]
        if not path.startswith(("/mount", "s3://")) or ".." in path:
            raise NotFoundError(f"{path} does not exist; see `raycache mounts`")
        if path.endswith("/wild"):
            return [Entry(f"{path}/{name}", name, "directory", 0, MTIME, "", f"s3://b/{name}") for name in sorted(WILD)]
        names = [*(f"part-{number:05}.parquet" for number in range(140)), EVIL, "day=2024-05-06"]
        return [
            Entry(
                f"{path}/{name}", name, "directory" if "day=" in name else "file", 0 if "day=" in name else 40 * MIB + 1,
                MTIME, "9b2cf535f27731c974343645a3985328", f"s3://b/{name}",
            )
            for name in sorted(names)
        ]  # fmt: skip

    def with_residency(self, entries: Sequence[Entry]) -> list[CachedEntry]:
        found = []
        for number, entry in enumerate(entries):
            if entry.kind != "file":
                found.append(CachedEntry(entry, None, None, None, {}))
                continue
            cached = entry.size_bytes * (number % 5) // 4
            found.append(
                CachedEntry(
                    entry,
                    cached,
                    cached * 2 // 3,
                    cached // 3,
                    {f"{number % 3:x}" * 56: cached} if cached else {},
                    hits=number % 7 * (cached > 0),
                )
            )
        return found

    def usage(self, path: str) -> Usage:
        self.asked.append(path)
        self.measurable.wait(30)
        return Usage(path, 142, 140 * 40 * MIB, 96 * 40 * MIB)

    def heat(self) -> tuple[list[HeatRow], list[HeatRow]]:
        hot = [HeatRow(f"/mount-0000/part-{number:05}.parquet", 900 - 80 * number, 40 * MIB, 0) for number in range(8)]
        cold = [HeatRow(f"/mount-0001/old/{number:03}.bin", number, 0, 8 * MIB) for number in range(8)]
        return hot, cold

    def kept_datasets(self) -> list[CachedDataset]:
        return [
            CachedDataset(
                f"{EVIL if self._evil and not number else 'ReadImage-decode'}-{number:04x}", f"/cached/{number}", 40 + number,
                (200 - number) * MIB, 10_000, hits=300 * number, made=40, waited=3, taken_over=number % 2, lost=number,
                cpu_s=120.0, saved_cpu_s=90.5 * number, idle_s=None if number == 2 else 12.0 * number,
            )
            for number in range(5)
        ]  # fmt: skip

    def advice(self) -> Advice:
        """A loop over twice what fits, at each node; sticky since a minute."""
        rates = [{"lru": 0.0, "sieve": 0.1, "s3-fifo": 0.0, "sticky": min(1.0, size / 2)} for size in FACTORS]
        history = [PolicyChange(40.0, "lru", "sticky", 0.0, 0.4)]
        numbers = (1600, 0.5, 9000, 8 << 30, 600.0, 100.0)
        report = PolicyReport("sticky", True, 1 << 30, 4 << 30, history, list(FACTORS), rates, *numbers)
        return combined({f"{number:x}" * 56: report for number in range(3)}, price_per_gb=0.02)

    def act(self, action: str, argument: str) -> dict[str, Any]:
        if argument.startswith("bad"):
            raise InvalidRequestError(f"{argument!r} is not a path; write it like /lake/x")
        self.acted.append((action, argument))
        return {"job": "load-1"} if action != "free" else {"blocks": 3, "bytes": 24 * MIB}
