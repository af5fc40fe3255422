"""Counting reads: who read, from where, why it missed, and what of it arrives, once."""

from __future__ import annotations

import itertools
import threading

import pytest
from typing_extensions import Buffer

from raycache.client.counters import DATASETS_MAX, READERS_MAX, Counters
from raycache.errors import NotFoundError
from raycache.messages import (
    Counts,
    Delivery,
    MissReason,
    MountInfo,
    MountTable,
    ReadCounters,
    ReadTag,
    sum_counters,
)
from raycache.metrics import LakeReads
from raycache.paths import dataset_of
from raycache.types import BlockId, FileVersion, Tier
from raycache.ufs.memory import MemoryStorage
from raycache.workers.figures.lake_meter import MOUNTS_MAX, LakeMeter
from raycache.workers.figures.readings import BATCHES_MAX, Readings
from raycache.workers.figures.series import OTHER, QUIET_S, SERIES_MAX, ReadSeries
from raycache.workers.tiers.absences import Absences

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


def test_a_noted_read_counts_as_a_local_hit() -> None:
    """Of whatever tier and size, for the task that runs when it is noted; nothing is taken twice."""
    counters = Counters()
    counters.run_for("01", "a")
    for length in (1, 1, 10):
        counters.notes["/x"][Tier.MEMORY].append(length)
    counters.run_for("01", "b")
    counters.notes["/x"][Tier.DISK].append(100)
    counters.hit(Tier.DISK, 1_000, "/x")
    assert counters.dirty
    found = dict(counters.take().readers)
    one, other = found[ReadTag("01", "a", "/x")], found[ReadTag("01", "b", "/x")]
    assert (3, 12, 12) == (one.hits, one.bytes_memory, one.bytes_local)
    assert (2, 1_100, 1_100) == (other.hits, other.bytes_disk, other.bytes_local)
    assert (False, []) == (counters.dirty, counters.take().readers)


def test_a_process_tells_so_many_datasets_apart() -> None:
    """Notes of further ones are counted together, and none is lost."""
    counters = Counters()
    for number in range(2 * DATASETS_MAX):
        counters.notes[str(number)][Tier.MEMORY].append(1)
    assert DATASETS_MAX + 1 == len(counters.notes)
    assert 2 * DATASETS_MAX == counters.take().total().hits


def test_notes_of_many_threads_are_all_counted() -> None:
    """While others sum up and take, and tasks come and go."""
    counters = Counters()
    taken: list[Counts] = []
    done = threading.Event()

    def read(name: str) -> None:
        for number in range(5_000):
            if number % 500 == 0:
                counters.run_for("01", f"{name} {number}")
            counters.notes["/x"][Tier.MEMORY].append(3)

    def take() -> None:
        while not done.is_set():
            counters.fold()
            taken.append(counters.take())

    taker = threading.Thread(target=take)
    readers = [threading.Thread(target=read, args=(str(number),)) for number in range(4)]
    for thread in (taker, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    done.set()
    taker.join()
    total = sum_counters(counts.total() for counts in (*taken, counters.take()))
    assert (20_000, 60_000, 60_000) == (total.hits, total.bytes_memory, total.bytes_local)


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


def test_a_mount_that_is_deep_is_a_dataset() -> None:
    """Two mounts never share a dataset, so that its reads can be told by mount."""

    def mount(path: str, uri: str) -> MountInfo:
        return MountInfo(path, uri, {}, 1.0, readonly=True)

    table = MountTable(1, (
        mount("/lake", "s3://b"), mount("/lake/a/b/c", "s3://b/x/y"), mount("/lake/a/b/c/d", "s3://c"), mount("s3://b", "s3://b"),
    ))  # fmt: skip
    deep = table.deep()
    assert {"/lake/a/b/c", "/lake/a/b/c/d", "s3://b/x/y"} == deep
    for path, dataset, mounted in (
        ("/lake/a/b/c/e/f", "/lake/a/b/c", "/lake/a/b/c"),
        ("/lake/a/b/c/d/f", "/lake/a/b/c/d", "/lake/a/b/c/d"),
        ("/lake/a/b/cc/f", "/lake/a", "/lake"),
        ("s3://b/x/y/f", "s3://b/x/y", "/lake/a/b/c"),
        ("s3://b/x/z/f", "s3://b/x", "/lake"),
    ):
        assert dataset == dataset_of(path, deep)
        found = table.of_path(dataset)
        assert (mounted, path) == (found and found.path, path)


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
    readings.arrived(first, {})
    assert [2] == [number for number, _ in readings.batches()]
    readings.arrived(readings.batches(), {})
    assert ([], 3) == (readings.batches(), readings.total.hits)


def test_a_heartbeat_names_the_deliveries_in_its_sum() -> None:
    """Until one that named them has arrived; their readers may not have heard that they are counted."""
    readings = Readings()
    readings.add(Delivery("a", 1, counts(1)))
    sent = dict(readings.unconfirmed)
    readings.add(Delivery("a", 2, counts(1)))
    readings.add(Delivery("b", 7, counts(1)))
    readings.arrived([], sent)
    assert {"a": 2, "b": 7} == readings.unconfirmed
    readings.arrived([], dict(readings.unconfirmed))
    assert {} == readings.unconfirmed


def test_a_silent_master_makes_no_more_batches() -> None:
    """They are bounded, and nothing is lost."""
    readings = Readings()
    for _ in range(3 * BATCHES_MAX):
        readings.add(delivery(1))
        assert len(readings.batches()) <= BATCHES_MAX
    readings.arrived(readings.batches(), {})
    (_, rest), = readings.batches()  # fmt: skip
    assert 2 * BATCHES_MAX == sum_counters(counters for _, counters in rest).hits


MOUNTS = MountTable(1, (MountInfo("/lake", "s3://b", {}, 1.0, True), MountInfo("/other", "s3://c", {}, 1.0, True)))


def test_reads_are_told_by_mount_and_job() -> None:
    """Tasks and datasets of one job and mount are one series; what is under no mount any more is another's."""
    readings, series = Readings(), ReadSeries()
    tags = [
        ReadTag(*tag)
        for tag in (("01", "a", "/lake/x"), ("01", "b", "/lake/y"), ("02", "a", "/other"), ("01", "a", "/gone/x"))
    ]
    for hits, tag in enumerate(tags, 1):
        readings.add(Delivery("reader", next(_numbers), counts(hits, tag)))
    series.add(readings.take_unexported(), MOUNTS, 0.0)
    readings.add(Delivery("reader", next(_numbers), counts(10, tags[0])))
    series.add(readings.take_unexported(), MOUNTS, 1.0)
    series.add(readings.take_unexported(), MOUNTS, 2.0)
    found = {(reads.mount, reads.job): reads.counters.hits for reads in series.all()}
    assert {("/lake", "01"): 13, ("/other", "02"): 3, (OTHER, "01"): 4} == found


def test_a_mount_with_a_wild_name_is_a_label() -> None:
    """What is no UTF-8 is escaped: one bad label would keep all metrics from Ray."""
    mounts = MountTable(1, (MountInfo("/l\udcff", "s3://b", {}, 1.0, readonly=True),))
    series = ReadSeries()
    series.add({("01", "/l\udcff/x"): ReadCounters(hits=1)}, mounts, 0.0)
    assert ["/l\\udcff"] == [reads.mount for reads in series.all()]


def test_the_lakes_reads_are_counted_by_mount() -> None:
    """Those that fail, too; what another worker gave is none. Few mounts are told apart, and none is lost."""
    storage = MemoryStorage("memory://b")
    storage.put("key", b"12345")
    meter = LakeMeter()
    good = meter.metered(storage, MOUNTS.mounts[0])
    assert b"23" == bytes(good.read("key", 1, 2))
    with pytest.raises(NotFoundError):
        good.read("nothing", 0, 1)

    class Peer(MemoryStorage):
        """Has what lies before offset 2 itself, and gets the rest from the lake."""

        is_lake = False

        def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
            self.is_lake = offset >= 2
            return super().read(key, offset, length, version)

    peer = Peer("memory://b")
    peer.put("key", b"12345")
    assert b"1" == bytes(meter.metered(peer, MOUNTS.mounts[0]).read("key", 0, 1))
    assert b"345" == bytes(meter.metered(peer, MOUNTS.mounts[0]).read("key", 2, 3))
    meter.add("/lake", bypasses=7)
    assert [LakeReads("/lake", 3, 1, 5, 7)] == meter.all()
    for number in range(2 * MOUNTS_MAX):
        meter.add(str(number), requests=1)
    found = {asked.mount: asked.requests for asked in meter.all()}
    assert (MOUNTS_MAX + 1, 2 * MOUNTS_MAX + 3) == (len(found), sum(found.values()))


def test_series_are_few_and_go_when_they_are_quiet() -> None:
    """At most so many and one for the rest; none ever shrinks or takes another's counts over."""
    series = ReadSeries()

    def hits() -> dict[str, int]:
        return {reads.job: reads.counters.hits for reads in series.all()}

    for number in range(SERIES_MAX + 5):
        series.add({(str(number), "/lake"): ReadCounters(hits=1)}, MOUNTS, 0.0)
    assert {**{str(number): 1 for number in range(SERIES_MAX)}, OTHER: 5} == hits()
    series.add({("0", "/lake"): ReadCounters(hits=1), (str(SERIES_MAX), "/lake"): ReadCounters(hits=1)}, MOUNTS, 10.0)
    assert (2, 6, SERIES_MAX + 1) == (hits()["0"], hits()[OTHER], len(hits()))
    series.add({}, MOUNTS, QUIET_S)
    assert {"0": 2, OTHER: 6} == hits()
    series.add({(str(SERIES_MAX), "/lake"): ReadCounters(hits=7)}, MOUNTS, QUIET_S)
    assert {"0": 2, OTHER: 6, str(SERIES_MAX): 7} == hits()


def test_why_a_block_is_missing_is_what_happened_last() -> None:
    """It was evicted, came back, and was freed."""
    file = FileVersion("s3://b/f", 1, "e", 1)
    block, absences = BlockId(file.id(), 0), Absences()
    absences.went(block, MissReason.EVICTED)
    absences.went(block, MissReason.FREED)
    assert MissReason.FREED == absences.why(block, file)
    absences.arrived(block, file)
    assert MissReason.COLD == absences.why(block, file)
