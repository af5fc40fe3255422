"""Several processes that read the small files at the same time; each is a Ray actor, whatever it reads from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray

import raycache
from benchmarks.measure import Bar, Done, Target
from benchmarks.reading.data import Data, Digests
from benchmarks.reading.targets import CacheReads, LocalFiles, ReadTarget
from benchmarks.reading.workloads import BATCH_FILES, batches

COUNT = 4
BARS = (
    Bar(f"raycache, {COUNT} processes", "raycache, 1 process", least=2.0),
    Bar(f"raycache, {COUNT} processes", f"local files, {COUNT} processes", least=1.0),
)


class _Process:
    """Reads its share of the small files, in batches."""

    def __init__(self, data: Data, directory: str) -> None:
        self._data = data
        self._digests = Digests(data)
        self._target: ReadTarget = LocalFiles("", Path(directory)) if directory else CacheReads("", raycache.connect())
        # Before anybody measures: the hashes to compare with, and whatever the first read costs.
        self._digests.learn(data.shuffled)
        for start in range(0, len(data.shuffled), BATCH_FILES):
            self._target.read_many(data.shuffled[start : start + BATCH_FILES])

    def read(self, start_s: float, seconds_max: float) -> tuple[float, float]:
        """Begin at a time of the monotonic clock, which all processes share; (files, when it was done)."""
        time.sleep(max(0.0, start_s - time.monotonic()))
        done = batches(self._target, self._data, self._digests, seconds_max)
        return done.amount, start_s + done.seconds


def targets(data: Data, local: Path, seconds_max: float) -> list[Target]:
    """One and several processes, on each of what there is. They live as long as what is returned."""
    sources = {"raycache": "", "local files": str(local)}
    found = []
    for name, directory in sources.items():
        for count in (1, COUNT):
            few = len(data.shuffled) // count
            actors = [
                ray.remote(_Process).options(num_cpus=0).remote(
                    data._replace(shuffled=data.shuffled[i * few : (i + 1) * few]), directory
                )
                for i in range(count)
            ]  # fmt: skip
            plural = "process" if count == 1 else "processes"
            target = Target(f"{name}, {count} {plural}", lambda actors=actors: _run(actors, seconds_max))  # type: ignore[misc]
            target.run()
            found.append(target)
    return found


def _run(actors: list[Any], seconds_max: float) -> Done:
    start_s = time.monotonic() + 0.2
    done = ray.get([actor.read.remote(start_s, seconds_max) for actor in actors], timeout=300)
    return Done(sum(amount for amount, _ in done), max(ended for _, ended in done) - start_s)
