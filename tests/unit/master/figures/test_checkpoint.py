"""Counts over a restart of the master: what only it knew is kept, what workers say again is not counted twice."""

from __future__ import annotations

import json
from typing import Any

from raycache.master.figures.checkpoint import PERIOD_S, Checkpoint, read_checkpoint
from raycache.master.figures.history import STEP_S, History
from raycache.master.membership import StartWorker
from raycache.master.service import MasterService
from raycache.messages import (
    BlockReport,
    Counts,
    Delivery,
    Heartbeat,
    OverviewReply,
    ReadCounters,
    ReadTag,
    WorkerStats,
)
from raycache.settings import Settings

TAG = ReadTag("01", "train", "/lake/x")
START = {"op": "start", "start_ns": 1, "cache_id": "c"}


def first_master() -> MasterService:
    return MasterService(Settings(), [START], start_ns=1)


def next_master(record: dict[str, Any] | None, now_s: float, wall_s: float) -> MasterService:
    """As Ray restarts it; the record has been text in between."""
    master = MasterService(Settings(), [START, START], start_ns=2)
    if record is not None:
        assert master.restore(json.loads(json.dumps(record)), now_s, wall_s)
    return master


def say(master: MasterService, node: str, epoch: int, sequence: int, hits: int, now_s: float, new: int = 0) -> None:
    batches = [(sequence, [(TAG, ReadCounters(hits=new))])] if new else []
    master.heartbeat(
        Heartbeat(
            node, epoch, sequence, BlockReport(True, [], []), WorkerStats(ufs_requests=hits), ReadCounters(hits=hits),
            0, 0, readers=batches,
        ),
        now_s,
    )  # fmt: skip


def hits(master: MasterService) -> dict[str, int]:
    return {figures.node: figures.counters.hits for figures in master.stats()}


def overview(master: MasterService, now_s: float) -> OverviewReply:
    return master.overview(0.0, now_s, {}, [])


def test_only_the_masters_own_counts_survive_its_end() -> None:
    """Of a worker that is gone, of readers without a worker, per reader; a live worker's word is not added to them."""
    master = first_master()
    epochs = {e.worker: e.epoch for e in master.nodes_changed(["a", "b"], 0.0) if isinstance(e, StartWorker)}
    say(master, "a", epochs["a"], 1, 10, 0.0, new=10)
    say(master, "b", epochs["b"], 1, 100, 0.0, new=100)
    delivery = Delivery("reader", 1, Counts([(TAG, ReadCounters(hits=1_000))], []))
    master.count("driver", delivery, 0.0)
    master.lost("b", epochs["b"], 1.0)
    kept = master.checkpoint(1.0)
    assert kept is not None
    say(master, "a", epochs["a"], 2, 11, 1.5, new=1)

    again = next_master(kept.record(500.0), 7.0, 502.0)
    assert {"a": 10, "b": 100, "driver": 1_000} == hits(again)
    again.nodes_changed(["a", "b"], 7.0)
    # All that was on its way when the first one ended comes again.
    say(again, "a", epochs["a"], 3, 12, 7.5, new=2)
    again.count("driver", delivery, 7.5)
    assert {"a": 12, "b": 100, "driver": 1_000} == hits(again)
    assert 12 + 100 == sum(figures.stats.ufs_requests for figures in again.stats())
    (tag, counters, quiet_s) = overview(again, 8.0).readers[0]
    assert (TAG, 10 + 100 + 1_000 + 2, 0.5) == (tag, counters.hits, quiet_s)
    say(again, "a", epochs["a"], 3, 12, 8.0, new=2)
    assert 1_112 == overview(again, 8.0).readers[0][1].hits


def test_a_window_goes_on_over_a_restart() -> None:
    """What was counted long ago is not of the last minute, only because the master is new."""
    master = first_master()
    (start,) = master.nodes_changed(["a"], 0.0)
    for step in range(100):
        say(master, "a", start.epoch, step + 1, 10 * step, step * STEP_S)
        master.nodes_changed(["a"], step * STEP_S)
    before = overview(master, 99 * STEP_S)
    kept = master.checkpoint(99 * STEP_S)
    assert kept is not None

    again = next_master(kept.record(500.0), 3.0, 500.0 + 2 * STEP_S)
    again.nodes_changed(["a"], 3.0)
    say(again, "a", start.epoch, 101, 10 * 99 + 7, 3.0)
    again.nodes_changed(["a"], 3.0 + STEP_S)
    after = overview(again, 3.0 + STEP_S)
    assert (110, 990) == (before.nodes[0].minute.hits, before.nodes[0].quarter.hits)
    # Two steps were missed, one came: three steps less of the old ones.
    assert (110 - 30 + 7, 990 + 7) == (after.nodes[0].minute.hits, after.nodes[0].quarter.hits)
    assert len(before.series) + 3 == len(after.series)
    assert before.nodes[0].spark[:15] == after.nodes[0].spark[:15]


def test_it_is_kept_now_and_then() -> None:
    """Not while nobody reads; at once when a worker is lost."""
    master = first_master()
    (start,) = master.nodes_changed(["a"], 0.0)
    assert master.checkpoint(0.0) is None
    say(master, "a", start.epoch, 1, 1, 1.0)
    assert master.checkpoint(PERIOD_S - 1) is None
    assert master.checkpoint(PERIOD_S) is not None
    assert master.checkpoint(2 * PERIOD_S) is None
    master.lost("a", start.epoch, 2 * PERIOD_S + 1)
    assert master.checkpoint(2 * PERIOD_S + 1) is not None
    assert master.checkpoint(2 * PERIOD_S + 2) is None


def test_what_could_not_be_kept_is_kept_later() -> None:
    """Nothing more is read, and the lost worker's counts are written all the same; not at once again, and once."""
    master = first_master()
    (start,) = master.nodes_changed(["a"], 0.0)
    say(master, "a", start.epoch, 1, 1, 0.0)
    assert master.checkpoint(0.0) is not None
    master.lost("a", start.epoch, 1.0)
    assert master.checkpoint(1.0) is not None
    master.keeping.failed()
    assert master.checkpoint(PERIOD_S) is None
    assert master.checkpoint(1.0 + PERIOD_S) is not None
    assert master.checkpoint(1.0 + 2 * PERIOD_S) is None


def test_a_history_too_large_to_keep_is_not_even_copied() -> None:
    """It begins anew after the restart; everything else goes on."""
    history = History()
    for step in range(3):
        history.sample({"a": ReadCounters(hits=step), "b": ReadCounters()}, step * STEP_S)
    nodes, samples, age_s = history.saved(2 * STEP_S + 1)
    assert (["a", "b"], 2 * 3 * len(ReadCounters._fields), 1.0) == (nodes, samples.size, age_s)
    nodes, samples, age_s = history.saved(2 * STEP_S + 1, samples.nbytes)
    assert (["a", "b"], [0, 1, 2]) == (nodes, samples[0, :, ReadCounters._fields.index("hits")].tolist())
    nodes, none, age_s = history.saved(2 * STEP_S + 1, samples.nbytes - 1)
    assert ([], 0, 1.0) == (nodes, none.size, age_s)

    kept = Checkpoint("c", {"totals": 1}, {"readers": 2}, nodes, none, age_s)
    found = read_checkpoint(json.loads(json.dumps(kept.record(5.0))), "c", 6.0)
    assert found is not None
    assert (kept.figures, kept.readers, [], 1.0) == (*found[0][1:4], found[1])
    again = History()
    again.restore(found[0].history_nodes, found[0].history, found[0].history_age_s, 0.0)
    assert again.due(0.0)


def test_another_caches_counts_are_passed_over() -> None:
    """So are those of a version that counts something else."""
    master = first_master()
    master.count("n", Delivery("reader", 1, Counts([(TAG, ReadCounters(hits=1))], [])), 0.0)
    kept = master.checkpoint(0.0)
    assert kept is not None
    record = kept.record(0.0)
    assert first_master().restore(record, 0.0, 0.0)
    for change in ({"cache_id": "another"}, {"fields": ["hits"]}):
        other = first_master()
        assert not other.restore(record | change, 0.0, 0.0)
        assert {} == hits(other)
