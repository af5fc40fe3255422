"""Comparing with the lake: part by part, in any order, against what was known or cached, and exactly what differs."""

from __future__ import annotations

import itertools
import random

import pytest

from raycache.errors import NotFoundError, UnavailableError
from raycache.master.namespace import lister as lister_module
from raycache.master.namespace.comparison import ListKeys, ReadInventories
from raycache.master.namespace.keyspace import Coverage, Keyspace
from raycache.master.namespace.lister import DisorderError, KeyRange, Lister
from raycache.master.service import MasterService
from raycache.messages import ListRequest, MountInfo, ResolveRequest, SyncReply, SyncRequest, Tally
from raycache.rules import Pattern
from raycache.settings import Settings
from raycache.types import FileVersion, VersionId
from raycache.ufs.base import ListPage
from raycache.ufs.memory import MemoryStorage

ROOT = "memory://x"


class Pages(MemoryStorage):
    """A store whose pages are short, so that listings have many parts."""

    page = 3
    broken_after = ""

    def list(self, prefix: str, *, limit: int = 1000, **more: object) -> ListPage:
        page = super().list(prefix, limit=min(limit, self.page), **more)  # type: ignore[arg-type]
        if self.broken_after and any(info.key > self.broken_after for info in page.objects):
            raise UnavailableError("the lake is down")
        return page


class Master:
    """A service, and the lake it compares with."""

    def __init__(self) -> None:
        ticks = itertools.count(1)
        self.lake = Pages(ROOT, now_ns=lambda: next(ticks))
        self.lister = Lister(lambda _: self.lake, 3)
        self.service = MasterService(Settings(), start_ns=1)
        self.service.apply(self.service.mount("m", MountInfo("/m", ROOT, {}, 60.0, readonly=True)))
        self.gone: list[VersionId] = []
        #: What workers hold.
        self.held: list[FileVersion] = []

    def versions(self) -> dict[str, FileVersion]:
        """What is in the lake."""
        keys = sorted(self.lake._objects)
        infos = [self.lake.head(key) for key in keys]
        return {i.key: FileVersion(f"{ROOT}/{i.key}", i.size_bytes, i.etag, i.mtime_ns) for i in infos}

    def list(self) -> None:
        """A reader lists everything, or a load does."""
        request = ListRequest("/m", recursive=True, fresh=True)
        for need, result in self.lister.fetch(self.service.catalog.list_needs(request, 0.0)).items():
            self.gone += self.service.fetched(need, result)

    def look_up(self, key: str) -> None:
        """A reader looks one file up."""
        request = ResolveRequest([f"/m/{key}"], 0, 0, fresh=True)
        for need, result in self.lister.fetch(self.service.catalog.resolve_needs(request, 0.0)).items():
            self.gone += self.service.fetched(need, result)

    def sync(
        self, base: str = ROOT, glob: str = "", *, dry_run: bool = False, cached: list[FileVersion] | None = None
    ) -> SyncReply:
        request = SyncRequest([Pattern(base, glob)], dry_run, 1000)
        sync = self.service.catalog.begin_sync(request.patterns[0], request, 0.0)
        assert sync.needs_inventory() == (cached is not None)
        if cached is not None:
            self.held = cached
        for step in sync.steps(self.gone.extend):
            match step:
                case ReadInventories(take):
                    take(self.held)
                case ListKeys(prefix, take):
                    parts: list[KeyRange] = []
                    self.lister.pages(sync.mount, prefix, parts.append, ordered=True)
                    random.Random(1).shuffle(parts)
                    for part in parts:
                        take(part)
        return sync.result()


@pytest.fixture
def master() -> Master:
    master = Master()
    for number in range(40):
        master.lake.put(f"d{number % 4}/f{number:02}", bytes(number))
    return master


def change(master: Master) -> tuple[list[str], list[str], list[VersionId]]:
    """Change, remove and add some files; returns (URIs added or changed, removed, versions gone)."""
    before = master.versions()
    master.lake.put("d1/f05", b"other")
    master.lake.put("d3/f07", b"another one")
    master.lake.delete(["d0/f00", "d2/f38"])
    master.lake.put("d9/new", b"123")
    master.lake.put("d0/f41", b"")
    changed = ["d1/f05", "d3/f07"]
    removed = ["d0/f00", "d2/f38"]
    gone = [before[key].id() for key in changed + removed]
    return [f"{ROOT}/{key}" for key in ["d0/f41", "d9/new", *changed]], [f"{ROOT}/{key}" for key in removed], gone


def test_only_what_differs_is_told(master: Master) -> None:
    """Added, changed and removed files are counted with their bytes; exactly the versions that are gone are dropped."""
    master.list()
    differing, removed, gone = change(master)
    reply = master.sync()
    assert (reply.added, reply.changed, reply.removed) == (Tally(2, 3), Tally(2, 16), Tally(2, 38))
    assert reply.unchanged == Tally(36, sum(range(40)) - 38 - 5 - 7)
    assert (sorted(reply.files.uris), sorted(reply.removed_uris)) == (sorted(differing), removed)
    assert sorted(set(master.gone)) == sorted(gone)
    again = master.sync()
    assert (again.added, again.changed, again.removed, again.unchanged.files) == (Tally(), Tally(), Tally(), 40)


def test_a_dry_run_changes_nothing(master: Master) -> None:
    """It tells the same, twice, and drops nothing."""
    master.list()
    change(master)
    first, second = master.sync(dry_run=True), master.sync(dry_run=True)
    assert first.changed == Tally(2, 16)
    assert first._replace(files=0) == second._replace(files=0)  # type: ignore[arg-type]
    assert master.gone == []
    assert master.sync().changed == Tally(2, 16)


def test_what_readers_found_out_meanwhile_still_differs(master: Master) -> None:
    """Look-ups and listings between a load and a sync take the change in; the sync tells of it all the same, once."""
    master.list()
    differing, removed, _ = change(master)
    master.look_up("d1/f05")
    master.look_up("d9/new")
    master.list()
    reply = master.sync()
    assert (sorted(reply.files.uris), sorted(reply.removed_uris)) == (sorted(differing), removed)
    assert master.sync().files.uris == []


def test_a_rewrite_with_the_same_etag_is_no_change(master: Master) -> None:
    """The mtime alone says nothing where there are etags: nothing is dropped."""
    master.list()
    content = bytes(master.lake.read("d0/f04", 0, 4))
    before = master.versions()["d0/f04"]
    master.lake.put("d0/f04", content)
    after = master.versions()["d0/f04"]
    if before.etag != after.etag:
        pytest.skip("this store's etags tell rewrites apart")
    assert master.sync().changed == Tally()
    assert master.gone == []


def test_what_was_never_listed_is_compared_with_what_is_cached(master: Master) -> None:
    """A restarted master asks the workers: other versions they hold are dropped, what nobody holds is new."""
    cached = [master.versions()[key] for key in ("d0/f00", "d1/f05", "d1/f09")]
    older = cached[2]._replace(etag='"older"')
    _, _, gone = change(master)
    reply = master.sync(cached=[*cached, older, cached[2]])
    assert (reply.changed, reply.removed, reply.unchanged) == (Tally(1, 5), Tally(1, 0), Tally(1, 9))
    assert reply.added.files == 38
    assert sorted(set(master.gone)) == sorted([gone[0], gone[2], older.id()])


def test_versions_that_nobody_remembers_are_found_at_the_workers(master: Master) -> None:
    """A worker that comes back finds old segments on its disk: a sync drops them, though nothing else has changed."""
    master.list()
    now = list(master.versions().values())
    old, gone = now[0]._replace(etag='"old"'), now[1]._replace(uri=f"{ROOT}/d0/never")
    master.held = [*now, old, gone]
    assert master.sync(dry_run=True).unchanged.files == 40
    assert master.gone == []
    assert master.sync().unchanged.files == 40
    assert sorted(master.gone) == sorted([old.id(), gone.id()])


def test_globs_files_and_directories(master: Master) -> None:
    """Only what the pattern names is told and forgotten as told; a removed file is found by its own name."""
    master.list()
    change(master)
    assert master.sync(f"{ROOT}/d1", "f0*").changed == Tally(1, 5)
    assert master.sync(f"{ROOT}/d3/f07").changed == Tally(1, 11)
    assert master.sync(f"{ROOT}/d0/f00").removed == Tally(1, 0)
    assert master.sync(f"{ROOT}/d2").removed == Tally(1, 38)
    with pytest.raises(NotFoundError):
        master.sync(f"{ROOT}/nothing")
    rest = master.sync()
    assert (rest.added.files, rest.changed.files, rest.removed.files) == (2, 0, 0)


def test_a_listing_that_breaks_off_counts_for_nothing(master: Master) -> None:
    """When the lake fails in the middle, the prefix is not covered, and the next sync finds every difference."""
    master.list()
    differing, removed, _ = change(master)
    master.lake.broken_after = "d2"
    with pytest.raises(UnavailableError):
        master.sync(dry_run=True)
    master.lake.broken_after = ""
    reply = master.sync()
    assert (sorted(reply.files.uris), sorted(reply.removed_uris)) == (sorted(differing), removed)


def test_a_store_without_order_is_noticed_and_listed_as_a_whole(master: Master) -> None:
    """Parts of such a listing overlap: nothing may have been forgotten by then, and one part with all keys is right."""
    master.list()
    differing, removed, _ = change(master)

    class Filer(Pages):
        """Directories stand before their siblings, as in SeaweedFS."""

        def list(self, prefix: str, *, delimiter: bool = False, token: str | None = None, **more: object) -> ListPage:
            if delimiter:
                return super().list(prefix, delimiter=True, token=token)
            infos = sorted((self.head(key) for key in self._objects), key=lambda info: info.key.replace("/", " "))
            start = int(token or 0)
            return ListPage(infos[start : start + 7], [], str(start + 7) if start + 7 < len(infos) else None)

    filer = Filer(ROOT, now_ns=lambda: 1)
    filer._objects = master.lake._objects
    filer.put("d1-x", b"12")
    request = SyncRequest([Pattern(ROOT)], False, 1000)
    broken = master.service.catalog.begin_sync(request.patterns[0], request, 0.0)
    lister = Lister(lambda _: filer, 1)
    with pytest.raises(DisorderError):
        lister.pages(broken.mount, "", lambda part: broken.take(part, prefix="") and None, ordered=True)
    sync = master.service.catalog.begin_sync(request.patterns[0], request, 0.0)
    lister.whole(sync.mount, "", lambda part: sync.take(part, prefix="") and None)
    sync.end()
    reply = sync.result()
    assert sorted(reply.files.uris) == sorted([*differing, f"{ROOT}/d1-x"])
    assert sorted(reply.removed_uris) == removed
    assert reply.unchanged.files == 36


def test_too_many_changes_are_forgotten_with_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of changes is bounded: beyond, the prefix counts as never listed."""
    monkeypatch.setattr("raycache.master.namespace.keyspace.SINCE_MAX", 3)
    store = Keyspace()
    store.learn_tree("", {f"a{number}": b"x" * 20 for number in range(10)}, Coverage(1, 0.0))
    assert store.listed("", recursive=True)
    for number in range(4):
        store.learn_head(f"a{number}", b"y" * 20, is_directory=False, asked=Coverage(2, 0.0))
        assert len(store.since) <= 3
    assert not store.listed("", recursive=True)


def test_parts_are_a_partition(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the borders and pages, every key is in exactly one part, within the part's bounds."""
    monkeypatch.setattr(lister_module, "_RANGES_PER_THREAD", 1)
    parts: list[KeyRange] = []
    mount = master.service.mounts.table().mounts[0]
    master.lister.pages(mount, "", parts.append, ordered=True)
    assert len(parts) > 10
    keys = [key for part in parts for key in part.found]
    assert sorted(keys) == sorted(master.versions())
    assert len(keys) == len(set(keys))
    bounds = sorted((part.after, part.until or "~") for part in parts)
    assert [after for after, _ in bounds] == ["", *(until for _, until in bounds[:-1])]
    assert all(part.after < key <= (part.until or "~") for part in parts for key in part.found)
