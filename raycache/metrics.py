"""Every figure that is shown, and every metric that is exported: name, unit, meaning. One table for all.

The dashboard's hover texts, `docs/metrics.md` and the descriptions of the Prometheus metrics come from here, so they
cannot say different things. Pure: who exports is `workers/figures/exporter.py` and `dashboard/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from raycache.messages import LATENCY_BOUNDS_S, MissReason, ReadCounters, WorkerStats
from raycache.settings import OBJECT_STORE_SHARE_MAX


class Figure(NamedTuple):
    """One figure of a page, a table or `cache.stats()`."""

    title: str
    definition: str


#: By name: fields of `cache.stats()`, and what is computed of them.
FIGURES: dict[str, Figure] = {
    "hit_rate": Figure("Hit rate", "Hits / (hits + misses + bypasses): of the blocks asked for, those that were in a tier."),
    "byte_hit_rate": Figure("Byte hit rate", "(memory bytes + disk bytes) / bytes read: of the bytes read, those that were in a tier when asked for."),
    "asked": Figure("Blocks asked for", "Hits + misses + bypasses, counted where the reader runs."),
    "hits": Figure("Hits", "Blocks that were in a tier of any node when asked for."),
    "misses": Figure("Misses", "Blocks that a worker had to load from the lake first."),
    "bypasses": Figure("Bypasses", "Blocks that the reader read from the lake itself, since no worker could serve them in time."),
    "bytes_read": Figure("Bytes read", "Bytes handed to readers, wherever they came from."),
    "bytes_memory": Figure("From memory", "Bytes of blocks that were in the memory tier (of any node) when asked for."),
    "bytes_disk": Figure("From disk", "Bytes of blocks that were in the disk tier (of any node) when asked for."),
    "bytes_ufs": Figure("From the lake", "Bytes of blocks that were in no tier when asked for: misses and bypasses."),
    "bytes_local": Figure("Local", "Bytes that the reader's own node served."),
    "bytes_remote": Figure("Remote", "Bytes that came from another node's worker."),
    "bytes_bypass": Figure("Bypassed", "Bytes that the reader read from the lake itself."),
    "bytes_memory_remote": Figure("Remote memory", "Of the bytes from memory, those of another node."),
    "bytes_disk_remote": Figure("Remote disk", "Of the bytes from disk, those of another node."),
    "memory_used_bytes": Figure("Memory used", "Bytes in the memory tier (Ray's object store) now."),
    "memory_capacity_bytes": Figure("Memory quota", "What the memory tier may take now; it shrinks while others need the object store."),
    "disk_used_bytes": Figure("Disk used", "Bytes in the disk tier now."),
    "disk_capacity_bytes": Figure("Disk quota", "What the disk tier may take."),
    "blocks": Figure("Blocks held", "Blocks and pages in the tiers of the node now."),
    "segments": Figure("Segments", "Segments in the tiers of the node now; a segment holds one or many blocks."),
    "evictions": Figure("Evictions", "Segments dropped to make room, so that no copy was left on the node."),
    "evictions_disk": Figure("Evictions from disk", "Of the evictions, those whose last copy was on disk."),
    "demotions": Figure("Demotions", "Copies in memory given up because the disk has one, too."),
    "promotions": Figure("Promotions", "Segments copied from disk to memory because they are read often."),
    "ufs_requests": Figure("Lake requests", "Reads sent to the lake by the node's worker and its readers; the master's listings are not in it."),
    "ufs_errors": Figure("Lake errors", "Of the worker's reads of the lake, those that failed (after their retries)."),
    "ufs_bytes": Figure("Lake bytes", "Bytes that those reads brought."),
    "refusals": Figure("Refusals", "Blocks that the worker had no room for, and did not serve."),
    "disk_errors": Figure("Disk errors", "Writes to the disk tier that failed; after one, the disk is left alone for a while."),
    "peer_silences": Figure("Silent peers", "How often another node's worker showed no sign of life to the node's worker or its readers; it is left alone for a while then, and others, or the lake, are read."),
    "corrupt_segments": Figure("Corrupt segments", "Disk segments that failed their checksum after a restart, and were dropped."),
    "loads_inflight": Figure("Loads", "Segments on their way from the lake now."),
    "plasma_used_bytes": Figure("Object store used", "Bytes in Ray's object store on the node, all its users together."),
    "plasma_capacity_bytes": Figure("Object store", "Capacity of Ray's object store on the node."),
    "plasma_pressure": Figure("Plasma", f"Share of Ray's object store in use, all its users together. The cache gives way above {100 * OBJECT_STORE_SHARE_MAX:g} %."),
    "missed_cold": Figure("Cold", "Never cached here, as far as the worker remembers: first reads, and what a lost worker held."),
    "missed_evicted": Figure("Evicted", "Was cached, and had to make room. More capacity, or a smaller working set, would help."),
    "missed_freed": Figure("Freed", "Was dropped by `free` or `unmount`."),
    "missed_changed": Figure("Version changed", "Another version of the file was cached: it was replaced in the lake."),
    "missed_expired": Figure("TTL", "Its time to live had ended."),
    "missed_admission": Figure("Refused admission", "No room was made for it: what is cached was in use, or worth more. Read through."),
    "missed_quota": Figure("Quota", "The quota of its path was used up."),
    "missed_unreachable": Figure("Unreachable", "No worker could be asked, or none answered in time."),
    "missed_failed": Figure("Failed", "The worker could not read it from the lake, or its copy was damaged."),
    "tasks_started": Figure("Read tasks", "Read tasks that placed reads of Ray Data have started, counted where the read was planned."),
    "tasks_out_of_turn": Figure("Out of turn", "Of the read tasks, those that started before others of their node because more of their files was cached."),
    "disk_written_bytes": Figure("Disk written", "Bytes written to the disk tier: loads, demotions and rewritten segments. Divided by the bytes read, what reading costs in wear."),
    "workers_lru": Figure("LRU", "Workers that evict what was used longest ago."),
    "workers_sieve": Figure("SIEVE", "Workers that evict by SIEVE: what was not used since the hand last passed it."),
    "workers_s3_fifo": Figure("S3-FIFO", "Workers that evict by S3-FIFO: a small queue keeps what is read once away from the rest."),
    "workers_sticky": Figure("Sticky", "Workers that keep what they have, and refuse what is new, until what they have is of no use any more."),
    "policy_changes": Figure("Policy changes", "How often workers have gone on with another eviction policy, since it does better on what is read."),
    "policy": Figure("Policy", "The eviction policy in force at the node's worker; (set): by the setting, not found out."),
    "policy_history": Figure("History", "When the worker went on with another policy, and what both would hit, of all bytes asked for lately."),
    "size_factor": Figure("Size", "Memory, disk or both, so many times as large as now."),
    "hit_rate_at_size": Figure("Hits there", "Of the bytes asked for lately, those that would be hits at that size, by miniatures on a sample."),
    "lake_at_size": Figure("Lake bytes there", "Of the bytes asked for since the workers began to look, those that would come from the lake at that size."),
    "money_at_size": Figure("Price there", "What these would cost, at the prices of the settings `price_per_1000_requests` and `price_per_gb`."),
    "state": Figure("State", "Of the node's worker, as the master sees it."),
    "epoch": Figure("Epoch", "The incarnation of the node's worker; it grows with every restart."),
    "heartbeat_age_s": Figure("Heard", "Time since the worker's last heartbeat."),
    "requests_saved": Figure("Requests saved", "Blocks asked for - requests sent to the lake: without the cache each block read costs one request or more."),
    "bytes_saved": Figure("Bytes saved", "Bytes read - bytes that came from the lake, warm-up included."),
    "money_saved": Figure("Money saved", "Requests saved and bytes saved, at the prices of the settings `price_per_1000_requests` and `price_per_gb`."),
    "cached": Figure("Cached", "Share of the file's bytes that some node holds now; exact when shown."),
    "heat": Figure("Heat", "Uses of the file's segment since it came to the node: leases granted and renewed, not single reads."),
    "version": Figure("Version", "ETag or modification time of the file, as the cache knows it."),
    "quiet_s": Figure("Last read", "Time since the reader's last count arrived."),
    "uptime_s": Figure("Up", "Time since the master started."),
    "workers": Figure("Workers", "Nodes by the state of their worker, as the master sees it; gone: the node has left the cluster."),
    "mounts": Figure("Mounts", "What is mounted, self-mounted stores included."),
    "jobs_running": Figure("Loads running", "Load jobs that have not ended."),
    "trend": Figure("Trend", "Hit rate per 30 s of the last 15 minutes."),
    "series": Figure("Bytes read by source", "Bytes per second that readers were given, in steps of 5 s, by where they came from."),
    "series_memory": Figure("Memory here", "From the memory tier of the reader's own node."),
    "series_disk": Figure("Disk here", "From the disk tier of the reader's own node."),
    "series_remote": Figure("Other nodes", "From a tier of another node."),
    "series_lake": Figure("Lake", "Of blocks that were in no tier when asked for: misses and bypasses."),
    "host": Figure("Node", "Address of the machine, and the id that Ray gave the node."),
    "size": Figure("Size", "Bytes of the file in the lake; of a directory, of all files below it, when it was measured."),
    "held_memory": Figure("Memory", "Bytes of the file's blocks that some node holds in memory now."),
    "held_disk": Figure("Disk", "Bytes of the file's blocks that some node holds on disk now."),
    "where": Figure("Where", "The nodes that hold most of the file now."),
    "kept_name": Figure("Cached dataset", "Key or transforms, and the start of the fingerprint: its directory below /cached."),
    "kept_groups": Figure("Groups", "Results kept now; each is what a group of source files gives."),
    "kept_rows": Figure("Rows", "Rows in these."),
    "kept_bytes": Figure("Kept", "Bytes in these, in memory and on disk."),
    "kept_read": Figure("Read", "How often a result was read instead of being made, since the master started."),
    "kept_made": Figure("Made", "How often a result was made; taken over: by another, after whoever had begun fell silent."),
    "kept_waited": Figure("Waited", "How often somebody waited for a result that somebody else was making."),
    "kept_lost": Figure("Lost", "Results that were evicted, freed, or went with their node."),
    "kept_cost": Figure("Cost", "Seconds of CPU that it took to make what is kept."),
    "kept_saved": Figure("Saved", "Seconds of CPU that were not spent on making results again, since the master started."),
    "kept_idle": Figure("Last wanted", "Since one of its results was last read or made."),
    "task": Figure("Task", "Name of the Ray task or actor method that read; driver: the job's own process."),
    "dataset": Figure("Dataset", "The first two directories of the path, or the mount where that is deeper."),
    "job": Figure("Ray job", "Id of the Ray job that read."),
    "load": Figure("Load", "The paths that a load job was asked for, and its id."),
    "load_state": Figure("State", "Of the load job: it waits for others, runs, or has ended."),
    "load_done": Figure("Done", "Bytes that are in the cache / bytes that were asked for."),
    "load_files": Figure("Files", "Files that are in the cache as a whole, of those asked for."),
    "load_failed": Figure("Failed", "Files that could not be loaded."),
    "load_rate": Figure("Rate", "Bytes per second that the job has loaded lately."),
    "load_took": Figure("Took", "Time the job has run."),
    "load_left": Figure("Left", "Time it will still take at this rate."),
    "load_why": Figure("Why", "Files that failed, and the lake's reason."),
    "files_known": Figure("Files known", "Files and directories that the master remembers."),
}  # fmt: skip


class Metric(NamedTuple):
    """One Prometheus metric; Ray exports it as `ray_` + name."""

    name: str
    #: "counter", "gauge" or "histogram".
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def is_set(self) -> bool:
        """Whether its present value is handed to Ray, as a gauge's, rather than what has come: a series of it may go away."""
        return self.kind == "gauge" or "job" in self.labels


READ_LATENCY = "raycache_read_latency_seconds"
LOAD_LATENCY = "raycache_load_latency_seconds"
#: Upper bounds of the load latency buckets, in seconds.
LOAD_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

METRICS: tuple[Metric, ...] = (
    Metric("raycache_blocks_hit_total", "counter", ("node", "mount", "job"), FIGURES["hits"].definition),
    Metric("raycache_blocks_miss_total", "counter", ("node", "mount", "job"), FIGURES["misses"].definition),
    Metric("raycache_blocks_bypass_total", "counter", ("node", "mount", "job"), FIGURES["bypasses"].definition),
    Metric("raycache_blocks_missed_total", "counter", ("node", "reason", "mount", "job"), "Misses and bypasses by reason."),
    Metric("raycache_bytes_read_total", "counter", ("node", "source", "distance", "mount", "job"),
           "Bytes handed to readers, by where the block was (memory, disk, ufs) and how it travelled (local, remote, bypass)."),
    Metric("raycache_read_tasks_total", "counter", ("node", "turn", "mount", "job"),
           "Read tasks that placed reads have started: in turn, or before others because they were cached (turn in or out)."),
    Metric("raycache_disk_written_bytes_total", "counter", ("node",), FIGURES["disk_written_bytes"].definition),
    Metric("raycache_eviction_policy", "gauge", ("node", "policy"), "1 of the eviction policy in force, 0 of the others."),
    Metric("raycache_policy_changes_total", "counter", ("node",), FIGURES["policy_changes"].definition),
    Metric("raycache_tier_used_bytes", "gauge", ("node", "tier"), "Bytes in the tier now."),
    Metric("raycache_tier_capacity_bytes", "gauge", ("node", "tier"), "What the tier may take now."),
    Metric("raycache_evictions_total", "counter", ("node", "tier", "reason"), FIGURES["evictions"].definition),
    Metric("raycache_demotions_total", "counter", ("node",), FIGURES["demotions"].definition),
    Metric("raycache_promotions_total", "counter", ("node",), FIGURES["promotions"].definition),
    Metric("raycache_ufs_requests_total", "counter", ("node", "op", "status", "mount"),
           "Reads sent to the lake: by workers (op load) and by readers past the cache (op bypass); status ok or error."),
    Metric("raycache_load_bytes_total", "counter", ("node", "mount"), "Bytes that the worker loaded from the lake."),
    Metric("raycache_loads_inflight", "gauge", ("node",), FIGURES["loads_inflight"].definition),
    Metric("raycache_refusals_total", "counter", ("node",), FIGURES["refusals"].definition),
    Metric("raycache_peer_silences_total", "counter", ("node",), FIGURES["peer_silences"].definition),
    Metric("raycache_disk_errors_total", "counter", ("node",), FIGURES["disk_errors"].definition),
    Metric("raycache_corrupt_segments_total", "counter", ("node",), FIGURES["corrupt_segments"].definition),
    Metric("raycache_object_store_used_bytes", "gauge", ("node",), FIGURES["plasma_used_bytes"].definition),
    Metric("raycache_object_store_capacity_bytes", "gauge", ("node",), FIGURES["plasma_capacity_bytes"].definition),
    Metric(READ_LATENCY, "histogram", ("node",),
           "Time of a reader's calls that had to ask a worker or the lake; what is read in place is not in it."),
    Metric(LOAD_LATENCY, "histogram", ("node",), "Time from the start of a segment's load until it is stored in its tier."),
)  # fmt: skip


class LakeReads(NamedTuple):
    """What was asked of the lake for one mount, since the start."""

    mount: str
    #: Of workers: reads sent, of these failed, and the bytes that came.
    requests: int
    errors: int
    bytes: int
    #: Reads that readers sent past the cache.
    bypasses: int


class Sample(NamedTuple):
    """The present value of one series; counters since the start."""

    name: str
    #: Values of the metric's labels, without `node`, which is the first.
    labels: tuple[str, ...]
    value: int


def samples(
    series: Iterable[tuple[str, str, ReadCounters]], lake: Iterable[LakeReads], stats: WorkerStats
) -> Iterator[Sample]:
    """All counters and gauges of one node.

    Args:
        series: what the node's readers have read, by mount and Ray job.
        lake: what they and the worker asked of the lake, by mount.
        stats: of its worker.
    """
    for mount, job, some in series:
        for name, labels, value in _reads(some):
            yield Sample(name, (*labels, mount, job), value)
    for tier in ("memory", "disk"):
        yield Sample("raycache_tier_used_bytes", (tier,), getattr(stats, f"{tier}_used_bytes"))
        yield Sample("raycache_tier_capacity_bytes", (tier,), getattr(stats, f"{tier}_capacity_bytes"))
    yield Sample("raycache_evictions_total", ("memory", "capacity"), stats.evictions - stats.evictions_disk)
    yield Sample("raycache_evictions_total", ("disk", "capacity"), stats.evictions_disk)
    yield Sample("raycache_demotions_total", (), stats.demotions)
    yield Sample("raycache_promotions_total", (), stats.promotions)
    for asked in lake:
        mount = asked.mount
        yield Sample("raycache_ufs_requests_total", ("load", "ok", mount), asked.requests - asked.errors)
        yield Sample("raycache_ufs_requests_total", ("load", "error", mount), asked.errors)
        yield Sample("raycache_ufs_requests_total", ("bypass", "ok", mount), asked.bypasses)
        yield Sample("raycache_load_bytes_total", (mount,), asked.bytes)
    yield Sample("raycache_disk_written_bytes_total", (), stats.disk_written_bytes)
    for policy in ("lru", "sieve", "s3_fifo", "sticky"):
        yield Sample("raycache_eviction_policy", (policy,), getattr(stats, f"workers_{policy}"))
    yield Sample("raycache_policy_changes_total", (), stats.policy_changes)
    yield Sample("raycache_loads_inflight", (), stats.loads_inflight)
    yield Sample("raycache_refusals_total", (), stats.refusals)
    yield Sample("raycache_peer_silences_total", (), stats.peer_silences)
    yield Sample("raycache_disk_errors_total", (), stats.disk_errors)
    yield Sample("raycache_corrupt_segments_total", (), stats.corrupt_segments)
    yield Sample("raycache_object_store_used_bytes", (), stats.plasma_used_bytes)
    yield Sample("raycache_object_store_capacity_bytes", (), stats.plasma_capacity_bytes)


def _reads(reads: ReadCounters) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """(name, labels, value) of all counters of reads."""
    yield "raycache_blocks_hit_total", (), reads.hits
    yield "raycache_blocks_miss_total", (), reads.misses
    yield "raycache_blocks_bypass_total", (), reads.bypasses
    for reason in MissReason:
        name = reason.name.lower()
        yield "raycache_blocks_missed_total", (name,), getattr(reads, f"missed_{name}")
    cached_remote = reads.bytes_memory_remote + reads.bytes_disk_remote
    for source, distance, value in (
        ("memory", "local", reads.bytes_memory - reads.bytes_memory_remote),
        ("memory", "remote", reads.bytes_memory_remote),
        ("disk", "local", reads.bytes_disk - reads.bytes_disk_remote),
        ("disk", "remote", reads.bytes_disk_remote),
        ("ufs", "local", reads.bytes_ufs - (reads.bytes_remote - cached_remote) - reads.bytes_bypass),
        ("ufs", "remote", reads.bytes_remote - cached_remote),
        ("ufs", "bypass", reads.bytes_bypass),
    ):
        yield "raycache_bytes_read_total", (source, distance), value
    yield "raycache_read_tasks_total", ("in",), reads.tasks_started - reads.tasks_out_of_turn
    yield "raycache_read_tasks_total", ("out",), reads.tasks_out_of_turn


def bucket_value(index: int) -> float:
    """A latency that falls into a bucket of `Counts.latencies`, in seconds."""
    return LATENCY_BOUNDS_S[index] if index < len(LATENCY_BOUNDS_S) else 2 * LATENCY_BOUNDS_S[-1]


def markdown() -> str:
    """The tables of `docs/metrics.md`."""
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    lines += [
        f"| `ray_{metric.name}` | {metric.kind}{' (as gauge)' if metric.is_set and metric.kind != 'gauge' else ''} | {', '.join(metric.labels)} | {metric.meaning} |"
        for metric in METRICS
    ]
    lines += ["", "| Figure | Shown as | Meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {figure.title} | {figure.definition} |" for name, figure in FIGURES.items()]
    return "\n".join(lines)
