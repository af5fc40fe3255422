"""What Ray Data looks at in a few parquet files before it plans a read, looked at in this process.

Theory of operation. Ray Data estimates sizes from the footers and the first rows of up to ten files, by tasks of half a
CPU each. Two that meet on a small node start a process there, and all wait for CPUs that an earlier read still holds:
tens of milliseconds at best, now and then seconds. Through the cache the same is a few short reads, which threads make.
The looking itself is Ray's own function. Files of large row groups, of which much would be read into this process, are
left to Ray's tasks, and so is whatever fails here: then they say what is wrong.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray.data._internal.datasource import parquet_datasource

from raycache.filesystems.pyarrow import cache_handler

logger = logging.getLogger("raycache")

#: Of the first row group of a file, decoded; more of it is for tasks.
ROW_GROUP_BYTES_MAX = 8 << 20


def install() -> None:
    """Extend this process's Ray Data. Call it once."""
    by_tasks = parquet_datasource._fetch_file_infos  # noqa: SLF001

    def file_infos(fragments: list[Any], *, columns: Any, schema: Any, **named: Any) -> Any:
        if fragments and all(cache_handler(fragment.original.filesystem) for fragment in fragments):
            found = _sample_here(fragments, columns, schema)
            if found is not None:
                return found
        return by_tasks(fragments, columns=columns, schema=schema, **named)

    parquet_datasource._fetch_file_infos = file_infos  # noqa: SLF001


def _sample_here(fragments: list[Any], columns: Any, schema: Any) -> list[Any] | None:
    """What the tasks would have given, per file; None when it is for tasks."""

    def sample(fragment: Any) -> Any:
        metadata = fragment.original.metadata
        if metadata.num_row_groups and metadata.row_group(0).total_byte_size > ROW_GROUP_BYTES_MAX:
            raise _TooLargeError
        return parquet_datasource._fetch_parquet_file_info(fragment, columns=columns, schema=schema)  # noqa: SLF001

    with ThreadPoolExecutor(len(fragments), thread_name_prefix="raycache-sample") as threads:
        try:
            return list(threads.map(sample, fragments))
        except _TooLargeError:
            return None
        except Exception as error:  # whatever it is, the tasks meet it too, and report it as Ray does
            logger.debug("parquet files could not be sampled here: %s", error)
            return None


class _TooLargeError(Exception):
    """A row group that is not for this process."""
