"""What the dashboard can be made to look at: what is mounted, and nothing else, whatever a browser asks for.

Over real HTTP, before a real master's service; its lake is in memory, and says which stores were opened.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

import aiohttp
import pytest
from yarl import URL

from raycache.dashboard import server
from raycache.dashboard.source import CacheSource
from tests.support.small_master import SmallMaster
from tests.unit.dashboard.test_server import TOKEN, first_event, serve

FILES = 3


class Place:
    """A dashboard before a master with one mount, of a bucket that has more than is mounted."""

    def __init__(self) -> None:
        self.master = SmallMaster()
        store = self.master.mount("/lake/train", "memory://bucket/train")
        for number in range(FILES):
            store.put(f"train/{number}", b"x" * number)
        store.put("secret/key", b"x")
        self.cache = self.master.cache()
        self.source = CacheSource(self.cache)
        self.master.called.clear()

    def unchanged(self) -> bool:
        """Whether nothing was mounted, and no other store was opened."""
        mounts = [mount.path for mount in self.master.service.mounts.table().mounts]
        return (mounts, list(self.master.stores), "auto_mount" in self.master.called) == (
            ["/lake/train"],
            ["memory://bucket"],
            False,
        )


async def ask(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with session.get(URL(url, encoded=True)) as answer:
        return answer.status, await answer.json()


ELSEWHERE = (
    "file:///root", "file:///", "file://", "file:/root", "FILE:///root", "local:///root", "raycache::file:///root",
    "s3://bucket/train", "s3a://evil/x", "gs://evil/x", "hdfs://evil:9000/", "memory://evil/x", "memory://bucket",
    "memory://bucket/secret", "memory://bucket/trai", "/@file/root", "/@memory/evil/x", "raycache:///elsewhere",
    "/elsewhere", "/lake/trainer", "//lake/train", "/lake/train/../../root", "lake/train", "file:///root/*",
    "memory://evil/*", "https://evil.example/x",
)  # fmt: skip


@pytest.mark.parametrize("path", ELSEWHERE)
def test_what_is_under_no_mount_is_not_looked_at(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view, a stream and a measurement of it are refused in a line that says why; nothing is mounted or connected to."""
    # A stream whose event stays the same notices at its next comment only that its browser has gone.
    monkeypatch.setattr(server, "_QUIET_S", 0.0)
    place = Place()
    quoted = urllib.parse.quote(path, safe="")

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for question in (f"view?view=data&path={quoted}", f"usage?path={quoted}"):
            status, said = await ask(session, f"{url}/api/{question}")
            assert status in (400, 404), said
            assert said["error"]
        async with session.get(URL(f"{url}/api/stream?view=data&path={quoted}", encoded=True)) as stream:
            assert (await first_event(stream))["error"]
        async with session.post(f"{url}/api/actions/load", json={"argument": path}, headers=TOKEN) as answer:
            assert answer.status in (400, 404), await answer.text()
        assert place.unchanged(), (place.master.called, list(place.master.stores))

    serve(work, place.source)


def test_what_is_mounted_is_looked_at() -> None:
    """By its path, by its URI, and from the directories above it, which hold mounts only."""
    place = Place()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for path in ("/lake/train", "/lake/train/", "raycache:///lake/train", "memory://bucket/train", "/lake%2Ftrain"):
            status, said = await ask(session, f"{url}/api/view?view=data&path={path}")
            assert (200, ["0", "1", "2"]) == (status, [row["name"] for row in said.get("rows", ())]), said
        for path, names in (("/lake", ["train"]), ("/", ["/lake/train"])):
            status, said = await ask(session, f"{url}/api/view?view=data&path={path}")
            assert (200, names) == (status, [row["name"] for row in said["rows"]])
        status, said = await ask(session, f"{url}/api/usage?path=/lake/train")
        assert (200, FILES) == (status, said.get("files")), said
        assert place.unchanged()

    serve(work, place.source)


def test_a_store_that_a_reader_has_mounted_is_looked_at() -> None:
    """What a read has mounted by itself is shown like any other; the disk of the head node is not, but for its mounts."""
    place = Place()
    reader = place.master.cache()
    reader.client.locator.announce("memory://read", {})
    reader.client.locator.announce("file://", {})
    place.master.open("memory://read").put("a/b", b"x")
    place.master.mount("/data", "file:///srv/data").put("srv/data/c", b"x")

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for path, names in (("memory://read/a", ["b"]), ("/data", ["c"]), ("file:///srv/data", ["c"])):
            status, said = await ask(session, f"{url}/api/view?view=data&path={path}")
            assert (200, names) == (status, [row["name"] for row in said.get("rows", ())]), said
        for question in ("view?view=data&path=file:///root", "usage?path=file:///srv", "view?view=data&path=file://"):
            status, said = await ask(session, f"{url}/api/{question}")
            assert (403, True) == (status, "mount its directory" in said["error"])

    serve(work, place.source)


def test_past_a_silent_master_nothing_is_opened() -> None:
    """Readers go to the lake themselves while the master does not answer; who only looks waits."""
    place = Place()
    place.master.silent = True
    opened: list[str] = []
    place.cache.client.locator._open_storage = lambda root, options: opened.append(root)

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for path in ("memory://evil/x", "s3://evil/x", "/lake/train", "file:///root"):
            assert 503 == (await ask(session, f"{url}/api/usage?path={path}"))[0]
        assert [] == opened

    serve(work, place.source)
