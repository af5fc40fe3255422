"""The pipeline before `cached`: whether a result of it can be kept by groups of files, what it depends on, and how it is run.

Theory of operation. Kept is what each group of files gives by itself, so every operator must work row by row, or batch by batch
within a group. Ray Data's own planner makes the function of each operator (a `MapTransformer`); here they run one behind the
other, in one task, as they would after fusion. Classes that are called have one object in each process, for as long as that
process lives.

The fingerprint is of the logical plan as the user wrote it. It is taken where the dataset is pickled or planned, at the moment at
which the functions are pickled; and a process that has unpickled them takes it again before it keeps anything, since what
Ray pickles by name (functions of the user's modules) may be something else there.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray
import xxhash
from ray.data._internal.compute import TaskPoolStrategy
from ray.data._internal.execution.interfaces.task_context import TaskContext
from ray.data._internal.execution.operators.input_data_buffer import InputDataBuffer
from ray.data._internal.execution.operators.map_transformer import TransformClock
from ray.data._internal.logical.interfaces import LogicalPlan
from ray.data._internal.logical.operators import (
    Filter,
    FlatMap,
    Limit,
    ListFiles,
    MapBatches,
    MapRows,
    Project,
    Read,
    ReadFiles,
)
from ray.data._internal.logical.optimizers import LogicalOptimizer
from ray.data._internal.planner import plan_read_op, plan_udf_map_op
from ray.data._internal.planner.planner import Planner

from raycache.errors import InvalidRequestError
from raycache.fingerprints.objects import fingerprint
from raycache.raydata.datasource import LocatedDatasource

#: Changes whenever results are made or laid out in another way.
_FORMAT = "1"
_BY_ROW = (MapBatches, MapRows, FlatMap, Filter, Project)
#: Of an operator, what says how it is run and not what it does.
_HOW = frozenset(
    {
        "input_dependencies", "_input_dependencies", "compute", "ray_remote_args", "ray_remote_args_fn", "per_block_limit",
        "min_rows_per_bundled_input", "_name", "_num_outputs", "num_outputs", "parallelism", "detected_parallelism",
        "datasource", "datasource_or_legacy_reader", "datasource_name",
    }
)  # fmt: skip
#: Of a reader, what says which files it reads, how, and how well it can guess; the files count by their versions.
_FILES = frozenset(
    {
        "_paths_ref", "_file_sizes_ref", "_source_paths_ref", "_filesystem", "filesystem", "_meta_provider", "_data_context",
        "_shuffle", "_file_metadata_shuffler", "_encoding_ratio", "_pq_fragments", "_pq_paths", "_supports_distributed_reads",
        "_local_scheduling", "_ignore_missing_paths", "_partition_filter", "_unresolved_paths", "_datasource",
    }
)  # fmt: skip
#: Settings of Ray Data that change what blocks hold.
_CONTEXT = (
    "target_max_block_size", "target_min_block_size", "enable_tensor_extension_casting", "use_arrow_tensor_v2",
    "enable_fallback_to_arrow_object_ext_type", "batch_to_block_arrow_format", "pandas_block_ignore_metadata",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Written:
    """A pipeline as the user wrote it."""

    #: The operators behind the reader, first to last.
    operators: list[Any]
    #: `Read`, or `ReadFiles` over `ListFiles`.
    reader: Any
    #: Rows that are wanted at most; taken behind what is kept.
    limit: int | None

    @property
    def name(self) -> str:
        """For people: `ReadImage-Map(decode)`."""
        return "-".join(operator.name for operator in (self.reader, *self.operators))


def written(dag: Any) -> Written:
    """Look at a logical plan.

    Raises:
        InvalidRequestError: it reads no files, or does something that looks at more than a group of them.
    """
    operators: list[Any] = []
    limit: int | None = None
    at = dag
    while not isinstance(at, (Read, ReadFiles)):
        if isinstance(at, Limit) and all(not o.can_modify_num_rows for o in operators):
            limit = at.limit if limit is None else min(limit, at.limit)
        elif isinstance(at, _BY_ROW):
            if getattr(at, "ray_remote_args_fn", None) is not None:
                raise InvalidRequestError(
                    f"{at.name} has a ray_remote_args_fn, which cached cannot keep; leave it away"
                )
            operators.append(at)
        else:
            raise _refused(at)
        (at,) = at.input_dependencies
    return Written(operators[::-1], at, limit)


def _refused(operator: Any) -> InvalidRequestError:
    if not operator.input_dependencies:
        return InvalidRequestError(
            f"{operator.name} reads no files, so that it cannot be known when to make results again; read files through the "
            "cache, with raycache.read_*"
        )
    return InvalidRequestError(
        f"{operator.name} looks at more than the rows of one file, so that nothing before it can be kept by file; put cached "
        f"before it: raycache.cached(ds) and then {operator.name}"
    )


class Described(NamedTuple):
    """What a pipeline is by its fingerprint: pickled with it."""

    key: str | None
    #: Ray Data's settings that matter.
    settings: list[Any]
    #: (name, what counts of it) of the reader, and of each operator.
    parts: list[tuple[str, Any]]

    @classmethod
    def of(cls, pipeline: Written, key: str | None, context: Any) -> Described:
        """Of a pipeline as written."""
        reader = pipeline.reader
        source = getattr(reader, "scanner", None) or plain_datasource(reader.datasource)
        about = {name: held for name, held in sorted(vars(source).items()) if name not in _FILES}
        if isinstance(scanner := about.get("_scanner_kwargs"), dict):
            # How much is read at once is estimated from some of the files.
            about["_scanner_kwargs"] = {name: held for name, held in scanner.items() if name != "batch_size"}
        parts: list[tuple[str, Any]] = [(reader.name, [type(source), about, getattr(reader, "block_udf", None)])]
        for operator in pipeline.operators:
            names = sorted({field.name for field in dataclasses.fields(operator)} - _HOW)
            described = {name: getattr(operator, name) for name in names}
            parts.append((operator.name, [type(operator).__name__, described]))
        return cls(key, [getattr(context, name, None) for name in _CONTEXT], parts)

    def fingerprint(self) -> str:
        """What results depend on besides the files.

        Raises:
            InvalidRequestError: something cannot be seen, or is left to chance, and there is no key.
        """
        versions = (
            sys.version_info[:3],
            ray.__version__,
            pa.__version__,
            np.__version__,
            importlib.metadata.version("pandas"),
        )
        found = [fingerprint([_FORMAT, self.key, versions, self.settings], "the key")]
        found += [fingerprint(part, name, vouched=self.key is not None) for name, part in self.parts]
        return xxhash.xxh3_128_hexdigest("\0".join(found).encode())


def plain_datasource(datasource: Any) -> Any:
    """A datasource without what places it."""
    return datasource.inner if isinstance(datasource, LocatedDatasource) else datasource


class Pipeline:
    """A pipeline that can be run on the input of one group; pickles by value.

    Args:
        name: for people.
        told: what its fingerprint is made of.
        transformers: `MapTransformer`s, in the order in which they run.
    """

    def __init__(self, name: str, told: Described, transformers: list[Any]) -> None:
        self.name = name
        self.told = told
        self._transformers = transformers
        self._instances: Any = None

    def run(self, inputs: Iterable[Any]) -> list[Any]:
        """The blocks that a group gives."""
        previous = ray.data._map_actor_context  # noqa: SLF001
        try:
            ray.data._map_actor_context = self._made()  # noqa: SLF001
            context = TaskContext(task_idx=0, op_name=self.name)
            blocks: Iterable[Any] = inputs
            for transformer in self._transformers:
                blocks = transformer.apply_transform(blocks, context, clock=TransformClock())
            return list(blocks)
        finally:
            ray.data._map_actor_context = previous  # noqa: SLF001

    def _made(self) -> Any:
        """The objects of classes that are called; made once."""
        if self._instances is None:
            made: dict[Any, Any] = {}
            is_async = False
            for transformer in self._transformers:
                ray.data._map_actor_context = None  # noqa: SLF001
                transformer.init()
                found = ray.data._map_actor_context  # noqa: SLF001
                if found is not None:
                    made.update(found.udf_instances)
                    is_async = is_async or found.is_async
            self._instances = plan_udf_map_op._MapActorContext(is_async=is_async, udf_instances=made)  # noqa: SLF001
        return self._instances


def planned(pipeline: Written, context: Any) -> tuple[Any, list[Any]]:
    """What Ray Data makes of a pipeline.

    Returns:
        Its optimised source (`Read` or `ListFiles`); and the functions behind that, one for each operator.
    """
    dag = pipeline.reader
    for operator in pipeline.operators:
        dag = dataclasses.replace(operator, input_dependencies=[dag])
    at = LogicalOptimizer().optimize(LogicalPlan(dag, context)).dag
    chain: list[Any] = []
    while not isinstance(at, (Read, ListFiles)):
        chain.append(at)
        (at,) = at.input_dependencies
    planner = Planner()
    nothing = InputDataBuffer(context, input_data=[])
    transformers = []
    if isinstance(at, Read):
        transformers.append(plan_read_op.plan_read_op(at, [], context).get_map_transformer())
    for operator in reversed(chain):
        physical = planner.get_plan_fn(operator)(operator, [nothing], context)
        transformers.append(physical.get_map_transformer())
    return at, transformers


def remote_arguments(operators: Sequence[Any]) -> dict[str, Any]:
    """What one task that runs all of these asks of Ray: of each thing the most."""
    wanted: dict[str, Any] = {}
    for operator in operators:
        for name, value in (operator.ray_remote_args or {}).items():
            known = wanted.get(name)
            if value is None or name == "max_calls":
                continue
            if name in ("num_cpus", "num_gpus", "memory"):
                wanted[name] = value if known is None else max(known, value)
            elif name == "resources":
                both = {**(known or {}), **value}
                wanted[name] = {key: max((known or {}).get(key, 0), value.get(key, 0)) for key in both}
            else:
                wanted[name] = value
    return wanted


def concurrency(operators: Sequence[Any]) -> int | None:
    """How many tasks may run at once, by the operator that says the least; None: as many as there is room for."""
    sizes = []
    for operator in operators:
        compute = operator.compute
        size = compute.size if isinstance(compute, TaskPoolStrategy) else getattr(compute, "max_size", None)
        if size is not None and size != float("inf"):
            sizes.append(int(size))
    return min(sizes, default=None)
