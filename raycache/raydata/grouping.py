"""Which files a task should read, and where it should run: rules only, no Ray and no I/O.

Theory of operation. A read is split in two steps.

1. Every file is given one node, out of those that hold its blocks, or will hold them (`choose_nodes`). A file with
   several good nodes goes to the one with the fewest bytes so far.
2. The files of each node are cut, in their own order, into runs of about equal bytes (`group_files`): neighbours in a
   listing are often packed into one segment, so they stay together. The number of groups is exact, because Ray Data
   has by then decided on its parallelism.

Groups are handed out interleaved over the nodes, so that at any moment the next few tasks want different nodes. The same
tasks sorted by node would queue behind one busy node and spill to others.

All results depend only on the arguments: same input, same plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from raycache.errors import InvalidRequestError
from raycache.placement.assignment import best_node


class FileGroup(NamedTuple):
    """What one read task reads."""

    #: Hex id of the node that should run it; None when any will do.
    node: str | None
    #: Indices into the files planned, at least one; ascending.
    file_indexes: list[int]


def choose_nodes(sizes_bytes: Sequence[int], nodes: Sequence[Sequence[str]]) -> list[str | None]:
    """Give every file one node.

    Args:
        sizes_bytes: shape (F,).
        nodes: shape (F,): per file the nodes that would do, best first; may be empty.

    Returns:
        Shape (F,): None where `nodes` is empty. Files with one candidate go there; the others, largest first, go to the
        candidate with the fewest bytes so far, the better one when equal.

    Cost: O(F log F).
    """
    chosen: list[str | None] = [None] * len(sizes_bytes)
    load_bytes: dict[str, int] = {}
    open_choices: list[int] = []
    for index, candidates in enumerate(nodes):
        if len(candidates) == 1:
            node = candidates[0]
            chosen[index] = node
            load_bytes[node] = load_bytes.get(node, 0) + max(1, sizes_bytes[index])
        elif candidates:
            open_choices.append(index)
    for index in sorted(open_choices, key=lambda i: -sizes_bytes[i]):
        node = min(nodes[index], key=lambda candidate: load_bytes.get(candidate, 0))
        chosen[index] = node
        load_bytes[node] = load_bytes.get(node, 0) + max(1, sizes_bytes[index])
    return chosen


def cached_apart(shares: Sequence[float]) -> list[int] | None:
    """An order of files in which those that are cached stand before those that are not, so that few tasks read both.

    Args:
        shares: shape (F,): how much of each is cached, 0..1.

    Returns:
        Shape (F,): a permutation of indices; None where all are cached, or none is: then there is nothing to tell apart.
    """
    whole = [share >= 1.0 for share in shares]
    if all(whole) or not any(shares):
        return None
    return sorted(range(len(shares)), key=lambda index: (not whole[index], not shares[index]))


def group_files(sizes_bytes: Sequence[int], nodes: Sequence[str | None], group_count: int) -> list[FileGroup]:
    """Group files by node into balanced groups, interleaved over nodes.

    Args:
        sizes_bytes: shape (F,).
        nodes: shape (F,): where each file is best read; None for anywhere.
        group_count: wanted, >= 1.

    Returns:
        Shape (min(group_count, F),); every file is in exactly one group. A group's files share its node, unless there
        are fewer groups than nodes: then a group goes where most of its bytes are. The first file is in the first group.

    Raises:
        InvalidRequestError: group_count < 1.

    Cost: O(F).
    """
    if group_count < 1:
        raise InvalidRequestError(f"group_count {group_count} is too few; give 1 or more")
    weights = [max(1, size) for size in sizes_bytes]
    by_node: dict[str | None, list[int]] = {}
    for index, node in enumerate(nodes):
        by_node.setdefault(node, []).append(index)
    group_count = min(group_count, len(weights))
    if group_count < len(by_node):
        merged = [index for indexes in by_node.values() for index in indexes]
        runs = _cut(merged, weights, group_count)
        return [FileGroup(_majority(run, weights, nodes), sorted(run)) for run in runs]
    counts = _apportion(
        [sum(weights[i] for i in indexes) for indexes in by_node.values()],
        [len(indexes) for indexes in by_node.values()],
        group_count,
    )
    placed: list[tuple[float, int, FileGroup]] = []
    for (node, indexes), count in zip(by_node.items(), counts, strict=True):
        for position, run in enumerate(_cut(indexes, weights, count)):
            placed.append((position / count, run[0], FileGroup(node, run)))
    placed.sort(key=lambda item: item[:2])
    return [group for _, _, group in placed]


def group_in_order(sizes_bytes: Sequence[int], nodes: Sequence[str | None], group_count: int) -> list[FileGroup]:
    """Cut files into runs that keep their order, for readers that promised it; each run goes where most of it is.

    Args and errors as for `group_files`.

    Returns:
        Shape (min(group_count, F),), file after file in the order given. As many files in each as `numpy.array_split`
        would give, which is how Ray Data splits.
    """
    if group_count < 1:
        raise InvalidRequestError(f"group_count {group_count} is too few; give 1 or more")
    weights = [max(1, size) for size in sizes_bytes]
    groups: list[FileGroup] = []
    if weights:
        for run in np.array_split(np.arange(len(weights)), min(group_count, len(weights))):
            indexes: list[int] = run.tolist()
            groups.append(FileGroup(_majority(indexes, weights, nodes), indexes))
    return groups


def interleave(nodes: Sequence[str | None]) -> list[int]:
    """An order of tasks that keeps neighbours on different nodes where it can.

    Args:
        nodes: shape (T,): the node each task wants.

    Returns:
        Shape (T,): a permutation of indices; tasks of one node keep their order.
    """
    counts: dict[str | None, int] = {}
    for node in nodes:
        counts[node] = counts.get(node, 0) + 1
    seen: dict[str | None, int] = {}
    keys: list[tuple[float, int]] = []
    for index, node in enumerate(nodes):
        position = seen.get(node, 0)
        seen[node] = position + 1
        keys.append((position / counts[node], index))
    return [index for _, index in sorted(keys)]


def majority(nodes: Iterable[str | None], weights: Iterable[int]) -> str | None:
    """The node that most of the weight wants; shape (N,) each."""
    wanted: dict[str, int] = {}
    for node, weight in zip(nodes, weights, strict=True):
        if node is not None:
            wanted[node] = wanted.get(node, 0) + weight
    return best_node(wanted)


def _majority(indexes: Sequence[int], weights: Sequence[int], nodes: Sequence[str | None]) -> str | None:
    return majority([nodes[index] for index in indexes], [weights[index] for index in indexes])


def _cut(indexes: Sequence[int], weights: Sequence[int], run_count: int) -> list[list[int]]:
    """Cut into `run_count` (1..len) non-empty runs of about equal weight, in order."""
    ends = np.cumsum([weights[i] for i in indexes])
    targets = ends[-1] * np.arange(1, run_count) / run_count
    cuts = np.searchsorted(ends, targets, side="left")
    # The file that crosses a target goes to whichever side that leaves closer to it.
    before = np.where(cuts > 0, ends[np.maximum(cuts - 1, 0)], 0)
    cuts = np.where(ends[cuts] - targets <= targets - before, cuts + 1, cuts)
    result: list[list[int]] = []
    start = 0
    for position in range(run_count):
        rest = run_count - position - 1
        end = len(indexes) if rest == 0 else int(cuts[position])
        end = min(max(end, start + 1), len(indexes) - rest)
        result.append(list(indexes[start:end]))
        start = end
    return result


def _apportion(weights: Sequence[int], most: Sequence[int], total: int) -> list[int]:
    """Split `total` by weight into whole numbers, each at least 1 and at most `most[i]`; len <= total <= sum(most).

    Highest-averages method (Webster): the next seat goes where weight / (2 * seats + 1) is largest, which is what
    keeps the heaviest group lightest.
    """
    counts = [1] * len(weights)
    heap = [(-weight / 3, i) for i, weight in enumerate(weights) if most[i] > 1]
    heapq.heapify(heap)
    for _ in range(total - len(weights)):
        _, i = heapq.heappop(heap)
        counts[i] += 1
        if counts[i] < most[i]:
            heapq.heappush(heap, (-weights[i] / (2 * counts[i] + 1), i))
    return counts
