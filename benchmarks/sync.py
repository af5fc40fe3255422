"""Workload: a lake of 10,000 objects that changes behind the cache's back, and the same cache again in the next cluster.

What leaves S3 is counted by the proxy. The master's memory is measured apart, on a listing of a million objects that no
server could serve in the time: the same code, on a store that makes its pages up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import numpy as np

import raycache
from benchmarks.measure import Finding
from raycache.master.namespace.lister import KeyRange, Lister
from raycache.master.service import MasterService
from raycache.messages import MountInfo, SyncReply, SyncRequest
from raycache.rules import Pattern
from raycache.settings import Settings
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from raycache.ufs.base import ListPage, ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES, FILE_BYTES = 10_000, 10_000
CHANGED, REMOVED, ADDED = 100, 50, 50
LISTED = 1_000_000


def measure() -> list[Finding]:
    """Run everything; about two minutes."""
    return [*_million(), *_clusters()]


# --- the lake changes ---------------------------------------------------------------------------------------------------


def _clusters() -> list[Finding]:
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy, LocalCluster(nodes=3) as cluster:
        bucket = server.make_bucket("sync")
        client = server.client()
        _put(client, bucket, range(FILES), 0)
        options = server.options(proxy.endpoint_url)
        target = f"s3://{bucket}-maps/x.parquet"
        server.make_bucket(f"{bucket}-maps")
        found: list[Finding] = []
        with _cache("40%", f"s3://{bucket}", options) as cache:
            cache.mount("/maps", f"s3://{bucket}-maps", options)
            found += _sync(cache, client, bucket, proxy)
            # Whole directories, as tasks read them: heat is counted by segment.
            hot = [f"/lake/{_key(number)}" for number in range(200, FILES) if number % 100 < 10]
            for _ in range(3):
                cache.read_many(hot)
            every = [f"/lake/{_key(number)}" for number in range(CHANGED + REMOVED, FILES + ADDED)]
            started = time.perf_counter()
            exported = cache.export_map(target)
            found.append(Finding(f"export a map of {exported.files:,} files", f"{time.perf_counter() - started:.2f} s"))
            # After the map was written, since this is heat, too.
            before = _hit_rate(cache, every)
        for nodes, memory, room in ((3, "40%", 1.0), (5, "40%", 1.0), (2, "18MiB", 0.3)):
            _resize(cluster, nodes)
            with _cache(memory, f"s3://{bucket}", options) as cache:
                cache.mount("/maps", f"s3://{bucket}-maps", options)
                proxy.reset()
                started = time.perf_counter()
                result = cache.import_map(target)
                took_s = time.perf_counter() - started
                share = result.loaded.files / result.total.files
                moved = sum(size for key, (_, size) in proxy.counters().by_key.items() if key.startswith(f"{bucket}/"))
                rate = _hit_rate(cache, hot)
                workers = len(cache.client.refresh_view().workers)
                what = f"import into a cluster of {workers} nodes"
                what += f" with {memory} each, a third of the data" if room < 1 else ""
                found += [
                    Finding(what, f"{result.loaded.files:,} of {result.total.files:,} files in {took_s:.1f} s", "",
                            workers == nodes),
                    Finding(f"{what}: bytes out of S3 / bytes loaded", f"{moved / result.loaded.bytes:.3f}", "= 1.000",
                            moved == result.loaded.bytes),
                    Finding(f"{what}: share loaded", f"{share:.2f}", f">= {room}", share >= room),
                    Finding(f"{what}: hit rate of the hottest {len(hot)} files", f"{rate:.3f}", "= 1.000", rate == 1.0),
                ]  # fmt: skip
                if room == 1.0:
                    after = _hit_rate(cache, every)
                    found.append(
                        Finding(
                            f"{what}: hit rate of all files",
                            f"{after:.3f}, before {before:.3f}",
                            "as before",
                            after == before,
                        )
                    )
    return found


def _hit_rate(cache: raycache.Cache, paths: list[str]) -> float:
    """Of one reading of these files."""
    then = cache.stats().total
    for start in range(0, len(paths), 1000):
        cache.read_many(paths[start : start + 1000])
    now = cache.stats().total
    asked = [now.hits - then.hits, now.misses - then.misses, now.bypasses - then.bypasses]
    return asked[0] / sum(asked)


def _resize(cluster: LocalCluster, nodes: int) -> None:
    """Let nodes join or leave; none holds anything at this moment."""
    while len(cluster.node_ids()) < nodes:
        cluster.add_node()
    while len(cluster.node_ids()) > nodes:
        cluster.remove_node(len(cluster.node_ids()) - 1, kill=False)


def _sync(cache: raycache.Cache, client: S3Client, bucket: str, proxy: S3Proxy) -> list[Finding]:
    progress = cache.load("/lake").wait(300)
    if progress.state != "SUCCEEDED":
        raise RuntimeError(f"the load {progress.state}: {progress.failures[:1]}")
    _put(client, bucket, range(CHANGED), 1)
    client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": _key(number)} for number in range(CHANGED, CHANGED + REMOVED)]}
    )
    _put(client, bucket, range(FILES, FILES + ADDED), 0)
    proxy.reset()
    result = cache.sync("/lake", load=True)
    counted = proxy.counters()
    differing = (CHANGED + ADDED) * FILE_BYTES
    told = (result.added.files, result.changed.files, result.removed.files)
    complete = cache.check("/lake").complete
    return [
        Finding("sync(load=True): added, changed, removed", f"{told}", f"= {(ADDED, CHANGED, REMOVED)}",
                told == (ADDED, CHANGED, REMOVED)),
        Finding("bytes out of S3 / bytes changed and added", f"{counted.data_bytes / differing:.3f}", "= 1.000",
                counted.data_bytes == differing),
        Finding("listing requests for 10,000 objects", f"{counted.list_requests}"),
        Finding("time, listing and loading", f"{result.elapsed_s:.2f} s"),
        Finding("everything is cached afterwards", f"{complete}", "= True", complete),
    ]  # fmt: skip


@contextlib.contextmanager
def _cache(memory: str, uri: str, options: dict[str, str]) -> Iterator[raycache.Cache]:
    cache = raycache.start(memory=memory, disk="off", block_size_bytes=1 << 20, segment_size_bytes=1 << 20)
    try:
        cache.mount("/lake", uri, options, metadata_ttl_s=3600)
        yield cache
    finally:
        raycache.stop()


def _key(number: int) -> str:
    return f"d{number % 100:02}/f{number:06}"


def _put(client: S3Client, bucket: str, numbers: range, seed: int) -> None:
    def put(number: int) -> None:
        client.put_object(Bucket=bucket, Key=_key(number), Body=np.random.default_rng([number, seed]).bytes(FILE_BYTES))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, numbers))


# --- a million objects --------------------------------------------------------------------------------------------------


class _Endless:
    """A store of a million objects, made up page by page; of every thousandth there is a newer version each time."""

    root_uri = "memory://endless"
    has_directories = False

    def __init__(self) -> None:
        self.revision = 0

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`; directories of a thousand files each."""
        if delimiter:
            return ListPage([], [f"d{number:03}/" for number in range(LISTED // 1000)] if not prefix else [], None)
        after = token or start_after
        first = 0
        if after:
            directory, _, name = after.partition("/")
            first = int(directory[1:]) * 1000 + (int(name[1:]) + 1 if name else 0)
        last = min(LISTED, first + limit)
        infos = [self._info(number) for number in range(first, last)]
        return ListPage(infos, [], infos[-1].key if last < LISTED else None)

    def _info(self, number: int) -> ObjectInfo:
        revision = self.revision if number % 1000 == 0 else 0
        return ObjectInfo(f"d{number // 1000:03}/f{number % 1000:03}", 1 << 20, f'"{number:028x}{revision:04x}"', 1)


def _million() -> list[Finding]:
    store = _Endless()
    lister = Lister(lambda _: store, 8)  # type: ignore[arg-type,return-value]
    service = MasterService(Settings())
    service.mount("m", MountInfo("/m", store.root_uri, {}, 60.0, readonly=True))

    def sync() -> tuple[SyncReply, float, float]:
        request = SyncRequest([Pattern(store.root_uri)], False, 1000)
        run = service.catalog.begin_sync(request.patterns[0], request, 0.0)
        if run.needs_inventory():
            run.cached([])
        before, started, peak = _rss_mb(), time.perf_counter(), 0.0
        parts: Queue[KeyRange | None] = Queue(8)
        with ThreadPoolExecutor(1) as pool:

            def fill() -> None:
                lister.pages(run.mount, "", parts.put)
                parts.put(None)

            filled = pool.submit(fill)
            while (part := parts.get()) is not None:
                service.invalidate(run.take(part, prefix=""))
                peak = max(peak, _rss_mb())
            filled.result()
        service.invalidate(run.end())
        return run.result(), time.perf_counter() - started, max(0.0, peak - before)

    first, first_s, first_mb = sync()
    store.revision = 1
    second, second_s, second_mb = sync()
    lister.close()
    changed = second.changed.files
    return [
        Finding("1,000,000 objects, first sync: added", f"{first.added.files:,} in {first_s:.1f} s", "",
                first.added.files == LISTED),
        Finding("memory of the namespace afterwards", f"{first_mb:.0f} MB"),
        Finding("second sync: changed", f"{changed:,} in {second_s:.1f} s", "= 1,000", changed == LISTED // 1000),
        Finding("memory that the second sync took", f"{second_mb:.0f} MB", "<= 50 MB", second_mb <= 50),
    ]  # fmt: skip


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6
