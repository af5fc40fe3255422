"""All jobs together: turns, shared bounds, and what outlives the master."""

from __future__ import annotations

import json

import pytest

from raycache.errors import InvalidRequestError, NotFoundError, UnavailableError
from raycache.master.loads import window
from raycache.master.loads.board import (
    BATCHES_INFLIGHT_MAX,
    BLOCKS_PER_TURN,
    JOBS_KEPT_MAX,
    JOBS_RUNNING_MAX,
    JobBoard,
    Record,
)
from raycache.master.loads.files import Origin
from raycache.master.loads.job import LoadJob
from raycache.master.loads.pieces import BATCH_BLOCKS_MAX, Batch
from raycache.master.loads.window import PLANNED_PER_TURN
from raycache.master.namespace.entries import pack
from raycache.messages import BlockReply, BlockState, LoadRequest, WantedFile, pack_files
from raycache.settings import Settings
from raycache.types import FileVersion, MembershipView, WorkerView
from raycache.ufs.base import ObjectInfo

MIB = 1 << 20
SETTINGS = Settings(block_size_bytes=MIB, segment_size_bytes=8 * MIB, extent_size_bytes=64 * MIB)
VIEW = MembershipView(1, tuple(WorkerView(name, 1, 1 << 40, f"actor-{name}") for name in "abc"))


def board() -> JobBoard:
    return JobBoard(SETTINGS, lambda _: ())


def listed(found: JobBoard, job_id: str, files: int = 1_000, size: int = 32 * MIB) -> LoadJob:
    job = next(job for job in found.live() if job.job_id == job_id)
    rows = [(f"{job_id}/{i}", pack(ObjectInfo(f"{job_id}/{i}", size, "e", 0))) for i in range(files)]
    job.add(Origin("s3://b", "", "/lake"), rows, VIEW)
    job.all_listed(0.0)
    return job


def reply_to(batch: Batch, slow_downs: int = 0) -> BlockReply:
    count = len(batch.request.block_index)
    states = [int(BlockState.LOADED)] * count
    return BlockReply(batch.worker.worker, 1, 1, states, [-1] * count, [0] * count, [], {}, {}, slow_downs)


def through_json(records: list[Record]) -> list[Record]:
    return [json.loads(json.dumps(record)) for record in records]


def test_what_is_on_the_way_is_bounded_for_all_jobs_together() -> None:
    """Many jobs have no more batches at a worker than one."""
    many = board()
    for job_id in "xyz":
        many.start(job_id, LoadRequest(["/lake"]), 0.0)
        listed(many, job_id)
    sent = many.next_batches(VIEW, 1, 0.0)
    for worker in "abc":
        full = sum(batch.fullness for _, batch in sent if batch.worker.worker == worker)
        assert BATCHES_INFLIGHT_MAX <= full < BATCHES_INFLIGHT_MAX + 1
    assert {"x", "y", "z"} == {job.job_id for job, _ in sent}
    assert many.next_batches(VIEW, 1, 0.0) == []
    job, batch = sent[0]
    many.replied(job, batch, reply_to(batch), 1.0)
    assert [batch.worker.worker] == [b.worker.worker for _, b in many.next_batches(VIEW, 1, 1.0)]


def test_what_a_bandwidth_holds_back_is_shared_by_all_workers() -> None:
    """One batch at a time goes to each worker in turn, not to the first until it has all."""
    found = board()
    found.start("slow", LoadRequest(["/lake"], bandwidth_bytes_s=8 * MIB), 0.0)
    listed(found, "slow", size=MIB)
    sent = []
    for tick in range(1, 61):
        for job, batch in found.next_batches(VIEW, 1, tick / 8):
            sent.append(batch.worker.worker)
            found.replied(job, batch, reply_to(batch), tick / 8)
    counts = [sent.count(worker) for worker in "abc"]
    assert max(counts) - min(counts) <= 1
    assert min(counts) >= 15


def test_the_highest_priority_goes_first() -> None:
    """A later job of a higher priority gets every free place."""
    found = board()
    for job_id, priority in (("low", 0), ("high", 5)):
        found.start(job_id, LoadRequest(["/lake"], priority=priority), 0.0)
        listed(found, job_id)
    assert {"high"} == {job.job_id for job, _ in found.next_batches(VIEW, 1, 0.0)}


def test_when_the_lake_complains_all_jobs_slow_down_together() -> None:
    """After a complaint fewer requests are on the way than the window, however many jobs and places there are."""
    found = board()
    for job_id in "xy":
        found.start(job_id, LoadRequest(["/lake"]), 0.0)
        listed(found, job_id, size=MIB)
    sent = found.next_batches(VIEW, 1, 0.0)
    for number, (job, batch) in enumerate(sent):
        found.replied(job, batch, reply_to(batch, slow_downs=number * 10), float(number))
    assert found._congestion.window is not None
    then = found.next_batches(VIEW, 1, 99.0)
    assert 1 <= sum(batch.lake_blocks for _, batch in then) <= found._congestion.window


def test_an_unfinished_job_outlives_the_master() -> None:
    """Its request is journaled: the next master starts it anew under its id, and the same request is the same job."""
    request = LoadRequest(["/lake/a", "/lake/*"], 2, False, 1000, True, 7)
    records = board().start("job", request, 0.0)
    later = board()
    later.replay(through_json(records), 5.0)
    assert [("job", request)] == [(job.job_id, job.request) for job in later.live()]
    assert later.start("job", request, 6.0) == []
    assert later.progress("job", 6.0).state == "WAITING"


def test_an_ended_job_is_remembered_with_its_figures() -> None:
    """Stopped jobs stay stopped over a restart; resume makes them run, again over a restart too."""
    first = board()
    records = first.start("job", LoadRequest(["/lake"]), 0.0)
    listed(first, "job", files=3)
    first.stop("job", 2.0)
    records += first.take_ended(2.0)
    assert first.take_ended(2.0) == []
    second = board()
    second.replay(through_json(records), 5.0)
    assert (second.live(), second.progress("job", 9.0)) == ([], first.progress("job", 9.0))
    assert (second.progress("job", 9.0).state, second.progress("job", 9.0).files_total) == ("STOPPED", 3)
    records += second.resume("job", 6.0)
    assert second.resume("job", 6.0) == []
    third = board()
    third.replay(through_json(records), 9.0)
    assert ["job"] == [job.job_id for job in third.live()]


def test_a_snapshot_replays_to_the_same() -> None:
    """Compacting the journal loses no job."""
    first = board()
    first.start("a", LoadRequest(["/lake"]), 0.0)
    first.start("b", LoadRequest(["/lake"], 2), 0.0)
    first.stop("a", 1.0)
    first.take_ended(1.0)
    second = board()
    second.replay(through_json(first.snapshot()), 2.0)
    assert [("b", "WAITING"), ("a", "STOPPED")] == [(job_id, progress.state) for job_id, progress in second.all(2.0)]


def test_records_of_others_are_passed_over() -> None:
    """The journal has other records, and may end a job that was forgotten."""
    found = board()
    found.replay([{"op": "mount", "path": "/x"}, {"op": "load_ended", "job_id": "?", "progress": {}}], 0.0)
    assert found.all(0.0) == []


def test_jobs_are_bounded() -> None:
    """Too many running jobs are refused; of ended ones the oldest are forgotten."""
    found = board()
    for number in range(JOBS_KEPT_MAX + 10):
        found.start(str(number), LoadRequest(["/lake"]), 0.0)
        found.stop(str(number), 0.0)
        found.take_ended(0.0)
    found.start("last", LoadRequest(["/lake"]), 0.0)
    assert len(found.all(0.0)) == JOBS_KEPT_MAX + 1
    with pytest.raises(NotFoundError):
        found.progress("0", 0.0)
    for number in range(JOBS_RUNNING_MAX - 1):
        found.start(f"more-{number}", LoadRequest(["/lake"]), 0.0)
    with pytest.raises(UnavailableError):
        found.start("too many", LoadRequest(["/lake"]), 0.0)


def given_pages(count: int) -> list[bytes]:
    return pack_files(WantedFile(FileVersion(f"s3://b/{number}", 8, "e", 0), 1) for number in range(count))


def test_given_files_outlive_the_master_while_their_job_runs() -> None:
    """From the records and from a snapshot alike; a repeated request has them once; afterwards they are forgotten."""
    first, pages = board(), given_pages(40_000)
    request = LoadRequest(["s3://b/map"], given=True, bandwidth_bytes_s=5)
    records = first.start("x", request, 0.0, pages)
    assert [] == first.start("x", request, 0.0, pages)
    assert ["load_files", "load_files", "load_files", "load"] == [record["op"] for record in records]
    for written in (records, [*records[:2], *records], first.snapshot()):
        second = board()
        second.replay(through_json(written), 5.0)
        (job,) = second.live()
        assert (request, pages) == (job.request, second.given("x"))
    first.stop("x", 1.0)
    records += first.take_ended(2.0)
    third = board()
    third.replay(through_json(records), 5.0)
    for ended in (first, third):
        assert ("STOPPED", ()) == (ended.progress("x", 3.0).state, ended.given("x"))
        assert {"load", "load_ended"} == {record["op"] for record in ended.snapshot()}
        with pytest.raises(InvalidRequestError, match="not kept"):
            ended.resume("x", 3.0)


def test_files_without_their_request_are_no_job() -> None:
    """The master died before all of it was written: its caller was told so, and asks again."""
    records = board().start("x", LoadRequest(["s3://b/map"], given=True), 0.0, given_pages(10))
    found = board()
    found.replay(through_json(records[:-1]), 1.0)
    assert [] == found.live()


@pytest.mark.parametrize("wish", [{"verify": True}, {"metadata_only": True}])
def test_given_files_are_not_asked_of_the_lake(wish: dict[str, bool]) -> None:
    """A load that is given its files cannot promise what only a listing can."""
    with pytest.raises(InvalidRequestError):
        board().start("x", LoadRequest(["s3://b/map"], given=True, **wish), 0.0, given_pages(1))


def test_places_of_a_job_that_ends_are_free_for_others() -> None:
    """A stopped job's batches are not waited for, and its late answers give nothing back twice."""
    found = board()
    found.start("first", LoadRequest(["/lake"]), 0.0)
    listed(found, "first")
    sent = found.next_batches(VIEW, 1, 0.0)
    found.start("second", LoadRequest(["/lake"]), 0.0)
    listed(found, "second")
    assert found.next_batches(VIEW, 1, 0.0) == []
    found.stop("first", 1.0)
    assert len(sent) == len(found.next_batches(VIEW, 1, 1.0))
    for job, batch in sent:
        found.replied(job, batch, reply_to(batch), 2.0)
    assert found.next_batches(VIEW, 1, 2.0) == []


def test_a_worker_that_is_lost_with_batches_on_the_way_is_full_no_more_when_they_have_failed() -> None:
    """Its successor has all places once the calls to it have ended, and none is counted for a worker of no view."""
    found = board()
    found.start("x", LoadRequest(["/lake"]), 0.0)
    listed(found, "x")
    sent = found.next_batches(VIEW, 1, 0.0)
    rest = MembershipView(2, VIEW.workers[1:])
    lost = [(job, batch) for job, batch in sent if batch.worker.worker == "a"]
    assert lost
    assert found.next_batches(rest, 1, 0.0) == []
    for job, batch in lost:
        found.failed(job, batch, UnavailableError("gone"), 1.0)
    assert found.next_batches(rest, 1, 1.0) == []
    back = MembershipView(3, (VIEW.workers[0]._replace(epoch=2), *VIEW.workers[1:]))
    found.start("y", LoadRequest(["/lake"]), 2.0)
    listed(found, "y")
    again = [batch for _, batch in found.next_batches(back, 1, 2.0)]
    assert {"a"} == {batch.worker.worker for batch in again}
    assert len(lost) == len(again)


def test_a_large_load_is_planned_a_bounded_part_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent before half of the window is there; no turn plans more than its share; all of it comes in the end."""
    monkeypatch.setattr(window, "WINDOW_PIECES_MAX", 8_000)
    workers = MembershipView(1, tuple(WorkerView(f"w{i:03}", 1, 1 << 40, f"actor-{i}") for i in range(200)))
    found = board()
    found.start("x", LoadRequest(["/lake"]), 0.0)
    job = listed(found, "x", files=30_000, size=1000)
    before = asked = looks = 0
    while not job.finished:
        sent = found.next_batches(workers, 1, 1.0)
        looks += 1
        pieces = sum(len(batch.pieces) for _, batch in sent)
        assert job._backlog.waiting + pieces - before <= PLANNED_PER_TURN + 1_000
        assert job._backlog.waiting <= 8_000 + 1_000
        assert not sent or asked or job._backlog.waiting + pieces >= 4_000
        asked += sum(len(batch.request.block_index) for _, batch in sent)
        for one, batch in sent:
            found.replied(one, batch, reply_to(batch), 1.0)
        before = job._backlog.waiting
        assert looks < 400
    assert 30_000 == asked
    assert "SUCCEEDED" == found.progress("x", 2.0).state


def test_one_look_cuts_a_bounded_part_and_the_next_ones_the_rest() -> None:
    """Hundreds of workers with free places are served in several turns, all of them, each as full as in one."""
    view = MembershipView(1, tuple(WorkerView(f"w{i:03}", 1, 1 << 40, f"actor-{i}") for i in range(100)))
    found = board()
    found.start("x", LoadRequest(["/lake"]), 0.0)
    listed(found, "x", files=10_000, size=1000)
    served: list[str] = []
    looks = 0
    while not looks or found.is_planning:
        sent = found.next_batches(view, 1, 0.0)
        assert sum(len(batch.request.block_index) for _, batch in sent) <= BLOCKS_PER_TURN + BATCH_BLOCKS_MAX
        served += [batch.worker.worker for _, batch in sent]
        looks += 1
    assert looks > 3
    assert {worker.worker for worker in view.workers} == set(served)


def test_what_is_planned_ahead_is_bounded_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All places are taken, and most of the files wait packed, not as pieces."""
    monkeypatch.setattr(window, "WINDOW_PIECES_MAX", 4_000)
    workers = MembershipView(1, VIEW.workers[:2])
    found = board()
    found.start("x", LoadRequest(["/lake"]), 0.0)
    job = listed(found, "x", files=40_000, size=1000)
    sent = 0
    for _ in range(100):
        sent += sum(len(batch.pieces) for _, batch in found.next_batches(workers, 1, 1.0))
    assert not found.is_planning
    assert job._backlog.waiting <= 4_000 + 1_000
    assert sent <= 2 * BATCHES_INFLIGHT_MAX * BATCH_BLOCKS_MAX + 2 * BATCH_BLOCKS_MAX
