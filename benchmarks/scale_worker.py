"""What a worker with millions of small files costs others: a real cluster, a real worker, synthetic files on its disk.

The files are written as an earlier incarnation would have left them, and the worker is killed: its successor takes them over.
Then everything that concerns all of them is done, while one reader asks for blocks, one call after the other. Turns of the
event loop are those that the worker measures itself; both cores of the machine are shared with the reader and with Ray.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

import raycache
from benchmarks.measure import Finding
from raycache.cache import Cache
from raycache.messages import (
    RAY_NAMESPACE,
    BlockReply,
    BlockRequest,
    BlockState,
    FileColumns,
    Health,
    InventoryRequest,
    Purpose,
    Selector,
    decode,
    encode,
)
from raycache.rules import Pattern
from raycache.settings import Settings
from raycache.testing.cluster import LocalCluster
from raycache.types import FileVersion
from raycache.workers.effects import SegmentEntry
from raycache.workers.stores.disk import DiskStore

FILE_BYTES, PER_SEGMENT = 64, 2048
TURN_S, SERVING_S, ADOPTED_CPU_S, READS_SLOWER = 0.1, 2.0, 5.0e-6, 5.0
_WAIT_S = 600.0
_QUIET_S = 10.0


def measure(files: int) -> list[Finding]:
    """Restart a worker that has so many files on disk, then do everything with them."""
    with (
        tempfile.TemporaryDirectory(prefix="raycache-scale-") as scratch,
        LocalCluster(nodes=1, object_store_memory=512 << 20),
    ):
        lake = Path(scratch) / "lake"
        lake.mkdir()
        (lake / "other").write_bytes(b"x")
        cache = raycache.start(memory="100MB", disk=f"{scratch}/disk:100GB")
        try:
            cache.mount("/lake", lake.as_uri())
            return [
                *_restarted(cache, Path(scratch) / "disk", lake.as_uri(), files),
                *_busy(cache, lake.as_uri(), files),
            ]
        finally:
            raycache.stop()


def version_of(lake: str, number: int) -> FileVersion:
    """One of the synthetic files."""
    return FileVersion(f"{lake}/train/{number // 10_000:05}/{number:09}.jpg", FILE_BYTES, f'"{number:032x}"', number)


def _fill(slot: Path, lake: str, files: int) -> None:
    store, data = DiskStore(slot, fsync=False), np.zeros(FILE_BYTES * PER_SEGMENT, dtype=np.uint8)
    for first in range(0, files, PER_SEGMENT):
        numbers = range(first, min(files, first + PER_SEGMENT))
        entries = [SegmentEntry(version_of(lake, n), 0, FILE_BYTES * (n - first), FILE_BYTES) for n in numbers]
        store.write(f"synthetic-{first}", [data[: FILE_BYTES * len(entries)]], entries)


def _worker(cache: Cache) -> tuple[Any, int]:
    """The live worker, and its epoch."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        for worker in cache.client.refresh_view().workers:
            try:
                return ray.get_actor(worker.actor_name, namespace=RAY_NAMESPACE), worker.epoch
            except ValueError:
                break
        time.sleep(0.02)
    raise TimeoutError("no worker")


def _health(worker: Any) -> Health:
    found: Health = decode(ray.get(worker.examine.remote(), timeout=_WAIT_S))
    return found


def _blocks(cache: Cache) -> int:
    return sum(node.blocks for node in cache.stats().nodes.values() if node.alive)


def _cpu_s() -> float:
    """Of the worker's process, so far."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cmdline").read_bytes().startswith(b"ray::WorkerActor"):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return 0.0


class _Reader:
    """Asks for one block of the synthetic files after the other."""

    def __init__(self, worker: Any, lake: str, files: int) -> None:
        self._worker = worker
        self._lake = lake
        self._numbers = range(min(files, 8 * PER_SEGMENT))
        self._random = random.Random(0)
        self._node = ray.get_runtime_context().get_node_id()

    def read(self) -> BlockState:
        version = version_of(self._lake, self._random.choice(self._numbers))
        files = FileColumns.of([version])
        block_size = Settings().block_size_bytes
        request = BlockRequest(self._node, 0, 0, files, [0], [0], [0], [FILE_BYTES], block_size, int(Purpose.READ_HELD))
        blob, _ = ray.get(self._worker.read.remote(encode(request)), timeout=_WAIT_S)
        reply: BlockReply = decode(blob)
        return BlockState(reply.states[0])

    def while_(self, work: Callable[[], None]) -> tuple[float, list[float]]:
        """Read until the work has ended: (its seconds, the seconds of each read)."""
        thread = threading.Thread(target=work)
        took: list[float] = []
        started_s = time.monotonic()
        thread.start()
        while thread.is_alive():
            before_s = time.monotonic()
            self.read()
            took.append(time.monotonic() - before_s)
        return time.monotonic() - started_s, took


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else sum(seconds)


def _restarted(cache: Cache, disk: Path, lake: str, files: int) -> list[Finding]:
    first, epoch = _worker(cache)
    (slot,) = disk.glob("raycache-*/slot-*")
    _fill(slot, lake, files)
    ray.kill(first)
    while True:
        worker, newer = _worker(cache)
        if newer != epoch:
            break
        time.sleep(0.02)
    # From here on it could be asked: Ray has started its process.
    started_s, began_cpu_s = time.monotonic(), _cpu_s()
    reader = _Reader(worker, lake, files)
    reader.read()
    serving_s = time.monotonic() - started_s
    while (health := _health(worker)).adopting or _blocks(cache) < files:
        time.sleep(0.2)
    adopted_s, cpu_s = time.monotonic() - started_s, _cpu_s() - began_cpu_s
    longest_s = max((longest for kind, _, longest in health.turns if kind == "adopt"), default=0.0)
    allowed_s = max(1.0, ADOPTED_CPU_S * files)
    return [
        Finding(
            "restart: first read answered after", f"{serving_s:.2f} s", f"<= {SERVING_S:g} s", serving_s <= SERVING_S
        ),
        Finding(
            f"restart: {files:,} files taken over, CPU of the worker",
            f"{cpu_s:.1f} s",
            f"<= {allowed_s:g} s",
            cpu_s <= allowed_s,
        ),
        Finding("restart: all taken over, and the master knows, after", f"{adopted_s:.1f} s"),
        Finding("longest turn: adoption", f"{longest_s * 1e3:.0f} ms", f"<= {TURN_S * 1e3:g} ms", longest_s <= TURN_S),
    ]


def _busy(cache: Cache, lake: str, files: int) -> list[Finding]:
    worker, epoch = _worker(cache)
    reader = _Reader(worker, lake, files)
    for _ in range(300):
        # The first reads of a segment wait for its check.
        reader.read()
    _, alone = reader.while_(lambda: time.sleep(_QUIET_S))
    alone_s = _p99(alone)
    found = [Finding("reads while nothing else happens: p99", f"{alone_s * 1e3:.1f} ms")]

    def inventory() -> None:
        request = InventoryRequest([Pattern("")], None, 20_000)
        while True:
            reply = decode(ray.get(worker.inventory.remote(encode(request)), timeout=_WAIT_S))
            if reply.after is None:
                return
            request = request._replace(after=reply.after)

    def said_again() -> None:
        """The master forgets what it knew, and asks for all of it."""
        master = ray.get_actor("raycache-master", namespace=RAY_NAMESPACE)
        ray.kill(master, no_restart=False)
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                if _blocks(cache):
                    return
            except raycache.RaycacheError:
                time.sleep(0.2)

    def free() -> None:
        ray.get(worker.free.remote(encode(Selector([Pattern("")])), True), timeout=_WAIT_S)

    works: list[tuple[str, str, Callable[[], None]]] = [
        ("pin of one directory", "heed_rules", lambda: cache.pin("/lake/train/00001")),
        ("pin of everything", "heed_rules", lambda: cache.pin("/lake")),
        ("set_ttl of everything", "heed_rules", lambda: cache.set_ttl("/lake", 1e6)),
        ("heat", "heat", lambda: ray.get(worker.heat.remote(50), timeout=_WAIT_S)),
        ("inventory of everything", "inventory", inventory),
        ("a new master hears everything", "beat_forever", said_again),
        ("free of everything", "free", free),
    ]
    for name, kind, work in works:
        took_s, reads = reader.while_(work)
        longest_s = {kind: longest for kind, _, longest in _health(worker).turns}.get(kind, 0.0)
        ratio = _p99(reads) / alone_s
        found += [
            Finding(f"{name}: took", f"{took_s:.1f} s"),
            Finding(
                f"{name}: longest turn", f"{longest_s * 1e3:.0f} ms", f"<= {TURN_S * 1e3:g} ms", longest_s <= TURN_S
            ),
            Finding(
                f"{name}: p99 of reads meanwhile, of that without",
                f"{ratio:.1f} x",
                f"<= {READS_SLOWER:g} x",
                ratio <= READS_SLOWER,
            ),
        ]
    left = _blocks(cache)
    found.append(Finding("blocks left after the free", f"{left:,}", "0", left == 0))
    found.append(
        Finding("still the same incarnation", str(_worker(cache)[1] == epoch), "True", _worker(cache)[1] == epoch)
    )
    return found
