"""Which node each of many tasks should run on: rules only, no Ray and no I/O.

Tasks that share files share a node, each node gets about the same number of bytes to read, and a task runs where most of
its bytes are. All results depend only on the arguments: same input, same answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

#: How far above its fair share of bytes a node may go before tasks are sent elsewhere.
_LOAD_SLACK = 1.05


def best_node(held_bytes: Mapping[str, int], load: Mapping[str, float] | None = None) -> str | None:
    """The node that holds most; of equals the least loaded, then the smallest id.

    Args:
        held_bytes: per node, how many of the wanted bytes it holds.
        load: per node, any measure of how busy it is.

    Returns:
        None when nothing is held anywhere.
    """
    load = load or {}
    ranked = sorted((-held, load.get(node, 0.0), node) for node, held in held_bytes.items() if held > 0)
    return ranked[0][2] if ranked else None


def assign_tasks(
    tasks: Sequence[Sequence[str]],
    sizes_bytes: Mapping[str, int],
    held_bytes: Mapping[str, Mapping[str, int]],
    nodes: Mapping[str, float],
) -> list[str | None]:
    """Choose a node for each of many tasks.

    Tasks are looked at in the order of their first file, so that overlapping ones follow each other. Each goes to the
    node where the most of its bytes are, or will have been brought by a task placed there before, among the nodes still
    below their share of the work.

    Args:
        tasks: shape (T,): the paths each task reads.
        sizes_bytes: of every path; a path that is missing counts as nothing.
        held_bytes: per path, per node: what is there already.
        nodes: where tasks may run, and how much of the work each can take, in any unit.

    Returns:
        Shape (T,), in the order of `tasks`: None for a task without known files, or when there are no nodes.

    Cost: O(T * P * N) in numpy, P = paths per task; about 20 us a task.
    """
    names_of_nodes = list(nodes)
    weights = np.array(list(nodes.values()), dtype=np.float64)
    if not weights.sum() > 0:
        return [None] * len(tasks)
    path_index = {path: position for position, path in enumerate(sizes_bytes)}
    sizes = np.fromiter(sizes_bytes.values(), dtype=np.float64, count=len(sizes_bytes))
    # Shape (N, F): bytes of each file that a task on this node would not have to bring.
    present = np.zeros((len(nodes), len(sizes)), dtype=np.float64)
    node_index = {node: position for position, node in enumerate(names_of_nodes)}
    for path, holders in held_bytes.items():
        for node, held in holders.items():
            if node in node_index and path in path_index:
                present[node_index[node], path_index[path]] = min(held, sizes[path_index[path]])
    wanted: list[npt.NDArray[np.intp]] = [
        np.array(sorted({path_index[path] for path in paths if path in path_index}), dtype=np.intp) for paths in tasks
    ]
    work = [float(sizes[files].sum()) for files in wanted]
    shares = np.where(
        weights > 0, np.maximum(sum(work) * weights / weights.sum() * _LOAD_SLACK, max(work, default=0.0)), 0.0
    )
    load = np.zeros(len(nodes), dtype=np.float64)
    chosen: list[str | None] = [None] * len(tasks)
    names = [min((path for path in paths), default="") for paths in tasks]
    for task in sorted(range(len(tasks)), key=lambda t: (names[t], t)):
        files = wanted[task]
        if not len(files):
            continue
        local = present[:, files].sum(axis=1)
        roomy = load + work[task] <= shares
        if not roomy.any():
            roomy = (load == load[weights > 0].min()) & (weights > 0)
        # Most bytes first, then the least load, then the order of `nodes`.
        best = min(np.flatnonzero(roomy).tolist(), key=lambda n: (-local[n], load[n], n))
        chosen[task] = names_of_nodes[best]
        load[best] += work[task]
        present[best, files] = sizes[files]
    return chosen


def homes(tasks: Sequence[Sequence[str]], nodes: Sequence[str | None], paths: Collection[str]) -> dict[str, str]:
    """Where files should be: on the node where most of the tasks that read them run.

    Args:
        tasks: shape (T,): the paths each task reads.
        nodes: shape (T,): where each task runs; None: anywhere.
        paths: the files meant.

    Returns:
        The node of each of the paths that a placed task reads; of equals the one named first.
    """
    readers: dict[str, dict[str, int]] = {}
    for task, node in zip(tasks, nodes, strict=True):
        for path in task if node is not None else ():
            if path in paths:
                counts = readers.setdefault(path, {})
                counts[str(node)] = counts.get(str(node), 0) + 1
    return {path: max(counts, key=lambda node: counts[node]) for path, counts in readers.items()}
