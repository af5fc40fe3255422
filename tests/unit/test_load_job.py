"""The load job: exact counting, re-planning, replicas; no Ray, no time."""

from __future__ import annotations

from raycache.errors import UnavailableError
from raycache.master.jobs import ATTEMPTS_MAX, Batch, LoadJob
from raycache.messages import BlockReply, BlockState, FileColumns, LoadRequest
from raycache.types import FileVersion, MembershipView, WorkerView

BLOCK = 4
EXTENT = 16


def view(*names: str, view_id: int = 1) -> MembershipView:
    return MembershipView(view_id, tuple(WorkerView(name, 1, 100, f"actor-{name}") for name in names))


def job(sizes: list[int], replicas: int = 1) -> LoadJob:
    files = [FileVersion(f"s3://b/{i}", size, f"e{i}", 0) for i, size in enumerate(sizes)]
    request = LoadRequest([f"/lake/{i}" for i in range(len(sizes))], FileColumns.of(files), replicas)
    return LoadJob("j", request, BLOCK, EXTENT, now_s=0.0)


def answer(batch: Batch, state: BlockState = BlockState.LOADED) -> BlockReply:
    count = len(batch.request.block_index)
    return BlockReply(batch.worker.worker, 1, 1, [state] * count, [-1] * count, [0] * count, [], {})


def blocks_of(batches: list[Batch]) -> list[tuple[str, int]]:
    return [
        (batch.request.files.uris[file], block)
        for batch in batches
        for file, block in zip(batch.request.file_index, batch.request.block_index, strict=True)
    ]


def run(load: LoadJob, members: MembershipView) -> list[Batch]:
    sent: list[Batch] = []
    while batches := load.next_batches(members, 1, 1.0):
        sent += batches
        for batch in batches:
            load.replied(batch.batch_id, answer(batch), 1.0)
    return sent


def test_each_block_is_asked_for_once() -> None:
    """Every block of every file goes to one worker, once, and the figures are exact."""
    load = job([0, 1, 4, 5, 40])
    sent = blocks_of(run(load, view("a", "b", "c")))
    expected = [("s3://b/1", 0), ("s3://b/2", 0), ("s3://b/3", 0), ("s3://b/3", 1)]
    expected += [("s3://b/4", block) for block in range(10)]
    assert expected == sorted(sent)
    progress = load.progress(2.0)
    assert progress.state == "SUCCEEDED"
    assert (progress.files_total, progress.files_done, progress.blocks_total, progress.blocks_done) == (5, 5, 14, 14)
    assert (progress.bytes_total, progress.bytes_done, progress.bytes_already) == (50, 50, 0)


def test_blocks_of_one_extent_go_to_one_worker() -> None:
    """A file of the size of an extent lives on one node."""
    load = job([EXTENT])
    assert len({batch.worker.worker for batch in run(load, view("a", "b", "c"))}) == 1


def test_nothing_to_load_succeeds_at_once() -> None:
    """Empty files, and no files, are a success without a call."""
    assert job([0, 0]).progress(0.0).state == "SUCCEEDED"
    assert job([]).progress(0.0).state == "SUCCEEDED"


def test_resident_blocks_count_as_already_there() -> None:
    """A repeated load moves nothing, and says so."""
    load = job([8])
    for batch in load.next_batches(view("a"), 1, 0.0):
        load.replied(batch.batch_id, answer(batch, BlockState.HIT_DISK), 1.0)
    assert (load.progress(1.0).bytes_done, load.progress(1.0).bytes_already, load.progress(1.0).rate_bytes_s) == (
        8,
        8,
        0.0,
    )


def test_a_lost_workers_share_is_planned_again() -> None:
    """What a worker had in flight when it died is loaded by those that are left."""
    load = job([4] * 20)
    first = load.next_batches(view("a", "b"), 1, 0.0)
    lost = [batch for batch in first if batch.worker.worker == "b"]
    assert lost
    for batch in first:
        if batch in lost:
            load.failed(batch.batch_id, UnavailableError("gone"), 1.0)
        else:
            load.replied(batch.batch_id, answer(batch), 1.0)
    again = run(load, view("a", view_id=2))
    assert blocks_of(lost) and sorted(blocks_of(lost)) == sorted(blocks_of(again))
    assert load.progress(2.0).state == "SUCCEEDED"


def test_a_late_answer_of_a_failed_batch_changes_nothing() -> None:
    """A batch that was given up is not counted when its answer comes after all."""
    load = job([4])
    (batch,) = load.next_batches(view("a"), 1, 0.0)
    load.failed(batch.batch_id, UnavailableError("slow"), 1.0)
    load.replied(batch.batch_id, answer(batch), 1.0)
    assert (load.progress(1.0).blocks_done, load.progress(1.0).state) == (0, "RUNNING")


def test_it_gives_up_after_bounded_attempts() -> None:
    """A piece that never gets through fails the job by name, not for ever."""
    load = job([4])
    for _ in range(ATTEMPTS_MAX):
        (batch,) = load.next_batches(view("a"), 1, 0.0)
        load.failed(batch.batch_id, UnavailableError("gone"), 1.0)
    progress = load.progress(1.0)
    assert (progress.state, progress.failures) == ("FAILED", [("/lake/0", "gone")])


def test_a_refused_block_fails_its_file_by_name() -> None:
    """No room is a failure with a reason; the other files are done."""
    load = job([4, 4])
    for batch in load.next_batches(view("a"), 1, 0.0):
        reply = answer(batch)
        reply.states[0] = BlockState.NO_SPACE
        load.replied(batch.batch_id, reply, 1.0)
    progress = load.progress(1.0)
    assert (
        progress.state,
        progress.files_done,
        progress.files_failed,
        progress.bytes_done,
        progress.bytes_failed,
    ) == ("FAILED", 1, 1, 4, 4)


def test_replicas_come_from_the_first_holder() -> None:
    """A second copy goes to another worker, which is told to fetch from the first: the lake is asked once."""
    load = job([4] * 8, replicas=2)
    sent = run(load, view("a", "b", "c"))
    lake = [batch for batch in sent if not batch.request.source_actor]
    copies = [batch for batch in sent if batch.request.source_actor]
    assert sorted(blocks_of(lake)) == sorted(blocks_of(copies))
    assert all(batch.request.source_actor != batch.worker.actor_name for batch in copies)
    assert load.progress(1.0).blocks_done == 8


def test_no_worker_means_waiting() -> None:
    """Without workers a job waits, and goes on when one appears."""
    load = job([4])
    assert load.next_batches(view(), 1, 0.0) == []
    assert load.progress(0.0).state == "RUNNING"
    run(load, view("a", view_id=2))
    assert load.progress(1.0).state == "SUCCEEDED"


def test_stop_ends_it() -> None:
    """A stopped job sends nothing more and says STOPPED."""
    load = job([4] * 10)
    load.next_batches(view("a"), 1, 0.0)
    load.stop(1.0)
    assert (load.next_batches(view("a"), 1, 1.0), load.progress(1.0).state) == ([], "STOPPED")
