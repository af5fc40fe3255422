"""Weighted rendezvous hashing: who should hold a block is a pure function, the same on every side.

Each worker draws a score from the hash of (key, worker) and its weight; the best scores win. Adding one worker to N
moves about 1/(N+1) of the keys, all of them to the new one. The draw is `-weight / ln(u)` with u uniform in (0, 1).

The key is not the block but its *extent*: a run of blocks of one file that is placed together, so that a whole file of
usual size lives on one node and a task that reads it finds all of it there.

Cost. Every worker draws for every key, so the draw is what a thousand workers multiply: it is made in
pieces that fit a processor's cache, and logarithms are taken only of draws that can win. In a cluster of N about a dozen
of N draws can: those near 1. Where the best of them does not beat all that the rest could have scored, which is rare, all
are scored; so the choice is exact.

Source: Thaler & Ravishankar, IEEE/ACM ToN 1998; weights after Schindelhauer & Schomaker, SPAA 2005; the mix is the
finalizer of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from raycache.errors import InvalidRequestError
from raycache.types import VersionId, WorkerId, WorkerView

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
#: Pairs of key and worker that are drawn at once: eight bytes each, twice.
_PAIRS = 1 << 15
#: Below so many workers all draws are scored.
_FEW_WORKERS = 64
#: Draws of a key that are looked at, where all weights are equal.
_CANDIDATES = 12


class _Drawers(NamedTuple):
    """What is needed of N workers to draw for them; shape (N,) each."""

    seeds: npt.NDArray[np.uint64]
    weights: npt.NDArray[np.float64]


#: The last workers that were asked for, which are the same for as long as a view is.
_known: tuple[tuple[WorkerView, ...], _Drawers] | None = None


def extent_key(version: VersionId, extent_index: int) -> int:
    """The 64-bit key an extent is placed by."""
    return xxhash.xxh3_64_intdigest(version, seed=extent_index)


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

    Cost: O(K * N) draws, about 1 ns each; memory O(K).
    """
    if copies < 1:
        raise InvalidRequestError(f"copies {copies} is too few; give 1 or more")
    count = min(copies, len(workers))
    chosen = np.empty((len(keys), count), dtype=np.intp)
    if not count:
        return chosen
    drawers = _drawers(workers)
    limit = _limit(drawers.weights, count)
    rows = max(1, _PAIRS // len(workers))
    for start in range(0, len(keys), rows):
        drawn = _draw(keys[start : start + rows], drawers.seeds)
        chosen[start : start + rows] = _best(drawn, drawers.weights, count, limit)
    return chosen


def place(version: VersionId, extent_index: int, workers: Sequence[WorkerView], copies: int = 1) -> list[WorkerId]:
    """Choose the workers that should hold one extent, best first; see `place_many`."""
    key = np.array([extent_key(version, extent_index)], dtype=np.uint64)
    return [workers[i].worker for i in place_many(key, workers, copies)[0]]


def _drawers(workers: Sequence[WorkerView]) -> _Drawers:
    global _known  # noqa: PLW0603  # one view at a time; an assignment is one step for all threads
    known = _known
    if known is not None and known[0] is workers:
        return known[1]
    seeds = np.array([xxhash.xxh3_64_intdigest(w.worker.encode()) for w in workers], dtype=np.uint64)
    weights = np.array([max(1, w.weight_bytes) for w in workers], dtype=np.float64)
    drawers = _Drawers(seeds, weights)
    if isinstance(workers, tuple):
        _known = workers, drawers
    return drawers


def _draw(keys: npt.NDArray[np.uint64], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A uniform number for each key and worker; shape (K, N)."""
    mixed = np.bitwise_xor(keys[:, None], seeds[None, :])
    shifted = np.right_shift(mixed, np.uint64(30))
    mixed ^= shifted
    mixed *= _MIX_1
    np.right_shift(mixed, np.uint64(27), out=shifted)
    mixed ^= shifted
    mixed *= _MIX_2
    np.right_shift(mixed, np.uint64(31), out=shifted)
    mixed ^= shifted
    return mixed


def _scores(drawn: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The larger, the better; `weights` of those who drew."""
    uniform = ((drawn >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)
    result: npt.NDArray[np.float64] = -weights / np.log(uniform)
    return result


def _limit(weights: npt.NDArray[np.float64], count: int) -> int | None:
    """Draws above it are looked at; None: all are."""
    wanted = (_CANDIDATES + 4 * (count - 1)) * float(weights.max() / weights.mean())
    if len(weights) < _FEW_WORKERS or wanted > len(weights) / 4:
        return None
    return int((1 << 64) * (1 - wanted / len(weights)))


def _best(
    drawn: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64], count: int, limit: int | None
) -> npt.NDArray[np.intp]:
    """The best workers of each key; shape (K, count)."""
    if limit is None:
        scores = _scores(drawn, weights)
        if count == 1:
            best: npt.NDArray[np.intp] = np.argmax(scores, axis=1)[:, None]
            return best
        ranked: npt.NDArray[np.intp] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return ranked
    flat = np.flatnonzero(drawn > np.uint64(limit))
    keys, workers = np.divmod(flat, drawn.shape[1])
    scores = _scores(drawn.ravel()[flat], weights[workers])
    order = np.lexsort((workers, -scores, keys))
    keys, workers, scores = keys[order], workers[order], scores[order]
    counts = np.bincount(keys, minlength=len(drawn))
    starts = np.cumsum(counts) - counts
    # What was left out has drawn the limit at most, and weighs as much as the heaviest.
    rest = float(_scores(np.array([limit], dtype=np.uint64), np.array([weights.max()]))[0])
    last = np.minimum(starts + count - 1, len(scores) - 1)
    certain = (counts >= count) & (scores[last] > rest) if len(scores) else np.zeros(len(drawn), dtype=bool)
    chosen = np.empty((len(drawn), count), dtype=np.intp)
    chosen[certain] = workers[starts[certain, None] + np.arange(count)]
    if not certain.all():
        chosen[~certain] = _best(drawn[~certain], weights, count, None)
    return chosen
