"""Datasources of Ray Data (V1) that can be cut by file: the two ways in which they keep their files.

A copy of the datasource is asked for read tasks, holding one group of files at a time; so no reader is written again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ray import cloudpickle
from ray.data.datasource.datasource import ReadTask
from ray.data.datasource.file_based_datasource import FileBasedDatasource


class Files(Protocol):
    """The files of one datasource, in reading order."""

    paths: list[str]
    sizes_bytes: list[int]

    def shuffle(self, data_context: Any) -> None:
        """Put the files in the order of this execution, where the reader was asked to shuffle."""
        ...

    def read_tasks(self, indexes: Sequence[int], per_task_row_limit: int | None, data_context: Any) -> list[ReadTask]:
        """One task (or several) that reads these files."""
        ...


def known_files(inner: Any) -> Files | None:
    """How the files of a datasource can be cut; None when it is of a kind we do not know."""
    if all(hasattr(inner, name) for name in ("_pq_fragments", "_pq_paths", "_shuffle")):
        return _ParquetFiles(inner)
    if all(hasattr(inner, name) for name in ("_paths", "_file_sizes", "_shuffle")) and callable(inner._paths):  # noqa: SLF001
        return _FileLists(inner)
    return None


class _ShuffledFiles:
    """What both kinds share. A copy of the datasource is asked for tasks, holding one group of files at a time."""

    def __init__(self, inner: Any, paths: Sequence[str], sizes_bytes: Sequence[int | None]) -> None:
        self.paths = list(paths)
        self.sizes_bytes = [int(size or 0) for size in sizes_bytes]
        #: Shape (F,): positions in the datasource's own lists.
        self._order = list(range(len(paths)))
        self._shuffle = inner._shuffle  # noqa: SLF001
        self._copy = copy.copy(inner)
        self._copy._shuffle = None  # noqa: SLF001  # done here, over all files

    def shuffle(self, data_context: Any) -> None:
        if self._shuffle is None:
            return
        from ray.data.datasource.file_based_datasource import _shuffle_file_metadata

        execution = getattr(data_context, "_execution_idx", 0)
        paths, order = _shuffle_file_metadata(self.paths, self._order, self._shuffle, execution)
        by_position = dict(zip(self._order, self.sizes_bytes, strict=True))
        self.paths, self._order = list(paths), list(order)
        self.sizes_bytes = [by_position[position] for position in self._order]


class _FileLists(_ShuffledFiles):
    """`FileBasedDatasource`: two methods give the paths and the sizes."""

    def __init__(self, inner: Any) -> None:
        self._raw_sizes: list[int | None] = list(inner._file_sizes())  # noqa: SLF001
        super().__init__(inner, inner._paths(), self._raw_sizes)  # noqa: SLF001
        self._pickled: bytes | None = None
        # Ray's own only: others may make their tasks in another way, or want these lists in them.
        usual = type(inner).get_read_tasks is FileBasedDatasource.get_read_tasks
        if usual and type(inner).__module__.startswith("ray.data."):
            for name in ("_source_paths_ref", "_paths_ref", "_file_sizes_ref"):
                # Objects with the lists of all files, which every process that has a read task would have to know of.
                setattr(self._copy, name, None)
            self._pickled = cloudpickle.dumps(self._copy)

    def read_tasks(self, indexes: Sequence[int], per_task_row_limit: int | None, data_context: Any) -> list[ReadTask]:
        paths = [self.paths[i] for i in indexes]
        sizes = [self._raw_sizes[self._order[i]] for i in indexes]
        tasks = _tasks_of(self._copy, paths, sizes, per_task_row_limit, data_context)
        if self._pickled is None or len(tasks) != 1:
            return tasks
        read = _ReadFiles(self._pickled, paths, sizes)
        return [ReadTask(read, tasks[0].metadata, tasks[0].schema, per_task_row_limit)]


def _tasks_of(
    source: Any, paths: list[str], sizes: list[int | None], per_task_row_limit: int | None, data_context: Any
) -> list[ReadTask]:
    """What a datasource that keeps lists makes of these files."""
    source._paths = lambda: paths  # noqa: SLF001
    source._file_sizes = lambda: sizes  # noqa: SLF001
    try:
        tasks: list[ReadTask] = source.get_read_tasks(1, per_task_row_limit, data_context)
    finally:
        # Read tasks carry the datasource along; it must not carry the lists.
        del source._paths, source._file_sizes  # noqa: SLF001
    return tasks


class _ReadFiles:
    """A read function over some files of one of Ray's datasources.

    Ray's own is a function within a function, which takes half a millisecond to pickle, for each task while others wait
    to start. This one holds the datasource as bytes, the same for all tasks, and has the function made where it runs.
    """

    def __init__(self, source: bytes, paths: list[str], sizes: list[int | None]) -> None:
        self._source = source
        self._paths = paths
        self._sizes = sizes

    @property
    def __name__(self) -> str:
        return "read_files"

    def __call__(self) -> Iterable[Any]:
        for task in _tasks_of(cloudpickle.loads(self._source), self._paths, self._sizes, None, None):
            yield from task.read_fn()


class _ParquetFiles(_ShuffledFiles):
    """`ParquetDatasource`: two lists, of fragments and of paths. Its read tasks do not hold the datasource."""

    def __init__(self, inner: Any) -> None:
        self._fragments = list(inner._pq_fragments)  # noqa: SLF001
        super().__init__(inner, inner._pq_paths, [fragment.file_size for fragment in self._fragments])  # noqa: SLF001

    def read_tasks(self, indexes: Sequence[int], per_task_row_limit: int | None, data_context: Any) -> list[ReadTask]:
        self._copy._pq_fragments = [self._fragments[self._order[i]] for i in indexes]  # noqa: SLF001
        self._copy._pq_paths = [self.paths[i] for i in indexes]  # noqa: SLF001
        tasks: list[ReadTask] = self._copy.get_read_tasks(1, per_task_row_limit, data_context)
        return tasks
