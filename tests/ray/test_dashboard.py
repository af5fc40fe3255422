"""The dashboard's actor on a real cluster: it serves what the cache says, moves when asked to, and goes with the cache."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raycache
from raycache.cache import Cache
from raycache.dashboard.launch import start_dashboard
from raycache.errors import UnavailableError
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

FILES = 6


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer) -> Iterator[Cache]:
    cache = raycache.start(memory="60MiB", disk="off")
    with S3Proxy(s3_server.endpoint_url) as proxy:
        lake = Lake.make(s3_server, proxy)
        for number in range(FILES):
            lake.put(f"train/{number}", content(number, 5000))
        cache.mount("/shown", lake.uri, lake.options)
        yield cache
        raycache.stop()


def get(url: str, **headers: str) -> Any:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def refusal(url: str, **headers: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(url, **headers)
    return refused.value.code, json.loads(refused.value.read())["error"]


def post(url: str, argument: str, token: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"argument": argument}).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_it_shows_the_running_cache(cache: Cache) -> None:
    """Hit rates per node are those of `stats`, files are shown with what is cached, and a load can be started."""
    url = start_dashboard(port=0, token="a token")
    assert url.startswith("http://127.0.0.1:")
    for _ in range(2):
        cache.read_many([f"/shown/train/{number}" for number in range(FILES)])
    stats = cache.stats()
    page = get(f"{url}api/view?view=nodes")
    assert {
        node: pytest.approx(s.hit_rate, abs=1e-4) if s.hits + s.misses else None for node, s in stats.nodes.items()
    } == {row["node_id"]: row["hit_rate"] for row in page["rows"]}
    assert (3, FILES) == (page["head"]["workers_alive"], stats.total.hits)
    assert ["/shown"] == [row["name"] for row in get(f"{url}api/view?view=data")["rows"]]
    rows = get(f"{url}api/view?view=data&path=/shown/train")["rows"]
    assert [(str(number), 5000, 1.0) for number in range(FILES)] == [(r["name"], r["size"], r["cached"]) for r in rows]
    assert {"driver"} == {row["task"] for row in get(f"{url}api/view?view=readers")["rows"]}
    assert [FILES] == [row["ever"] for row in get(f"{url}api/view?view=missed")["reasons"] if row["ever"]]
    assert 5000 * FILES == get(f"{url}api/usage?path=/shown")["bytes_cached"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{url}api/view?view=data&path=/nowhere")
    assert 401 == post(f"{url}api/actions/load", "/shown/train", "another")[0]
    status, result = post(f"{url}api/actions/load", "/shown/train", "a token")
    assert 200 == status
    assert "SUCCEEDED" == cache.job(result["job"]).wait(60).state
    assert result["job"] in [row["id"] for row in get(f"{url}api/view?view=jobs")["rows"]]
    assert 200 == post(f"{url}api/actions/pin", "/shown/train/0", "a token")[0]
    assert [True] + [False] * (FILES - 1) == [
        r["pinned"] for r in get(f"{url}api/view?view=data&path=/shown/train")["rows"]
    ]
    assert 200 == post(f"{url}api/actions/unpin", "/shown/train/0", "a token")[0]
    status, freed = post(f"{url}api/actions/free", "/shown/train", "a token")
    assert (200, FILES) == (status, freed["blocks"])
    with urllib.request.urlopen(f"{url}metrics", timeout=30) as answer:
        assert b"raycache_blocks_hit_total" in answer.read()


def test_looking_mounts_nothing(cache: Cache, tmp_path: Path) -> None:
    """What is under no mount is refused: no store mounts itself, and no disk is listed."""
    url = start_dashboard(port=0, token="a token")
    (tmp_path / "secret").write_bytes(b"x")
    before = cache.mounts()
    for uri in ("file:///root", f"file://{tmp_path}", "s3://elsewhere/x", "gs://elsewhere/x", "hdfs://127.0.0.1:1/"):
        for question in ("view?view=data&", "usage?"):
            status, reason = refusal(f"{url}api/{question}path={uri}")
            assert (404, True) == (status, "is below no mount" in reason), reason
        assert 404 == post(f"{url}api/actions/load", uri, "a token")[0]
    assert 403 == refusal(f"{url}api/view?view=data&path=/shown", Sec_Fetch_Site="cross-site")[0]
    assert before == cache.mounts()
    # What a read has mounted is there from then on; a disk that a read has mounted is not for everybody's eyes.
    assert b"x" == cache.read(f"file://{tmp_path}/secret").to_pybytes()
    assert 403 == refusal(f"{url}api/view?view=data&path=file://{tmp_path}")[0]
    cache.unmount("file://")
    assert before == cache.mounts()


def test_it_knows_its_names(cache: Cache) -> None:
    """Served to the network it answers to the machine's names, to addresses, and to names that were given."""
    assert cache
    url = start_dashboard(port=0, host="0.0.0.0", names=["cache.example"])
    for name in ("cache.example", "cache.example:80", socket.gethostname(), "10.1.2.3:8268", "localhost"):
        assert "head" in get(f"{url}api/view", Host=name)
    assert 421 == refusal(f"{url}api/view", Host="evil.example")[0]


def test_it_is_kept_or_replaced(cache: Cache) -> None:
    """Asked again without a wish it stays where it is; a taken port is an error that says what to do."""
    url = start_dashboard(port=0)
    assert url == start_dashboard()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UnavailableError, match="choose another port"):
            start_dashboard(port=taken.getsockname()[1])
    again = start_dashboard(port=0)
    assert 200 == urllib.request.urlopen(again, timeout=30).status
