"""What a plan needs to know of parquet files, in columns: rows, sizes and statistics of their row groups. No Ray, no I/O.

Theory of operation. A `FooterTable` speaks of several files with one schema. It is made from parsed footers once, travels as
bytes, and answers from then on: how many rows and bytes the row groups have, which of them a filter leaves, and which it
leaves whole. Filters are judged by pyarrow itself. Each row group becomes a fragment whose guarantee is what the statistics
say of the filter's columns, in the terms that pyarrow uses for footers of its own; what it drops of these is what it would
drop of the files.

Statistics are kept of top-level columns whose values are short; a filter on anything else drops nothing here.

Shapes: F files, G row groups of all files together, L leaves (a nested column has several).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

#: Columns of one file whose statistics are kept.
_STATISTICS_COLUMNS_MAX = 256
#: A longer bound is not kept.
_BOUND_BYTES_MAX = 64
_Ints = npt.NDArray[np.int64]


class Statistics(NamedTuple):
    """Of one column, per row group; see `FooterTable`."""

    #: Shape (G,), null where nothing is known, or where all values are null.
    least: pa.Array
    most: pa.Array
    #: Shape (G,); null where it is not known.
    null_counts: pa.Array


class Wanted(NamedTuple):
    """What is read of row groups, and which of their rows."""

    #: Top-level columns; None: all.
    columns: frozenset[str] | None = None
    filter: pc.Expression | None = None
    #: The top-level columns that it looks at.
    filter_columns: frozenset[str] = frozenset()


class RowGroups(NamedTuple):
    """Those of several files that are to be read, file by file; shape (R,) each."""

    #: The position of the file among those that were asked about.
    files: _Ints
    indexes: _Ints
    rows: _Ints
    #: Uncompressed, of the columns that are read.
    sizes_bytes: _Ints
    #: Whether the filter is known to leave every row.
    whole: npt.NDArray[np.bool_]

    @classmethod
    def together(cls, parts: Sequence[RowGroups]) -> RowGroups:
        """One after the other; of nothing, none."""
        if not parts:
            nothing = np.zeros(0, dtype=np.int64)
            return cls(nothing, nothing, nothing, nothing, nothing.astype(bool))
        return parts[0] if len(parts) == 1 else cls(*map(np.concatenate, zip(*parts, strict=True)))

    def take(self, positions: npt.ArrayLike) -> RowGroups:
        """Some of them."""
        at = np.asarray(positions, dtype=np.int64)
        return RowGroups(self.files[at], self.indexes[at], self.rows[at], self.sizes_bytes[at], self.whole[at])

    def of_files(self, files: Sequence[int], positions: Sequence[int]) -> RowGroups:
        """Those of some files, which have other positions elsewhere; shape (N,) each."""
        counts = np.bincount(self.files, minlength=max(files, default=-1) + 1)
        starts, wanted = np.cumsum(counts) - counts, np.asarray(files, dtype=np.int64)
        lengths = counts[wanted]
        begins = np.cumsum(lengths) - lengths
        at = np.repeat(starts[wanted] - begins, lengths) + np.arange(int(lengths.sum()))
        return self.take(at)._replace(files=np.repeat(np.asarray(positions, dtype=np.int64), lengths))


class FooterTable:
    """Footers of files with one schema.

    Args:
        keys: shape (F,): the versions of the files.
        schema: as pyarrow sees it.
        leaves: shape (L,): the path of each leaf in the schema, `a.list.element`.
        counts: shape (F,): row groups per file.
        rows: shape (G,).
        sizes_bytes: shape (G, L): uncompressed.
        statistics: by column.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        schema: pa.Schema,
        leaves: Sequence[str],
        counts: _Ints,
        rows: _Ints,
        sizes_bytes: _Ints,
        statistics: dict[str, Statistics],
    ) -> None:
        self.keys = list(keys)
        self._schema = schema
        self._leaves = list(leaves)
        self._counts = counts
        self._rows = rows
        self._sizes_bytes = sizes_bytes
        self._statistics = statistics

    @classmethod
    def of(cls, keys: Sequence[bytes], footers: Sequence[pq.FileMetaData]) -> FooterTable:
        """Of parsed footers with equal schemas, at least one."""
        first = footers[0].schema
        schema = first.to_arrow_schema()
        leaves = [first.column(i).path for i in range(len(first))]
        groups = [footer.row_group(i) for footer in footers for i in range(footer.num_row_groups)]
        sizes = [[group.column(j).total_uncompressed_size for j in range(len(leaves))] for group in groups]
        flat = [j for j, leaf in enumerate(leaves) if leaf in schema.names][:_STATISTICS_COLUMNS_MAX]
        statistics = {}
        for j in flat:
            found = _statistics(schema.field(leaves[j]).type, [group.column(j).statistics for group in groups])
            if found is not None:
                statistics[leaves[j]] = found
        return cls(
            keys,
            schema,
            leaves,
            np.array([footer.num_row_groups for footer in footers], dtype=np.int64),
            np.array([group.num_rows for group in groups], dtype=np.int64),
            np.array(sizes, dtype=np.int64).reshape(len(groups), len(leaves)),
            statistics,
        )

    # --- as bytes -----------------------------------------------------------------------------------------------------

    def to_bytes(self) -> pa.Buffer:
        """All of it, compressed."""
        columns: dict[str, pa.Array] = {
            "rows": pa.array(self._rows),
            "sizes": pa.FixedSizeListArray.from_arrays(pa.array(self._sizes_bytes.reshape(-1)), len(self._leaves))
            if self._leaves
            else pa.nulls(len(self._rows)),
        }
        for name, known in self._statistics.items():
            columns |= {f"least:{name}": known.least, f"most:{name}": known.most, f"nulls:{name}": known.null_counts}
        about = {
            b"keys": b"".join(self.keys),
            b"counts": self._counts.tobytes(),
            b"schema": self._schema.serialize().to_pybytes(),
            b"leaves": "\0".join(self._leaves).encode(),
        }
        table = pa.table(columns).replace_schema_metadata(about)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, content: Any) -> FooterTable:
        """What `to_bytes` gave."""
        table = pa.ipc.open_stream(content).read_all().combine_chunks()
        about = table.schema.metadata
        leaves = about[b"leaves"].decode().split("\0") if about[b"leaves"] else []
        keys = about[b"keys"]
        column = {name: table.column(name).combine_chunks() for name in table.column_names}
        names = [name.removeprefix("least:") for name in table.column_names if name.startswith("least:")]
        sizes = column["sizes"].flatten().to_numpy() if leaves else np.zeros(0, dtype=np.int64)
        return cls(
            [keys[i : i + 16] for i in range(0, len(keys), 16)],
            pa.ipc.read_schema(pa.py_buffer(about[b"schema"])),
            leaves,
            np.frombuffer(about[b"counts"], dtype=np.int64),
            column["rows"].to_numpy(),
            sizes.reshape(len(column["rows"]), len(leaves)),
            {n: Statistics(column[f"least:{n}"], column[f"most:{n}"], column[f"nulls:{n}"]) for n in names},
        )

    # --- answers ------------------------------------------------------------------------------------------------------

    def row_groups(self, wanted: Wanted) -> RowGroups:
        """What is to be read of the files, which have the positions of `keys`."""
        kept, whole = self._judge(wanted)
        files = np.repeat(np.arange(len(self._counts)), self._counts)
        indexes = np.arange(len(files)) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        return RowGroups(files, indexes, self._rows, self._sizes_of(wanted), whole).take(np.flatnonzero(kept))

    def _sizes_of(self, wanted: Wanted) -> _Ints:
        """Shape (G,): what is decoded of each row group. The filter's columns are, too."""
        if wanted.columns is not None:
            names = wanted.columns | wanted.filter_columns
            read = [
                j for j, leaf in enumerate(self._leaves) if any(leaf == n or leaf.startswith(f"{n}.") for n in names)
            ]
            if read:
                chosen: _Ints = self._sizes_bytes[:, read].sum(axis=1)
                return chosen
        everything: _Ints = self._sizes_bytes.sum(axis=1)
        return everything

    def _judge(self, wanted: Wanted) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Shape (G,) each: what the filter leaves, and what it is known to leave whole."""
        every = np.ones(len(self._rows), dtype=bool)
        if wanted.filter is None:
            return every, every
        # A column that the files lack is null for the reader, which filters then.
        if not wanted.filter_columns <= set(self._leaves) | set(self._schema.names):
            return every, ~every
        known = {name: self._statistics[name] for name in wanted.filter_columns if name in self._statistics}
        kept = self._not_excluded(wanted.filter, known)
        if kept is None:
            return every, ~every
        # Nulls and NaNs satisfy neither a filter nor its opposite, and bounds do not speak of them.
        counted = [known[name] for name in wanted.filter_columns if name in known]
        if len(counted) < len(wanted.filter_columns) or any(pa.types.is_floating(s.least.type) for s in counted):
            return kept, ~every
        opposite = self._not_excluded(~wanted.filter, known)
        if opposite is None:
            return kept, ~every
        full = kept & ~opposite
        for each in counted:
            full &= each.null_counts.fill_null(1).to_numpy() == 0
        return kept, full

    def _not_excluded(self, filter_: pc.Expression, known: dict[str, Statistics]) -> npt.NDArray[np.bool_] | None:
        """Shape (G,): the row groups in which there may be a row for a filter; None where pyarrow cannot say."""
        if not known:
            return np.ones(len(self._rows), dtype=bool)
        columns = {
            name: list(zip(s.least, s.most, s.null_counts.to_pylist(), strict=True)) for name, s in known.items()
        }
        file_format = ds.ParquetFileFormat()
        nowhere = pafs.LocalFileSystem()
        fragments = []
        for group, rows in enumerate(self._rows.tolist()):
            guarantees = [_guarantee(name, *bounds[group], rows) for name, bounds in columns.items()]
            said = [guarantee for guarantee in guarantees if guarantee is not None]
            together = None
            for each in said:
                together = each if together is None else together & each
            fragments.append(file_format.make_fragment(str(group), nowhere, together))
        every = ds.FileSystemDataset(fragments, self._schema, file_format, nowhere)
        kept = np.zeros(len(self._rows), dtype=bool)
        try:
            for fragment in every.get_fragments(filter_):
                kept[int(fragment.path)] = True
        except (pa.ArrowException, TypeError, ValueError):
            # The types of the filter and of the file do not go together; the reader knows more.
            return None
        return kept


def tables_of(keys: Sequence[bytes], footers: Sequence[pq.FileMetaData]) -> list[tuple[FooterTable, list[int]]]:
    """Tables of the footers of any files, one for each schema, with the positions of its files.

    Args:
        keys: shape (F,): the versions of the files.
        footers: shape (F,).
    """
    alike: list[list[int]] = []
    for position, footer in enumerate(footers):
        for members in alike:
            first = footers[members[0]]
            if footer.schema.equals(first.schema) and footer.metadata == first.metadata:
                members.append(position)
                break
        else:
            alike.append([position])
    return [(FooterTable.of([keys[i] for i in some], [footers[i] for i in some]), some) for some in alike]


def _statistics(value_type: pa.DataType, found: Sequence[pq.Statistics | None]) -> Statistics | None:
    """The statistics of one column in the row groups; None where there are none that could be kept."""
    least: list[Any] = []
    most: list[Any] = []
    nulls: list[int | None] = []
    for each in found:
        bounds = (None, None)
        if each is not None and each.has_min_max:
            bounds = (each.min, each.max)
            if any(isinstance(bound, (str, bytes)) and len(bound) > _BOUND_BYTES_MAX for bound in bounds):
                bounds = (None, None)
        least.append(bounds[0])
        most.append(bounds[1])
        nulls.append(each.null_count if each is not None and each.has_null_count else None)
    try:
        return Statistics(
            pa.array(least, type=value_type), pa.array(most, type=value_type), pa.array(nulls, type=pa.int64())
        )
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        return None


def _guarantee(name: str, least: pa.Scalar, most: pa.Scalar, null_count: int | None, rows: int) -> pc.Expression | None:
    """What is true of a column in all rows of a row group; None where nothing is known."""
    field = pc.field(name)
    if null_count is not None and null_count == rows:
        return field.is_null()
    if not least.is_valid or not most.is_valid:
        return None
    within = field == least if least == most else (field >= least) & (field <= most)
    return within if null_count == 0 else within | field.is_null()
