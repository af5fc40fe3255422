"""Cutting files into groups that stay the same when files come and go: a rule, no Ray and no I/O.

Theory of operation. A group is a run of files in the order of the listing. A run ends behind a file whose name says so: the
hash of a name has so many zero bits on average once in a run of the wanted length. So a file that is added, changed or removed
changes the group it lies in, or cuts it in two, and no other (content-defined chunking; Muthitacharoen et al., LBFS, SOSP 2001).
A run that meets no such name ends at a multiple of that length, and the next ends at the next such name again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import xxhash

#: What one result should take in memory. Below the size of a segment, so that it lies in one piece.
GROUP_BYTES = 40 << 20
#: So that no CPU waits for the last ones.
_GROUPS_PER_CPU = 4
_GROUPS_MAX = 20_000
#: A run is at most this many times as long as wanted.
_LONGEST = 3


def fineness(file_count: int, size_bytes: int, cpus: float) -> int:
    """How long runs should be: 2 to that power, on average.

    Args:
        file_count: >= 1.
        size_bytes: of all results in memory, estimated.
        cpus: of the cluster.
    """
    by_size = size_bytes / GROUP_BYTES
    groups = min(max(by_size, cpus * _GROUPS_PER_CPU, 1), file_count, _GROUPS_MAX)
    return max(0, math.floor(math.log2(file_count / groups)))


def cut(names: Sequence[str], bits: int) -> list[range]:
    """Cut files into groups.

    Args:
        names: shape (F,), of the files, in their order.
        bits: see `fineness`.

    Returns:
        The positions of each group's files: runs that follow each other, none empty.
    """
    mask, most = (1 << bits) - 1, _LONGEST << bits
    groups: list[range] = []
    start = 0
    for position, name in enumerate(names):
        is_end = not xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass")) & mask
        if is_end or position + 1 - start == most or position + 1 == len(names):
            groups.append(range(start, position + 1))
            start = position + 1
    return groups
