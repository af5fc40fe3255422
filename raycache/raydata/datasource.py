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
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from ray.data.datasource.datasource import Datasource, ReadTask

from raycache.client import connection
from raycache.errors import RaycacheError
from raycache.placement.assignment import best_node
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata import grouping
from raycache.raydata.file_lists import Files, known_files

logger = logging.getLogger("raycache")

#: What Ray's own readers show in a `path` column: `/@s3/bucket/key` -> `bucket/key`, `/@file/x` -> `/x`. Read by RE2, too.
_URI_PATH = re.compile(r"^/@(?:(?:file|(?:hdfs|viewfs)/[^/]*)(/)|[^/]+/)")


class Placer(Protocol):
    """What a located read needs of `whereabouts.Whereabouts`."""

    def place(self, paths: Sequence[str]) -> list[tuple[str, ...]]:
        """Per path the nodes where its blocks are or will be, best first."""
        ...

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of these files that nobody is known to hold whole; goes by what `place` has found."""
        ...


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
        tasks = self._inner.get_read_tasks(parallelism, per_task_row_limit, data_context)
        return [self._finish(task) for task in tasks]

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
        self, parallelism: int, per_task_row_limit: int | None, data_context: Any
    ) -> list[tuple[ReadTask, str | None]]:
        """The read tasks of one execution, in the order they should start, each with its node (hex id).

        As many tasks as `get_read_tasks` gives. With `preserve_order` files keep their order; else they are regrouped.
        """
        files = known_files(self._inner)
        if files is not None:
            ordered = bool(data_context.execution_options.preserve_order)
            found = self._regrouped(files, parallelism, per_task_row_limit, data_context, ordered=ordered)
            if found is not None:
                return found
        return self._as_they_come(parallelism, per_task_row_limit, data_context)

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of these files, of tasks made by `located_tasks`, that nobody is known to hold whole."""
        try:
            return set(paths) if self._placer is None else self._placer.missing(paths)
        except RaycacheError as error:
            logger.debug("cannot tell what is missing of %d files: %s", len(paths), error)
            return set(paths)

    def _regrouped(
        self, files: Files, parallelism: int, per_task_row_limit: int | None, data_context: Any, *, ordered: bool
    ) -> list[tuple[ReadTask, str | None]] | None:
        files.shuffle(data_context)
        paths, sizes_bytes = files.paths, files.sizes_bytes
        if not paths:
            return []
        nodes = grouping.choose_nodes(sizes_bytes, self._place(paths))
        group = grouping.group_in_order if ordered else grouping.group_files
        result: list[tuple[ReadTask, str | None]] = []
        for node, indexes in group(sizes_bytes, nodes, max(1, parallelism)):
            tasks = files.read_tasks(indexes, per_task_row_limit, data_context)
            if sum(len(task.metadata.input_files or ()) for task in tasks) != len(indexes):
                # Not made as we think it is: rather no grouping than wrong rows.
                logger.warning("%s cannot be grouped by node", self.get_name())
                return None
            result.extend((self._finish(task), node) for task in tasks)
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
        return [(self._finish(tasks[i]), nodes[i]) for i in order]

    def _place(self, paths: Sequence[str]) -> list[tuple[str, ...]]:
        try:
            if self._placer is None:
                self._placer = Whereabouts(connection.connect())
            return self._placer.place(paths)
        except RaycacheError as error:
            logger.warning("cannot tell where %d files are, so tasks run anywhere: %s", len(paths), error)
            return [()] * len(paths)

    def _finish(self, task: ReadTask) -> ReadTask:
        """Show paths as Ray's own readers do."""
        columns = ["path"] if getattr(self._inner, "_include_paths", False) else []
        if self.get_name() == "WebDataset":
            columns.append("__url__")
        if not columns or not any(str(path).startswith("/@") for path in task.metadata.input_files or ()):
            return task
        return ReadTask(_StockPaths(task.read_fn, columns), task.metadata, task.schema, task.per_task_row_limit)


class _StockPaths:
    """A read function whose path columns have no `/@scheme/` in front. Pickles."""

    def __init__(self, read: Any, columns: Sequence[str]) -> None:
        self._read = read
        self._columns = columns

    @property
    def __name__(self) -> str:
        return str(getattr(self._read, "__name__", "read"))

    def __call__(self) -> Iterable[Any]:
        for block in self._read():
            for column in self._columns:
                block = _with_stock_paths(block, column)  # noqa: PLW2901
            yield block


def _with_stock_paths(block: Any, name: str) -> Any:
    if isinstance(block, pa.Table):
        position = block.schema.get_field_index(name)
        if position >= 0 and pa.types.is_string(block.schema.field(position).type):
            column = pc.replace_substring_regex(block.column(position), _URI_PATH.pattern, r"\1")
            block = block.set_column(position, block.schema.field(position), column)
    elif name in getattr(block, "columns", ()):
        block[name] = [_URI_PATH.sub(r"\1", path) for path in block[name]]
    return block
