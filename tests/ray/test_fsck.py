"""`raycache fsck` on a real cluster: it finds what was damaged, puts it right, and then finds nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import raycache
from raycache.cache import Cache
from raycache.cli.main import run
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content
from tests.support.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def cache(cluster: LocalCluster, tmp_path: Path) -> Iterator[Cache]:
    """All on disk."""
    assert cluster
    yield raycache.start(memory="1MiB", disk=f"{tmp_path}:100MiB", block_size_bytes=MIB, segment_size_bytes=2 * MIB)
    raycache.stop()


def test_damage_is_found_and_put_right(
    cache: Cache,
    s3_server: SeaweedServer,
    proxy: S3Proxy,
    cluster: LocalCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A flipped byte, a file that belongs to nothing, a file that was replaced in the lake, a rule on nothing."""
    lake = Lake.make(s3_server, proxy)
    for number in range(4):
        lake.put(f"{number}", content(number, 2 * MIB))
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    cache.load("/lake").wait()

    def check(*options: str) -> tuple[int, dict[str, list[str]]]:
        status = run(["fsck", "--json", "--address", cluster.address, *options])
        found: dict[str, list[str]] = {}
        for finding in json.loads(capsys.readouterr().out):
            found.setdefault(finding["subject"], []).append(finding["level"])
        return status, found

    wait_until(lambda: len(_segments(tmp_path)) > 1, timeout_s=30)
    status, found = check()
    assert (0, {"ok"}) == (status, {level for levels in found.values() for level in levels})
    assert {"disk", "locations", "lake", "rules"} == set(found)
    damaged = _segments(tmp_path)[0]
    with damaged.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    orphan = damaged.with_name("0badf00d-1-1" + damaged.suffix)
    orphan.write_bytes(b"x" * 5000)
    os.utime(orphan, (1, 1))
    lake.put("3", content(9, 2 * MIB))
    status, found = check()
    assert (1, 2, ["note"]) == (status, found["disk"].count("bad"), found["lake"])
    status, found = check("--repair")
    assert (0, 2) == (status, found["disk"].count("bad"))
    wait_until(lambda: not orphan.exists() and check()[0] == 0, timeout_s=30)
    assert {"ok"} == {level for levels in check()[1].values() for level in levels}
    for number, seed in enumerate((0, 1, 2, 9)):
        assert content(seed, 2 * MIB) == cache.read(f"/lake/{number}").to_pybytes()


def _segments(folder: Path) -> list[Path]:
    """The largest files of the disk tiers."""
    return sorted((path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > MIB), key=str)
