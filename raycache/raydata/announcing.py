"""Read tasks that announce files before they read them, so that loading overlaps with reading and computing.

Theory of operation. When a read task starts, it tells the workers, without waiting, which files it is about to read whole,
and which ones the task after it on the same node will. What is known to be cached when the read is planned is not
announced; of the rest, what is cached by then costs nothing, and what is not is on its way, each file in one piece, when
somebody asks for it. Only readers that want every byte of their files announce any: of a parquet file with chosen columns
or a filter, nothing may be loaded that is not read.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ray.data.datasource.datasource import ReadTask

from raycache.client import connection
from raycache.errors import RaycacheError

logger = logging.getLogger("raycache")

#: What one task announces at most, its own files and the next task's apart.
ANNOUNCED_BYTES_MAX = 256 << 20


class Prefetch(Protocol):
    """`Client.prefetch`."""

    def __call__(self, paths: Sequence[str], bytes_max: int, *, epoch_age_s: float | None = None) -> None: ...


def reads_whole_files(datasource: Any) -> bool:
    """Whether a datasource (V1, of Ray Data) reads all bytes of its files."""
    if getattr(datasource, "_projection_map", None) is not None or getattr(datasource, "_block_udf", None) is not None:
        return False
    if getattr(datasource, "_predicate_expr", None) is not None or getattr(datasource, "_include_row_hash", False):
        return False
    arguments = getattr(datasource, "_to_batch_kwargs", None) or {}
    return not {"columns", "filter"} & set(arguments)


def announce(
    tasks: Sequence[tuple[ReadTask, str | None]],
    slots: Mapping[str, float],
    missing: Callable[[Sequence[str]], Mapping[str, str]],
) -> list[tuple[ReadTask, str | None]]:
    """Let every read task announce its files and those of the task that should follow it on its node.

    Args:
        tasks: shape (T,), in the order they should start, each with its node.
        slots: per node, how many tasks run there at once.
        missing: the paths of those of some files that nobody is known to hold, by their names.

    Returns:
        Shape (T,): the same, announcing what is missing.
    """
    by_node: dict[str | None, list[int]] = {}
    for index, (_, node) in enumerate(tasks):
        by_node.setdefault(node, []).append(index)
    following: dict[int, int] = {}
    for node, indexes in by_node.items():
        step = max(1, int(slots.get(node or "", 1)))
        following.update(zip(indexes, indexes[step:], strict=False))
    files = [[str(name) for name in task.metadata.input_files or ()] for task, _ in tasks]
    wanted = missing([name for names in files for name in names])
    files = [[wanted[name] for name in names if name in wanted] for names in files]
    return [
        (_announcing(task, files[index], files[following[index]] if index in following else []), node)
        for index, (task, node) in enumerate(tasks)
    ]


def _announcing(task: ReadTask, own: Sequence[str], following: Sequence[str]) -> ReadTask:
    if task.per_task_row_limit is not None or not (own or following):
        return task
    read = _Announcing(task.read_fn, own, following)
    return ReadTask(read, task.metadata, task.schema, task.per_task_row_limit)


class _Announcing:
    """A read function that announces first. Pickles."""

    def __init__(self, read: Any, own: Sequence[str], following: Sequence[str]) -> None:
        self._read = read
        self._own = list(own)
        self._following = list(following)

    @property
    def __name__(self) -> str:
        return str(getattr(self._read, "__name__", "read"))

    def __call__(self) -> Iterable[Any]:
        try:
            client = connection.connect()
            for paths in (self._own, self._following):
                client.prefetch(paths, ANNOUNCED_BYTES_MAX)
        except RaycacheError as error:
            # Reading goes on, and says what is wrong if it concerns it.
            logger.debug("files could not be announced: %s", error)
        blocks: Iterable[Any] = self._read()
        return blocks


def announcement(
    missing: Mapping[str, str], prefetch: Callable[[Sequence[str], int], None], task: ReadTask
) -> Callable[[], None] | None:
    """What has a read task's files loaded that nobody is known to hold; None where there is nothing to load.

    Args:
        missing: paths by names.
        prefetch: has files loaded, of so many bytes at most.
        task: reads whole files.
    """
    paths = [missing[name] for name in map(str, task.metadata.input_files or ()) if name in missing]
    if not paths or task.per_task_row_limit is not None:
        return None
    return functools.partial(prefetch, paths, ANNOUNCED_BYTES_MAX)


def in_this_epoch(prefetch: Prefetch) -> Callable[[Sequence[str], int], None]:
    """Loading files in place of what is read from now on, rather than of what was read before and may be read again."""
    began_s = time.monotonic()
    return lambda paths, bytes_max: prefetch(paths, bytes_max, epoch_age_s=time.monotonic() - began_s)
