"""What showing a large cache costs: 200 workers and 1,000 mounts, and 1,000 with 10,000, before the real master's service, without a cluster.

The master's share is what it does more because somebody looks (one answer a second) and because there is something to see
(samples, counts per reader), as CPU time of this process. The page is fetched over HTTP, as a browser does: its files, and
the first event of a view.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from benchmarks.measure import Finding
from raycache.admin.browsing import CachedEntry, HeatRow
from raycache.admin.overview import Overview, overview_of
from raycache.dashboard.query import VIEWS
from raycache.dashboard.security import Guard
from raycache.dashboard.server import Dashboard
from raycache.dashboard.views import Prices
from raycache.errors import InvalidRequestError
from raycache.master.membership import StartWorker
from raycache.master.service import MasterService
from raycache.messages import BlockReport, Heartbeat, MountInfo, ReadCounters, ReadTag, WorkerStats, decode, encode
from raycache.results import Entry, Usage
from raycache.settings import Settings

WORKERS, MOUNTS, READERS = 200, 1_000, 200
#: Still usable.
WORKERS_MANY, MOUNTS_MANY, READERS_MANY = 1_000, 3_000, 2_000
FIRST_PAGE_S, UPDATE_BYTES, MASTER_SHARE = 1.0, 50_000, 0.05
_LOOKS, _LOOKS_MANY = 60, 15
_BEATS_PER_S = 2


class Master:
    """The real service with simulated workers."""

    def __init__(self, workers: int, mounts: int, readers: int) -> None:
        self.service = MasterService(Settings(), start_ns=1)
        self.mounts, self._readers = mounts, readers
        self.nodes = [f"{number:056x}" for number in range(workers)]
        effects = self.service.nodes_changed(self.nodes, 0.0)
        self.epochs = {effect.worker: effect.epoch for effect in effects if isinstance(effect, StartWorker)}
        for number in range(mounts):
            mount = MountInfo(f"/mount-{number}", f"s3://bucket-{number}", {}, 60.0, readonly=True)
            self.service.mount(f"request-{number}", mount)
        self.beats = 0

    def beat(self, now_s: float) -> None:
        """Every worker speaks, each with the counts of one reader."""
        self.beats += 1
        for number, node in enumerate(self.nodes):
            hits = self.beats * 40
            counters = ReadCounters(hits=hits, misses=self.beats, bytes_memory=hits << 20, bytes_local=hits << 20)
            tag = ReadTag(
                "01", f"task-{(number + self.beats * len(self.nodes)) % self._readers}", f"/mount-{number}/train"
            )
            stats = WorkerStats(memory_used_bytes=1 << 30, memory_capacity_bytes=2 << 30)
            heartbeat = Heartbeat(
                node, self.epochs[node], self.beats, BlockReport(False, [], []), stats, counters,
                self.service.membership.view().view_id, self.service.mounts.table().version,
                readers=[(self.beats, [(tag, ReadCounters(hits=40, misses=1))])],
            )  # fmt: skip
            self.service.heartbeat(heartbeat, now_s)

    def overview(self, now_s: float) -> bytes:
        """What the master answers once a second while somebody looks."""
        return encode((True, self.service.overview(now_s, now_s, {}, [])))


class MasterSource:
    """See `raycache.dashboard.source.Source`."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._now_s = 1_000.0

    def overview(self) -> Overview:
        self._now_s += 1
        return overview_of(decode(self._master.overview(self._now_s))[1])

    def list_directory(self, path: str) -> list[Entry]:
        del path
        return [
            Entry(f"/mount-{n}", f"/mount-{n}", "mount", 0, None, "", f"s3://bucket-{n}")
            for n in range(self._master.mounts)
        ]

    def with_residency(self, entries: Sequence[Entry]) -> list[CachedEntry]:
        return [CachedEntry(entry, None, None, None, {}) for entry in entries]

    def usage(self, path: str) -> Usage:
        return Usage(path, 0, 0, 0)

    def heat(self) -> tuple[list[HeatRow], list[HeatRow]]:
        return [], []

    def act(self, action: str, argument: str) -> dict[str, Any]:
        raise InvalidRequestError(f"{action} {argument}: this workload only looks")


def measure() -> list[Finding]:
    """Run everything."""
    master = Master(WORKERS, MOUNTS, READERS)
    looking, ticking, keeping = _shares(master, _LOOKS)
    share = looking + ticking + keeping
    first_s, sizes = asyncio.run(_page(MasterSource(master)))
    largest = max(sizes, key=lambda view: sizes[view])
    many = Master(WORKERS_MANY, MOUNTS_MANY, READERS_MANY)
    many_share = sum(_shares(many, _LOOKS_MANY))
    many_s, many_sizes = asyncio.run(_page(MasterSource(many)))
    return [
        Finding("workers, mounts", f"{WORKERS}, {MOUNTS}"),
        Finding("first page (files and first event)", f"{first_s * 1000:.0f} ms", f"<= {FIRST_PAGE_S:g} s", first_s <= FIRST_PAGE_S),
        Finding(
            f"largest update (view {largest})", f"{sizes[largest] / 1000:.1f} KB", f"<= {UPDATE_BYTES / 1000:g} KB",
            sizes[largest] <= UPDATE_BYTES,
        ),
        Finding("master, CPU for one looker or many", f"{share:.1%} of a core", f"<= {MASTER_SHARE:.0%}", share <= MASTER_SHARE),
        Finding("of it, samples (also while nobody looks)", f"{ticking:.2%} of a core"),
        Finding("of it, checkpoints (also while nobody looks)", f"{keeping:.2%} of a core"),
        Finding(f"with {WORKERS_MANY:,} workers and {MOUNTS_MANY:,} mounts: first page", f"{many_s * 1000:.0f} ms"),
        Finding("largest update", f"{max(many_sizes.values()) / 1000:.1f} KB"),
        Finding("master, CPU for one looker or many", f"{many_share:.1%} of a core"),
    ]  # fmt: skip


def _shares(master: Master, looks: int) -> tuple[float, float, float]:
    """CPU seconds per second of (looks, samples, checkpoints); one look a second."""
    looking_s = ticking_s = keeping_s = 0.0
    for second in range(looks):
        for _ in range(_BEATS_PER_S):
            master.beat(float(second))
        started = time.process_time()
        # As the master's own round does, and then the answer.
        master.service._watch.tick(float(second))  # noqa: SLF001  # what it costs apart
        ticking_s += time.process_time() - started
        started = time.process_time()
        master.overview(float(second))
        looking_s += time.process_time() - started
        started = time.process_time()
        checkpoint = master.service.checkpoint(float(second))
        if checkpoint is not None:
            json.dumps(checkpoint.record(float(second)))
        keeping_s += time.process_time() - started
    return looking_s / looks, ticking_s / looks, keeping_s / looks


async def _page(source: MasterSource) -> tuple[float, dict[str, int]]:
    """(median seconds until the first event is there, bytes of the event by view)."""
    runner = web.AppRunner(Dashboard(source, Guard("127.0.0.1", ""), Prices()).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    times = []
    sizes: dict[str, int] = {}
    for _ in range(5):
        started = time.perf_counter()
        for path in ("", "app.js", "charts.js", "style.css", "icon.svg", "api/definitions"):
            await asyncio.to_thread(_get, url + path)
        await asyncio.to_thread(_first_event, f"{url}api/stream?view=overview")
        times.append(time.perf_counter() - started)
    for view in VIEWS:
        sizes[view] = len(await asyncio.to_thread(_first_event, f"{url}api/stream?view={view}"))
    await runner.cleanup()
    return statistics.median(times), sizes


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def _first_event(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        while not (line := answer.readline()).startswith(b"data: "):
            pass
    json.loads(line[6:])
    return bytes(line)
