"""Several processes that read the small files at the same time; each is a Ray actor, whatever it reads from.

Beside raycache and local files, the same hashing of bytes that a process has in its own memory: what several processes
gain there is what the machine can give.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray

import raycache
from benchmarks.measure import Bar, Done, Target
from benchmarks.reading.data import Data, Digests
from benchmarks.reading.targets import CacheReads, LocalFiles, MemoryReads, ReadsBatches
from benchmarks.reading.workloads import BATCH_FILES, batches

COUNT = 4
_PLURALS = {1: "1 process", COUNT: f"{COUNT} processes"}
#: Of all processes together, and how often over: enough for a run, and little to keep.
_IN_MEMORY_FILES, _IN_MEMORY_TIMES = 2_000, 10
_SOURCES = ("raycache", "local files", "own memory")
BARS = (
    Bar(
        f"raycache, {_PLURALS[COUNT]}", f"raycache, {_PLURALS[1]}", least=2.0,
        given=(f"own memory, {_PLURALS[COUNT]}", f"own memory, {_PLURALS[1]}"),
    ),
    Bar(f"raycache, {_PLURALS[COUNT]}", f"local files, {_PLURALS[COUNT]}", least=1.0),
)  # fmt: skip


class _Process:
    """Reads its shares of the small files, in batches.

    Args:
        data: what there is.
        shares: by how many processes read at the same time, the names that this one reads then.
    """

    def __init__(self, data: Data, shares: dict[int, list[str]]) -> None:
        self._digests = Digests(data)
        self._targets: dict[tuple[str, int], tuple[ReadsBatches, Data]] = {}
        local, cached = LocalFiles("", data.directory), CacheReads("", raycache.connect())
        for count, names in shares.items():
            # Before anybody measures: the hashes to compare with, and whatever the first read costs.
            self._digests.learn(names)
            for start in range(0, len(names), BATCH_FILES):
                cached.read_many(names[start : start + BATCH_FILES])
            few = names[: _IN_MEMORY_FILES // count]
            kept = MemoryReads("", dict(zip(few, local.read_many(few), strict=True)))
            everything, little = data._replace(shuffled=names), data._replace(shuffled=few * _IN_MEMORY_TIMES)
            for source, pair in zip(
                _SOURCES, ((cached, everything), (local, everything), (kept, little)), strict=True
            ):  # fmt: skip
                self._targets[source, count] = pair

    def read(self, source: str, count: int, start_s: float, seconds_max: float) -> tuple[float, float]:
        """Begin at a time of the monotonic clock, which all processes share; (files, when it was done)."""
        target, data = self._targets[source, count]
        time.sleep(max(0.0, start_s - time.monotonic()))
        done = batches(target, data, self._digests, seconds_max)
        return done.amount, start_s + done.seconds


def targets(data: Data, seconds_max: float) -> list[Target]:
    """One and several processes, on each of what there is. They live as long as what is returned."""
    few = len(data.shuffled) // COUNT
    actors = []
    for number in range(COUNT):
        shares = {COUNT: data.shuffled[number * few : (number + 1) * few]}
        if number == 0:
            shares[1] = data.shuffled
        # The names are in the shares.
        actors.append(ray.remote(_Process).options(num_cpus=0).remote(data._replace(shuffled=[], pieces=[]), shares))
    return [
        Target(
            f"{source}, {plural}",
            lambda source=source, count=count: _run(actors[:count], source, count, seconds_max),  # type: ignore[misc]
        )
        for source in _SOURCES
        for count, plural in _PLURALS.items()
    ]


def _run(actors: Sequence[Any], source: str, count: int, seconds_max: float) -> Done:
    # The first call of an actor waits until it is there.
    ray.get([actor.__ray_ready__.remote() for actor in actors], timeout=300)
    start_s = time.monotonic() + 0.1
    done = ray.get([actor.read.remote(source, count, start_s, seconds_max) for actor in actors], timeout=300)
    return Done(sum(amount for amount, _ in done), max(ended for _, ended in done) - start_s)
