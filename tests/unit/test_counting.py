"""Counting reads: who read, from where, why it missed, and what of it arrives, once."""

from __future__ import annotations

import itertools

import pytest

from raycache.client.counters import READERS_MAX, Counters
from raycache.master.history import SAMPLES, STEP_S, History
from raycache.master.readers import READERS_KEPT_MAX, Readers
from raycache.messages import OTHER_READERS, Counts, Delivery, MissReason, ReadCounters, ReadTag, sum_counters
from raycache.paths import dataset_of
from raycache.types import BlockId, FileVersion, Tier
from raycache.workers.absence import Absences
from raycache.workers.readings import BATCHES_MAX, Readings

TAG = ReadTag("01", "train", "/lake/x")


_numbers = itertools.count(1)


def counts(hits: int, tag: ReadTag = TAG) -> Counts:
    return Counts([(tag, ReadCounters(hits=hits))], [])


def delivery(hits: int) -> Delivery:
    return Delivery("reader", next(_numbers), counts(hits))


# --- in the reader's process ------------------------------------------------------------------------------------------


def test_every_block_is_counted_once_and_every_byte_twice() -> None:
    """hits + misses + bypasses = blocks; bytes by place = bytes by way = bytes read; reasons = misses + bypasses."""
    counters = Counters()
    counters.hit(Tier.MEMORY, 1, "d")
    counters.hit(Tier.MEMORY, 10, "d", remote=True)
    counters.hit(Tier.DISK, 100, "d", blocks=2)
    counters.hit(Tier.DISK, 1_000, "d", remote=True)
    counters.miss(10_000, "d", MissReason.EVICTED, remote=True)
    counters.bypass(100_000, "d", MissReason.QUOTA, requests=1)
    counters.bypass(1_000_000, "d", MissReason.QUOTA, requests=0)
    total = counters.take().total()
    assert (5, 1, 2) == (total.hits, total.misses, total.bypasses)
    assert (11, 1_100, 1_110_000) == (total.bytes_memory, total.bytes_disk, total.bytes_ufs)
    assert (101, 11_010, 1_100_000) == (total.bytes_local, total.bytes_remote, total.bytes_bypass)
    assert (10, 1_000) == (total.bytes_memory_remote, total.bytes_disk_remote)
    assert (1, 2) == (total.missed_evicted, total.missed_quota)
    assert (1, 1_100_000) == (total.ufs_requests, total.ufs_bytes)
    assert not counters.dirty


def test_reads_are_counted_for_the_task_that_runs() -> None:
    """What was read before belongs to the task before; a thread without a name reads for the task it helps."""
    counters = Counters()
    counters.run_for("01", "a")
    counters.hit(Tier.MEMORY, 1, "/x")
    counters.run_for("01", "b")
    counters.hit(Tier.MEMORY, 1, "/x")
    counters.run_for("01", "")
    counters.hit(Tier.MEMORY, 1, "/x")
    counters.hit(Tier.MEMORY, 1, "/y")
    found = {tag: sums.hits for tag, sums in counters.take().readers}
    assert {ReadTag("01", "a", "/x"): 1, ReadTag("01", "b", "/x"): 2, ReadTag("01", "b", "/y"): 1} == found


def test_too_many_readers_are_counted_together() -> None:
    """The memory is bounded, and nothing is lost."""
    counters = Counters()
    for number in range(3 * READERS_MAX):
        counters.run_for("01", f"task {number % (2 * READERS_MAX)}")
        counters.hit(Tier.MEMORY, 1, "/x")
    taken = counters.take()
    assert READERS_MAX + 1 == len(taken.readers)
    assert 3 * READERS_MAX == taken.total().hits


def test_latencies_fall_into_buckets() -> None:
    """A bound belongs to the bucket below it; the last bucket takes the rest."""
    counters = Counters()
    for seconds in (0.0, 0.001, 0.0011, 99.0):
        counters.took(seconds)
    latencies = counters.take().latencies
    assert ([2, 1], 1, 4) == (latencies[:2], latencies[-1], sum(latencies))


@pytest.mark.parametrize(
    ("path", "dataset"),
    [
        ("/lake/train/a/b.parquet", "/lake/train"),
        ("/lake/b.parquet", "/lake"),
        ("/b.parquet", "/"),
        ("s3://bucket/train/a/b", "s3://bucket/train"),
        ("s3://bucket/b", "s3://bucket"),
        ("file:///data/x/b", "file:///data"),
    ],
)
def test_the_dataset_of_a_path(path: str, dataset: str) -> None:
    """The first two directories."""
    assert dataset == dataset_of(path)


# --- in the worker ----------------------------------------------------------------------------------------------------


def test_why_a_block_is_missing() -> None:
    """What the worker let go, it remembers why; another version says changed; what it never saw is cold."""
    old, new = FileVersion("s3://b/f", 9, "1", 0), FileVersion("s3://b/f", 9, "2", 0)
    absences = Absences()
    block = BlockId(old.id(), 0)
    assert MissReason.COLD == absences.why(block, old)
    absences.arrived(block, old)
    absences.went(block, MissReason.EVICTED)
    assert MissReason.EVICTED == absences.why(block, old)
    assert MissReason.COLD == absences.why(BlockId(old.id(), 1), old)
    assert MissReason.CHANGED == absences.why(BlockId(new.id(), 0), new)
    absences.arrived(block, old)
    assert MissReason.COLD == absences.why(block, old)


def test_batches_are_repeated_until_they_arrived() -> None:
    """And what is counted meanwhile goes into later ones."""
    readings = Readings()
    readings.add(delivery(1))
    first = readings.batches()
    readings.add(delivery(2))
    second = readings.batches()
    assert [1, 2] == [number for number, _ in second]
    readings.arrived(first)
    assert [2] == [number for number, _ in readings.batches()]
    readings.arrived(readings.batches())
    assert ([], 3) == (readings.batches(), readings.total.hits)


def test_a_silent_master_makes_no_more_batches() -> None:
    """They are bounded, and nothing is lost."""
    readings = Readings()
    for _ in range(3 * BATCHES_MAX):
        readings.add(delivery(1))
        assert len(readings.batches()) <= BATCHES_MAX
    readings.arrived(readings.batches())
    (_, rest), = readings.batches()  # fmt: skip
    assert 2 * BATCHES_MAX == sum_counters(counters for _, counters in rest).hits


# --- at the master ----------------------------------------------------------------------------------------------------


def test_a_repeated_batch_is_counted_once() -> None:
    """Whatever is repeated or late, of each worker's epoch a number counts once."""
    readers = Readers()
    one, two = (1, counts(1).readers), (2, counts(10).readers)
    readers.heard("a", 1, [one], 0.0)
    readers.heard("a", 1, [one, two], 1.0)
    readers.heard("a", 1, [one], 2.0)
    readers.heard("a", 2, [one], 3.0)
    readers.heard("b", 1, [one], 4.0)
    assert [(TAG, ReadCounters(hits=13), 1.0)] == readers.all(5.0)


def test_the_quietest_readers_are_summed_up() -> None:
    """There are never more than so many, and the sum stays."""
    readers = Readers()
    for number in range(READERS_KEPT_MAX + 50):
        readers.count(counts(1, ReadTag("01", str(number), "/x")).readers, float(number))
    rows = readers.all(0.0)
    assert READERS_KEPT_MAX == len(rows)
    assert READERS_KEPT_MAX + 50 == sum(counters.hits for _, counters, _ in rows)
    assert 51 == next(counters.hits for tag, counters, _ in rows if tag == OTHER_READERS)


def test_a_window_is_what_was_counted_within_it() -> None:
    """One minute is the last twelve steps; a node that came within it began at zero."""
    history = History()
    for step in range(100):
        values = {"a": ReadCounters(hits=step)}
        if step > 95:
            values["b"] = ReadCounters(hits=7)
        assert history.due(step * STEP_S)
        history.sample(values, step * STEP_S)
        assert not history.due(step * STEP_S + 1)
    assert 1 + 11 == history.window("a", ReadCounters(hits=100), 60.0).hits
    assert 100 == history.window("a", ReadCounters(hits=100), 900.0).hits
    assert 8 == history.window("b", ReadCounters(hits=8), 60.0).hits
    assert 3 == history.window("new", ReadCounters(hits=3), 60.0).hits
    assert [1] * 99 == history.series("a")[:, 0].tolist()
    assert [6] * 16 == history.series("a", 6)[:, 0].tolist()


def test_the_ring_goes_round() -> None:
    """After 15 minutes the oldest sample goes; a pause is filled with what was known."""
    history = History()
    for step in range(3 * SAMPLES):
        history.sample({"a": ReadCounters(hits=step)}, step * STEP_S)
    last = 3 * SAMPLES - 1
    assert 180 == history.window("a", ReadCounters(hits=last), 10_000.0).hits
    history.sample({"a": ReadCounters(hits=last + 5)}, (last + 31) * STEP_S)
    assert [0] * 30 + [5] == history.series("a")[-31:, 0].tolist()
    history.sample({}, 1e9)
    history.sample({"b": ReadCounters()}, 1e9 + STEP_S)
    assert (0, SAMPLES - 1) == (len(history.series("a")), len(history.series("b")))
