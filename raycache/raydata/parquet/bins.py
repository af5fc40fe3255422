"""Cutting what a read wants into tasks: a rule, no Ray and no I/O.

Theory of operation. Row groups come in the order of their files, each with a node. Those of a node are cut, in that order,
into bins of about equal bytes, so that neighbours in a listing, which are often packed into one segment, stay together. How
many bins a node gets is known before its row groups are, by the bytes of its files; so reading begins before the last
footer is known. The first bins of a node are smaller, so that rows come early.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

#: No bin is meant to be larger, uncompressed; as Ray's own.
BIN_BYTES_MAX = 128 << 20
#: Bins for each CPU of the cluster.
_BINS_PER_CPU = 2
#: Where only some of it is cached, up to so many, of this size at least.
_BINS_PER_CPU_MIXED = 32
_MIXED_BYTES_MIN = 8 << 20
#: The first bins of a node, one for each CPU, are this much smaller.
_FIRST_SHARE = 4

Piece = TypeVar("Piece")


class BinPacker(Generic[Piece]):
    """Cuts one read.

    Args:
        limits_bytes: per lane, which is a node, or stands for all: what a bin should hold.
        first: per lane, how many of its bins come smaller, and first.
    """

    def __init__(self, limits_bytes: Mapping[str | None, float], first: Mapping[str | None, int]) -> None:
        self._limits_bytes = limits_bytes
        self._first = dict(first)
        self._open: dict[str | None, list[Piece]] = {}
        #: Per lane, of the bin that is open; with what the ones before it took too much, or too little.
        self._held_bytes: dict[str | None, float] = {}

    def add(self, lane: str | None, piece: Piece, size_bytes: int) -> Iterator[list[Piece]]:
        """Take a row group, in order; give the bin that is full by now."""
        limit = self._limits_bytes[lane] / (_FIRST_SHARE if self._first.get(lane) else 1)
        held = self._held_bytes.get(lane, 0.0)
        # What crosses the limit goes to whichever side that leaves closer to it.
        if self._open.get(lane) and held + size_bytes / 2 > limit:
            yield self._close(lane)
            held = min(max(held - limit, -limit / 2), limit / 2)
        self._open.setdefault(lane, []).append(piece)
        self._held_bytes[lane] = held + size_bytes

    def rest(self) -> Iterator[list[Piece]]:
        """The bins that never became full."""
        for lane in list(self._open):
            yield self._close(lane)

    def _close(self, lane: str | None) -> list[Piece]:
        if self._first.get(lane):
            self._first[lane] -= 1
        return self._open.pop(lane)


def limits_bytes(
    node_bytes: Mapping[str | None, float], cpus: float, blocks: int | None = None, *, is_mixed: bool = False
) -> dict[str | None, float]:
    """What a bin of each node should hold.

    Args:
        node_bytes: per node, what is read of it, uncompressed; may be an estimate.
        cpus: of the cluster.
        blocks: how many bins were asked for; None: as many as are good.
        is_mixed: some of it is cached and some is not, and what is goes first: more bins, so that few hold both.

    Returns:
        Per node the bytes of one bin, such that its bins are equally large.
    """
    total = sum(node_bytes.values())
    mixed = min(cpus * _BINS_PER_CPU_MIXED, total / _MIXED_BYTES_MIN) if is_mixed else 0.0
    wanted = blocks or max(cpus * _BINS_PER_CPU, mixed, math.ceil(total / BIN_BYTES_MAX))
    return {
        node: max(1.0, held / max(1, round(wanted * held / total))) if total else 1.0
        for node, held in node_bytes.items()
    }
