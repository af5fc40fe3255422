"""Which results are read by one task: a rule, no Ray and no I/O.

Theory of operation. A group is small, so that a changed file costs little; but to Ray a task costs as much as reading a good part of a
hundred megabytes. So the results of a node are read by few tasks, each a run of neighbours in the order of the listing: as many as
keep its CPUs busy with what is fused behind the read, or, where nothing is, as few as give blocks of a sensible size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

#: What one task should read, where nothing else runs in it.
TASK_BYTES = 32 << 20
#: What one task reads at most, unless one result is larger: as much as Ray Data puts into one block.
TASK_BYTES_MAX = 128 << 20
#: So that no CPU waits for the last ones.
_TASKS_PER_CPU = 2


def packs(
    sizes_bytes: Sequence[int], nodes: Sequence[str | None], cpus: Mapping[str, float], *, works: bool
) -> list[list[int]]:
    """Put results together.

    Args:
        sizes_bytes: shape (G,).
        nodes: shape (G,): where each should be read.
        cpus: per node; one that is missing counts as one CPU.
        works: transforms run in the same tasks.

    Returns:
        Positions, ascending in each pack, all of one node; packs in the order of their first ones. None is empty.
    """
    of_node: dict[str | None, list[int]] = {}
    for position, node in enumerate(nodes):
        of_node.setdefault(node, []).append(position)
    found: list[list[int]] = []
    for node, positions in of_node.items():
        total = sum(sizes_bytes[position] for position in positions)
        slots = max(1, math.ceil(cpus.get(node or "", 1.0)))
        wanted = slots * _TASKS_PER_CPU if works else min(slots, math.ceil(total / TASK_BYTES))
        count = min(len(positions), max(1, wanted, math.ceil(total / TASK_BYTES_MAX)))
        found += _runs(positions, sizes_bytes, count)
    return sorted(found)


def first_here(
    packs: Sequence[list[int]], sizes_bytes: Sequence[int], most_bytes: int
) -> tuple[list[int], list[list[int]]]:
    """Take the beginning of some packs.

    Returns:
        The first results of the first of them, as many as take at most `most_bytes` together, and what is left of the packs.
    """
    if not packs:
        return [], []
    ends = itertools.accumulate(sizes_bytes[position] for position in packs[0])
    count = sum(end <= most_bytes for end in ends)
    rest = [packs[0][count:], *packs[1:]]
    return packs[0][:count], [pack for pack in rest if pack]


def _runs(positions: Sequence[int], sizes_bytes: Sequence[int], count: int) -> list[list[int]]:
    """Cut into at most `count` runs of about equal bytes, each by where its middle lies."""
    sizes = [max(1, sizes_bytes[position]) for position in positions]
    total = sum(sizes)
    ends = itertools.accumulate(sizes)
    parts = [int((end - size / 2) * count // total) for end, size in zip(ends, sizes, strict=True)]
    return [
        [position for position, _ in run]
        for _, run in itertools.groupby(zip(positions, parts, strict=True), key=lambda pair: pair[1])
    ]
