"""The master's service: questions to the lake are few, answers right, mutations repeatable, news heard by everyone."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from raycache.errors import (
    DeniedError,
    InvalidRequestError,
    NotADirectoryRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.master.membership import StartWorker
from raycache.master.namespace.catalog import LIST_INSTEAD_OF_HEADS_MIN
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import HeadNeed, ListNeed, Need, NeedResult
from raycache.master.service import INVALIDATED_PER_REPLY_MAX, MasterService
from raycache.messages import (
    BlockReport,
    Heartbeat,
    HeartbeatReply,
    ListReply,
    ListRequest,
    MountInfo,
    ReadCounters,
    ResolveReply,
    ResolveRequest,
    WorkerStats,
)
from raycache.rules import Pattern, Rule, RuleKind
from raycache.settings import Settings
from raycache.types import FileKind, VersionId
from raycache.ufs.memory import MemoryStorage

_TTL_S = 60.0


class _Master:
    """A service, and a lake it asks."""

    def __init__(self) -> None:
        self.storage = MemoryStorage("memory://x")
        self.service = MasterService(Settings(), start_ns=1_000)
        self.service.apply(self.service.mount("m", MountInfo("/m", "memory://x/p", {}, _TTL_S, readonly=True)))
        self.now_s = 0.0
        self.asked: list[Need] = []
        self.error: RaycacheError | None = None
        self.invalidated: list[VersionId] = []

    def resolve(self, *paths: str, fresh: bool = False) -> ResolveReply:
        request = ResolveRequest(list(paths), 0, 0, fresh)
        errors = self._ask(self.service.catalog.resolve_needs(request, self.now_s))
        return self.service.resolve(request, errors, self.now_s)

    def list(self, path: str, *, recursive: bool = False, fresh: bool = False) -> ListReply:
        request = ListRequest(path, recursive, fresh)
        errors = self._ask(self.service.catalog.list_needs(request, self.now_s))
        return self.service.catalog.listing(request, errors, self.now_s)

    def kinds(self, *paths: str) -> list[FileKind]:
        return [FileKind(kind) for kind in self.resolve(*paths).kinds]

    def _ask(self, needs: Any) -> dict[Need, RaycacheError]:
        self.asked = needs
        if self.error is not None:
            return dict.fromkeys(needs, self.error)
        lister = Lister(lambda _: self.storage, 2)
        for need, result in lister.fetch(needs).items():
            assert result.error is None
            self.invalidated += self.service.fetched(need, result)
        lister.close()
        return {}


@pytest.fixture
def master() -> _Master:
    return _Master()


class _Workers:
    """Heartbeats of workers of a service."""

    def __init__(self, service: MasterService, *nodes: str) -> None:
        self.service = service
        starts = [effect for effect in service.nodes_changed(nodes, 0.0) if isinstance(effect, StartWorker)]
        self.epochs = {effect.worker: effect.epoch for effect in starts}
        self._numbers = {node: itertools.count(1) for node in nodes}
        for node in nodes:
            service.membership.spoke(node, self.epochs[node], 10, 0.0)

    def beat(
        self,
        node: str,
        held: dict[VersionId, int] | None = None,
        *,
        full: bool = False,
        skip: int = 0,
        now_s: float = 0.0,
        delivered: bool = True,
        hits: int = 0,
    ) -> HeartbeatReply:
        for _ in range(skip):
            next(self._numbers[node])
        held = held or {}
        report = BlockReport(full, list(held), list(held.values()))
        view_id, mounts_version = self.service.membership.view().view_id, self.service.mounts.table().version
        heartbeat = Heartbeat(
            node,
            self.epochs[node],
            next(self._numbers[node]),
            report,
            WorkerStats(memory_capacity_bytes=10),
            ReadCounters(hits=hits),
            view_id,
            mounts_version,
        )
        return self.service.heartbeat(heartbeat, now_s, delivered=delivered)


# --- resolve and list -------------------------------------------------------------------------------------------------


def test_a_path_is_asked_once_per_ttl(master: _Master) -> None:
    """Within the TTL answers cost nothing, missing paths and directories included; after it they are asked again."""
    master.storage.put("p/d/f", b"x")
    for now_s, asked in ((0.0, 3), (_TTL_S - 0.1, 0), (_TTL_S, 3)):
        master.now_s = now_s
        assert [FileKind.FILE, FileKind.DIRECTORY, FileKind.MISSING] == master.kinds("/m/d/f", "/m/d", "/m/no")
        assert asked == len(master.asked)


def test_answers_say_how_long_they_last(master: _Master) -> None:
    """What is left of the TTL, counted from the question to the lake."""
    master.storage.put("p/f", b"x")
    assert [_TTL_S] == master.resolve("/m/f").expires_in_s
    master.now_s = 50.0
    assert [_TTL_S - 50.0] == master.resolve("/m/f").expires_in_s
    assert [_TTL_S] == master.resolve("/m/f", fresh=True).expires_in_s


def test_a_file_is_described_as_the_lake_does(master: _Master) -> None:
    """URI, size, etag and mtime; by its path and by its URI alike."""
    info = master.storage.put("p/a b/%20é", b"xyz")
    reply = master.resolve("/m/a b/%20é", "memory://x/p/a b/%20é")
    [by_path, by_uri] = reply.files.versions()
    assert ("memory://x/p/a b/%20é", 3, info.etag, info.mtime_ns) == by_path
    assert by_path == by_uri


def test_many_unknown_paths_of_one_directory_become_one_listing(master: _Master) -> None:
    """One page instead of a request per path."""
    for i in range(LIST_INSTEAD_OF_HEADS_MIN):
        master.storage.put(f"p/d/{i}", b"x")
    master.resolve(*(f"/m/d/{i}" for i in range(LIST_INSTEAD_OF_HEADS_MIN - 1)))
    assert {HeadNeed} == {type(need) for need in master.asked}
    master.now_s = _TTL_S
    paths = [f"/m/d/{i}" for i in range(LIST_INSTEAD_OF_HEADS_MIN)]
    assert {FileKind.FILE} == set(master.kinds(*paths, *paths))
    assert [("p/d/", False)] == [(need.prefix, need.recursive) for need in master.asked if isinstance(need, ListNeed)]
    assert 1 == len(master.asked)


def test_a_listing_answers_for_what_is_in_it(master: _Master) -> None:
    """After a listing of everything, no file in it is asked for, nor a listing of a part."""
    master.storage.put("p/d/e/f", b"x")
    assert ["d/e/f"] == master.list("/m", recursive=True).names
    assert [FileKind.FILE, FileKind.DIRECTORY, FileKind.MISSING] == master.kinds("/m/d/e/f", "/m/d", "/m/d/no")
    assert [] == master.asked
    assert ["e"] == master.list("/m/d").names
    assert [] == master.asked


def test_listing_what_is_no_directory_fails_with_the_right_class(master: _Master) -> None:
    """A file is no directory; nothing is not found; a mount point is a directory even when empty."""
    master.storage.put("p/f", b"x")
    master.storage.put("p/both", b"x")
    master.storage.put("p/both/x", b"x")
    master.storage.put("p/marker/", b"")
    for recursive in (False, True):
        with pytest.raises(NotADirectoryRequestError):
            master.list("/m/f", recursive=recursive)
        with pytest.raises(NotFoundError):
            master.list("/m/no", recursive=recursive)
        assert ["x"] == master.list("/m/both", recursive=recursive).names
        assert [] == master.list("/m/marker", recursive=recursive).names
    master.service.apply(master.service.mount("e", MountInfo("/empty", "memory://y", {}, _TTL_S, readonly=True)))
    master.storage = MemoryStorage("memory://y")
    assert [] == master.list("/empty").names
    assert [FileKind.DIRECTORY] == master.kinds("/empty")


def test_mounts_and_what_is_above_them_are_directories(master: _Master) -> None:
    """The root shows the mounts; a nested mount stands before what the outer lake has in its place."""
    master.service.apply(master.service.mount("n", MountInfo("/m/sub", "memory://y", {}, _TTL_S, readonly=True)))
    master.service.apply(master.service.mount("o", MountInfo("/a/b", "memory://z", {}, _TTL_S, readonly=True)))
    master.storage.put("p/sub", b"hidden")
    master.storage.put("p/x", b"x")
    assert [FileKind.DIRECTORY] * 4 == master.kinds("/", "/m", "/a", "/m/sub")
    assert ["a", "m"] == master.list("/").names
    assert ["b"] == master.list("/a").names
    reply = master.list("/m")
    assert [("sub", FileKind.DIRECTORY), ("x", FileKind.FILE)] == list(zip(reply.names, reply.kinds, strict=True))
    with pytest.raises(InvalidRequestError, match="sub"):
        master.list("/m", recursive=True)


def test_a_path_under_no_mount_is_missing(master: _Master) -> None:
    """It is no error to ask; listing it is."""
    assert [FileKind.MISSING] == master.kinds("/nowhere/x")
    assert {} == master.resolve("/nowhere/x").errors
    with pytest.raises(NotFoundError, match="under no mount"):
        master.list("/nowhere")


def test_a_uri_is_answered_once_its_store_has_mounted_itself(master: _Master) -> None:
    """Before, it is an error that says so."""
    master.storage = MemoryStorage("memory://z")
    master.storage.put("k", b"x")
    assert [0] == list(master.resolve("memory://z/k").errors)
    master.service.apply(master.service.auto_mount("memory://z", {}))
    assert [FileKind.FILE, FileKind.DIRECTORY] == master.kinds("memory://z/k", "memory://z")


def test_an_error_of_the_lake_is_of_the_paths_it_concerns(master: _Master) -> None:
    """And is not remembered."""
    master.storage.put("p/known", b"x")
    master.kinds("/m/known")
    master.error = DeniedError("no")
    reply = master.resolve("/m/known", "/m/other")
    assert {1: master.error} == reply.errors
    assert [FileKind.FILE, FileKind.MISSING] == reply.kinds
    master.error = None
    assert {} == master.resolve("/m/other").errors


def test_what_is_known_outlives_its_ttl_while_the_lake_is_away(master: _Master) -> None:
    """But not for one who asks for a fresh answer, nor when access is denied."""
    master.storage.put("p/f", b"x")
    master.list("/m")
    master.now_s = 10 * _TTL_S
    master.error = UnavailableError("down")
    assert [FileKind.FILE] == master.kinds("/m/f")
    assert 0 < master.resolve("/m/f").expires_in_s[0] < _TTL_S
    assert ["f"] == master.list("/m").names
    assert {0: master.error} == master.resolve("/m/f", fresh=True).errors
    with pytest.raises(UnavailableError):
        master.list("/m", fresh=True)
    master.error = DeniedError("no")
    assert {0: master.error} == master.resolve("/m/f").errors
    with pytest.raises(DeniedError):
        master.list("/m")


def test_a_fresh_question_does_not_share_an_older_answer(master: _Master) -> None:
    """Nor does one asked after a write."""
    request = ResolveRequest(["/m/f"], 0, 0)
    [first] = master.service.catalog.resolve_needs(request, 0.0)
    assert [first] == master.service.catalog.resolve_needs(request, 1.0)
    [fresh] = master.service.catalog.resolve_needs(request._replace(fresh=True), 1.0)
    assert first != fresh
    master.service.wrote([("/m/other", False)])
    [after] = master.service.catalog.resolve_needs(request, 1.0)
    assert after not in (first, fresh)


# --- mutations and the journal ----------------------------------------------------------------------------------------


def test_a_repeated_mutation_has_one_effect(master: _Master) -> None:
    """Ray may run a call again, also much later: no second effect, also after a replay."""
    service = master.service
    mount = MountInfo("/a", "s3://b", {"key": "k"}, _TTL_S, readonly=True)
    records = service.mount("r1", mount)
    service.apply(records)
    gone = service.unmount("r2", "/a")
    service.apply(gone)
    assert [] == service.unmount("r2", "/a") == service.mount("r1", mount)
    assert ["/m"] == [found.path for found in service.mounts.table().mounts]
    later = MasterService(Settings(), [*records, *gone, *records], start_ns=2_000)
    assert () == later.mounts.table().mounts
    assert json.dumps(records)
    assert [] == later.mount("r1", mount)


def test_nothing_has_changed_until_it_is_written_down(master: _Master) -> None:
    """What could not be written to the journal would be lost by a restart: it must not stand before."""
    service = master.service
    mounts, rules = service.mounts.table(), service.rules
    pin = Rule(RuleKind.PIN, Pattern("s3://b"), 1)
    records = [
        *service.mount("1", MountInfo("/a", "s3://b", {}, _TTL_S, readonly=True)),
        *service.auto_mount("s3://c", {}),
        *service.unmount("2", "/m"),
        *service.add_rules("3", [pin]),
    ]
    assert (mounts, rules) == (service.mounts.table(), service.rules)
    service.apply(records)
    assert ["/a", "s3://c"] == [mount.path for mount in service.mounts.table().mounts]
    assert (pin,) == service.rules.rules


def test_a_replay_gives_the_state_back() -> None:
    """Mounts with options, of both kinds; from the records and from a snapshot alike; numbers only grow."""
    service = MasterService(Settings(), start_ns=1_000)
    written: list[dict[str, Any]] = []

    def commit(records: list[dict[str, Any]]) -> None:
        written.extend(records)
        service.apply(records)

    commit(service.mount("1", MountInfo("/a", "s3://b", {"secret": "s"}, 5.0, readonly=False)))
    commit(service.auto_mount("s3://c", {"x": 1}))
    commit(service.mount("2", MountInfo("/d", "s3://d", {}, 5.0, readonly=True)))
    commit(service.unmount("3", "/d"))
    commit(service.mount("4", MountInfo("/a", "s3://b", {"secret": "t"}, 5.0, readonly=False)))
    assert [] == service.auto_mount("s3://c", {"x": 2})
    assert [{"secret": "t"}, {"x": 1}] == [mount.options for mount in service.mounts.table().mounts]
    for records in (written, service.snapshot()):
        later = MasterService(Settings(), json.loads(json.dumps(records)), start_ns=5)  # a clock that went back
        assert service.mounts.table().mounts == later.mounts.table().mounts
        assert later.mounts.table().version > service.mounts.table().version
        assert later.membership.view().view_id > service.membership.view().view_id


def test_options_that_cannot_be_written_down_are_refused(master: _Master) -> None:
    """A mount that could not come back is none."""
    with pytest.raises(InvalidRequestError):
        master.service.apply(
            master.service.mount("x", MountInfo("/x", "s3://b", {"f": object()}, _TTL_S, readonly=True))
        )
    assert ["/m"] == [mount.path for mount in master.service.mounts.table().mounts]


def test_only_a_restart_of_the_same_cache_waits_for_workers() -> None:
    """The first master of a cache starts workers at once, whatever is left of another one."""
    starts = [{"op": "start", "start_ns": number, "cache_id": cache} for number, cache in ((1, "old"), (2, "new"))]
    first = MasterService(Settings(), starts, start_ns=3)
    assert 1 == len(first.nodes_changed(["a"], 0.0))
    again = MasterService(Settings(), [*starts, {"op": "start", "start_ns": 4, "cache_id": "new"}], start_ns=4)
    assert [] == again.nodes_changed(["a"], 0.0)


# --- workers ----------------------------------------------------------------------------------------------------------


def test_holders_come_with_the_answer(master: _Master) -> None:
    """Where the blocks of a file are, until its worker is lost."""
    master.storage.put("p/f", b"x")
    version = master.resolve("/m/f").files.versions()[0].id()
    workers = _Workers(master.service, "a", "b")
    workers.beat("a", {version: 0b1}, full=True)
    workers.beat("b", {version: 0b11}, full=True)
    assert [(("a", 0b1), ("b", 0b11))] == master.resolve("/m/f").holders
    master.service.lost("a", workers.epochs["a"], 1.0)
    assert [(("b", 0b11),)] == master.resolve("/m/f").holders
    master.service.nodes_changed(["a"], 1.0)
    assert [()] == master.resolve("/m/f").holders


def test_a_silent_worker_is_sent_nobody_until_it_has_said_everything_again(master: _Master) -> None:
    """Its blocks are hints no more; when it is back, a full report is wanted."""
    master.storage.put("p/f", b"x")
    version = master.resolve("/m/f").files.versions()[0].id()
    workers = _Workers(master.service, "a")
    workers.beat("a", {version: 1}, full=True)
    for half_s in range(32):
        master.service.nodes_changed(["a"], half_s / 2)
    assert [()] == master.resolve("/m/f").holders
    assert workers.beat("a", now_s=16.0).want_full
    assert not workers.beat("a", {version: 1}, full=True, now_s=16.5).want_full
    assert [(("a", 1),)] == master.resolve("/m/f").holders


def test_a_lost_report_is_asked_for_again(master: _Master) -> None:
    """A gap in the sequence wants a full report, until one comes; late and repeated words are ignored."""
    master.storage.put("p/f", b"x")
    version = master.resolve("/m/f").files.versions()[0].id()
    workers = _Workers(master.service, "a")
    assert not workers.beat("a", full=True).want_full
    assert not workers.beat("a", {version: 1}).want_full
    assert workers.beat("a", skip=1).want_full
    assert workers.beat("a").want_full
    assert not workers.beat("a", {version: 2}, full=True).want_full
    late = Heartbeat(
        "a", workers.epochs["a"], 2, BlockReport(full=False, versions=[version], masks=[4]),
        WorkerStats(), ReadCounters(), 0, 0,
    )  # fmt: skip
    assert master.service.heartbeat(late, 0.0).accepted
    assert [(("a", 2),)] == master.resolve("/m/f").holders


def test_every_worker_hears_of_every_invalidated_version_once(master: _Master) -> None:
    """In whatever rhythm they speak; a word fetched by the master itself takes no news."""
    workers = _Workers(master.service, "a", "b")
    for node in ("a", "b"):
        workers.beat(node, full=True)
    master.storage.put("p/f", b"1")
    first = master.resolve("/m/f").files.versions()[0].id()
    master.storage.put("p/f", b"22")
    second = master.resolve("/m/f", fresh=True).files.versions()[0].id()
    assert [first] == master.invalidated
    assert [first] == workers.beat("a").invalidated
    master.service.wrote([("/m/f", False)])
    assert [] == workers.beat("b", delivered=False).invalidated
    assert [second] == workers.beat("a").invalidated
    assert [first, second] == workers.beat("b").invalidated
    assert [[], []] == [workers.beat(node).invalidated for node in ("a", "b")]
    master.service.nodes_changed(["a", "b"], 0.5)
    assert 0 == len(master.service._invalidated)


def test_a_stale_worker_is_told_to_end(master: _Master) -> None:
    """After a newer one was started it is refused, but what it counted stays."""
    workers = _Workers(master.service, "a")
    workers.beat("a", full=True, hits=5)
    master.service.lost("a", workers.epochs["a"], 1.0)
    master.service.nodes_changed(["a"], 5.0)
    reply = workers.beat("a", hits=6)
    assert (False, None, None, []) == (reply.accepted, reply.view, reply.mounts, reply.invalidated)
    assert [6] == [node.counters.hits for node in master.service.stats()]


def test_views_and_mounts_come_when_they_are_new(master: _Master) -> None:
    """Whoever knows the current ones gets none."""
    workers = _Workers(master.service, "a")
    view, table = master.service.membership.view(), master.service.mounts.table()
    reply = master.resolve("/m/x")
    assert (view, table) == (reply.view, reply.mounts)
    current = ResolveRequest(["/m/x"], view.view_id, table.version)
    reply = master.service.resolve(current, {}, 0.0)
    assert (None, None) == (reply.view, reply.mounts)
    beat = workers.beat("a", full=True)
    assert (None, None) == (beat.view, beat.mounts)


def test_status_shows_the_cache(master: _Master) -> None:
    """Up-time, mounts, files and workers."""
    master.storage.put("p/f", b"x")
    master.list("/m")
    workers = _Workers(master.service, "a")
    workers.beat("a", full=True, now_s=1.0)
    status = master.service.status(9.0, 3.0)
    assert (9.0, 1, 1, [("a", workers.epochs["a"], "live", 2.0)], []) == status
    assert (0, 1) == master.service.membership.missing()


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directories", [1, 1_000])
def test_a_hundred_thousand_objects_are_listed_exactly(master: _Master, directories: int) -> None:
    """In one prefix, and in a thousand."""
    count = 100_000
    found = {f"p/{i % directories:04d}/{i:06d}": i.to_bytes(17, "little") for i in range(count)}
    [need] = master.service.catalog.list_needs(ListRequest("/m", recursive=True), 0.0)
    master.service.fetched(need, NeedResult(is_directory=True, found=found))
    assert sorted(key[2:] for key in found) == master.list("/m", recursive=True).names
    assert [f"{i:04d}" for i in range(directories)] == master.list("/m").names
    assert count // directories == len(master.list("/m/0000").names)
    assert count == master.service.status(0.0, 0.0).files_known


def test_a_key_that_no_path_can_say_costs_itself_only(master: _Master) -> None:
    """Of a key with a ".." part no listing tells; what stands beside it is listed and looked up as ever."""
    for key in ("p/k/a", "p/k/x/../y", "p/k/../z", "p/k/x/w", "p/k/..dots"):
        master.storage.put(key, b"1")
    assert ["..dots", "a", "x/w"] == master.list("/m/k", recursive=True).names
    assert ["..dots", "a", "x"] == master.list("/m/k").names
    assert ["w"] == master.list("/m/k/x").names
    assert [FileKind.FILE] * 3 == master.kinds("/m/k/a", "/m/k/x/w", "/m/k/..dots")


def test_a_worker_hears_of_more_than_one_reply_holds(master: _Master) -> None:
    """What was invalidated comes in parts, and all of it comes."""
    workers = _Workers(master.service, "a")
    workers.beat("a", full=True)
    versions = [number.to_bytes(16, "big") for number in range(2 * INVALIDATED_PER_REPLY_MAX + 5)]
    master.service.invalidate(versions)
    heard = [workers.beat("a").invalidated for _ in range(4)]
    assert [INVALIDATED_PER_REPLY_MAX, INVALIDATED_PER_REPLY_MAX, 5, 0] == [len(part) for part in heard]
    assert versions == [version for part in heard for version in part]
