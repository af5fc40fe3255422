"""What no honest client sends: each has its answer, nothing leaks, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import select
import socket
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from tests.ray.test_endpoint import client_of
from tests.support.lake import content

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BODY = content(1, 300_000)
SECRET = b"the secret outside"


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    assert cluster
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(SECRET)
    (outside / "lake").mkdir()
    (outside / "lake" / "x").write_bytes(BODY)
    cache = raycache.start(memory="60MiB", disk="off", endpoint=True)
    cache.mount("/lake", f"file://{outside}/lake", metadata_ttl_s=600, readonly=False)
    yield cache
    raycache.stop()


@pytest.fixture(scope="module")
def s3(cache: Cache) -> S3Client:
    return client_of(cache.endpoint())


def address(cache: Cache) -> tuple[str, int]:
    split = urlsplit(cache.endpoint().url)
    assert split.hostname and split.port
    return split.hostname, split.port


def signed(cache: Cache, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A request with a right signature of this very target."""
    endpoint = cache.endpoint()
    credentials = botocore.credentials.Credentials(endpoint.access_key, endpoint.secret_key)
    host, port = address(cache)
    request = botocore.awsrequest.AWSRequest(
        method, f"http://{host}:{port}{target}", {"Host": f"{host}:{port}", **(headers or {})}, body
    )
    botocore.auth.S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def answer(cache: Cache, data: bytes, timeout_s: float = 20.0) -> bytes:
    """All that comes back until the server closes, or nothing more comes for a while after the headers."""
    with socket.create_connection(address(cache), timeout=timeout_s) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(1 << 16):
                received += piece
                connection.settimeout(1.0)
    return received


def status_of(received: bytes) -> int:
    found = re.match(rb"HTTP/\d\.\d (\d{3}) ", received)
    assert found, received[:200]
    return int(found[1])


HOSTILE: dict[str, tuple[bytes, set[int]]] = {
    "no http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", {400}),
    "nothing but lines": (b"\r\n" * 100 + b"GET\r\n\r\n", {400}),
    "no host": (b"GET /lake/x HTTP/1.1\r\n\r\n", {400, 403}),
    "http 0.9": (b"GET /lake/x\r\n\r\n", {400, 403}),
    "no signature": (b"GET /lake/x HTTP/1.1\r\nHost: a\r\n\r\n", {403}),
    "another method": (b"BREW /lake/x HTTP/1.1\r\nHost: a\r\n\r\n", {400, 403, 405}),
    "a proxy's target": (b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: a\r\n\r\n", {400, 403}),
    "connect": (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n", {400, 403, 405}),
    "two lengths": (b"PUT /lake/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", {400, 403}),
    "length and chunks": (
        b"PUT /lake/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {400, 403},
    ),
    "a negative length": (b"PUT /lake/x HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", {400, 403}),
    "a header with a line break": (b"GET /lake/x HTTP/1.1\r\nHost: a\r\nX: a\n b: c\r\n\r\n", {400, 403}),
    "a header without a colon": (b"GET /lake/x HTTP/1.1\r\nHost: a\r\nAuthorization\r\n\r\n", {400}),
    "a null in a header": (b"GET /lake/x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", {400}),
    "two authorizations": (
        b"GET /lake/x HTTP/1.1\r\nHost: a\r\nAuthorization: AWS4-HMAC-SHA256 a\r\nAuthorization: b\r\n\r\n",
        {400, 403},
    ),
    "ten megabytes of headers": (
        b"GET /lake/x HTTP/1.1\r\nHost: a\r\n"
        + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(10_000))
        + b"\r\n",
        {400},
    ),
    "a header of ten megabytes": (b"GET /lake/x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (10 << 20) + b"\r\n\r\n", {400}),
    "a target of a megabyte": (b"GET /lake/" + b"y" * (1 << 20) + b" HTTP/1.1\r\nHost: a\r\n\r\n", {400, 414}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_requests_that_nobody_signed(cache: Cache, case: str) -> None:
    """Refused with a status of S3's, without a word of what is inside; the server goes on."""
    data, statuses = HOSTILE[case]
    received = answer(cache, data)
    # Where a flood is cut off the reset may overtake the answer.
    assert not received or status_of(received) in statuses, received[:300]
    assert received or len(data) > 1 << 19
    assert b"Traceback" not in received
    assert BODY[:50] not in received
    assert b"secret outside" not in received


TARGETS: dict[str, tuple[str, set[int]]] = {
    "dots": ("/lake/../secret", {400}),
    "encoded dots": ("/lake/%2e%2e/secret", {400}),
    "half encoded dots": ("/lake/.%2e/secret", {400}),
    "twice encoded dots": ("/lake/%252e%252e/secret", {404}),
    "dots and encoded slashes": ("/lake/..%2f..%2fsecret", {400}),
    "an absolute key": ("/lake//etc/passwd", {404}),
    "backslashes": ("/lake/..%5Csecret", {404}),
    "a null": ("/lake/x%00.png", {400}),
    "no utf-8": ("/lake/%ff%fe", {400}),
    "a long key": ("/lake/" + "k" * 1025, {400}),
    "a bucket of dots": ("/%2e%2e/secret", {400}),
    "another subresource": ("/lake/x?acl", {501}),
    "a line break in an override": ("/lake/x?response-content-type=a%0D%0AX-Evil%3A%20b", {400}),
    "part 7": ("/lake/x?partNumber=7", {400, 416}),
    "too many keys": ("/lake?list-type=2&max-keys=99999999999999999999", {400}),
    "a bad token": ("/lake?list-type=2&continuation-token=Li4v", {400}),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_that_are_signed_and_lead_nowhere(cache: Cache, case: str) -> None:
    """Whoever has the keys still reads only what is mounted."""
    target, statuses = TARGETS[case]
    received = answer(cache, signed(cache, "GET", target))
    assert status_of(received) in statuses, received[:300]
    assert SECRET not in received
    assert b"\r\nX-Evil" not in received


def test_xml_that_is_a_bomb(cache: Cache) -> None:
    """Declarations are refused before anything is expanded."""
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    received = answer(cache, signed(cache, "POST", "/lake?delete", body=bomb))
    assert (400, True) == (status_of(received), b"MalformedXML" in received)


def test_a_replayed_and_changed_request(cache: Cache) -> None:
    """A signature is for one target and one body."""
    request = signed(cache, "PUT", "/lake/new", body=b"right")
    assert 403 == status_of(answer(cache, request.replace(b"/lake/new", b"/lake/other")))
    assert 400 == status_of(answer(cache, request.replace(b"right", b"wrong")))
    assert not cache.exists("/lake/new")
    assert 200 == status_of(answer(cache, request))


@pytest.mark.long
def test_two_requests_in_one_are_two(cache: Cache) -> None:
    """A body that looks like a request is a body; what follows it is the next request."""
    inner = b"GET /lake/x HTTP/1.1\r\nHost: a\r\n\r\n"
    received = answer(cache, signed(cache, "PUT", "/lake/inner", body=inner) + signed(cache, "GET", "/lake/inner"))
    assert [b"200", b"200"] == re.findall(rb"HTTP/1\.1 (\d{3}) ", received)
    assert received.endswith(inner)


def memory_bytes(cache: Cache) -> int:
    """Of the endpoint's process, without what it shares."""
    _, port = address(cache)
    inode = next(
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    )  # fmt: skip
    for place in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(place.readlink()) == f"socket:[{inode}]":
                lines = (place.parents[1] / "status").read_text().splitlines()
                return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) << 10
    raise AssertionError("the endpoint's process was not found")


def test_thousands_of_idle_and_slow_connections(cache: Cache, s3: S3Client) -> None:
    """Others are served meanwhile, and memory stays bounded."""
    before = memory_bytes(cache)
    held: list[socket.socket] = []
    try:
        for number in range(2_000):
            connection = socket.create_connection(address(cache), timeout=10)
            if number % 2:
                connection.sendall(b"GET /lake/x HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            held.append(connection)
        assert BODY == s3.get_object(Bucket="lake", Key="x")["Body"].read()
        assert memory_bytes(cache) - before < 200 << 20
    finally:
        for connection in held:
            connection.close()
    assert BODY == s3.get_object(Bucket="lake", Key="x")["Body"].read()


def test_a_client_that_reads_nothing(cache: Cache, s3: S3Client) -> None:
    """What it asked for is not collected in the server's memory."""
    s3.put_object(Bucket="lake", Key="large", Body=content(2, 30 << 20))
    before = memory_bytes(cache)
    held = []
    try:
        for _ in range(20):
            connection = socket.create_connection(address(cache), timeout=10)
            connection.sendall(signed(cache, "GET", "/lake/large"))
            held.append(connection)
        for connection in held:
            # The server has begun to answer it.
            assert select.select([connection], [], [], 30)[0]
        assert memory_bytes(cache) - before < 150 << 20
    finally:
        for connection in held:
            connection.close()


def fuzzed(picked: random.Random, cache: Cache) -> bytes:
    """A request that is nearly right."""
    key = "".join(picked.choices(string.ascii_letters + "/%.~ \t\0äü+&?=#", k=picked.randrange(12)))
    names = [
        "prefix",
        "delimiter",
        "max-keys",
        "list-type",
        "uploads",
        "uploadId",
        "partNumber",
        "x",
        "X-Amz-Signature",
    ]
    query = "&".join(
        f"{picked.choice(names)}={picked.choice(['', '1', '-1', 'a%2F', '%zz', '9' * 30])}"
        for _ in range(picked.randrange(4))
    )
    target = f"/{picked.choice(['lake', 'none', '', '..', 'LAKE'])}/{key}" + (f"?{query}" if query else "")
    headers = {
        name: picked.choice(["", "bytes=0-", "bytes=-1", '"x"', "*", "Tue, 01 Dec 2026 09:41:38 GMT", "x" * 500, "/lake/x", "0"])
        for name in picked.sample(["Range", "If-Match", "If-None-Match", "If-Modified-Since", "x-amz-copy-source", "Expect",
                                   "Content-MD5", "x-amz-date", "Content-Encoding"], picked.randrange(3))
    }  # fmt: skip
    method = picked.choice(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"])
    body = picked.choice([b"", b"", b"<Delete/>", b"<CompleteMultipartUpload/>", b"\0" * 100])
    if picked.random() < 0.7:
        with contextlib.suppress(Exception):  # what botocore itself cannot sign is sent unsigned
            return signed(
                cache,
                method,
                target.replace(" ", "%20").replace("\t", "%09").replace("\0", "%00").replace("#", "%23"),
                headers,
                body,
            )
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in headers.items())]
    data = bytearray(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace") + body)
    for _ in range(picked.randrange(4)):
        data[picked.randrange(len(data))] = picked.randrange(256)
    return bytes(data)


def fuzz(cache: Cache, seed: int, seconds: float) -> dict[int, int]:
    """How often each status came. It writes and deletes what it likes, but names no key with a hyphen."""
    picked = random.Random(seed)
    counts: dict[int, int] = {}

    async def one(data: bytes) -> None:
        reader, writer = await asyncio.open_connection(*address(cache))
        try:
            writer.write(data)
            # Some of them announce more than they bring: those wait, here and there.
            received = await asyncio.wait_for(reader.read(1 << 16), 0.5)
        except (ConnectionError, TimeoutError):
            received = b""
        finally:
            writer.close()
        found = re.match(rb"HTTP/\d\.\d (\d{3}) ", received)
        status = int(found[1]) if found else 0
        counts[status] = counts.get(status, 0) + 1
        assert status not in (500, 502), (seed, data, received[:500])

    async def work() -> None:
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            await asyncio.gather(*(one(fuzzed(picked, cache)) for _ in range(16)))

    asyncio.run(work())
    return counts


def test_requests_at_random(cache: Cache, s3: S3Client) -> None:
    """None of them is a 500, and the server still serves."""
    counts = fuzz(cache, 1, 3.0)
    assert {400, 403, 404} <= counts.keys(), counts
    s3.put_object(Bucket="lake", Key="still-served", Body=BODY)
    assert BODY == s3.get_object(Bucket="lake", Key="still-served")["Body"].read()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_requests_at_random_for_a_minute(cache: Cache, s3: S3Client) -> None:
    """The same for longer: `make test-endpoint`."""
    before = memory_bytes(cache)
    fuzz(cache, random.randrange(1 << 30), 60.0)
    assert memory_bytes(cache) - before < 200 << 20
    s3.put_object(Bucket="lake", Key="still-served", Body=BODY)
    assert BODY == s3.get_object(Bucket="lake", Key="still-served")["Body"].read()


@pytest.mark.long
def test_anonymous_readers_only_where_it_was_said(cache: Cache, s3: S3Client) -> None:
    """It is another endpoint; it runs last."""
    s3.put_object(Bucket="lake", Key="still-served", Body=BODY)
    target: Any = b"GET /lake/still-served HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert 403 == status_of(answer(cache, target))
    raycache.stop_endpoint()
    raycache.start_endpoint(anonymous=True)
    try:
        received = answer(cache, target)
        assert (200, True) == (status_of(received), received.endswith(BODY))
    finally:
        raycache.stop_endpoint()
