"""The files of a read, as Ray Data's parquet reader lists them, out of the cache's listings.

`CacheFileIndexer` is Ray's own indexer, with another way to find files. It stands in the logical plan; so where the read is
planned by Ray after all, files are listed here, too, in one task and without actors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data._internal.datasource_v2.common.non_sampling_file_indexer import NonSamplingFileIndexer
from ray.data._internal.datasource_v2.interfaces.file_indexer import FileInfo
from ray.data._internal.datasource_v2.interfaces.file_manifest import FileManifest
from ray.data._internal.planner.plan_expression.expression_visitors import get_column_references

from raycache.filesystems.pyarrow import CacheHandler, cache_handler
from raycache.raydata.file_listing import files_of
from raycache.raydata.parquet.footer_reading import FooterReader
from raycache.raydata.parquet.footers import RowGroups, Wanted

logger = logging.getLogger("raycache")

#: Files whose footers are looked at together where few may be enough.
_LIMITED_FILES = 10


class CacheFileIndexer(NonSamplingFileIndexer):  # type: ignore[misc]
    """Lists files and their row groups through the cache.

    Args:
        ignore_missing_paths, skip_paths: as of Ray's indexer.
        blocks: how many tasks were asked for; None: as many as are good.
    """

    def __init__(
        self, *, ignore_missing_paths: bool, skip_paths: Iterable[str] | None = None, blocks: int | None = None
    ) -> None:
        super().__init__(ignore_missing_paths=ignore_missing_paths, skip_paths=skip_paths)
        self.blocks = blocks

    def as_whole_file_indexer(self) -> None:
        """None: rows are counted by placed reads of no columns, not by tasks that Ray places."""

    def _get_file_info_iterator(self, paths: Any, filesystem: Any, preserve_order: bool) -> Iterator[FileInfo]:  # noqa: ARG002  # Ray's signature
        handler = handler_of(filesystem)
        if handler.chosen is not None:
            found: Iterable[tuple[str, int]] = handler.chosen
        else:
            given = [path for path in paths.to_pylist() if path not in self._skip_paths]
            locator = handler.fs.client.locator
            found = files_of(locator, given, handler.path_of, ignore_missing=self._ignore_missing_paths)
        skipped = _Skipped(self._skip_paths)
        return (FileInfo(path=name, size=size) for name, size in found if name not in skipped)

    def files(self, paths: Any, **named: Any) -> list[tuple[str, int]]:
        """(name, size in bytes) of the files to read; arguments as of `list_files`."""
        return [(info.path, int(info.size)) for info in self._iter_file_infos_for_list(paths, **named)]

    def list_files(
        self,
        paths: Any,
        *,
        filesystem: Any,
        predicate: Any = None,
        limit: int | None = None,
        projected_columns: Any = None,
        excluded_read_unit_ids: Any = None,
        **named: Any,
    ) -> Iterator[FileManifest]:
        """A manifest for each row group that is to be read."""
        files = self.files(paths, filesystem=filesystem, excluded_read_unit_ids=excluded_read_unit_ids, **named)
        wanted = wanted_of(predicate, projected_columns)
        excluded = excluded_read_unit_ids or ()
        for _, groups in row_groups(filesystem, files, wanted, limit):
            for at, (position, index) in enumerate(zip(groups.files.tolist(), groups.indexes.tolist(), strict=True)):
                if f"{files[position][0]}#rg{index}" not in excluded:
                    yield FileManifest(manifest_block(files, groups.take([at])))


class _Skipped:
    """Paths to leave out, and all below them."""

    def __init__(self, paths: frozenset[str]) -> None:
        self._paths = paths

    def __contains__(self, name: str) -> bool:
        if not self._paths:
            return False
        parts = name.split("/")
        return any("/".join(parts[:end]) in self._paths for end in range(len(parts), 0, -1))


def wanted_of(predicate: Any, columns: Sequence[str] | None) -> Wanted:
    """What Ray Data has pushed down to the listing."""
    if predicate is None:
        return Wanted(None if columns is None else frozenset(columns))
    looked_at = frozenset(get_column_references(predicate))
    return Wanted(None if columns is None else frozenset(columns), predicate.to_pyarrow(), looked_at)


def row_groups(
    filesystem: Any, files: Sequence[tuple[str, int]], wanted: Wanted, limit: int | None
) -> Iterator[tuple[int, RowGroups]]:
    """What is to be read, as of `FooterReader.row_groups`; ends with the file with which that is enough for the limit."""
    reader = FooterReader(handler_of(filesystem), wanted)
    enough = 0
    for end, groups in reader.row_groups([name for name, _ in files], None if limit is None else _LIMITED_FILES):
        if limit is not None:
            # Rows that the filter may drop do not count.
            sums = np.cumsum(np.where(groups.whole, groups.rows, 0)) + enough
            if len(sums) and sums[-1] >= limit:
                last = groups.files[np.searchsorted(sums, limit)]
                yield end, groups.take(np.flatnonzero(groups.files <= last))
                break
            enough = int(sums[-1]) if len(sums) else enough
        yield end, groups
    logger.debug("planned with %d footers read and the others known", reader.parsed)


def manifest_block(files: Sequence[tuple[str, int]], groups: RowGroups) -> pa.Table:
    """What a read task is told.

    Args:
        files: shape (F,): name and size in bytes.
        groups: of some of these files, at least one; those of one position follow each other, and make one row. Of a file
            that is listed twice all rows are read twice.
    """
    # Shape (P,): where each file begins in these.
    starts = np.flatnonzero(np.diff(groups.files, prepend=-1))
    names = [files[position][0] for position in groups.files[starts].tolist()]
    sizes = pa.array(np.add.reduceat(groups.sizes_bytes, starts))
    nothing = pa.ListArray.from_arrays(pa.array([0] * (len(names) + 1), pa.int32()), pa.array([], pa.int64()))
    ends = pa.array([*starts.tolist(), len(groups.files)], pa.int32())
    about = {
        "row_group_ids": pa.ListArray.from_arrays(ends, pa.array(groups.indexes)),
        "num_rows": pa.array(np.add.reduceat(groups.rows, starts)),
        "uncompressed_size": sizes,
        "fully_matched": pa.array(np.logical_and.reduceat(groups.whole, starts)),
        "rg_sizes": nothing,
        "rg_rows": nothing,
    }
    metadata = pa.StructArray.from_arrays(list(about.values()), list(about))
    return pa.table({"__path": names, "__file_size": sizes, "__file_chunk_metadata": metadata})


def handler_of(filesystem: Any) -> CacheHandler:
    """Of a filesystem of the cache."""
    handler = cache_handler(filesystem)
    if handler is None:
        raise TypeError(f"not a filesystem of the cache: {filesystem!r}")
    return handler
