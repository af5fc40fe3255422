"""A worker with many small files: everything it does takes a bounded amount at a time, and ends with the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from raycache.messages import BlockRequest, BlockState, FileColumns, InventoryRequest, Purpose, Selector, Shares
from raycache.rules import Matcher, Pattern, Rule, RuleKind, RuleTable
from raycache.types import FileVersion
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import Compact, Effect, Load, LoadOutcome, Reply
from raycache.workers.flights import SEGMENT_BLOCKS_MAX
from raycache.workers.service import WorkerService
from raycache.workers.tickets import ENTRIES_AROUND
from raycache.workers.walks.reporting import REPORTED_MAX

FILES = [FileVersion(f"s3://b/dir{n // 1000}/{n:05}", 4, str(n), n) for n in range(5000)]
#: More than one step may look at, and less than a segment holds.
STEP_MAX = 520
ALL = Selector([Pattern("")])


def worker_with(files: list[FileVersion], memory: int = 1 << 20) -> WorkerService:
    numbers = itertools.count()
    limits = WorkerLimits(8, 1 << 16, memory, 0, 10.0, 40, 1 << 20, 1.0, 0.5, 2, 2, 64)
    service = WorkerService("here", 1, limits, new_id=lambda: f"s{next(numbers)}")
    load(service, files)
    return service


def load(service: WorkerService, files: list[FileVersion], now_s: float = 1.0) -> None:
    count = len(files)
    columns = list(range(count)), [0] * count, [0] * count, [4] * count
    request = BlockRequest("here", 0, 0, FileColumns.of(files), *columns, 8, purpose=int(Purpose.PREFETCH))
    for effect in service.ask(next(TICKETS), request, now_s):
        if isinstance(effect, Load):
            assert len(effect.items) <= SEGMENT_BLOCKS_MAX
            service.loaded(effect.load_id, LoadOutcome((BlockState.LOADED,) * len(effect.items), {}), now_s)
    service.validate()


TICKETS = itertools.count()


def freed_stepwise(service: WorkerService, selector: Selector) -> Iterator[list[Effect]]:
    freeing = service.begin_free(selector, True, 2.0)
    while not freeing.done:
        before = service.stats().blocks
        yield service.free_some(freeing, 2.0)
        assert before - service.stats().blocks <= STEP_MAX


def test_a_free_of_everything_takes_many_steps_of_few_blocks() -> None:
    """Between two of them the worker is consistent, and serves; in the end nothing is left."""
    service = worker_with(FILES)
    steps = sum(1 for _ in freed_stepwise(service, ALL))
    service.validate()
    assert (True, 0) == (steps >= len(FILES) // STEP_MAX, service.stats().blocks)


def test_a_free_finds_what_is_rewritten_meanwhile_and_spares_what_comes_later() -> None:
    """Blocks that were here when it began go, in whatever segment they are by then."""
    service = worker_with(FILES[:2000])
    odd = Selector([], [file.id() for file in FILES[:1200]])
    assert 1200 == service.free(odd, True, 1.5)[0].blocks
    (compact,) = [effect for effect in service.tick(20.0) if isinstance(effect, Compact)]
    steps = freed_stepwise(service, ALL._replace(patterns=[Pattern("s3://b/dir1")]))
    next(steps)
    service.compacted(compact.segment, True, 20.0)
    load(service, FILES[2000:2010], 21.0)
    load(service, FILES[1000:1010], 21.0)
    for _ in steps:
        service.validate()
    assert 20 == service.stats().blocks


def test_everything_is_reported_in_parts_with_what_changes_meanwhile() -> None:
    """After the last part the master knows what is here, and nothing else."""
    service = worker_with(FILES)
    known: dict[bytes, int] = {}
    report = service.report(True)
    freed = False
    while True:
        known.update(zip(report.versions, report.masks, strict=True))
        assert len(report.versions) <= REPORTED_MAX
        if not report.more:
            break
        if not freed:
            freed = service.free(Selector([], [FILES[7].id(), FILES[4999].id()]), True, 2.0)[0].blocks == 2
        report = service.report(False)
    held = {version for version, mask in known.items() if mask}
    assert {file.id() for file in FILES} - {FILES[7].id(), FILES[4999].id()} == held
    service.free(ALL, True, 3.0)
    parts = [service.report(False) for _ in range(3)]
    assert [True, False, False] == [part.more for part in parts]
    assert held == {
        version for part in parts for version, mask in zip(part.versions, part.masks, strict=True) if not mask
    }


def test_a_listing_goes_on_where_its_last_page_ended() -> None:
    """Whether the worker still has it open or not; each file once, in order."""
    for forgets in (False, True):
        service = worker_with(FILES[:3000])
        request = InventoryRequest(
            [Pattern("s3://b/dir1"), Pattern("s3://b/dir2"), Pattern("s3://b/dir1/x")], None, 700
        )
        found: list[str] = []
        while True:
            listing = service.inventory(request)
            while not listing.done:
                before = len(listing.reply().masks)
                listing.step(2.0)
                assert len(listing.reply().masks) - before <= STEP_MAX
            page = service.inventory_reply(listing)
            found += [file.uri for file in page.files.versions()]
            if page.after is None:
                break
            request = request._replace(after=page.after)
            if forgets:
                for _ in range(9):
                    other = service.inventory(InventoryRequest([Pattern("")], None, 1))
                    while not other.done:
                        other.step(2.0)
                    service.inventory_reply(other)
                    request = request._replace(patterns=[*request.patterns, Pattern("s3://c")])
        assert [file.uri for file in FILES[1000:3000]] == found


def rules(version: int, *said: Rule) -> RuleTable:
    return RuleTable(version, said)


def granted(service: WorkerService, file: FileVersion) -> list[bytes]:
    request = BlockRequest("here", 0, 0, FileColumns.of([file]), [0], [0], [0], [4], 8, purpose=int(Purpose.READ))
    (reply,) = [effect for effect in service.ask(next(TICKETS), request, 2.0) if isinstance(effect, Reply)]
    assert [BlockState.HIT_MEMORY] == reply.states
    (grant,) = reply.grants
    lengths = {len(column) for column in (grant.entry_blocks, grant.entry_offsets, grant.entry_lengths)}
    assert {len(grant.entry_versions)} == lengths
    return grant.entry_versions


def test_a_grant_names_what_was_asked_for_and_a_little_around_it() -> None:
    """Its neighbours by name; more with every use, in the end the whole segment. A short segment is told at once."""
    service = worker_with(FILES[:1500])
    counts = []
    for number in range(9):
        found = granted(service, FILES[700 + number])
        assert FILES[700 + number].id() in found
        assert len(found) == len(set(found))
        counts.append(len(found))
    assert {file.id() for file in FILES[700:720]} <= set(found)
    assert [sorted(counts), True, 1500] == [counts, counts[0] <= 2 * ENTRIES_AROUND * 2, counts[-1]]
    assert 20 == len(granted(worker_with(FILES[:20]), FILES[3]))


PIN_ONE = Rule(RuleKind.PIN, Pattern(FILES[1].uri), 1.0)
PIN_DIR = Rule(RuleKind.PIN, Pattern("s3://b/dir0"), 1.0)
TTL_ALL = Rule(RuleKind.TTL, Pattern(""), 50.0)
QUOTA = Rule(RuleKind.QUOTA, Pattern("s3://b/dir1"), 1000.0)


def test_a_rule_on_one_file_looks_at_its_segment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pin of one file among thousands does not look all of them up."""
    service = worker_with(FILES)
    load(service, [FileVersion("s3://other/a", 4, "1", 1)])
    looked: list[str] = []
    real = Matcher.of
    monkeypatch.setattr(Matcher, "of", lambda self, uri: looked.append(uri) or real(self, uri))
    service.set_rules(rules(1, Rule(RuleKind.PIN, Pattern("s3://other/a"), 1.0)), None, 2.0)
    while service.busy:
        service.tick(2.0)
    assert ["s3://other/a"] == looked


def test_rules_are_booked_in_steps_and_hold_when_they_are_booked() -> None:
    """Meanwhile blocks come and go without confusing the books, and newer rules may overtake; `validate` counts again."""
    service = worker_with(FILES[:3000])
    service.set_rules(rules(1, PIN_DIR, QUOTA), None, 2.0)
    assert (-1, True) == (service.rule_books.booked_version, service.busy)
    service.free(Selector([], [file.id() for file in FILES[:3000:7]]), True, 2.0)
    load(service, FILES[3000:3010])
    service.set_rules(rules(2, PIN_DIR, QUOTA, TTL_ALL, PIN_ONE), None, 2.0)
    ticks = 0
    while service.rule_books.booked_version < 2:
        service.tick(2.0)
        service.validate()
        ticks += 1
    assert ticks > 1
    left = service.free(ALL, False, 2.0)[0]
    assert (len(range(1000)) - len(range(0, 1000, 7))) == left.pinned_blocks
    service.validate()


def test_what_expires_at_once_goes_in_steps() -> None:
    """A TTL that ends for thousands of files: a part of them each time, and what is pinned stays."""
    service = worker_with(FILES)
    service.set_rules(rules(1, TTL_ALL, PIN_DIR), None, 2.0)
    while service.busy:
        service.tick(2.0)
    counts = [service.stats().blocks]
    while service.busy or counts[-1] == len(FILES):
        service.tick(100.0)
        service.validate()
        counts.append(service.stats().blocks)
        assert counts[-2] - counts[-1] <= SEGMENT_BLOCKS_MAX + STEP_MAX
    assert 1000 == counts[-1]


def test_a_quota_that_is_lowered_is_kept_to_in_steps() -> None:
    """The oldest go first, until it is kept; an event gives up a part."""
    service = worker_with(FILES[:4000])
    service.set_rules(rules(1, Rule(RuleKind.QUOTA, Pattern(""), 40.0)), None, 2.0)
    while service.busy:
        service.tick(2.0)
    service.set_rules(None, Shares(1, {"": 0}, {"": 0}), 20.0)
    first = service.stats().blocks
    while service.busy:
        service.tick(20.0)
        service.validate()
    assert (True, 0) == (0 < first < 4000, service.stats().blocks)
