"""Weighted rendezvous hashing: who should hold a block is a pure function, the same on every side.

Each worker draws a score from the hash of (key, worker) and its weight; the best scores win. Adding one worker to N
moves about 1/(N+1) of the keys, all of them to the new one. The draw is `-weight / ln(u)` with u uniform in (0, 1).

The key is not the block but its *extent*: a run of blocks of one file that is placed together, so that a whole file of
usual size lives on one node and a task that reads it finds all of it there.

Source: Thaler & Ravishankar, IEEE/ACM ToN 1998; weights after Schindelhauer & Schomaker, SPAA 2005.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from raycache.errors import InvalidRequestError
from raycache.types import VersionId, WorkerId, WorkerView

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def extent_key(version: VersionId, extent_index: int) -> int:
    """The 64-bit key an extent is placed by."""
    return xxhash.xxh3_64_intdigest(version, seed=extent_index)


def scores(keys: npt.NDArray[np.uint64], workers: Sequence[WorkerView]) -> npt.NDArray[np.float64]:
    """Score every worker for every key.

    Args:
        keys: shape (K,), of `extent_key`.
        workers: shape (N,).

    Returns:
        shape (K, N), float64, larger is better.

    Cost: O(K * N), vectorised; about 20 ns a pair.
    """
    seeds = np.array([xxhash.xxh3_64_intdigest(w.worker.encode()) for w in workers], dtype=np.uint64)
    mixed = keys[:, None] ^ seeds[None, :]
    with np.errstate(over="ignore"):
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        mixed = mixed ^ (mixed >> np.uint64(31))
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)
    weights = np.array([max(1, w.weight_bytes) for w in workers], dtype=np.float64)
    result: npt.NDArray[np.float64] = -weights[None, :] / np.log(uniform)
    return result


def place_many(keys: npt.NDArray[np.uint64], workers: Sequence[WorkerView], copies: int = 1) -> npt.NDArray[np.intp]:
    """Choose the workers that should hold each extent, best first.

    Args:
        keys: shape (K,), of `extent_key`.
        workers: shape (N,), live only; their order does not matter to the choice.
        copies: replicas wanted, >= 1.

    Returns:
        shape (K, min(copies, N)): indices into `workers`. With no workers, shape (K, 0).

    Raises:
        InvalidRequestError: copies < 1.
    """
    if copies < 1:
        raise InvalidRequestError(f"copies {copies} is too few; give 1 or more")
    if not workers:
        return np.empty((len(keys), 0), dtype=np.intp)
    drawn = scores(keys, workers)
    if copies == 1:
        best: npt.NDArray[np.intp] = np.argmax(drawn, axis=1)[:, None]
        return best
    ranked: npt.NDArray[np.intp] = np.argsort(-drawn, axis=1, kind="stable")[:, :copies]
    return ranked


def place(version: VersionId, extent_index: int, workers: Sequence[WorkerView], copies: int = 1) -> list[WorkerId]:
    """Choose the workers that should hold one extent, best first; see `place_many`."""
    key = np.array([extent_key(version, extent_index)], dtype=np.uint64)
    return [workers[i].worker for i in place_many(key, workers, copies)[0]]
