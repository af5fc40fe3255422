"""Listing in ranges, on a real S3 server that has its own ideas of order: every key, once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raycache.errors import DeniedError
from raycache.master.namespace.catalog import Catalog
from raycache.master.namespace.lister import DisorderError, KeyRange, Lister
from raycache.master.namespace.lookups import ListNeed, NeedResult
from raycache.master.namespace.mount_table import Mounts
from raycache.messages import MountInfo, ResolveRequest
from raycache.testing.seaweed import SeaweedServer
from raycache.types import FileKind
from raycache.ufs.open import open_storage
from raycache.ufs.trees import check_directory
from tests.support.exact_s3 import Manners
from tests.support.s3_wire import Wire

#: More than one page, in directories of two levels; "r/q-..." stands before "r/q/" in S3, and behind it in SeaweedFS.
ORDERED = [f"d{number % 7}/e{number % 3}/f{number:04}" for number in range(1200)]
SIBLINGS = [f"r/q/{number}" for number in range(3)] + [f"r/q-{number}" for number in range(3)]


@pytest.fixture(scope="module")
def mount(s3_server: SeaweedServer) -> MountInfo:
    bucket = s3_server.make_bucket("lister")
    storage = open_storage(f"s3://{bucket}", s3_server.options())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: storage.put(key, b"x"), [*ORDERED, *SIBLINGS]))
    return MountInfo("/m", f"s3://{bucket}", s3_server.options(), 60.0, readonly=True)


@pytest.fixture
def lister(mount: MountInfo) -> Iterator[Lister]:
    lister = Lister(lambda found: open_storage(found.uri, found.options), 4)
    yield lister
    lister.close()


def test_a_listing_of_several_pages_is_complete(mount: MountInfo, lister: Lister) -> None:
    """Nothing is missing at the borders of its ranges."""
    need = ListNeed(mount, mount.path, mount.uri, "", True, 1, 0.0)
    assert sorted(lister.fetch([need])[need].found) == sorted([*ORDERED, *SIBLINGS])
    parts: list[KeyRange] = []
    lister.pages(mount, "", parts.append)
    assert {key for part in parts for key in part.found} == {*ORDERED, *SIBLINGS}


def test_parts_of_an_ordered_prefix_are_a_partition(mount: MountInfo, lister: Lister) -> None:
    """Each key comes in one part, within its bounds."""
    parts: list[KeyRange] = []
    lister.pages(mount, "d1/", parts.append, ordered=True)
    keys = [key for part in parts for key in part.found]
    assert sorted(keys) == sorted(key for key in ORDERED if key.startswith("d1/"))


def test_disorder_is_noticed_and_a_whole_listing_is_right(mount: MountInfo, lister: Lister) -> None:
    """Either the parts of the whole bucket are a partition, or the lister says that they are not; one part always is."""
    parts: list[KeyRange] = []
    try:
        lister.pages(mount, "", parts.append, ordered=True)
    except DisorderError:
        parts.clear()
        lister.whole(mount, "", parts.append)
    assert sorted(key for part in parts for key in part.found) == sorted([*ORDERED, *SIBLINGS])


def level_of(lister: Lister, mount: MountInfo, prefix: str, *keys: str) -> NeedResult:
    need = ListNeed(mount, mount.path, mount.uri, prefix, False, 1, 0.0, keys)
    return lister.fetch([need])[need]


def test_a_few_of_very_many_are_not_listed_for(wire: Wire) -> None:
    """Some keys of a large directory cost one page and a HEAD for each that is not in it; many of a small one, one page."""
    for number in range(2500):
        wire.server.lake.put(f"d/{number:04}", b"x")
    wire.server.lake.put("d/9/x", b"x")
    mount = MountInfo("/m", "s3://exact", {}, 60.0, readonly=True)
    lister = Lister(lambda found: wire.storage, 4)
    try:
        wire.asked()
        wanted = [f"d/{number:04}" for number in range(0, 2500, 300)]
        result = level_of(lister, mount, "d/", *wanted, "d/9", "d/none")
        assert result.each is not None
        assert [key for key, one in result.each.items() if one.head is not None] == wanted
        assert (result.each["d/9"].is_directory, result.each["d/none"]) == (True, NeedResult())
        assert wire.asked() == {"LIST": 3, "HEAD": 7}  # one page; and one for each of the two that are no files
        assert level_of(lister, mount, "", "plain", *(f"none-{number}" for number in range(8))).each is None
        assert wire.asked() == {"LIST": 1}
        assert level_of(lister, mount, "d/", *(f"d/{number:04}" for number in range(64))).each is None
        assert wire.asked() == {"LIST": 3}
    finally:
        lister.close()


def test_who_may_not_list(wire: Wire) -> None:
    """Where listing is denied, keys are looked up one by one; one that is denied fails alone."""
    wire.server.manners = Manners(refuses={"LIST": (403, "AccessDenied")})
    mount = MountInfo("/m", "s3://exact", {}, 60.0, readonly=True)
    lister = Lister(lambda found: wire.storage, 4)
    mounts = Mounts()
    mounts.put(mount)
    catalog = Catalog(mounts, lambda version: ())
    paths = ["/m/plain", *(f"/m/none-{number}" for number in range(8))]
    try:
        needs = catalog.resolve_needs(ResolveRequest(paths, 0, 0), 0.0)
        results = lister.fetch(needs)
        for need in needs:
            catalog.fetched(need, results[need])
        reply = catalog.resolve(ResolveRequest(paths, 0, 0), {}, 0.0)
        assert reply.kinds == [FileKind.FILE, *[FileKind.MISSING] * 8]
        with pytest.raises(DeniedError):
            raise level_of(lister, mount, "").error or AssertionError
        check_directory(wire.storage, "")
    finally:
        lister.close()
