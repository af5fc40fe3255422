"""The S3 endpoint on a real cluster, asked by S3 clients as people use them."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import obstore
import pytest
import ray
from botocore.config import Config
from botocore.exceptions import ClientError
from obstore.store import S3Store
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raycache
from raycache.cache import Cache
from raycache.client.neighbour.endpoints import Endpoint
from raycache.errors import NotFoundError
from raycache.messages import MASTER_NAME, RAY_NAMESPACE
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1 << 20
SIZE = 21 * MIB + 17


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    assert cluster
    yield raycache.start(memory="150MiB", disk="200MiB", endpoint=True)
    raycache.stop()


@pytest.fixture(scope="module")
def lake(cache: Cache, s3_server: SeaweedServer, proxy: S3Proxy) -> Lake:
    lake = Lake.make(s3_server, proxy)
    lake.put("big", content(1, SIZE))
    for number in range(12):
        lake.put(f"many/{number:02}/x", content(number, 1000))
    lake.put("odd/ä b+c%/d&e", b"odd")
    lake.put("empty", b"")
    cache.mount("/lake", lake.uri, lake.options, metadata_ttl_s=600)
    return lake


@pytest.fixture(scope="module")
def s3(cache: Cache, lake: Lake) -> S3Client:
    assert lake
    return client_of(cache.endpoint())


def client_of(endpoint: Endpoint, **options: Any) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=options.pop("secret", endpoint.secret_key),
        region_name=endpoint.region,
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **options
        ),
    )


def test_an_object_is_what_the_lake_has(lake: Lake, s3: S3Client) -> None:
    """Bytes, etag, size and time; by the bucket's own name, and by the mount's."""
    theirs = lake.server.client().get_object(Bucket=lake.bucket, Key=f"{lake.name}/big")
    for bucket, key in ((lake.bucket, f"{lake.name}/big"), ("lake", "big")):
        ours = s3.get_object(Bucket=bucket, Key=key)
        assert content(1, SIZE) == ours["Body"].read()
        for name in ("ETag", "ContentLength", "LastModified"):
            assert theirs[name] == ours[name]  # type: ignore[literal-required]
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (theirs["ETag"], SIZE) == (head["ETag"], head["ContentLength"])
    assert b"odd" == s3.get_object(Bucket="lake", Key="odd/ä b+c%/d&e")["Body"].read()
    assert b"" == s3.get_object(Bucket="lake", Key="empty")["Body"].read()


def test_ranges_and_conditions(s3: S3Client) -> None:
    """As S3 has them; a warm range costs the lake nothing."""
    whole = content(1, SIZE)
    for text, start, end in (
        ("bytes=5-99", 5, 100),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes={20 * MIB}-", 20 * MIB, SIZE),
    ):
        found = s3.get_object(Bucket="lake", Key="big", Range=text)
        assert (206, f"bytes {start}-{end - 1}/{SIZE}") == (
            found["ResponseMetadata"]["HTTPStatusCode"],
            found["ContentRange"],
        )
        assert whole[start:end] == found["Body"].read()
    etag = s3.head_object(Bucket="lake", Key="big")["ETag"]
    assert SIZE == s3.get_object(Bucket="lake", Key="big", IfMatch=etag)["ContentLength"]
    for arguments, status in (
        ({"IfMatch": '"x"'}, 412),
        ({"IfNoneMatch": etag}, 304),
        ({"Range": f"bytes={SIZE}-"}, 416),
    ):
        with pytest.raises(ClientError) as refused:
            s3.get_object(Bucket="lake", Key="big", **arguments)  # type: ignore[arg-type]
        assert status == refused.value.response["ResponseMetadata"]["HTTPStatusCode"]
    found = s3.get_object(Bucket="lake", Key="big", Range="bytes=0-0", ResponseContentType="text/x")
    assert "text/x" == found["ContentType"]


def test_listings(lake: Lake, s3: S3Client) -> None:
    """Prefixes, delimiters and pages, in both versions, are those of the lake."""
    theirs = lake.server.client()

    def pages(client: S3Client, operation: str, **arguments: Any) -> list[list[Any]]:
        found = client.get_paginator(operation).paginate(Bucket=lake.bucket, **arguments)  # type: ignore[call-overload]
        return [
            [(item["Key"], item["Size"], item["ETag"]) for item in page.get("Contents", [])]
            + [item["Prefix"] for item in page.get("CommonPrefixes", [])]
            for page in found
        ]

    for operation in ("list_objects_v2", "list_objects"):
        for arguments in (
            {"Prefix": f"{lake.name}/"},
            {"Prefix": f"{lake.name}/", "Delimiter": "/"},
            {"Prefix": f"{lake.name}/many/0", "Delimiter": "/"},
            {"Prefix": f"{lake.name}/many/", "PaginationConfig": {"PageSize": 5}},
            {"Prefix": f"{lake.name}/many/", "Delimiter": "/", "PaginationConfig": {"PageSize": 5}},
            {"Prefix": f"{lake.name}/none/"},
            {"Prefix": f"{lake.name}/odd"},
        ):
            assert pages(theirs, operation, **arguments) == pages(s3, operation, **arguments), arguments
    assert {"lake", lake.bucket} <= {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    after = s3.list_objects_v2(Bucket="lake", Prefix="many/", StartAfter="many/10/x")
    assert ["many/11/x"] == [item["Key"] for item in after["Contents"]]
    assert s3.get_bucket_location(Bucket="lake")["LocationConstraint"] is None
    s3.head_bucket(Bucket="lake")


def test_obstore_reads(cache: Cache, lake: Lake) -> None:
    """With the options that clients in Rust take."""
    assert lake
    options: dict[str, Any] = cache.endpoint().storage_options()
    store = S3Store("lake", config=options, client_options={"allow_http": True})
    whole = content(1, SIZE)
    assert whole == obstore.get(store, "big").bytes().to_bytes()
    ranges = obstore.get_ranges(store, "big", starts=[0, 9 * MIB, SIZE - 5], ends=[10, 9 * MIB + 4096, SIZE])
    assert [whole[:10], whole[9 * MIB : 9 * MIB + 4096], whole[-5:]] == [piece.to_bytes() for piece in ranges]
    assert 12 == sum(len(batch) for batch in obstore.list(store, "many"))


@pytest.mark.parametrize("case", ["key", "bucket", "secret", "nobody"])
def test_refusals_are_s3s(cache: Cache, lake: Lake, s3: S3Client, case: str) -> None:
    """With S3's own codes."""
    assert lake
    if case == "key":
        with pytest.raises(s3.exceptions.NoSuchKey):
            s3.get_object(Bucket="lake", Key="none")
    elif case == "bucket":
        with pytest.raises(s3.exceptions.NoSuchBucket):
            s3.list_objects_v2(Bucket="none")
    elif case == "secret":
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client_of(cache.endpoint(), secret="wrong").get_object(Bucket="lake", Key="big")
    else:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{cache.endpoint().url}/lake/big", timeout=10)
        assert (403, True) == (refused.value.code, b"<Code>AccessDenied</Code>" in refused.value.read())


def test_presigned_links(s3: S3Client) -> None:
    """Whoever has the link reads, without keys."""
    url = s3.generate_presigned_url("get_object", {"Bucket": "lake", "Key": "big"}, ExpiresIn=60)
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert content(1, SIZE) == answer.read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("/big?", "/empty?"), timeout=30)
    assert 403 == refused.value.code


def settled(cache: Cache, bytes_min: int = 0) -> Any:
    """The counts, when those of the endpoints' processes have arrived."""
    before = None
    for _ in range(50):
        found = cache.stats().total
        if found == before and found.bytes_memory + found.bytes_disk >= bytes_min:
            break
        before = found
        time.sleep(0.3)
    return found


def test_reads_are_counted_and_warm_ones_cost_the_lake_nothing(cache: Cache, lake: Lake, s3: S3Client) -> None:
    """For the client's name, on the node that asked; a second time nothing leaves the lake."""
    s3.get_object(Bucket="lake", Key="big")["Body"].read()
    before, sent = settled(cache), lake.proxy.counters()
    s3.get_object(Bucket="lake", Key="big")["Body"].read()
    after = settled(cache, before.bytes_memory + before.bytes_disk + SIZE)
    assert (SIZE, 0, 0) == (
        after.bytes_local + after.bytes_remote - before.bytes_local - before.bytes_remote,
        after.misses - before.misses,
        after.bypasses - before.bypasses,
    )
    assert sent == lake.proxy.counters()
    assert any(reader.task.startswith("Boto3/") for reader in cache.overview().readers)


def test_what_is_cached_is_served_while_the_lake_is_down(cache: Cache, lake: Lake, s3: S3Client) -> None:
    """What is not cached is S3's 503, which clients try again."""
    assert cache
    s3.get_object(Bucket="lake", Key="many/03/x")["Body"].read()
    lake.put("cold", content(7, 1000))
    cache.sync("/lake")
    lake.proxy.down(down=True)
    try:
        assert content(3, 1000) == s3.get_object(Bucket="lake", Key="many/03/x")["Body"].read()
        with pytest.raises(ClientError) as refused:
            s3.get_object(Bucket="lake", Key="cold")
        assert 503 == refused.value.response["ResponseMetadata"]["HTTPStatusCode"]
    finally:
        lake.proxy.down(down=False)


def test_a_dead_worker_or_master_is_no_error(cache: Cache, lake: Lake, s3: S3Client) -> None:
    """Reads go past the cache meanwhile."""
    assert lake
    workers = [worker.actor_name for worker in cache.client.refresh_view().workers]
    for name in [*workers, MASTER_NAME]:
        ray.kill(ray.get_actor(name, namespace=RAY_NAMESPACE), no_restart=name != MASTER_NAME)
        assert content(1, SIZE) == s3.get_object(Bucket="lake", Key="big")["Body"].read()
        assert content(5, 1000) == s3.get_object(Bucket="lake", Key="many/05/x")["Body"].read()


def test_every_node_has_one(cluster: LocalCluster, cache: Cache, lake: Lake) -> None:
    """A task on any node reads through its own; one that joins later gets one, and one that dies is replaced."""
    assert lake

    @ray.remote(num_cpus=0)
    def read() -> tuple[str, bytes]:
        import raycache as here

        endpoint = here.connect().endpoint()
        store = S3Store("lake", config=endpoint.storage_options(), client_options={"allow_http": True})
        return endpoint.url, obstore.get(store, "many/07/x").bytes().to_bytes()

    def on(node: str) -> tuple[str, bytes]:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        found: tuple[str, bytes] = ray.get(read.options(scheduling_strategy=strategy).remote(), timeout=60)
        return found

    added = cluster.add_node()
    try:
        found = [on(node) for node in cluster.node_ids()[:-1]]
        raycache.start_endpoint()
        found.append(on(added))
        assert [content(7, 1000)] * len(found) == [body for _, body in found]
        assert len(found) == len({url for url, _ in found})
    finally:
        cluster.remove_node(added)


def test_without_an_endpoint_it_says_what_to_do(cache: Cache, tmp_path: Path) -> None:
    """It can be stopped and started again; the port is free then."""
    del tmp_path
    raycache.stop_endpoint()
    with pytest.raises(NotFoundError, match="endpoint=True"):
        cache.endpoint()
    assert raycache.start_endpoint().url.startswith("http://127.0.0.1:")
