"""From the paths of a load to its files: each once, page by page, small listings remembered. Over a lake in memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from raycache.clock import ManualClock
from raycache.errors import InvalidRequestError, NotFoundError, RaycacheError
from raycache.master.loads import expansion
from raycache.master.loads.expansion import LoadListing, NotWantedError
from raycache.master.loads.files import Origin, Row
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import Need
from raycache.master.service import MasterService
from raycache.messages import MountInfo, ResolveRequest
from raycache.settings import Settings
from raycache.ufs.memory import memory_storage


class Bench:
    """A master without actors, and its lake."""

    def __init__(self) -> None:
        root = f"memory://{uuid.uuid4().hex}"
        self.storage = memory_storage(root)
        for name in ("a/1", "a/2", "a/b/3", "a/b/4.x", "c", "odd*"):
            self.storage.put(f"top/{name}", name.encode())
        self.service = MasterService(Settings(), start_ns=1)
        self.service.apply(self.service.mount("r", MountInfo("/lake", f"{root}/top", {}, 60.0, True)))
        self.lister = Lister(lambda _: self.storage, 2)
        self.threads = ThreadPoolExecutor(2)
        self.listing = LoadListing(self.service, lambda _: self.lister, self.ask, lambda _: self.threads, ManualClock())
        self.lake = root

    async def ask(self, needs: list[Need]) -> Mapping[Need, RaycacheError]:
        results = self.lister.fetch(needs)
        for need in needs:
            self.service.fetched(need, results[need])
        return {need: result.error for need, result in results.items() if result.error is not None}

    def files(self, *paths: str, **options: bool) -> list[str]:
        found: list[str] = []

        def take(origin: Origin, rows: list[Row]) -> None:
            found.extend(origin.path_of(key) for key, _ in rows)

        asyncio.run(self.listing.stream(list(paths), take, keep_all=options.get("keep_all", False)))
        assert len(found) == len(set(found))
        return sorted(found)

    def knows(self, path: str) -> bool:
        """Whether a path can be resolved without asking the lake."""
        return not self.service.catalog.resolve_needs(ResolveRequest([path], 0, 0), 0.0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.storage.put("top/run[1]/x", b"x")
    yield bench
    bench.lister.close()
    bench.threads.shutdown()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (
            ["/lake"],
            ["/lake/a/1", "/lake/a/2", "/lake/a/b/3", "/lake/a/b/4.x", "/lake/c", "/lake/odd*", "/lake/run[1]/x"],
        ),
        (["/lake/a/b", "/lake/c"], ["/lake/a/b/3", "/lake/a/b/4.x", "/lake/c"]),
        (["/lake/a/*"], ["/lake/a/1", "/lake/a/2", "/lake/a/b/3", "/lake/a/b/4.x"]),
        (["/lake/a/?"], ["/lake/a/1", "/lake/a/2", "/lake/a/b/3", "/lake/a/b/4.x"]),
        (["/lake/a/[12]"], ["/lake/a/1", "/lake/a/2"]),
        (["/lake/*/b"], ["/lake/a/b/3", "/lake/a/b/4.x"]),
        (["/lake/run[1]"], ["/lake/run[1]/x"]),
        (["/lake/run[1]/*"], ["/lake/run[1]/x"]),
        (["/lake/a/b", "/lake/a*"], ["/lake/a/1", "/lake/a/2", "/lake/a/b/3", "/lake/a/b/4.x"]),
        (["/lake/a/**"], ["/lake/a/1", "/lake/a/2", "/lake/a/b/3", "/lake/a/b/4.x"]),
        (["/lake/*/b/*.x"], ["/lake/a/b/4.x"]),
        (["/lake/odd*"], ["/lake/odd*"]),
        (
            ["/lake/a/1", "/lake/a", "/lake/a/*", "/lake/a/b"],
            ["/lake/a/1", "/lake/a/2", "/lake/a/b/3", "/lake/a/b/4.x"],
        ),
        ([], []),
    ],
)
def test_paths_mean_each_file_once(bench: Bench, paths: list[str], expected: list[str]) -> None:
    """Files, directories and globs, which mean what is below a directory they match; also where they overlap, and names
    that only look like globs."""
    assert expected == bench.files(*paths)


def test_what_does_not_exist_is_told(bench: Bench) -> None:
    """A missing file, the missing directory of a glob, a glob that matches nothing, and a path under no mount."""
    for path in ("/lake/none", "/lake/none/*", "/lake/a/nothing*", "/lake/*/nothing", "/lake/run[1]/y", "/elsewhere"):
        with pytest.raises(NotFoundError):
            bench.files(path)
        with pytest.raises(NotFoundError):
            asyncio.run(bench.listing.require([path]))


def test_of_much_that_a_glob_does_not_match_the_listing_tells(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that was broken off says nothing; when all is listed, it is an error all the same."""
    monkeypatch.setattr(expansion, "_LOOKED_AT_MAX", 1)
    asyncio.run(bench.listing.require(["/lake/a/nothing*"]))
    with pytest.raises(NotFoundError, match="/lake/a/nothing"):
        bench.files("/lake/a/nothing*")


def test_nested_mounts_are_loaded_one_by_one(bench: Bench) -> None:
    """A directory with another mount below it is refused: its listing would miss that."""
    bench.service.apply(bench.service.mount("r2", MountInfo("/lake/a/deep", f"{bench.lake}/top/a", {}, 60.0, True)))
    with pytest.raises(InvalidRequestError, match="/lake/a has other mounts"):
        bench.files("/lake/a")


def test_a_small_listing_is_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it files are resolved without the lake; after a large one not, unless all is to be kept."""
    assert not bench.knows("/lake/a/b/3")
    bench.files("/lake")
    assert bench.knows("/lake/a/b/3")
    other = Bench()
    monkeypatch.setattr(expansion, "KEPT_MAX", 3)
    other.files("/lake")
    assert not other.knows("/lake/a/b/3")
    other.files("/lake", keep_all=True)
    assert other.knows("/lake/a/b/3")
    other.lister.close()
    other.threads.shutdown()


def test_a_listing_can_be_ended(bench: Bench) -> None:
    """A stopped job's listing ends at its next page."""
    with pytest.raises(NotWantedError):
        asyncio.run(bench.listing.stream(["/lake"], lambda *_: None, wanted=lambda: False))
