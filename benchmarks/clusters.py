"""Ray clusters to measure on: the memory of their object stores has been touched before.

The first touch of memory is dear in virtual machines, and not what is measured. Ray can take it all at its start, but gives
a node 30 s to start, which is too little for gigabytes where memory is slow to come; so objects are put there, and dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycache.testing.cluster import LocalCluster

#: Ray begins to spill at four fifths.
_TOUCHED_SHARE = 0.75
_PIECE_BYTES = 128 << 20


@contextlib.contextmanager
def touched_cluster(nodes: int, store_bytes: int, **named: Any) -> Iterator[LocalCluster]:
    """A cluster of nodes with object stores of so many bytes; the rest as `LocalCluster`."""
    with LocalCluster(nodes=nodes, object_store_memory=store_bytes, **named) as started:
        for node in started.node_ids():
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            ray.get(_touch.options(scheduling_strategy=there).remote(store_bytes), timeout=300)
        yield started


@ray.remote(num_cpus=0)
def _touch(store_bytes: int) -> None:
    piece = np.ones(_PIECE_BYTES, np.uint8)
    pieces = [ray.put(piece) for _ in range(int(_TOUCHED_SHARE * store_bytes) // _PIECE_BYTES)]
    del pieces
