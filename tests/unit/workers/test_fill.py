"""What a load job asks of a worker: it never loses what it has just brought, and can have it checked."""

from __future__ import annotations

import dataclasses

from raycache.messages import Purpose
from raycache.types import FileVersion
from raycache.workers.effects import Demote, DropDisk, DropMemory, SegmentEntry, Verify
from raycache.workers.tiers.eviction import FILL_S
from tests.support.disk_segments import on_disk
from tests.unit.workers.test_service import BLOCK, HIT_DISK, LOADED, NO_SPACE, Worker, file, loads_in, reply_in


def load_for_a_job(worker: Worker, version: FileVersion, now_s: float, began_s: float = 100.0) -> list[int]:
    """Ask as a job that began then; returns the states."""
    effects = worker.ask(version, now_s=now_s, node="", purpose=Purpose.LOAD, job_age_s=now_s - began_s)
    for load in loads_in(effects):
        effects = [e for e in effects if e is not load] + worker.loaded(load, now_s)
    for effect in effects:
        if isinstance(effect, Demote):
            worker.service.demoted(effect.segment, True, now_s)
    return [int(state) for state in reply_in(effects).states]


def test_a_job_gives_up_what_is_older_but_never_its_own() -> None:
    """Old segments make room; when only the job's own are left, the rest has no space and nothing is evicted."""
    worker = Worker(memory=32)
    worker.fill(file("old", 16), now_s=1.0)
    assert [LOADED] * 2 == load_for_a_job(worker, file("a", 16), 101.0)
    assert [LOADED] * 2 == load_for_a_job(worker, file("b", 16), 102.0)
    assert [NO_SPACE] * 2 == load_for_a_job(worker, file("c", 16), 103.0)
    assert {"s3://b/a", "s3://b/b"} == {
        worker.service._table.file(version).uri for version in worker.service._table.versions()
    }


def test_what_readers_use_meanwhile_is_spared() -> None:
    """A segment from before the job that is read during it stays."""
    worker = Worker(memory=32)
    worker.fill(file("read", 16), now_s=1.0)
    worker.fill(file("idle", 16), now_s=2.0)
    worker.ask(file("read", 16), now_s=101.0, purpose=Purpose.PREFETCH)
    assert [LOADED] * 2 == load_for_a_job(worker, file("a", 16), 120.0)
    assert {"s3://b/a", "s3://b/read"} == {
        worker.service._table.file(version).uri for version in worker.service._table.versions()
    }


def test_a_reader_may_evict_what_a_job_brought() -> None:
    """Sparing is the job's own restraint; a reader's need goes by what is coldest."""
    worker = Worker(memory=16)
    load_for_a_job(worker, file("a", 16), 101.0)
    (drop, load) = worker.ask(file("b", 16), now_s=102.0)
    assert isinstance(drop, DropMemory)
    worker.loaded(load)


def test_a_block_that_a_reader_wants_too_is_loaded_as_for_the_reader() -> None:
    """The job alone would have no space for it; since a reader waits for it, the coldest makes room."""
    for joined in (False, True):
        worker = Worker(memory=24, inflight=1)
        load_for_a_job(worker, file("a", 16), 101.0)
        (running,) = loads_in(worker.ask(file("y", 8), now_s=102.0, node="", purpose=Purpose.LOAD, job_age_s=2.0))
        worker.ask(file("x", 8), now_s=102.0, node="", purpose=Purpose.LOAD, job_age_s=2.0)
        if joined:
            worker.ask(file("x", 8), now_s=102.0)
        effects = worker.loaded(running, 103.0)
        assert joined == bool(loads_in(effects))


def test_demotion_does_not_evict_what_the_job_put_on_disk() -> None:
    """With both tiers full of the job's own, nothing moves; long after the job, demotion evicts again."""
    worker = Worker(memory=16, disk=16)
    assert [LOADED] * 2 == load_for_a_job(worker, file("a", 16), 101.0)
    assert [LOADED] * 2 == load_for_a_job(worker, file("b", 16), 102.0)
    tiers = worker.service._tiers
    tiers.limits = dataclasses.replace(tiers.limits, memory_high_watermark=0.5, memory_low_watermark=0.25)
    assert worker.service.tick(104.0) == []
    assert [DropDisk, Demote] == [type(effect) for effect in worker.service.tick(102.0 + FILL_S)]


def test_a_recheck_reads_the_disk_copy_again() -> None:
    """Good, the block is a hit; bad, it is gone, and the job that asked is told, without a load."""
    for good, expected in ((True, HIT_DISK), (False, NO_SPACE)):
        worker = Worker(disk=64)
        version = file("a", BLOCK)
        worker.service.adopt([on_disk("old", BLOCK, [SegmentEntry(version, 0, 0, BLOCK)])], 0.0)
        assert worker.ask(version, purpose=Purpose.PREFETCH) == [Verify("old")]
        worker.service.verified("old", True, 0.0)
        assert worker.ask(version, purpose=Purpose.VERIFY, job_age_s=0.0) == [Verify("old")]
        effects = worker.service.verified("old", good, 1.0)
        worker.service.validate()
        assert (reply_in(effects).states, loads_in(effects)) == ([expected], [])
