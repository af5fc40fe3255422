"""A Ray Data datasource whose read tasks know the node that holds their files.

Theory of operation. `LocatedDatasource` wraps any datasource of Ray Data (the V1 interface) that reads lists of files; no
reader is written again. Towards Ray Data it behaves as the wrapped one: names, sizes, schema, column and filter pushdown
and the number of read tasks are its own. Only when an execution starts, `located_tasks` asks the cache where the files
are, groups them per node (`grouping`), and lets the wrapped datasource make one read task per group. Every task is
correct on any node.

Datasources keep their files in one of two ways we know (`file_lists`); of any other, the read tasks are
taken as they come, and each is sent where most of its input files are.

When the cache cannot say where files are, tasks run anywhere: location is a hint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.data.datasource.datasource import Datasource, ReadTask

from raycache.client import connection
from raycache.client.client import Client
from raycache.errors import RaycacheError
from raycache.filesystems.pyarrow import cache_handler
from raycache.placement.assignment import best_node
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata import grouping
from raycache.raydata.file_lists import Files, known_files

logger = logging.getLogger("raycache")


class Placer(Protocol):
    """What a located read needs of `NamedPlaces`."""

    def place(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Per file the nodes where its blocks are or will be, best first."""
        ...

    def missing(self, names: Sequence[str]) -> set[str]:
        """Those of these files that nobody is known to hold whole; goes by what `place` has found."""
        ...

    def shares(self, names: Sequence[str], *, now: bool) -> list[float]:
        """How much of each of these files is cached, as `place` has found, or now."""
        ...

    def prefetch(self, paths: Sequence[str], bytes_max: int, *, epoch_age_s: float | None = None) -> None:
        """Have files loaded in the background, of so many bytes at most."""
        ...

    def count_task(self, name: str, *, out_of_turn: bool) -> None:
        """A task was started whose first file has this name."""
        ...

    def path_of(self, name: str) -> str:
        """The cache's path of a file."""
        ...


class NamedPlaces:
    """What a client knows of where files are, by the names that Ray Data has for them; see `filesystems.arrow_names`.

    Args:
        client: of the cache.
        path_of: the cache's path of a name.
    """

    def __init__(self, client: Client, path_of: Callable[[str], str]) -> None:
        self._client = client
        self._places = Whereabouts(client)
        self.path_of = path_of

    @classmethod
    def of(cls, datasource: Any, client: Client | None = None) -> NamedPlaces:
        """Of the files of one of Ray Data's datasources.

        Args:
            datasource: where it does not keep a filesystem of the cache, its names are paths.
            client: None: this process's connection.
        """
        handler = cache_handler(getattr(datasource, "_filesystem", None))
        path_of = str if handler is None else handler.path_of
        return cls(client or (connection.connect() if handler is None else handler.fs.client), path_of)

    def place(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Per file the nodes that hold most of it, or will; see `Whereabouts.place`."""
        return self._places.place([self.path_of(name) for name in names])

    def shares(self, names: Sequence[str], *, now: bool) -> list[float]:
        """How much of each of these files is cached; see `Whereabouts.shares`."""
        return self._places.shares([self.path_of(name) for name in names], now=now)

    def count_task(self, name: str, *, out_of_turn: bool) -> None:
        """See `Client.count_task`."""
        self._client.count_task(self.path_of(name), out_of_turn=out_of_turn)

    def prefetch(self, paths: Sequence[str], bytes_max: int, *, epoch_age_s: float | None = None) -> None:
        """See `Client.prefetch`."""
        self._client.prefetch(paths, bytes_max, epoch_age_s=epoch_age_s)

    def missing(self, names: Sequence[str]) -> set[str]:
        """Those of these files that nobody is known to hold whole; see `Whereabouts.missing`."""
        paths = [self.path_of(name) for name in names]
        missing = self._places.missing(paths)
        return {name for name, path in zip(names, paths, strict=True) if path in missing}


class LocatedDatasource(Datasource):  # type: ignore[misc]
    """Wraps a datasource.

    Args:
        inner: of the V1 interface, over paths the cache knows.
        placer: the cache; None: connect when it is needed.
    """

    def __init__(self, inner: Any, placer: Placer | None) -> None:
        super().__init__()
        self._inner = inner
        self._placer = placer

    def __getstate__(self) -> dict[str, Any]:
        # A dataset may be executed in another process. That one connects when it plans, not while it unpickles: Ray holds
        # a lock then, under which no other thread of the process can fetch anything.
        return {**self.__dict__, "_placer": None}

    def __getattr__(self, name: str) -> Any:
        # Ray Data's rules look at attributes of datasources they know. Dunders and our own are never forwarded: copying
        # and unpickling ask for them before there is an inner one.
        if name.startswith("__") or name in ("_inner", "_placer"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    @property
    def inner(self) -> Any:
        """The wrapped datasource."""
        return self._inner

    # --- what Ray Data asks ---------------------------------------------------------------------------------------------

    def get_name(self) -> str:
        return str(self._inner.get_name())

    def estimate_inmemory_data_size(self) -> int | None:
        size: int | None = self._inner.estimate_inmemory_data_size()
        return size

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        tasks: list[ReadTask] = self._inner.get_read_tasks(parallelism, per_task_row_limit, data_context)
        return tasks

    @property
    def supports_distributed_reads(self) -> bool:
        return bool(self._inner.supports_distributed_reads)

    def supports_projection_pushdown(self) -> bool:
        return bool(self._inner.supports_projection_pushdown())

    def get_projection_map(self) -> Any:
        return self._inner.get_projection_map()

    def apply_projection(self, projection_map: Any) -> LocatedDatasource:
        return LocatedDatasource(self._inner.apply_projection(projection_map), self._placer)

    def supports_predicate_pushdown(self) -> bool:
        return bool(self._inner.supports_predicate_pushdown())

    def get_current_predicate(self) -> Any:
        return self._inner.get_current_predicate()

    def apply_predicate(self, predicate_expr: Any) -> LocatedDatasource:
        inner = self._inner.apply_predicate(predicate_expr)
        # The same object back means "nothing was pushed down": the filter above has to stay.
        return self if inner is self._inner else LocatedDatasource(inner, self._placer)

    # --- what the placed read asks --------------------------------------------------------------------------------------

    def located_tasks(
        self, parallelism: int, per_task_row_limit: int | None, data_context: Any, *, apart: bool = False
    ) -> list[tuple[ReadTask, str | None]]:
        """The read tasks of one execution, in the order they should start, each with its node (hex id).

        As many tasks as `get_read_tasks` gives. With `preserve_order` files keep their order; else they are regrouped,
        with `apart` what is cached apart from what is not.
        """
        files = known_files(self._inner)
        if files is not None:
            ordered = bool(data_context.execution_options.preserve_order)
            found = self._regrouped(files, parallelism, per_task_row_limit, data_context, ordered=ordered, apart=apart)
            if found is not None:
                return found
        return self._as_they_come(parallelism, per_task_row_limit, data_context)

    def missing(self, names: Sequence[str]) -> dict[str, str]:
        """Those of these files, of tasks made by `located_tasks`, that nobody is known to hold whole: path by name."""
        try:
            placer = self._known_placer()
            return {name: placer.path_of(name) for name in placer.missing(names)}
        except RaycacheError as error:
            logger.debug("cannot tell what is missing of %d files: %s", len(names), error)
            return {}

    def count_task(self, name: str, *, out_of_turn: bool) -> None:
        """A task was started whose first file has this name."""
        self._known_placer().count_task(name, out_of_turn=out_of_turn)

    def shares(self, names: Sequence[str], *, now: bool) -> list[float]:
        """How much of each of these files is cached; see `Whereabouts.shares`."""
        return self._known_placer().shares(names, now=now)

    def prefetch(self, paths: Sequence[str], bytes_max: int, *, epoch_age_s: float | None = None) -> None:
        """Have files loaded in the background."""
        self._known_placer().prefetch(paths, bytes_max, epoch_age_s=epoch_age_s)

    def _regrouped(
        self,
        files: Files,
        parallelism: int,
        per_task_row_limit: int | None,
        data_context: Any,
        *,
        ordered: bool,
        apart: bool,
    ) -> list[tuple[ReadTask, str | None]] | None:
        files.shuffle(data_context)
        paths, sizes_bytes = files.paths, files.sizes_bytes
        if not paths:
            return []
        nodes = grouping.choose_nodes(sizes_bytes, self._place(paths))
        count = max(1, parallelism)
        order = None if ordered or not apart else grouping.cached_apart(self._shares(paths))
        if order is not None:
            sizes_bytes, nodes = [sizes_bytes[i] for i in order], [nodes[i] for i in order]
        groups = (grouping.group_in_order if ordered else grouping.group_files)(sizes_bytes, nodes, count)
        result: list[tuple[ReadTask, str | None]] = []
        for node, chosen in groups:
            indexes = chosen if order is None else [order[i] for i in chosen]
            tasks = files.read_tasks(indexes, per_task_row_limit, data_context)
            if sum(len(task.metadata.input_files or ()) for task in tasks) != len(indexes):
                # Not made as we think it is: rather no grouping than wrong rows.
                logger.warning("%s cannot be grouped by node", self.get_name())
                return None
            result.extend((task, node) for task in tasks)
        return result

    def _as_they_come(
        self, parallelism: int, per_task_row_limit: int | None, data_context: Any
    ) -> list[tuple[ReadTask, str | None]]:
        tasks = self._inner.get_read_tasks(parallelism, per_task_row_limit, data_context)
        inputs = [[str(path) for path in task.metadata.input_files or ()] for task in tasks]
        distinct = list(dict.fromkeys(path for paths in inputs for path in paths))
        first = {path: found[0] for path, found in zip(distinct, self._place(distinct), strict=True) if found}
        nodes: list[str | None] = []
        for paths in inputs:
            votes: dict[str, int] = {}
            for path in paths:
                if path in first:
                    votes[first[path]] = votes.get(first[path], 0) + 1
            nodes.append(best_node(votes))
        ordered = bool(data_context.execution_options.preserve_order)
        order = range(len(tasks)) if ordered else grouping.interleave(nodes)
        return [(tasks[i], nodes[i]) for i in order]

    def _place(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        try:
            return self._known_placer().place(names)
        except RaycacheError as error:
            logger.warning("cannot tell where %d files are, so tasks run anywhere: %s", len(names), error)
            return [()] * len(names)

    def _shares(self, names: Sequence[str]) -> Sequence[float]:
        try:
            return self.shares(names, now=False)
        except RaycacheError as error:
            logger.debug("cannot tell what is cached of %d files: %s", len(names), error)
            return [0.0] * len(names)

    def _known_placer(self) -> Placer:
        if self._placer is None:
            self._placer = NamedPlaces.of(self._inner)
        return self._placer
