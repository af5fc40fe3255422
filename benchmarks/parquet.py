"""Workload: Ray's own reader of parquet (datasource V2) through the cache, beside Ray's two readers on local files and on S3.

Shares of tasks and bytes on the node that holds them, in a fresh cluster, too; time to the first batch, and of a second
plan; whole epochs, warm and cold; planning of many small files.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data.expressions import col

import raycache
from benchmarks.clusters import touched_cluster
from benchmarks.epochs import quiet
from benchmarks.measure import Finding, Shown
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata.parquet import footers, indexer, placed_files
from raycache.testing.data import write_parquet_dataset
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer

_SHARE_FILES = 48
_EPOCH_FILES = 90
_EPOCH_BYTES = 1_000_000_000
_COLD_BYTES = 200_000_000
_MANY_FILES = 100_000
_ROUNDS = 5
_LATENCY_S = 0.03
_CONNECTION_BYTES_S = 60e6


def measure() -> list[Finding]:
    """Run everything; about eight minutes."""
    found = Shown()
    with SeaweedServer() as server, S3Proxy(server.endpoint_url) as proxy, tempfile.TemporaryDirectory() as local:
        bucket = server.make_bucket("parquet")
        s3 = server.pyarrow_filesystem()
        for nodes in (3, 5):
            for name in ("fresh", "warm", "cold"):
                write_parquet_dataset(s3, f"{bucket}/{name}{nodes}", _SHARE_FILES, _SHARE_FILES * 1_000_000)
        for round_ in range(_ROUNDS):
            write_parquet_dataset(s3, f"{bucket}/lake{round_}", 16, _COLD_BYTES, compression="none")
        write_parquet_dataset(
            pyarrow.fs.LocalFileSystem(), f"{local}/epoch", _EPOCH_FILES, _EPOCH_BYTES, compression="none"
        )
        for nodes in (3, 5):
            with touched_cluster(nodes, 2 << 30):
                quiet()
                ray.data.DataContext.get_current().use_datasource_v2 = True
                with _cache(server, bucket, proxy, local) as cache:
                    found += _shares(cache, nodes)
                    if nodes == 3:
                        found += _epochs(cache, f"{local}/epoch")
                        found += _cold(cache, bucket, server, proxy)
                        found += _many(cache, Path(local) / "many")
    return found


@contextlib.contextmanager
def _cache(server: SeaweedServer, bucket: str, proxy: S3Proxy, local: str) -> Iterator[raycache.Cache]:
    cache = raycache.start(memory="80%", disk="2GiB")
    try:
        cache.mount("/lake", f"s3://{bucket}", server.options(proxy.endpoint_url), metadata_ttl_s=3600)
        cache.mount("/local", f"file://{local}", metadata_ttl_s=3600)
        yield cache
    finally:
        raycache.stop()


def _plain(cache: raycache.Cache, path: str, **arguments: Any) -> ray.data.Dataset:
    """What users write, with nothing set."""
    return ray.data.read_parquet(path, filesystem=cache.filesystem(), **arguments)


def _where(batch: pa.Table) -> pa.Table:
    paths = batch["path"].unique()
    return pa.table({"path": paths, "node": [ray.get_runtime_context().get_node_id()] * len(paths)})


def _shares(cache: raycache.Cache, nodes: int) -> list[Finding]:
    """The first two in a cluster that has run nothing yet: its processes are still starting."""
    rows = []
    for name, path, bound, shape in (
        ("fresh cluster, cold", f"/lake/fresh{nodes}", 0.90, lambda d: d),
        ("fresh cluster, warm", f"/lake/fresh{nodes}", 0.95, lambda d: d),
        ("cold", f"/lake/cold{nodes}", 0.90, lambda d: d),
        ("warm", f"/lake/warm{nodes}", 0.95, lambda d: d),
        ("warm, two of sixteen columns", f"/lake/warm{nodes}", 0.95, _two_columns),
        ("warm, a filter", f"/lake/warm{nodes}", 0.95, lambda d: d.filter(expr=_true_of_all(d))),
    ):
        if name == "warm":
            cache.load(path).wait(120)
        files = [file.path for file in cache.expand(path)]
        homes = dict(zip(files, Whereabouts(cache.client).place(files), strict=True))
        before = _settled(cache)
        dataset = shape(_plain(cache, path, include_paths=True))
        ran = dataset.map_batches(_where, batch_format="pyarrow", batch_size=None).take_all()
        rows.append(
            _share(cache, f"{nodes} nodes, {name}", bound, before, [r["node"] in homes[r["path"]] for r in ran])
        )
    before = _settled(cache)
    _plain(cache, f"/lake/warm{nodes}").count()
    rows.append(_share(cache, f"{nodes} nodes, warm, count()", 0.95, before, []))
    footer_actors = sum("Footer" in name for name in _actors().values())
    rows.append(Finding(f"{nodes} nodes: footer actors ever started", str(footer_actors), "0", footer_actors == 0))
    return rows


def _two_columns(dataset: ray.data.Dataset) -> ray.data.Dataset:
    return dataset.select_columns([*dataset.schema().names[:2], "path"])


def _true_of_all(dataset: ray.data.Dataset) -> Any:
    """True of every row, which the bounds in footers cannot always say."""
    schema = dataset.schema()
    number = next(n for n, t in zip(schema.names, schema.types, strict=True) if pa.types.is_floating(t))
    return col(number) > float("-inf")


def _share(cache: raycache.Cache, what: str, bound: float, before: Any, at_home: list[bool]) -> Finding:
    after = _settled(cache)
    local, remote = after.bytes_local - before.bytes_local, after.bytes_remote - before.bytes_remote
    bytes_share = local / max(1, local + remote)
    tasks_share = sum(at_home) / len(at_home) if at_home else bytes_share
    met = min(bytes_share, tasks_share) >= bound
    return Finding(f"{what}: tasks, bytes local", f"{tasks_share:.1%}, {bytes_share:.1%}", f">= {bound:.0%}", met)


def _settled(cache: raycache.Cache) -> Any:
    from examples import rolling_windows

    return rolling_windows.settled(cache)


def _actors() -> dict[str, str]:
    return {key: str(actor["ActorClassName"]) for key, actor in ray._private.state.actors().items()}  # noqa: SLF001


# --- epochs -------------------------------------------------------------------------------------------------------------


def _epoch(make: Callable[[], ray.data.Dataset]) -> tuple[float, float]:
    """Seconds to the first batch, and to the end; little reaches the driver."""
    started = time.perf_counter()
    batches = (
        make()
        .map_batches(lambda t: t.slice(0, 1), batch_format="pyarrow", batch_size=None)
        .iter_batches(batch_size=None)
    )
    first_s = 0.0
    for _ in batches:
        first_s = first_s or time.perf_counter() - started
    return first_s, time.perf_counter() - started


def _older(make: Callable[[], ray.data.Dataset]) -> Callable[[], ray.data.Dataset]:
    """The same by datasource V1."""

    def made() -> ray.data.Dataset:
        context = ray.data.DataContext.get_current()
        context.use_datasource_v2 = False
        try:
            return make()
        finally:
            context.use_datasource_v2 = True

    return made


def _epochs(cache: raycache.Cache, directory: str) -> list[Finding]:
    cache.load("/local/epoch").wait(300)
    local = pyarrow.fs.LocalFileSystem()
    first_plan_s, _ = _planned(cache, [file.path for file in cache.expand("/local/epoch")])
    second_plan_s, parsed = _planned(cache, [file.path for file in cache.expand("/local/epoch")])
    ways = {
        "cache": lambda: _plain(cache, "/local/epoch"),
        "V1": _older(lambda: ray.data.read_parquet(directory, filesystem=local)),
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for round_ in range(_ROUNDS + 1):
        for name, make in ways.items():
            run = _epoch(make)
            # The first round starts processes.
            if round_:
                runs[name].append(run)
    stock = _epoch(lambda: ray.data.read_parquet(directory, filesystem=local))
    first = {name: statistics.median(f for f, _ in found) for name, found in runs.items()}
    whole = {name: statistics.median(w for _, w in found) for name, found in runs.items()}
    return [
        _ratio(f"first batch, {_EPOCH_FILES} files, warm / V1 on local files", first["cache"], first["V1"], 1.0),
        _ratio("footers, second plan / first", second_plan_s, first_plan_s, 0.5),
        Finding("footers read by a second plan", str(parsed), "0", parsed == 0),
        _ratio("epoch of 1 GB, warm / V1 on local files", whole["cache"], whole["V1"], 1.0),
        _ratio("epoch of 1 GB, warm / V2 on local files (one run)", whole["cache"], stock[1], 0.5),
    ]


def _ratio(what: str, ours_s: float, theirs_s: float, most: float) -> Finding:
    ratio = ours_s / theirs_s
    return Finding(what, f"{ratio:.2f}x ({ours_s:.3f} s, {theirs_s:.3f} s)", f"<= {most:.2f}x", ratio <= most)


def _planned(cache: raycache.Cache, names: list[str]) -> tuple[float, int]:
    """Seconds until all row groups are known, and how many footers were read for it."""
    from raycache.raydata.parquet.footer_reading import FooterReader

    started = time.perf_counter()
    reader = FooterReader(indexer.handler_of(cache.filesystem()), footers.Wanted())
    assert len(names) == len(list(reader.row_groups(names)))
    return time.perf_counter() - started, reader.parsed


def _cold(cache: raycache.Cache, bucket: str, server: SeaweedServer, proxy: S3Proxy) -> list[Finding]:
    """Each round on data that nobody has read, from a lake with latency."""
    direct = server.pyarrow_filesystem(proxy.endpoint_url)
    found: dict[str, list[float]] = {"cache": [], "V1": [], "V2": []}
    proxy.shape(_LATENCY_S, _CONNECTION_BYTES_S)
    for round_ in range(_ROUNDS):
        path = f"{bucket}/lake{round_}"
        found["cache"].append(_epoch(lambda: _plain(cache, f"/lake/lake{round_}"))[1])  # noqa: B023
        found["V1"].append(_epoch(_older(lambda: ray.data.read_parquet(path, filesystem=direct)))[1])  # noqa: B023
        if round_ < 2:
            found["V2"].append(_epoch(lambda: ray.data.read_parquet(path, filesystem=direct))[1])  # noqa: B023
    proxy.shape()
    seconds = {name: statistics.median(times) for name, times in found.items()}
    best = min(("V1", "V2"), key=lambda name: seconds[name])
    return [_ratio(f"epoch of 200 MB, cold / S3 directly by {best}", seconds["cache"], seconds[best], 1.05)]


# --- many ---------------------------------------------------------------------------------------------------------------


def _many(cache: raycache.Cache, directory: Path) -> list[Finding]:
    """Planning: listing, places, footers and bins, as it runs beside the first tasks."""
    directory.mkdir()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({f"c{i}": range(100) for i in range(8)}), sink)
    content = sink.getvalue().to_pybytes()
    for index in range(_MANY_FILES):
        (directory / f"f{index:06d}.parquet").write_bytes(content)
    cpus = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes()}
    seconds, rows = [], 0
    before, most = _private_bytes(), 0
    for _ in range(2):
        dataset = _plain(cache, "/local/many")
        listing = dataset._logical_plan.dag.input_dependencies[0]  # noqa: SLF001
        started = time.perf_counter()
        rows = 0
        for told in placed_files.bins(placed_files.WantedFiles.of(listing), cpus, ordered=False, execution=0):
            rows += pc.sum(pc.struct_field(told.manifest["__file_chunk_metadata"], "num_rows")).as_py()
            most = max(most, _private_bytes())
        seconds.append(time.perf_counter() - started)
    grown = max(most, _private_bytes()) - before
    assert rows == 100 * _MANY_FILES, rows
    return [
        Finding(f"planning {_MANY_FILES:,} files", f"{seconds[0]:.1f} s", "<= 60 s", seconds[0] <= 60),
        Finding(f"planning {_MANY_FILES:,} files again", f"{seconds[1]:.1f} s", "<= 5 s", seconds[1] <= 5),
        Finding("private memory of the planner, more", f"{grown / 1e6:.0f} MB", "<= 300 MB", grown <= 300e6),
    ]


def _private_bytes() -> int:
    """Of this process; the cache's blocks, which it has mapped, are everybody's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
