"""Scheduling options for tasks and actors of any kind: run where the bytes are.

The wish is soft. A task runs elsewhere when its node is busy or gone, and reads the same bytes from there; so the options
may be old, and nothing that goes wrong here stops a job.

One task (`near`) asks by node affinity with spill: it starts at once, elsewhere if need be. A batch (`near_many`) is
balanced already, over the nodes that have a CPU to give when it is planned, and its cold files are loaded where most of
the tasks that read them will run. So its tasks wait for their node, and leave it only when it is gone: were they to
spill, the first ones submitted would take the other nodes, whose own then find them taken (measured on 3 nodes: 65 of
240 astray).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from raycache.errors import UnavailableError
from raycache.placement import assignment

#: A node without a free CPU for so long counts as busy, and how often it is looked at.
_BUSY_S = 1.5
_LOOK_S = 0.1


class Located(Protocol):
    """A file and its size."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


class FilePlaces(Protocol):
    """What this module needs of `whereabouts.Whereabouts`."""

    def expand(self, paths: str | Sequence[str]) -> Sequence[Located]:
        """The files that paths mean, with their sizes."""
        ...

    def place(self, paths: Sequence[str]) -> list[tuple[str, ...]]:
        """Per file the nodes where its blocks are or will be, best first."""
        ...

    def locate_bytes(self, paths: Sequence[str]) -> list[dict[str, int]]:
        """Per file the bytes each node holds."""
        ...

    def direct(self, nodes: Mapping[str, str]) -> None:
        """Where to load files that nobody holds."""
        ...

    @property
    def nodes(self) -> list[str]:
        """Where there are workers."""
        ...


def near(places: FilePlaces, paths: str | Sequence[str]) -> dict[str, Any]:
    """Ray options for a task or an actor that reads these paths: `task.options(**near(places, paths)).remote(...)`.

    Args:
        places: where files are.
        paths: files, directories, globs.

    Returns:
        A wish for the node that holds most of the bytes, or will once they are loaded; of equals the one with the most
        idle CPUs. Empty when no node is better than another, or the cache does not answer.

    Raises:
        NotFoundError: a path does not exist.
    """
    return _options(near_node(places, paths, _busy_shares))


def near_many(places: FilePlaces, path_lists: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
    """Ray options for many tasks at once: balanced, and tasks that share files share a node.

    Args:
        places: where files are.
        path_lists: shape (T,): what each task reads; files, directories, globs.

    Returns:
        Shape (T,): a wish each; empty for a task without a better node.

    Raises:
        NotFoundError: a path does not exist.
    """
    nodes = near_nodes(places, path_lists, _usable_cpus)
    return [{} if node is None else {"scheduling_strategy": _affinity(node, spill=False)} for node in nodes]


def near_node(
    places: FilePlaces, paths: str | Sequence[str], busy_shares: Callable[[], Mapping[str, float]]
) -> str | None:
    """The decision behind `near`. `busy_shares` (0..1 per node) is asked only when nodes hold the same."""
    try:
        sizes_bytes, held_bytes = _whereabouts(places, places.expand(paths))
    except UnavailableError:
        return None
    total: dict[str, int] = {}
    for path in sizes_bytes:
        for node, held in held_bytes[path].items():
            total[node] = total.get(node, 0) + held
    most = max(total.values(), default=0)
    tied = sum(held == most for held in total.values()) > 1
    return assignment.best_node(total, busy_shares() if tied else None)


def near_nodes(
    places: FilePlaces, path_lists: Sequence[str | Sequence[str]], usable_cpus: Callable[[], Mapping[str, float]]
) -> list[str | None]:
    """The decision behind `near_many`. `usable_cpus` tells them per node; empty when Ray does not say."""
    lists = [[paths] if isinstance(paths, str) else list(paths) for paths in path_lists]
    distinct = list(dict.fromkeys(path for paths in lists for path in paths))
    if not distinct:
        return [None] * len(lists)
    try:
        infos = list(places.expand(distinct))
        known = {info.path for info in infos}
        below = {path: [i.path for i in places.expand(path)] for path in distinct if path not in known}
        sizes_bytes = {info.path: info.size_bytes for info in infos}
        paths = list(sizes_bytes)
        held_bytes = dict(zip(paths, places.locate_bytes(paths), strict=True))
    except UnavailableError:
        return [None] * len(lists)
    tasks = [[file for path in paths for file in below.get(path, (path,))] for paths in lists]
    usable = usable_cpus()
    nodes = {node: usable.get(node, 0.0) for node in sorted(places.nodes)}
    if not any(nodes.values()):
        nodes = dict.fromkeys(nodes, 1.0)
    chosen = assignment.assign_tasks(tasks, sizes_bytes, held_bytes, nodes)
    cold = {path for path in paths if not any(held_bytes[path].values())}
    with contextlib.suppress(UnavailableError):  # then they are loaded where the hash says, and read from there
        places.direct(assignment.homes(tasks, chosen, cold))
    return chosen


def _whereabouts(
    places: FilePlaces, infos: Sequence[Located]
) -> tuple[dict[str, int], Mapping[str, Mapping[str, int]]]:
    """Sizes, and per path and node the bytes held; what nobody holds counts where it will be loaded."""
    sizes_bytes = {info.path: info.size_bytes for info in infos}
    paths = list(sizes_bytes)
    held = dict(zip(paths, places.locate_bytes(paths), strict=True))
    cold = [path for path in paths if not any(held[path].values())]
    for path, nodes in zip(cold, places.place(cold), strict=True):
        held[path] = {nodes[0]: sizes_bytes[path]} if nodes else {}
    return sizes_bytes, held


def _options(node: str | None) -> dict[str, Any]:
    return {} if node is None else {"scheduling_strategy": _affinity(node, spill=True)}


def _affinity(node: str, *, spill: bool) -> Any:
    from raycache.placement.strategies import soft_affinity

    return soft_affinity(node, spill=spill)


def _busy_shares() -> dict[str, float]:
    """Per node the share of its CPUs in use, 0..1; empty when Ray does not say."""
    total, free = _cpus()
    return {node: 1 - free.get(node, 0.0) / cpus if cpus else 1.0 for node, cpus in total.items()}


def _usable_cpus() -> dict[str, float]:
    """Per node its CPUs, 0 where all are taken and stay so for a while; empty when Ray does not say.

    A CPU counts as taken for about a second after its task has ended, so a full node is looked at again.
    """
    deadline_s = time.monotonic() + _BUSY_S
    seen_free: set[str] = set()
    while True:
        total, free = _cpus()
        seen_free |= {node for node, cpus in free.items() if cpus > 0}
        if all(node in seen_free for node, cpus in total.items() if cpus) or time.monotonic() > deadline_s:
            return {node: cpus if node in seen_free else 0.0 for node, cpus in total.items()}
        time.sleep(_LOOK_S)


def _cpus() -> tuple[dict[str, float], dict[str, float]]:
    """All and free CPUs per live node."""
    import ray

    try:
        total = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]}
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node()
    except (ImportError, KeyError, ray.exceptions.RayError):
        return {}, {}
    return total, {node: free.get(node, {}).get("CPU", 0.0) for node in total}
