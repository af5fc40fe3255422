"""The main job on one machine: `python -m raycache.demo`, or `make demo`.

A SeaweedFS with a bucket of parquet files, the counting proxy before it, a Ray cluster of several nodes, and a Ray Data
pipeline that reads every row: once straight from S3 with pyarrow, as the reference; then through the cache, cold and warm.
What S3 was asked for is what the proxy counted, not what the cache says of itself.

The exit status is 0 when all reads saw the same rows and the warm epochs sent S3 no request at all; 1 when not, or when
something failed; 130 after Ctrl-C. Whatever the end, all that was started is stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import pyarrow.parquet as pq
import ray
import ray.data
from rich.console import Console
from rich.table import Table

import raycache
from raycache.cache import Cache
from raycache.errors import InvalidRequestError, RaycacheError
from raycache.raydata.readers import read_parquet
from raycache.settings import GIB, MIB, parse_size
from raycache.testing.checksum import RowsChecksum, checksum_batch, rows_checksum
from raycache.testing.cluster import LocalCluster
from raycache.testing.data import WrittenDataset, write_parquet_dataset
from raycache.testing.proxy.proxy import ProxyCounters, S3Proxy
from raycache.testing.seaweed import SeaweedServer
from raycache.testing.stop_signals import StopSignals

_BUCKET = "lake"
#: Longer than any run: the warm epochs are to show data, not metadata that has aged.
_METADATA_TTL_S = 3600.0
#: Readers report their counts now and then; two equal looks this far apart are taken for the last word.
_SETTLE_S = 1.5
_SETTLE_TIMEOUT_S = 20.0


@dataclasses.dataclass(frozen=True)
class DemoPlan:
    """What to run."""

    total_bytes: int
    files: int
    nodes: int
    warm_epochs: int
    latency_s: float
    connection_bytes_per_s: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One read of all rows."""

    name: str
    time_s: float
    checksum: RowsChecksum
    #: As the proxy counted them.
    s3: ProxyCounters
    #: By node, in the cluster's order: (hits, blocks asked for) of the readers there; empty without the cache.
    nodes: tuple[tuple[int, int], ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "time_s": round(self.time_s, 3),
            "rows": self.checksum.rows,
            "checksum": str(self.checksum),
            "s3_requests": self.s3.requests,
            "s3_data_requests": self.s3.data_requests,
            "s3_list_requests": self.s3.list_requests,
            "s3_head_requests": self.s3.head_requests,
            "s3_data_bytes": self.s3.data_bytes,
            "nodes": [
                {"hits": hits, "blocks": asked, "hit_rate": hits / asked if asked else None}
                for hits, asked in self.nodes
            ],
        }


def failures(epochs: list[Epoch], rows: int) -> list[str]:
    """What a run should have shown and did not; the first epoch is the reference, the third and later are warm."""
    reference = epochs[0].checksum
    found = []
    if reference.rows != rows:
        found.append(f"the direct read saw {reference.rows:,} rows of {rows:,}")
    found += [f"{e.name}: other rows than the direct read" for e in epochs[1:] if e.checksum != reference]
    found += [f"{e.name}: {e.s3.requests:,} requests went to S3" for e in epochs[2:] if e.s3.requests]
    return found


def run(plan: DemoPlan, say: Callable[[str], None]) -> tuple[WrittenDataset, list[Epoch]]:
    """Start everything, read, and stop everything; `say` hears of each step."""
    with contextlib.ExitStack() as stack:
        say("starting SeaweedFS, and the proxy before it")
        server = stack.enter_context(SeaweedServer())
        proxy = stack.enter_context(S3Proxy(server.endpoint_url))
        server.make_bucket(_BUCKET)
        say(f"writing {_human(plan.total_bytes)} of parquet in {plan.files} files")
        direct = server.pyarrow_filesystem()
        dataset = write_parquet_dataset(direct, f"{_BUCKET}/events", plan.files, plan.total_bytes, plan.seed)
        write_parquet_dataset(direct, f"{_BUCKET}/first", files=plan.nodes, total_bytes=MIB, seed=plan.seed + 1)
        proxy.shape(latency_s=plan.latency_s, connection_bytes_per_s=plan.connection_bytes_per_s)

        say("reading it directly from S3, for reference")
        epochs = [_direct_epoch(server, proxy, dataset)]

        say(f"starting a Ray cluster of {plan.nodes} nodes")
        # Placement is by hash: one node may get up to twice its share. The store also holds what the pipeline makes.
        memory_bytes = max(256 * MIB, 2 * plan.total_bytes // plan.nodes + 128 * MIB)
        cluster = stack.enter_context(LocalCluster(plan.nodes, object_store_memory=memory_bytes + GIB))
        say("starting the cache")
        cache = raycache.start(memory=memory_bytes)
        stack.callback(raycache.stop)
        options = server.options(proxy.endpoint_url)
        cache.mount("/lake", f"s3://{_BUCKET}", options=options, metadata_ttl_s=_METADATA_TTL_S)
        say("warming up Ray Data on another data set")
        _quieten()
        _read_all("/lake/first")  # Ray Data's own first run in a process takes seconds more than the next

        for number in range(1 + plan.warm_epochs):
            name = "cold" if number == 0 else f"warm {number}" if plan.warm_epochs > 1 else "warm"
            say(f"reading it through the cache, {name}")
            epochs.append(_cached_epoch(name, cache, cluster, proxy))
        say("stopping everything")
        return dataset, epochs


def _direct_epoch(server: SeaweedServer, proxy: S3Proxy, dataset: WrittenDataset) -> Epoch:
    proxy.reset()
    started_s = time.monotonic()
    filesystem = server.pyarrow_filesystem(proxy.endpoint_url)
    checksum = RowsChecksum()
    for path in dataset.paths:
        checksum = checksum.plus(rows_checksum(pq.ParquetFile(path, filesystem=filesystem).read()))
    return Epoch("direct", time.monotonic() - started_s, checksum, proxy.counters(), ())


def _cached_epoch(name: str, cache: Cache, cluster: LocalCluster, proxy: S3Proxy) -> Epoch:
    before = _settled_counts(cache)
    proxy.reset()
    started_s = time.monotonic()
    checksum = _read_all("/lake/events")
    time_s = time.monotonic() - started_s
    after = _settled_counts(cache)
    nodes = []
    for node in cluster.node_ids():
        (hits_before, asked_before), (hits, asked) = before.get(node, (0, 0)), after.get(node, (0, 0))
        nodes.append((hits - hits_before, asked - asked_before))
    return Epoch(name, time_s, checksum, proxy.counters(), tuple(nodes))


def _read_all(path: str) -> RowsChecksum:
    """The pipeline: read every row of every column, and reduce each batch to its checksum."""
    batches = read_parquet(path).map_batches(checksum_batch, batch_format="pyarrow", batch_size=None)
    checksum = RowsChecksum()
    for row in batches.take_all():
        checksum = checksum.plus(RowsChecksum(row["rows"], row["value"]))
    return checksum


def _settled_counts(cache: Cache) -> dict[str, tuple[int, int]]:
    """By node: (hits, blocks asked for), once the readers' reports have come in."""
    deadline_s = time.monotonic() + _SETTLE_TIMEOUT_S
    counts: dict[str, tuple[int, int]] | None = None
    while True:
        stats = cache.stats()
        seen = {node: (s.hits, s.hits + s.misses + s.bypasses) for node, s in stats.nodes.items()}
        if seen == counts or time.monotonic() > deadline_s:
            return seen
        counts = seen
        time.sleep(_SETTLE_S)


def _quieten() -> None:
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def make_table(dataset: WrittenDataset, epochs: list[Epoch]) -> Table:
    """The one table: a column for each read, so that it fits a narrow terminal."""
    table = Table(title=f"{dataset.rows:,} rows, {_human(dataset.total_bytes)} in {len(dataset.paths)} parquet files")
    table.add_column("", no_wrap=True)
    for epoch in epochs:
        table.add_column(epoch.name, justify="right", no_wrap=True)
    table.add_row("time", *(f"{epoch.time_s:.1f} s" for epoch in epochs))
    table.add_row("rows", *(f"{epoch.checksum.rows:,}" for epoch in epochs))
    table.add_row("checksum of rows", *(str(epoch.checksum) for epoch in epochs))
    table.add_row("S3 data requests", *(f"{epoch.s3.data_requests:,}" for epoch in epochs))
    table.add_row("S3 data bytes", *(_human(epoch.s3.data_bytes) for epoch in epochs))
    table.add_row("  of the data set", *(f"{epoch.s3.data_bytes / dataset.total_bytes:.3f}x" for epoch in epochs))
    table.add_row("S3 other requests", *(f"{epoch.s3.requests - epoch.s3.data_requests:,}" for epoch in epochs))
    for index in range(max(len(epoch.nodes) for epoch in epochs)):
        cells = []
        for epoch in epochs:
            hits, asked = epoch.nodes[index] if epoch.nodes else (0, 0)
            cells.append(f"{hits / asked:.0%} of {asked:,}" if asked else "-")
        table.add_row(f"block hits, node {index + 1}", *cells)
    return table


def _human(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


@click.command(help="Read a lake data set through the cache with Ray Data, cold and warm, on one machine.")
@click.option("--size", default="1GB", show_default=True, help="Of the data set.")
@click.option("--files", default=32, show_default=True, type=click.IntRange(1), help="Parquet files it is cut into.")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 16), help="Nodes of the Ray cluster.")
@click.option("--warm", default=1, show_default=True, type=click.IntRange(1), help="Warm epochs after the cold one.")
@click.option("--latency-ms", default=0.0, show_default=True, type=click.FloatRange(0), help="S3's first byte.")
@click.option("--bandwidth", default="0", show_default=True, help="Bytes/s of each S3 connection; 0: no limit.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")
def main(
    size: str, files: int, nodes: int, warm: int, latency_ms: float, bandwidth: str, seed: int, as_json: bool
) -> None:
    """Run, print, and exit."""
    progress = Console(stderr=True)
    started_s = time.monotonic()

    def say(step: str) -> None:
        progress.print(f"[dim]{time.monotonic() - started_s:6.1f} s[/]  {step}", highlight=False)

    try:
        plan = DemoPlan(parse_size(size), files, nodes, warm, latency_ms / 1000, parse_size(bandwidth), seed)
    except InvalidRequestError as error:
        raise click.UsageError(str(error)) from error
    try:
        with StopSignals():
            dataset, epochs = run(plan, say)
    except KeyboardInterrupt:
        progress.print("interrupted; everything is stopped")
        sys.exit(130)
    except (RaycacheError, ray.exceptions.RayError) as error:
        progress.print(f"failed: {error}", style="red", markup=False)
        sys.exit(1)
    found = failures(epochs, dataset.rows)
    if as_json:
        report = {
            "rows": dataset.rows,
            "bytes": dataset.total_bytes,
            "epochs": [epoch.as_dict() for epoch in epochs],
            "failures": found,
            "total_time_s": round(time.monotonic() - started_s, 3),
        }
        click.echo(json.dumps(report, indent=2))
    else:
        console = Console()
        table = make_table(dataset, epochs)
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
        console.print(table)
        for failure in found:
            progress.print(f"not as it should be: {failure}", style="red", markup=False)
        if not found:
            progress.print("The same rows each time, and the warm read sent S3 no request.", style="green")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
