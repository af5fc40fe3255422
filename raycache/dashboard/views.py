"""From the cache's figures to what the page shows: rows, sorted, filtered, one page of them. Pure.

Everything that leaves here is plain data for JSON; names are text, and the page shows them as text. A column is sorted by
its value, unknown values last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from raycache.admin.browsing import CachedEntry, HeatRow
from raycache.admin.overview import REASONS, NodeView, Overview, ReaderView, Reads
from raycache.admin.sizing.advice import Advice
from raycache.dashboard.query import ROWS_PER_PAGE, Query
from raycache.results import CachedDataset, Entry, Progress

Row: TypeAlias = dict[str, Any]
_GB = 10**9
_DIGITS = re.compile(r"([0-9]{1,18})")
_FAILURES_SHOWN = 5
_PATHS_SHOWN = 3
_MISSED_DATASETS = 12


class Prices(NamedTuple):
    """What the lake costs."""

    per_1000_requests: float = 0.0
    per_gb: float = 0.0


def page_of(overview: Overview, query: Query, prices: Prices) -> dict[str, Any]:
    """The data of one view (but `data`, `kept` and `sizes`, which have to ask first).

    Returns:
        `head`, which every view has, and the view's own.
    """
    views: Mapping[str, Callable[[], dict[str, Any]]] = {
        "overview": lambda: summary(overview, prices),
        "nodes": lambda: table([node_row(node) for node in overview.nodes], query, "host", ("node_id", "host", "state")),
        "jobs": lambda: table([job_row(job_id, progress) for job_id, progress in overview.jobs], query, "", ("id", "state")),
        "readers": lambda: table(
            [reader_row(reader) for reader in overview.readers], query, "", ("job", "task", "dataset")
        ),
        "missed": lambda: missed(overview),
    }  # fmt: skip
    return {"head": head(overview), "view": query.view, **views[query.view]()}


def sizes(advice: Advice) -> dict[str, Any]:
    """The view of what other sizes would give, and of the eviction policies in force."""
    return {
        "sizes": [size.as_dict() for size in advice.sizes],
        "policies": [
            {**node.as_dict(), "history": [change.as_dict() for change in node.history[-3:]]}
            for node in advice.nodes[:ROWS_PER_PAGE]
        ],
        "nodes_total": len(advice.nodes),
        "asked_bytes": advice.asked_bytes,
        "watched_s": round(advice.watched_s),
        "sampled_blocks": advice.sampled_blocks,
        "uncertainty": round(advice.uncertainty, 4),
    }


def head(overview: Overview) -> dict[str, Any]:
    """What stands above every view."""
    return {
        "cache_id": overview.cache_id,
        "uptime_s": round(overview.uptime_s, 1),
        "workers_alive": overview.workers_alive,
        "nodes": len(overview.nodes),
        "hit_rate": _round(overview.ever.hit_rate),
    }


def summary(overview: Overview, prices: Prices) -> dict[str, Any]:
    """The first view."""
    total, ever = overview.stats.total, overview.ever
    requests_saved = ever.asked - total.ufs_requests
    bytes_saved = ever.bytes_read - total.ufs_bytes
    return {
        "windows": {"minute": _window(overview.minute), "quarter": _window(overview.quarter), "ever": _window(ever)},
        "series": overview.series,
        "series_step_s": overview.series_step_s,
        "bytes_memory": total.bytes_memory,
        "bytes_disk": total.bytes_disk,
        "bytes_ufs": total.bytes_ufs,
        "bytes_local": total.bytes_local,
        "bytes_remote": total.bytes_remote,
        "bytes_bypass": total.bytes_bypass,
        "ufs_requests": total.ufs_requests,
        "ufs_bytes": total.ufs_bytes,
        "requests_saved": requests_saved,
        "bytes_saved": bytes_saved,
        "money_saved": round(
            requests_saved / 1000 * prices.per_1000_requests + bytes_saved / _GB * prices.per_gb, 6
        ),
        "prices": prices._asdict(),
        "memory_used_bytes": total.memory_used_bytes,
        "memory_capacity_bytes": total.memory_capacity_bytes,
        "disk_used_bytes": total.disk_used_bytes,
        "disk_capacity_bytes": total.disk_capacity_bytes,
        "blocks": total.blocks,
        "evictions": total.evictions,
        "loads_inflight": total.loads_inflight,
        "files_known": overview.files_known,
        "mounts": len(overview.mounts),
        "workers": dict(sorted(Counter(node.state for node in overview.nodes).items(), key=lambda item: -item[1])),
        "jobs_running": sum(not progress.finished for _, progress in overview.jobs),
        "missed": ever.missed,
        "tiles": [
            [node.node_id[:12], node.host, node.state, _round(node.quarter.hit_rate)]
            for node in overview.nodes[:400]
        ],
    }  # fmt: skip


def _window(reads: Reads) -> dict[str, Any]:
    return {
        "hit_rate": _round(reads.hit_rate),
        "byte_hit_rate": _round(reads.byte_hit_rate),
        "asked": reads.asked,
        "bytes_read": reads.bytes_read,
    }


def node_row(node: NodeView) -> Row:
    """One row of the nodes."""
    stats = node.stats
    pressure = stats.plasma_used_bytes / stats.plasma_capacity_bytes if stats.plasma_capacity_bytes else None
    return {
        "node_id": node.node_id,
        "host": node.host or None,
        "state": node.state,
        "hit_rate": _round(stats.hit_rate if stats.hits + stats.misses + stats.bypasses else None),
        "minute": _round(node.minute.hit_rate),
        "quarter": _round(node.quarter.hit_rate),
        "spark": node.spark,
        "asked": stats.hits + stats.misses + stats.bypasses,
        "memory_used_bytes": stats.memory_used_bytes,
        "memory_capacity_bytes": stats.memory_capacity_bytes,
        "disk_used_bytes": stats.disk_used_bytes,
        "disk_capacity_bytes": stats.disk_capacity_bytes,
        "bytes_local": stats.bytes_local,
        "bytes_remote": stats.bytes_remote,
        "bytes_bypass": stats.bytes_bypass,
        "loads_inflight": stats.loads_inflight,
        "evictions": stats.evictions,
        "plasma_pressure": _round(pressure),
        "epoch": node.epoch,
        "heartbeat_age_s": round(node.heartbeat_age_s, 1) if stats.alive else None,
    }


def job_row(job_id: str, progress: Progress) -> Row:
    """One load job."""
    return {
        "id": job_id,
        "state": progress.state,
        "finished": progress.finished,
        "paths": [path[:300] for path in progress.paths[:_PATHS_SHOWN]],
        "paths_count": len(progress.paths),
        "done": _round(progress.bytes_done / progress.bytes_total) if progress.bytes_total else None,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "files_done": progress.files_done,
        "files_total": progress.files_total,
        "files_failed": progress.files_failed,
        "rate_bytes_s": round(progress.rate_bytes_s),
        "elapsed_s": round(progress.elapsed_s, 1),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
        "failures": [
            {"path": failure.path, "reason": failure.reason[:300]} for failure in progress.failures[:_FAILURES_SHOWN]
        ],
    }


def reader_row(reader: ReaderView) -> Row:
    """One reader."""
    counters = reader.reads.counters
    return {
        "task": reader.task,
        "dataset": reader.dataset,
        "job": reader.job,
        "hit_rate": _round(reader.reads.hit_rate),
        "byte_hit_rate": _round(reader.reads.byte_hit_rate),
        "asked": reader.reads.asked,
        "bytes_read": reader.reads.bytes_read,
        "bytes_local": counters.bytes_local,
        "bytes_remote": counters.bytes_remote,
        "misses": counters.misses,
        "bypasses": counters.bypasses,
        "quiet_s": round(reader.quiet_s, 1),
    }


def missed(overview: Overview) -> dict[str, Any]:
    """Why blocks were not there: by reason, and for the datasets that missed most."""
    windows = {"minute": overview.minute.missed, "quarter": overview.quarter.missed, "ever": overview.ever.missed}
    datasets: dict[str, dict[str, int]] = {}
    for reader in overview.readers:
        sums = datasets.setdefault(reader.dataset, dict.fromkeys(REASONS, 0))
        for reason, count in reader.reads.missed.items():
            sums[reason] += count
    worst = sorted(datasets.items(), key=lambda item: (-sum(item[1].values()), item[0]))[:_MISSED_DATASETS]
    return {
        "reasons": [
            {"reason": reason, **{window: counts[reason] for window, counts in windows.items()}} for reason in REASONS
        ],
        "asked": {"minute": overview.minute.asked, "quarter": overview.quarter.asked, "ever": overview.ever.asked},
        "datasets": [{"dataset": name, **sums} for name, sums in worst if sum(sums.values())],
    }


def kept_page(overview: Overview, kept: Sequence[CachedDataset], query: Query) -> dict[str, Any]:
    """What is kept of datasets after their transforms."""
    return {
        "head": head(overview),
        "view": "kept",
        **table([row.as_dict() for row in kept], query, "name", ("name",)),
        "bytes_kept": sum(row.bytes_kept for row in kept),
        "saved_cpu_s": round(sum(row.saved_cpu_s for row in kept), 3),
    }


def entry_row(entry: Entry) -> Row:
    """One name of a directory."""
    return {
        "name": entry.name,
        "path": entry.path,
        "kind": entry.kind,
        "size": entry.size_bytes if entry.kind == "file" else None,
        "version": entry.etag or (entry.mtime.isoformat(timespec="seconds") if entry.mtime else ""),
    }


def cached_row(found: CachedEntry) -> Row:
    """The same, with what is cached of it."""
    size = found.entry.size_bytes
    share = None if found.bytes_cached is None else found.bytes_cached / size if size else 1.0
    return {
        **entry_row(found.entry),
        "cached": _round(share),
        "bytes_memory": found.bytes_memory,
        "bytes_disk": found.bytes_disk,
        "nodes": sorted(found.nodes, key=lambda node: -found.nodes[node])[:3],
        "nodes_count": len(found.nodes),
        "pinned": found.pinned,
        "heat": found.hits,
    }


def heat_row(row: HeatRow) -> Row:
    """One of the hottest or coldest files."""
    return {"path": row.path, "heat": row.hits, "bytes_memory": row.bytes_memory, "bytes_disk": row.bytes_disk}


def table(rows: Sequence[Row], query: Query, default: str, searched: Sequence[str]) -> dict[str, Any]:
    """One page of a table.

    Args:
        rows: all of them.
        query: which page, sorted how; an unknown column sorts by the default.
        default: the column to sort by, empty to keep the order.
        searched: the columns in which the text of the query is looked for.
    """
    text = query.text.casefold()
    if text:
        rows = [row for row in rows if any(text in str(row[name]).casefold() for name in searched)]
    column = query.sort if rows and query.sort in rows[0] else default
    if column:
        rows = _sorted(rows, column, descending=query.descending)
    pages = max(1, -(-len(rows) // ROWS_PER_PAGE))
    page = min(query.page, pages - 1)
    return {
        "rows": list(rows[page * ROWS_PER_PAGE : (page + 1) * ROWS_PER_PAGE]),
        "rows_total": len(rows),
        "page": page,
        "pages": pages,
        "sort": column,
        "desc": query.descending,
    }


def _sorted(rows: Iterable[Row], column: str, *, descending: bool) -> list[Row]:
    def value(row: Row) -> Any:
        found = row[column]
        if isinstance(found, str):
            # Numbers in names by their value: 10.0.0.9 stands before 10.0.0.10.
            return [int(part) if part.isdecimal() and part.isascii() else part for part in _DIGITS.split(found)]
        return len(found) if isinstance(found, (list, tuple)) else found

    rows = list(rows)
    known = [row for row in rows if row[column] is not None]
    return [*sorted(known, key=value, reverse=descending), *(row for row in rows if row[column] is None)]


def _round(share: float | None) -> float | None:
    """Four digits, rounded down, so that 1 means all."""
    return None if share is None else int(share * 10_000) / 10_000
