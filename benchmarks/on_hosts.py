"""Workload: parquet epochs on three hosts with links of their own, from S3 directly, through the cache, and placed by it.

The S3 server is on a fourth host with a link of the same speed, which all share. Bytes on the wire are those that the network
cards have counted, headers and all; what has left the lake is counted by the cache, exactly.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.measure import Finding
from raycache.settings import MIB
from raycache.testing.hosts import Fleet, missing
from raycache.testing.hosts.interpreter import Interpreter
from raycache.testing.hosts.raylets import ENVIRONMENT, start_raylets

NODES = ["one", "two", "three"]
FILES, ROWS = 36, 520_000
READS, LAKE = "benchmarks.host_reads", "raycache.testing.hosts.lake"
BUCKET, _SETTINGS = "data", {"memory": "350MiB", "disk": "1GiB"}


class Epoch(NamedTuple):
    """What one epoch took."""

    seconds: float
    #: That the network cards of the three hosts have received.
    wire_bytes: int
    #: That have left the lake for the cache; 0 of a direct read.
    lake_bytes: int
    #: Blocks that were read past the cache, and workers that showed no sign of life, as an overloaded machine may have it.
    bypasses: int
    silences: int


def measure(rounds: int, speeds_mbit: list[int]) -> list[Finding]:
    """All ways of reading, interleaved; about two minutes and a half for each speed.

    Args:
        rounds: medians are shown.
        speeds_mbit: of each host's link, in each direction.
    """
    reason = missing()
    if reason:
        return [Finding("hosts", f"none: {reason}")]
    rows: list[Finding] = []
    with running() as (fleet, driver, written):
        for speed_mbit in speeds_mbit:
            shape(fleet, speed_mbit)
            rows += _at_speed(fleet, driver, written, rounds, speed_mbit)
    return rows


def shape(fleet: Fleet, speed_mbit: float) -> None:
    """Give all links this speed, the lake's included."""
    for name in fleet.names:
        fleet.shape(name, speed_mbit * 1e6)


@contextlib.contextmanager
def running() -> Iterator[tuple[Fleet, Interpreter, dict[str, Any]]]:
    """Three hosts with a cache, a lake with data, and a driver whose processes have started.

    Yields:
        The hosts, the driver, and what reading the data gives; see `lake.put_parquet`.
    """
    with Fleet(["lake", *NODES]) as fleet, Interpreter(fleet["lake"], "lake") as lake:
        options = lake.call(f"{LAKE}:serve", address=fleet.address("lake"), bucket=BUCKET)
        written = lake.call(f"{LAKE}:put_parquet", 300, bucket=BUCKET, prefix="set", files=FILES, rows=ROWS)
        lake.call(f"{LAKE}:put_parquet", bucket=BUCKET, prefix="first", files=6, rows=1000, seed=1)
        address = start_raylets(fleet, NODES, cpus=2, object_store_bytes=768 * MIB)
        with Interpreter(fleet["one"], "driver", ENVIRONMENT) as driver:
            driver.call(f"{READS}:start", address=address, uri=f"s3://{BUCKET}", options=options, settings=_SETTINGS)
            for way in ("direct-v1", "direct-v2", "placed", "unplaced"):
                # Starting processes is not measured.
                driver.call(f"{READS}:epoch", 300, way=way, bucket=BUCKET, directory="first")
            yield fleet, driver, written


def _at_speed(
    fleet: Fleet, driver: Interpreter, written: dict[str, Any], rounds: int, speed_mbit: int
) -> list[Finding]:
    found: dict[str, list[Epoch]] = {}

    def run(name: str, way: str) -> None:
        with _counted(fleet, driver) as counts:
            epoch = driver.call(f"{READS}:epoch", 600, way=way, bucket=BUCKET, directory="set")
        assert (epoch["rows"], epoch["total"]) == (written["rows"], written["total"]), f"{name}: wrong rows"
        found.setdefault(name, []).append(Epoch(epoch["seconds"], *counts()))
        print(f"{speed_mbit} Mbit/s, {name}: {found[name][-1]}", file=sys.stderr, flush=True)

    for _ in range(rounds):
        run("S3 directly, V1", "direct-v1")
        run("S3 directly, V2", "direct-v2")
        for way in ("placed", "unplaced"):
            driver.call(f"{READS}:free")
            run(f"{way}, cold", way)
            run(f"{way}, warm", way)
            run(f"{way}, warm again", way)
    return _judged(found, written["bytes"], speed_mbit)


def _judged(found: dict[str, list[Epoch]], size_bytes: int, speed_mbit: int) -> list[Finding]:
    seconds = {name: statistics.median(epoch.seconds for epoch in epochs) for name, epochs in found.items()}
    wire = {
        name: statistics.median(epoch.wire_bytes for epoch in epochs) / size_bytes for name, epochs in found.items()
    }
    at = f"{speed_mbit} Mbit/s"
    rows = [
        Finding(f"{at}: {name}", f"{seconds[name]:.2f} s, {100 * wire[name]:.1f} % of the dataset on the wire")
        for name in found
    ]
    direct_s = min(seconds["S3 directly, V1"], seconds["S3 directly, V2"])
    warm, cold = direct_s / seconds["placed, warm"], seconds["placed, cold"] / direct_s
    # The bars are for one speed; others are shown beside.
    barred = speed_mbit == 400
    rows += [
        Finding(f"{at}: placed, warm, faster than the faster reader of S3", f"{warm:.2f}x", *_bar(barred, ">= 4x", warm >= 4)),
        Finding(f"{at}: placed, cold, time of the faster reader of S3", f"{cold:.2f}x", *_bar(barred, "<= 1.05x", cold <= 1.05)),
        Finding(
            f"{at}: on the wire, placed, warm", f"{100 * wire['placed, warm']:.1f} %",
            *_bar(barred, "<= 5 %", wire["placed, warm"] <= 0.05),
        ),
    ]  # fmt: skip
    for way in ("placed", "unplaced"):
        # Three epochs after each `free`: what the first one has asked for may still be on its way when it ends.
        cycles = zip(found[f"{way}, cold"], found[f"{way}, warm"], found[f"{way}, warm again"], strict=True)
        egress = max(sum(epoch.lake_bytes for epoch in cycle) for cycle in cycles) / size_bytes
        figure, met = f"{egress:.4f}x", round(egress, 3) <= 1
        rows.append(Finding(f"{at}: left the lake after `free`, {way}, the most", figure, *_bar(barred, "1.000x", met)))
    ways = [epoch for epochs in found.values() for epoch in epochs]
    said = f"{sum(epoch.bypasses for epoch in ways)}, {sum(epoch.silences for epoch in ways)}"
    return [*rows, Finding(f"{at}: blocks read past the cache; workers that were silent", said)]


def _bar(barred: bool, bound: str, met: bool) -> tuple[str, bool | None]:  # both are values
    return (bound, met) if barred else ("", None)


@contextlib.contextmanager
def _counted(fleet: Fleet, driver: Interpreter) -> Iterator[Callable[[], list[int]]]:
    """Gives, for the block: bytes received by the three hosts, and what `Epoch` counts besides."""

    def now() -> list[int]:
        received = sum(fleet.traffic()[name].received_bytes for name in NODES)
        found = driver.call(f"{READS}:counts")
        return [received, found["lake_bytes"], found["bypasses"], found["silences"]]

    before = now()
    counts: list[int] = []
    yield lambda: counts
    counts += [after - earlier for after, earlier in zip(now(), before, strict=True)]
