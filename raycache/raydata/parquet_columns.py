"""Which columns the rows of a read of parquet have: the same in every file, whatever node reads it.

Theory of operation. Ray's default reader (V2) looks at the footers of the first 16 files, unifies their schemas, and reads
every file by the result: a column that a file lacks is null there, one that only later files have is left out. Values of
partitions come from paths. The V1 datasource, which is what can be placed, reads each file by its own schema, and takes the
columns it is asked for from the first file. So it is given the unified schema, and once it is made the columns. Of a schema that
it was given it thinks that there are no partitions beside; that, too, is put right here (`_derive_schema`).

Schemas with extension types are not unified, as in V2: files may differ in the shape of their tensors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from ray.data.datasource.partitioning import PathPartitionParser

from raycache.errors import InvalidRequestError

logger = logging.getLogger("raycache")

#: Files that the columns are known from.
SAMPLED_FILES = 16
#: Of V1's datasource, what is set here.
_FIELDS = ("_derive_schema", "_projection_map", "_partition_columns", "_block_udf")
#: What a reader adds to rows, by the argument that asks for it.
ADDED = {"include_paths": "path", "include_row_hash": "row_hash"}


class WantedColumns(NamedTuple):
    """What rows have."""

    #: Of files.
    schema: pa.Schema
    #: WantedColumns that come from paths.
    partitions: list[str]
    #: The types of those that files have, too.
    partition_types: dict[str, pa.DataType]
    #: What was asked for of what files, paths and the reader give, in order; None: all.
    wanted: list[str] | None
    #: The same in the order in which the reader gives it.
    given: list[str]


def settle(names: Sequence[str], filesystem: Any, arguments: dict[str, Any]) -> WantedColumns | None:
    """Find out what rows will have, and put the schema into the arguments of the V1 reader.

    Args:
        names: of files, in reading order; at least one.
        filesystem: they are read through.
        arguments: of the reader, with its partitioning; changed.

    Returns:
        None: each file has its own columns.

    Raises:
        InvalidRequestError: a column is asked for twice.
    """
    wanted = arguments.get("columns")
    if wanted is not None:
        require_distinct(wanted)
    unified = arguments.get("schema")
    if unified is None:
        unified = _unified(names[:SAMPLED_FILES], filesystem)
    if any(isinstance(field.type, pa.ExtensionType) for field in unified):
        return None
    partitioning = arguments.get("partitioning")
    partitions = [] if partitioning is None else list(PathPartitionParser(partitioning)(names[0]))
    added = [column for argument, column in ADDED.items() if arguments.get(argument)]
    schema = pa.schema([field for field in unified if field.name not in (*partitions, *added)])
    if not schema.names:
        return None
    arguments["schema"] = schema
    types = {field.name: field.type for field in unified if field.name in partitions and field.type != pa.string()}
    if wanted is None:
        return WantedColumns(schema, partitions, types, None, [])
    arguments["columns"] = [name for name in wanted if name in schema.names]
    partitions = [name for name in partitions if name in wanted]
    given = [*arguments["columns"], *partitions, *added]
    wanted = [name for name in wanted if name in given]
    return WantedColumns(schema, partitions, types, [*wanted, *(name for name in added if name not in wanted)], given)


def require_distinct(columns: Sequence[str]) -> None:
    """Raise InvalidRequestError where a column is named twice."""
    if len(set(columns)) < len(columns):
        raise InvalidRequestError(f"columns={list(columns)!r} names a column twice; leave one away")


def apply(dataset: Any, columns: WantedColumns) -> None:
    """Make a dataset of V1's parquet reader, which was called with settled arguments, give these columns."""
    source: Any = getattr(getattr(dataset._logical_plan, "dag", None), "datasource", None)  # noqa: SLF001
    source = getattr(source, "inner", source)
    if not all(hasattr(source, name) for name in _FIELDS):
        logger.warning("columns that only some files have may be missing: %s is not as expected", type(source).__name__)
        return
    source._derive_schema = _DeriveSchema(source._derive_schema)  # noqa: SLF001
    if columns.wanted is not None:
        source._projection_map = {name: name for name in columns.wanted}  # noqa: SLF001
        source._partition_columns = columns.partitions  # noqa: SLF001
    if columns.partition_types or columns.given != (columns.wanted or []):
        source._block_udf = _Finish(columns.partition_types, columns.wanted or [], source._block_udf)  # noqa: SLF001


class _DeriveSchema:
    """What the reader says its rows will be: with the partitions, although it was given a schema. Pickles."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def __call__(self, read_schema: pa.Schema | None, *, file_schema: pa.Schema, **named: Any) -> pa.Schema:
        return self._stock(None, file_schema=file_schema if read_schema is None else read_schema, **named)


class _Finish:
    """Gives the partitions of a block their types, and its columns the order in which they were asked for. Pickles."""

    def __init__(self, types: Mapping[str, pa.DataType], order: Sequence[str], before: Any) -> None:
        self._types = types
        self._order = order
        self._before = before

    def __call__(self, block: Any) -> Any:
        block = block if self._before is None else self._before(block)
        for position, name in enumerate(block.column_names):
            if name in self._types:
                block = block.set_column(position, name, block.column(position).cast(self._types[name]))
        first = [name for name in self._order if name in block.column_names]
        return block.select([*first, *(name for name in block.column_names if name not in first)])


def _unified(names: Sequence[str], filesystem: Any) -> pa.Schema:
    """One schema for all rows of some files; fields in the order in which they come up."""

    def schema_of(name: str) -> pa.Schema:
        with filesystem.open_input_file(name) as file:
            return pq.read_schema(file)

    with ThreadPoolExecutor(len(names), thread_name_prefix="raycache-schema") as threads:
        schemas = list(threads.map(schema_of, names))
    if all(schema.equals(schemas[0]) for schema in schemas):
        return schemas[0]
    try:
        from ray.data._internal.util import unify_schemas_with_validation
    except ImportError:
        return pa.unify_schemas(schemas, promote_options="permissive")
    return unify_schemas_with_validation(schemas) or schemas[0]
