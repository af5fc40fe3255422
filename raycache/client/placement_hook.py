"""Placement of single read tasks inside Ray Data: everything that touches its internals is here.

Theory of operation. `LocatedRead` is Ray's logical `Read` over a `LocatedDatasource`. The planner knows it by an entry
before `Read`'s own (the first class that matches wins) and plans it as a `Read`, except that the input of each read task
is marked with a node (`LocatedMetadata`). The operator that runs the tasks asks for that node, softly. Every task-pool
operator of a process is made through one factory, which `install` extends, so the placement survives the fusion of the
read with the operators that follow. Operators without marked input behave exactly as before.

A dataset may be executed in another process than it was made in (`streaming_split` does so): unpickling a `LocatedRead`
installs the hook there.

Do not import this module on a Ray release that `placement.placement_mode` has not approved.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import ray
from ray.data._internal.execution import operators
from ray.data._internal.execution.interfaces import BlockEntry, RefBundle
from ray.data._internal.logical.operators import Read
from ray.data._internal.planner import plan_read_op as stock
from ray.data._internal.planner.planner import Planner
from ray.data.block import BlockMetadata
from ray.data.context import DataContext
from ray.data.datasource import file_meta_provider
from ray.data.datasource.datasource import Datasource
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycache.client.located import LocatedDatasource, Placer
from raycache.client.placement import soft_affinity

#: Scheduling strategies that are Ray Data's own default rather than somebody's wish.
_UNDECIDED = (None, "DEFAULT", "SPREAD")


@dataclasses.dataclass(frozen=True)
class LocatedMetadata(BlockMetadata):  # type: ignore[misc]
    """Metadata of a read task's input, with the node that should run it (hex id)."""

    node: str | None = None


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class LocatedRead(Read):  # type: ignore[misc]
    """A read whose datasource is a `LocatedDatasource`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (_fields(self),)


def locate(dataset: Any, placer: Placer) -> None:
    """Make a dataset that was just made by one of Ray's readers read where its files are.

    Anything but a plain read of a V1 datasource stays as it is: right, but placed by Ray.
    """
    read = dataset._logical_plan.dag  # noqa: SLF001
    if type(read) is Read and read.datasource_or_legacy_reader is read.datasource:
        source = LocatedDatasource(read.datasource, placer)
        placed = located_read(dataclasses.replace(read, datasource=source, datasource_or_legacy_reader=source))
        dataset._logical_plan = type(dataset._logical_plan)(placed, dataset.context)  # noqa: SLF001


def located_read(read: Any) -> LocatedRead:
    """The same read, placed. Its datasource must be a `LocatedDatasource`."""
    install()
    return LocatedRead(**_fields(read))


def _restore(fields: dict[str, Any]) -> LocatedRead:
    install()
    return LocatedRead(**fields)


def _fields(instance: Any) -> dict[str, Any]:
    return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance) if field.init}


@functools.cache
def install() -> None:
    """Extend this process's Ray Data; once."""
    original_factory = operators.get_task_pool_map_operator_cls
    operators.get_task_pool_map_operator_cls = lambda: _located_operator(original_factory())
    Planner._DEFAULT_PLAN_FNS = {LocatedRead: plan_located_read, **Planner._DEFAULT_PLAN_FNS}  # noqa: SLF001
    original_infos = file_meta_provider._get_file_infos_parallel  # noqa: SLF001

    def file_infos(paths: list[str], filesystem: Any, *arguments: Any, **named: Any) -> Any:
        # Ray looks many paths up in remote tasks; the cache has the answers in this process.
        handler = getattr(getattr(filesystem, "unwrap", lambda: filesystem)(), "handler", None)
        if type(handler).__module__.startswith("raycache."):
            return file_meta_provider._get_file_infos_serial(paths, filesystem, *arguments, **named)  # noqa: SLF001
        return original_infos(paths, filesystem, *arguments, **named)

    file_meta_provider._get_file_infos_parallel = file_infos  # noqa: SLF001


@functools.cache
def _located_operator(base: Any) -> Any:
    """A task-pool operator that sends tasks with marked input to their node."""

    class LocatedMapOperator(base):  # type: ignore[misc]
        def _get_dynamic_ray_remote_args(self, input_bundle: Any = None) -> dict[str, Any]:
            arguments: dict[str, Any] = super()._get_dynamic_ray_remote_args(input_bundle)
            if input_bundle is None or arguments.get("label_selector"):
                return arguments
            if arguments.get("scheduling_strategy") in _UNDECIDED:
                for metadata in input_bundle.metadata:
                    if isinstance(metadata, LocatedMetadata) and metadata.node is not None:
                        arguments["scheduling_strategy"] = soft_affinity(metadata.node)
                        break
            return arguments

    # Ray Data shows the class name in plans and metrics.
    LocatedMapOperator.__name__ = base.__name__
    LocatedMapOperator.__qualname__ = base.__qualname__
    return LocatedMapOperator


def plan_located_read(read: Any, physical_children: list[Any], data_context: Any) -> Any:
    """Plan a `LocatedRead` as Ray plans a `Read`, with input that says where each task should run."""
    operator = stock.plan_read_op(read, physical_children, data_context)
    source = operator.input_dependencies[0]
    if not callable(source._input_data_factory):  # noqa: SLF001
        raise TypeError("the input of a read is made in another way")
    source._input_data_factory = lambda _target_block_size: _input(read, data_context)  # noqa: SLF001
    return operator


def _input(read: Any, data_context: Any) -> list[RefBundle]:
    """One bundle per read task, in the order they should start."""
    tasks = read.datasource.located_tasks(read.get_detected_parallelism(), read.per_block_limit, data_context)
    bundles = []
    for task, node in tasks:
        reference = ray.put(task)
        bundles.append(_bundle(reference, stock._derive_metadata(task, reference), node))  # noqa: SLF001
    return bundles


def _bundle(reference: Any, metadata: Any, node: str | None) -> RefBundle:
    entry = BlockEntry(reference, LocatedMetadata(**_fields(metadata), node=node))
    # Not owned by the operator: these references are the roots that lost blocks are made from again.
    return RefBundle((entry,), owns_blocks=False, schema=None)


class _NoFiles(Datasource):  # type: ignore[misc]
    """A made-up read, for the self-test."""

    def estimate_inmemory_data_size(self) -> int:
        return 0

    def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def located_tasks(self, *_: Any) -> list[Any]:
        return []


def self_test() -> str:
    """Plan a made-up read with the real planner, and look at what its operator would ask of Ray. Needs no cluster.

    Returns:
        Empty when all is as expected, else what is not.
    """
    source = _NoFiles()
    plain = Read(source, source, parallelism=1)
    located = located_read(plain)
    planner = Planner()
    if planner.get_plan_fn(located) is not plan_located_read:
        return "the planner does not find our plan function"
    if planner.get_plan_fn(plain) is plan_located_read:
        return "the planner takes our plan function for plain reads"
    operator = plan_located_read(located, [], DataContext.get_current())
    metadata = BlockMetadata(num_rows=1, size_bytes=1, exec_stats=None, input_files=None)

    def asked(node: str | None) -> Any:
        bundle = _bundle(ray.ObjectRef.from_random(), metadata, node)
        return operator._get_dynamic_ray_remote_args(input_bundle=bundle).get("scheduling_strategy")  # noqa: SLF001

    wanted = "0" * 56
    strategy = asked(wanted)
    if not isinstance(strategy, NodeAffinitySchedulingStrategy) or strategy.node_id != wanted:
        return f"the operator asks for {strategy!r} instead of the node"
    if asked(None) not in _UNDECIDED:
        return "tasks without a node are placed too"
    return ""
