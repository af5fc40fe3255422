"""Listing in ranges, on a real S3 server that has its own ideas of order: every key, once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raycache.master.namespace.lister import DisorderError, KeyRange, Lister
from raycache.master.namespace.lookups import ListNeed
from raycache.messages import MountInfo
from raycache.testing.seaweed import SeaweedServer
from raycache.ufs.open import open_storage

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
