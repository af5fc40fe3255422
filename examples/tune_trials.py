"""Several trials over one preprocessed dataset: it is decoded once, by whichever trial comes to a group first.

    python examples/tune_trials.py [--trials 8] [--files 24] [--rows 20000]

Each trial is a driver of its own, as a trial of Tune is a process of its own: it reads the same parquet through the same
transforms, which are cached, and fits a line to it with another learning rate. Then one more trial runs without caching, for
comparison. Everything runs on this machine: three Ray nodes and the cache.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from rich.console import Console
from rich.table import Table

import raycache
from raycache.testing.cluster import connected_or_local


class Outcome(NamedTuple):
    """What is to be seen at the end."""

    #: Of all trials together.
    seconds: float
    #: Results that were made, and that were read instead.
    made: int
    read: int
    #: Per trial, what it has found.
    losses: list[float]


def preprocess(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stands for decoding: costs more than reading does."""
    x = batch["x"]
    for _ in range(20):
        x = np.sort(np.tanh(x + 0.01))
    return {"x": (x - x.mean()) / (x.std() + 1e-9), "y": batch["y"]}


def trial(lake: str, rate: float, cached: bool) -> float:
    """Fit y = a x by gradient descent, one pass; returns the loss."""
    dataset = raycache.read_parquet(f"file://{lake}").map_batches(preprocess)
    if cached:
        dataset = raycache.cached(dataset)
    a, losses = 0.0, []
    for batch in dataset.iter_batches(batch_size=1024):
        error = a * batch["x"] - batch["y"]
        a -= rate * float((error * batch["x"]).mean())
        losses.append(float((error**2).mean()))
    return float(np.mean(losses[-3:]))


def run(lake: str, rates: Sequence[float], cached: bool) -> tuple[float, list[float]]:
    """Run trials at once, a process each; gives seconds and losses."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--trial", lake, str(int(cached))]
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    trials = [
        subprocess.Popen([*command, str(rate)], stdout=subprocess.PIPE, text=True, env=environment) for rate in rates
    ]
    said = [process.communicate()[0].strip().splitlines() for process in trials]
    return time.perf_counter() - started, [float(lines[-1]) for lines in said]


def main(arguments: Sequence[str] | None = None) -> Outcome:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--trial", nargs=3, metavar=("LAKE", "CACHED", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if options.trial:
        lake, cached, rate = options.trial
        ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        print(trial(lake, float(rate), bool(int(cached))))
        return Outcome(0.0, 0, 0, [])
    with tempfile.TemporaryDirectory() as lake, connected_or_local(nodes=3, cpus_per_node=2):
        draw = np.random.default_rng(0)
        for number in range(options.files):
            table = pa.table({"x": draw.normal(size=options.rows), "y": draw.normal(size=options.rows)})
            pq.write_table(table, Path(lake) / f"{number:03}.parquet", compression="zstd")
        with raycache.session(memory="40%", disk="256MiB") as cache:
            rates = [0.01 * 2**number for number in range(options.trials)]
            seconds, losses = run(lake, rates, cached=True)
            kept = cache.cached_datasets()
            single, _ = run(lake, rates[:1], cached=False)
    outcome = Outcome(seconds, sum(row.made for row in kept), sum(row.hits for row in kept), losses)
    table = Table("", "seconds", "groups made", "groups read", title=f"{options.trials} trials, 3 nodes")
    table.add_row(f"{options.trials} trials at once, cached", f"{seconds:.1f}", str(outcome.made), str(outcome.read))
    table.add_row("1 trial, not cached", f"{single:.1f}", "-", "-")
    Console().print(table)
    return outcome


if __name__ == "__main__":
    main()
