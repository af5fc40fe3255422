"""What one seed stands for: sizes of the cluster, and how much goes wrong in it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from raycache.settings import Settings

from .network import Weather

BLOCK_BYTES = 8
_SIZES_BYTES = (0, 1, 5, 8, 9, 16, 23, 40, 64, 100)
_SMALL_SIZES_BYTES = (1, 3, 5, 5, 6, 7, 7, 23)


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of one simulation. Shares are of events, periods are means."""

    settings: Settings
    weather: Weather
    nodes: int
    clients: int
    files: int
    memory_bytes: int
    disk_bytes: int
    #: How long things happen, before everything calms down.
    active_s: float
    read_period_s: float
    #: No message is lost, doubled or late, nothing dies: figures must be exact.
    calm: bool
    #: Room for everything, nothing is freed: each byte leaves the lake once.
    roomy: bool
    #: Requests of the cache, and of readers themselves, that the lake fails.
    lake_failing: float
    reader_lake_failing: float
    disk_failing: float
    #: Resolved paths whose block hints are replaced by nonsense.
    wrong_hints: float
    #: Mean times between such events; 0 = never.
    overwrite_period_s: float
    crash_period_s: float
    master_crash_period_s: float
    node_period_s: float
    operator_period_s: float
    pressure_period_s: float
    #: What files are drawn from: mostly small ones are packed into segments that lose some of them.
    sizes_bytes: tuple[int, ...]
    #: What nobody has is loaded by the worker of the first reader.
    claims: bool = True
    #: How many files are read at a time.
    read_counts: tuple[int, ...] = (1, 1, 2, 4)
    #: Files are written through the cache: a writer tells the master, and waits for its answer.
    written_through: bool = False
    #: Processes are stopped for a while, or busy with one long event; for so long at most.
    pause_period_s: float = 0.0
    pause_max_s: float = 8.0
    #: Writes to the journal that are answered as failed; half of them are written all the same.
    journal_failing: float = 0.0
    #: Listings of a sync that break off in the middle.
    listings_cut: float = 0.0
    #: What operators do where there is no room for everything, besides loads and checks.
    operations: tuple[str, ...] = ("free", "mount", "pin", "unpin", "ttl", "quota", "sync")


def plan_of(seed: int) -> Plan:
    """Draw the parameters of a seed."""
    draw = random.Random(f"plan {seed}")
    calm = draw.random() < 0.25
    roomy = calm and draw.random() < 0.5
    lossy = not calm and draw.random() < 0.7
    segment_blocks = draw.choice([1, 2, 4])
    settings = Settings(
        block_size_bytes=BLOCK_BYTES,
        page_size_bytes=random.Random(f"pages {seed}").choice([1, 2, BLOCK_BYTES]),
        segment_size_bytes=segment_blocks * BLOCK_BYTES,
        extent_size_bytes=segment_blocks * BLOCK_BYTES * draw.choice([1, 2, 4]),
        replicas_max=draw.choice([1, 2, 16]),
        lease_s=draw.choice([4.0, 6.0]),
        heartbeat_period_s=1.0,
        heartbeat_timeout_s=5.0,
        loads_inflight_max=draw.choice([1, 2, 8]),
        load_bytes_inflight_max=draw.choice([16, 64, 1024]),
        master_timeout_s=3.0,
        worker_timeout_s=5.0,
        client_mapped_bytes_max=draw.choice([32, 128, 4096]),
        client_paths_max=draw.choice([4, 1000]),
        metadata_ttl_s=draw.choice([0.0, 1.0, 4.0]),
        promote_after_hits=draw.choice([1, 2]),
        memory_high_watermark=draw.choice([0.7, 0.95, 1.0]),
        memory_low_watermark=draw.choice([0.5, 0.7]),
    )
    slow = draw.choice([0.0, 0.02, 0.1])
    plan = Plan(
        settings=settings,
        weather=Weather(
            delay_s=draw.choice([0.002, 0.02, 0.1]),
            lost=draw.choice([0.01, 0.05]) if lossy else 0.0,
            doubled=draw.choice([0.02, 0.1]) if lossy else 0.0,
            slow=0.0 if calm else slow,
        ),
        nodes=draw.randint(2, 5),
        clients=draw.randint(2, 3),
        files=draw.randint(3, 8),
        memory_bytes=2048 if roomy else draw.choice([0, 24, 48, 48, 96, 160]),
        disk_bytes=2048 if roomy else draw.choice([0, 40, 96, 200, 200]),
        active_s=draw.choice([10.0, 20.0]),
        read_period_s=draw.choice([0.2, 0.6]),
        calm=calm,
        roomy=roomy,
        lake_failing=0.0 if calm else draw.choice([0.0, 0.0, 0.05]),
        reader_lake_failing=0.0 if calm else draw.choice([0.0, 0.0, 0.0, 0.05]),
        disk_failing=0.0 if calm else draw.choice([0.0, 0.1]),
        wrong_hints=0.0 if roomy else draw.choice([0.0, 0.2]),
        overwrite_period_s=draw.choice([0.0, 1.0, 4.0]),
        crash_period_s=0.0 if calm else draw.choice([0.0, 2.0, 5.0]),
        master_crash_period_s=0.0 if calm else draw.choice([0.0, 8.0]),
        node_period_s=0.0 if calm else draw.choice([0.0, 8.0]),
        operator_period_s=draw.choice([0.0, 1.0, 2.0]),
        pressure_period_s=draw.choice([0.0, 5.0]) if not roomy else 0.0,
        sizes_bytes=_SIZES_BYTES,
        claims=random.Random(f"claims {seed}").random() < 0.5,
        written_through=random.Random(f"written {seed}").random() < 0.5,
    )
    bad = random.Random(f"bad days {seed}")
    if not calm and bad.random() < 0.5:
        plan = replace(
            plan,
            pause_period_s=bad.choice([0.0, 3.0, 8.0]),
            pause_max_s=bad.choice([0.5, 3.0, 12.0]),
            journal_failing=bad.choice([0.0, 0.1, 0.5]),
            listings_cut=bad.choice([0.0, 0.3]),
        )
    return plan if roomy or draw.random() < 0.65 else _of_small_files(plan)


def _of_small_files(plan: Plan) -> Plan:
    """With room for them, so that what is packed together loses files one by one, and is rewritten."""
    return replace(
        plan,
        settings=replace(plan.settings, segment_size_bytes=4 * BLOCK_BYTES, extent_size_bytes=8 * BLOCK_BYTES),
        nodes=2,
        files=12,
        sizes_bytes=_SMALL_SIZES_BYTES,
        read_counts=(1, 8, 12),
        memory_bytes=64,
        disk_bytes=200,
        overwrite_period_s=1.0,
        operator_period_s=1.0,
        read_period_s=1.0,
    )
