"""The load job: exact counting, re-planning, replicas, verification; no Ray, no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raycache.errors import NotFoundError, UnavailableError
from raycache.master.loads.files import Origin
from raycache.master.loads.job import ATTEMPTS_MAX, LAKE_ATTEMPTS_MAX, LoadJob
from raycache.master.loads.pieces import Batch
from raycache.master.namespace.entries import pack
from raycache.messages import BlockReply, BlockState, LoadRequest, Purpose, WantedFile, pack_files
from raycache.types import FileVersion, MembershipView, WorkerView
from raycache.ufs.base import ObjectInfo

BLOCK = 4
EXTENT = 16
ORIGIN = Origin("s3://b", "", "/lake")


def view(*names: str, view_id: int = 1, weight: int = 1000) -> MembershipView:
    return MembershipView(view_id, tuple(WorkerView(name, 1, weight, f"actor-{name}") for name in names))


def rows_of(sizes: list[int]) -> list[tuple[str, bytes]]:
    return [(str(i), pack(ObjectInfo(str(i), size, f"e{i}", 0))) for i, size in enumerate(sizes)]


def job(sizes: list[int], replicas: int = 1, members: MembershipView | None = None, **options: Any) -> LoadJob:
    request = LoadRequest(["/lake"], replicas, **{k: v for k, v in options.items() if k != "holders"})
    load = LoadJob("j", request, BLOCK, EXTENT, 0.0, options.get("holders", lambda _: ()))
    load.add(ORIGIN, rows_of(sizes), members or view("a"))
    load.all_listed(0.0)
    return load


def answer(batch: Batch, state: BlockState = BlockState.LOADED) -> BlockReply:
    count = len(batch.request.block_index)
    return BlockReply(batch.worker.worker, 1, 1, [state] * count, [-1] * count, [0] * count, [], {})


def blocks_of(batches: list[Batch]) -> list[tuple[str, int]]:
    return [
        (batch.request.files.uris[file], block)
        for batch in batches
        for file, block in zip(batch.request.file_index, batch.request.block_index, strict=True)
    ]


def send(load: LoadJob, members: MembershipView, now_s: float = 1.0) -> list[Batch]:
    """Everything that may go now."""
    load.plan(members, now_s)
    batches = []
    for worker in members.workers:
        while batch := load.next_batch(worker, 1, now_s):
            batches.append(batch)
    return batches


def run(
    load: LoadJob, members: MembershipView, reply: Callable[[Batch], BlockReply] = answer, now_s: float = 1.0
) -> list[Batch]:
    sent: list[Batch] = []
    while batches := send(load, members, now_s):
        sent += batches
        for batch in batches:
            load.replied(batch.batch_id, reply(batch), now_s)
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
    empty = job([0, 0])
    assert run(empty, view("a")) == []
    assert (empty.progress(0.0).state, empty.progress(0.0).files_done) == ("SUCCEEDED", 2)
    assert job([]).progress(0.0).state == "SUCCEEDED"


def test_it_waits_until_all_is_listed() -> None:
    """Nothing is sent while files still come, so that the totals are known before anything moves."""
    load = LoadJob("j", LoadRequest(["/lake"]), BLOCK, EXTENT, 0.0)
    load.add(ORIGIN, rows_of([4]), view("a"))
    assert (send(load, view("a")), load.progress(1.0).state, load.progress(1.0).listed) == ([], "WAITING", False)
    load.all_listed(1.0)
    assert len(send(load, view("a"))) == 1
    assert load.progress(1.0).state == "RUNNING"


def test_a_lake_that_cannot_be_listed_fails_it() -> None:
    """A failed listing is the failure of the path that was asked for."""
    load = LoadJob("j", LoadRequest(["/lake/x"]), BLOCK, EXTENT, 0.0)
    load.listing_failed(NotFoundError("gone"), 1.0)
    assert (load.progress(1.0).state, load.progress(1.0).failures) == ("FAILED", [("/lake/x", "gone")])


def test_metadata_only_moves_nothing() -> None:
    """Only the listing is wanted: all files count, no block is sent."""
    load = job([4, 5], metadata_only=True)
    progress = load.progress(1.0)
    assert (progress.state, progress.files_done, progress.bytes_total, progress.blocks_done) == ("SUCCEEDED", 2, 9, 0)


def test_resident_blocks_count_as_already_there() -> None:
    """A repeated load moves nothing, and says so."""
    load = job([8])
    run(load, view("a"), lambda batch: answer(batch, BlockState.HIT_DISK))
    progress = load.progress(1.0)
    assert (progress.bytes_done, progress.bytes_already, progress.rate_bytes_s) == (8, 8, 0.0)


def test_a_worker_that_says_it_holds_a_file_is_asked_first() -> None:
    """What is resident where the hash does not point is not moved again."""
    members = view("a", "b", "c")
    plain = {batch.worker.worker for batch in run(job([4]), members)}
    other = next(worker.worker for worker in members.workers if worker.worker not in plain)
    held = job([4], holders=lambda _: ((other, 1),))
    assert [other] == [batch.worker.worker for batch in run(held, members)]
    away = {batch.worker.worker for batch in run(job([8]), members)} - {"a"} == set()
    holder = "b" if away else "a"
    partly = run(job([8], holders=lambda _: ((holder, 1),)), members)
    assert {0: holder} == {b.request.block_index[0]: b.worker.worker for b in partly if b.worker.worker == holder}
    assert sorted(index for batch in partly for index in batch.request.block_index) == [0, 1]


def test_a_lost_workers_share_is_planned_again() -> None:
    """What a worker had queued or in flight when it died is loaded by those that are left."""
    load = job([4] * 20)
    first = send(load, view("a", "b"))
    lost = [batch for batch in first if batch.worker.worker == "b"]
    assert lost
    for batch in first:
        if batch in lost:
            load.failed(batch.batch_id, UnavailableError("gone"), 1.0)
        else:
            load.replied(batch.batch_id, answer(batch), 1.0)
    again = send(load, view("a", view_id=2))
    assert blocks_of(lost) and sorted(blocks_of(lost)) == sorted(blocks_of(again))
    for batch in again:
        load.replied(batch.batch_id, answer(batch), 2.0)
    assert load.progress(2.0).blocks_done == 20


def test_what_a_lost_worker_had_loaded_is_loaded_again() -> None:
    """Done is what is there: after a loss every block is asked for once more, and only what is gone is moved."""
    load = job([4] * 20)
    first = send(load, view("a", "b"))
    gone = {uri for batch in first if batch.worker.worker == "b" for uri, _ in blocks_of([batch])}
    waiting = first.pop()
    for batch in first:
        load.replied(batch.batch_id, answer(batch), 1.0)
    load.plan(view("a", view_id=2), 1.0)
    load.failed(waiting.batch_id, UnavailableError("gone"), 1.0)
    run(load, view("a", view_id=2))
    assert (load.progress(1.0).state, send(load, view("a", view_id=2), 2.0)) == ("RUNNING", [])

    def reply(batch: Batch) -> BlockReply:
        found = answer(batch, BlockState.HIT_MEMORY if batch.request.purpose == Purpose.CHECK else BlockState.LOADED)
        for position, (uri, _) in enumerate(blocks_of([batch])):
            if batch.request.purpose == Purpose.CHECK and uri in gone:
                found.states[position] = BlockState.NO_SPACE
        return found

    again = run(load, view("a", view_id=2), reply, 9.0)
    assert gone == {uri for uri, _ in blocks_of([batch for batch in again if batch.request.loads])}
    progress = load.progress(9.0)
    assert (progress.state, progress.blocks_done, progress.bytes_repaired) == ("SUCCEEDED", 20, 4 * len(gone))


def test_what_a_lost_worker_had_queued_is_planned_again() -> None:
    """Nothing was sent yet: everything goes to the worker that is left."""
    load = job([4] * 20)
    load.plan(view("a", "b"), 0.0)
    assert 20 == len(blocks_of(run(load, view("a", view_id=2))))
    assert load.progress(2.0).state == "SUCCEEDED"


def test_a_file_that_fits_a_batch_is_never_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files before it may have filled a part of the batch: then it begins the next one. Longer ones are cut."""
    monkeypatch.setattr("raycache.master.loads.job.BATCH_BYTES_MAX", 16)
    load = LoadJob("j", LoadRequest(["/lake"]), BLOCK, 64, 0.0, lambda _: ())
    for first, sizes in enumerate([[3] * 3, [16], [36]]):
        found = [(f"{first}-{number}", pack(ObjectInfo("", size, "e", 0))) for number, size in enumerate(sizes)]
        load.add(Origin("s3://b", "", "/lake"), found, view("a"))
    load.all_listed(0.0)
    cut = [blocks_of([batch]) for batch in run(load, view("a"))]
    assert [("s3://b/1-0", block) for block in range(4)] == cut[1]
    assert [len(batch) for batch in cut] == [3, 4, 4, 4, 1]


def test_a_late_answer_of_a_failed_batch_changes_nothing() -> None:
    """A batch that was given up is not counted when its answer comes after all."""
    load = job([4])
    (batch,) = send(load, view("a"))
    load.failed(batch.batch_id, UnavailableError("slow"), 1.0)
    load.replied(batch.batch_id, answer(batch), 1.0)
    assert (load.progress(1.0).blocks_done, load.progress(1.0).state) == (0, "RUNNING")


def test_it_gives_up_after_bounded_attempts() -> None:
    """A piece that never gets through fails the job by name, not for ever."""
    load = job([4])
    for _ in range(ATTEMPTS_MAX):
        (batch,) = send(load, view("a"))
        load.failed(batch.batch_id, UnavailableError("gone"), 1.0)
    progress = load.progress(1.0)
    assert (progress.state, progress.failures) == ("FAILED", [("/lake/0", "gone")])


def test_what_the_lake_does_not_deliver_is_tried_once_more() -> None:
    """A block the lake fails for good fails its file by name; everything else is done."""
    load = job([4, 4])
    bad = UnavailableError("the lake is ill")

    def reply(batch: Batch) -> BlockReply:
        good = answer(batch)
        for position, file in enumerate(batch.request.file_index):
            if batch.request.files.uris[file] == "s3://b/1":
                good.states[position] = BlockState.FAILED
                good.errors[position] = bad
        return good

    asked = [uri for uri, _ in blocks_of(run(load, view("a"), reply))]
    assert LAKE_ATTEMPTS_MAX == asked.count("s3://b/1")
    progress = load.progress(1.0)
    assert (progress.state, progress.files_done, progress.failures) == ("FAILED", 1, [("/lake/1", str(bad))])


def test_a_refused_block_fails_its_file_by_name() -> None:
    """No room is a failure with a reason; the other files are done."""
    load = job([4, 4])
    (batch,) = send(load, view("a"))
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
    assert "did not fit" in progress.failures[0][1]


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
    assert send(load, view()) == []
    assert load.progress(0.0).state == "WAITING"
    run(load, view("a", view_id=2))
    assert load.progress(1.0).state == "SUCCEEDED"


def test_stop_ends_it() -> None:
    """A stopped job sends nothing more and says STOPPED."""
    load = job([4] * 10)
    send(load, view("a"))
    load.stop(1.0)
    assert (send(load, view("a")), load.progress(1.0).state) == ([], "STOPPED")


def test_it_says_before_it_starts_that_it_does_not_fit() -> None:
    """More bytes than the workers have room for are told once all is listed, replicas included."""
    load = job([10] * 10, members=view("a", weight=70))
    assert (load.progress(0.0).state, load.progress(0.0).bytes_over) == ("WAITING", 30)
    twice = job([10] * 10, replicas=2, members=view("a", "b", weight=90))
    assert twice.progress(0.0).bytes_over == 20


def test_a_bandwidth_is_kept() -> None:
    """Bytes sent never run ahead of the rate by more than a burst and a batch; what was there already costs nothing."""
    load = job([8] * 100, bandwidth_bytes_s=8)
    sent_bytes = 0
    for tick in range(200):
        now_s = tick / 4
        for batch in send(load, view("a"), now_s):
            sent_bytes += sum(batch.request.lengths)
            load.replied(batch.batch_id, answer(batch), now_s)
        assert sent_bytes <= 8 * now_s + 8
    assert sent_bytes >= 8 * 49
    free = job([8] * 100, bandwidth_bytes_s=8)
    for tick in range(200):
        run(free, view("a"), lambda batch: answer(batch, BlockState.HIT_MEMORY), tick / 1000)
    assert free.progress(1.0).state == "SUCCEEDED"


def test_a_job_that_was_stopped_while_it_was_listed_stays_stopped() -> None:
    """Also when the end of its listing is already on its way."""
    for metadata_only in (False, True):
        load = LoadJob("j", LoadRequest(["/lake"], metadata_only=metadata_only), BLOCK, EXTENT, 0.0)
        assert load.begin_listing()
        load.add(ORIGIN, rows_of([8]), view("a"))
        load.stop(1.0)
        load.all_listed(2.0)
        assert ("STOPPED", False) == (load.progress(3.0).state, load.begin_listing())


class TestGivenFiles:
    """A load that is given versions and blocks, in an order, instead of paths."""

    @staticmethod
    def given(*wanted: WantedFile) -> LoadJob:
        load = LoadJob("j", LoadRequest(["s3://b/map"], given=True), BLOCK, EXTENT, 0.0)
        assert load.begin_listing()
        for page in pack_files(wanted):
            load.add_packed(page, view("a"))
        load.all_listed(0.0)
        return load

    @staticmethod
    def file(name: str, size: int, blocks: int | None = None) -> WantedFile:
        return WantedFile(FileVersion(f"s3://b/{name}", size, "e", 0), blocks)

    def test_exactly_the_wanted_blocks_are_asked_for_in_their_order(self) -> None:
        """Parts of files, over extents; a large file does not go before a hotter small one."""
        hot, part, all_of_it = self.file("hot", 3), self.file("part", 30, 0b10110001), self.file("all", 9)
        load = self.given(hot, part, all_of_it)
        sent = blocks_of(run(load, view("a")))
        expected = [("hot", 0), *[("part", block) for block in (0, 4, 5, 7)], *[("all", block) for block in range(3)]]
        assert [(f"s3://b/{name}", block) for name, block in expected] == sent
        progress = load.progress(2.0)
        assert (progress.state, progress.files_done, progress.blocks_total, progress.blocks_done) == (
            "SUCCEEDED",
            3,
            8,
            8,
        )
        assert progress.bytes_total == progress.bytes_done == 3 + (4 + 4 + 4 + 2) + 9

    def test_a_file_of_which_nothing_is_wanted_is_done(self) -> None:
        """So is an empty one; the rest goes on."""
        load = self.given(self.file("empty", 0), self.file("nothing", 8, 0), self.file("x", 8, 0b10))
        run(load, view("a"))
        assert (load.progress(2.0).files_done, load.progress(2.0).bytes_done) == (3, 4)

    def test_what_is_not_loaded_is_named_by_its_uri(self) -> None:
        """Only the file concerned fails."""

        def reply(batch: Batch) -> BlockReply:
            found = answer(batch)
            for position, (uri, _) in enumerate(blocks_of([batch])):
                if uri == "s3://b/gone":
                    found.states[position] = BlockState.GONE
            return found

        load = self.given(self.file("here", 8), self.file("gone", 8, 0b1))
        run(load, view("a"), reply)
        progress = load.progress(2.0)
        assert ("FAILED", 1, 1, ["s3://b/gone"]) == (
            progress.state, progress.files_done, progress.files_failed, [path for path, _ in progress.failures],
        )  # fmt: skip

    def test_after_a_lost_worker_the_wanted_blocks_are_asked_for_once_more(self) -> None:
        """And no others."""
        load = self.given(*(self.file(str(number), 12, 0b101) for number in range(20)))
        batches = send(load, view("a", "b"))
        load.plan(view("a", view_id=2), 1.0)
        for batch in batches:
            load.replied(batch.batch_id, answer(batch), 1.0)
        again = run(load, view("a", view_id=2), now_s=9.0)
        assert sorted((f"s3://b/{n}", block) for n in range(20) for block in (0, 2)) == sorted(blocks_of(again))
        assert "SUCCEEDED" == load.progress(9.0).state

    def test_it_reads_below_what_is_above_its_files(self) -> None:
        """An unmount of that is refused while it runs, of something else it is not."""
        load = self.given(self.file("d/x", 8), self.file("d/y", 8))
        assert (load.reads_below("s3://b/"), load.reads_below("s3://b/e/")) == (True, False)


class TestVerifying:
    """`verify=True`: etags again, then every block again."""

    def loaded(self) -> LoadJob:
        load = job([8, 8, 8], verify=True)
        run(load, view("a"))
        assert "VERIFYING" == load.progress(1.0).state
        return load

    @staticmethod
    def list_again(load: LoadJob, *numbers: int) -> None:
        """The lake has these of the three files still."""
        assert (load.begin_listing(), load.begin_listing()) == (True, False)
        rows = rows_of([8, 8, 8])
        for number in numbers:
            load.add(ORIGIN, [rows[number]], view("a"))
        load.all_listed(2.0)

    def test_all_good(self) -> None:
        """Every block is asked for once more with its checksum, where it is held, and nothing is moved."""
        load = self.loaded()
        self.list_again(load, 0, 1, 2)
        sent = run(load, view("a"), lambda batch: answer(batch, BlockState.HIT_DISK))
        assert 6 == len(blocks_of(sent))
        assert all(batch.request.purpose == Purpose.VERIFY for batch in sent)
        progress = load.progress(3.0)
        assert (progress.state, progress.bytes_verified, progress.bytes_repaired) == ("SUCCEEDED", 24, 0)

    def test_a_file_replaced_meanwhile_is_named(self) -> None:
        """What the second listing does not show any more has failed, and is not asked for."""
        load = self.loaded()
        self.list_again(load, 1, 2)
        sent = run(load, view("a"), lambda batch: answer(batch, BlockState.HIT_DISK))
        assert "s3://b/0" not in {uri for uri, _ in blocks_of(sent)}
        progress = load.progress(3.0)
        assert (progress.state, progress.files_done, progress.files_failed) == ("FAILED", 2, 1)
        assert (progress.bytes_done, progress.bytes_failed, progress.blocks_done) == (16, 8, 4)
        assert progress.failures[0][0] == "/lake/0"

    def test_a_bad_block_is_loaded_again(self) -> None:
        """A block that is gone or damaged is asked of the lake again, and the job succeeds."""
        load = self.loaded()
        self.list_again(load, 0, 1, 2)

        def reply(batch: Batch) -> BlockReply:
            if batch.request.purpose != Purpose.VERIFY:
                return answer(batch)
            found = answer(batch, BlockState.HIT_MEMORY)
            found.states[0] = BlockState.NO_SPACE
            return found

        sent = run(load, view("a"), reply)
        assert 1 == len([batch for batch in sent if batch.request.purpose != Purpose.VERIFY])
        progress = load.progress(3.0)
        assert (progress.state, progress.bytes_verified, progress.bytes_repaired) == ("SUCCEEDED", 20, 4)

    def test_an_empty_listing_fails_everything(self) -> None:
        """The whole directory was removed: every file is named."""
        load = self.loaded()
        self.list_again(load)
        run(load, view("a"))
        assert (load.progress(3.0).state, load.progress(3.0).files_failed) == ("FAILED", 3)
