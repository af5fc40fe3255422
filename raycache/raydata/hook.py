"""Placement of single read tasks inside Ray Data: all that touches its internals is here and in `inputs`.

Theory of operation. `LocatedRead` is Ray's logical `Read` over a `LocatedDatasource`. The planner knows it by an entry
before `Read`'s own (the first class that matches wins) and plans it as a `Read`, except that the input of each read task
is marked with a node (`inputs`). The operator that runs the tasks asks for that node, softly. Every task-pool
operator of a process is made through one factory, which `install` extends, so the placement survives the fusion of the
read with the operators that follow. Operators without marked input behave exactly as before.

Ray Data hands the operator one input for each task it may start, in a fixed order. Unless rows must come in order, the
operator exchanges it for the one that fits the nodes' load now (`dispatch`): as many inputs, each used once.

All readers of V1 datasources, Ray's own and so `raycache.read_*`, end with `ray.data.read_datasource`; once `install` has run,
that one makes datasets located whose filesystem is the cache. `raycache.read_datasource` calls `locate` for any other.

A dataset may be executed in another process than it was made in (`streaming_split` does so): unpickling a `LocatedRead`
installs the hook there.

Do not import this module on a Ray release that `modes.placement_mode` has not approved.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.data
from ray.data import read_api
from ray.data._internal.execution import operators
from ray.data._internal.execution.interfaces import RefBundle
from ray.data._internal.logical.operators import Read
from ray.data._internal.planner import plan_read_op as stock
from ray.data._internal.planner.planner import Planner
from ray.data.block import BlockMetadata
from ray.data.context import DataContext
from ray.data.datasource.datasource import Datasource
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycache.filesystems.pyarrow import cache_handler
from raycache.placement.strategies import soft_affinity
from raycache.raydata import announcing, file_listing, inputs, sampling
from raycache.raydata.cached import at_once
from raycache.raydata.datasource import LocatedDatasource, NamedPlaces, Placer
from raycache.raydata.preference import cached_goes_first, hook_is_allowed, placement_wait_s
from raycache.raydata.queueing.cached_now import LAST_READ, CachedNow
from raycache.raydata.queueing.dispatch import DispatchQueue

#: Scheduling strategies that are Ray Data's own default rather than somebody's wish.
_UNDECIDED = (None, "DEFAULT", "SPREAD")
_installing = threading.Lock()


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


def install() -> None:
    """Extend this process's Ray Data; once."""
    with _installing:
        _install()


@functools.cache
def _install() -> None:
    original_factory = operators.get_task_pool_map_operator_cls
    operators.get_task_pool_map_operator_cls = lambda: _located_operator(original_factory())
    Planner._DEFAULT_PLAN_FNS = {LocatedRead: plan_located_read, **Planner._DEFAULT_PLAN_FNS}  # noqa: SLF001
    # What Ray's readers call, and what users do.
    read_api.read_datasource = ray.data.read_datasource = _locating(read_api.read_datasource)
    file_listing.install()
    sampling.install()
    parquet_failure()


@functools.cache
def parquet_failure() -> str:
    """Have Ray's own reader of parquet (datasource V2) planned by `parquet.planning`, from the first call on.

    Returns:
        Empty; or why that cannot be.
    """
    try:
        from raycache.raydata.parquet import indexer, planning

        class PlannedIndexer(indexer.CacheFileIndexer):
            """In another process it brings the extension of Ray Data along."""

            def __reduce__(self) -> tuple[Any, ...]:
                return _restore_indexer, (dict(self.__dict__),)

        return planning.install(PlannedIndexer)
    except Exception as error:  # there may be no such reader, or another one
        return f"{type(error).__name__}: {error}"


def _restore_indexer(state: dict[str, Any]) -> Any:
    from raycache.raydata.parquet import indexer

    install()
    restored = indexer.CacheFileIndexer.__new__(indexer.CacheFileIndexer)
    restored.__dict__.update(state)
    return restored


def _locating(read_datasource: Callable[..., Any]) -> Callable[..., Any]:
    """`ray.data.read_datasource`, which places what reads through the cache."""

    @functools.wraps(read_datasource)
    def read(datasource: Any, *arguments: Any, **named: Any) -> Any:
        dataset = read_datasource(datasource, *arguments, **named)
        handler = cache_handler(getattr(datasource, "_filesystem", None))
        if handler is not None and hook_is_allowed():
            locate(dataset, NamedPlaces.of(datasource))
        return dataset

    return read


@functools.cache
def _located_operator(base: Any) -> Any:
    """A task-pool operator that sends tasks with marked input to their node."""

    class LocatedMapOperator(base):  # type: ignore[misc]
        _charged: tuple[DispatchQueue[RefBundle], str] | None = None
        _dispatching: DispatchQueue[RefBundle] | None = None

        def can_add_input(self) -> bool:
            queue = self._dispatching
            return bool(super().can_add_input()) and (queue is None or queue.may_take(time.monotonic()))

        def _try_schedule_task(self, bundle: RefBundle, *arguments: Any, **named: Any) -> None:
            located = inputs.located_metadata(bundle)
            if located is None or located.queue is None or (found := located.queue.take()) is None:
                inputs.announce_files(bundle)
                if located is None or located.at_once is None or not at_once.give(self, located.at_once):
                    super()._try_schedule_task(bundle, *arguments, **named)
                return
            bundle, charged = found
            taken = inputs.located_metadata(bundle)
            if taken is not None and taken.at_once is not None and at_once.give(self, taken.at_once):
                located.queue.finished(charged)
                return
            self._dispatching = located.queue
            self._charged = (located.queue, charged)
            inputs.announce_files(bundle)
            super()._try_schedule_task(bundle, *arguments, **named)
            # While that one runs; later its slot would be idle for as long as this takes.
            if (following := located.queue.head(charged)) is not None:
                inputs.make(following)
            for coming in located.queue.announceable(charged):
                inputs.announce_files(coming)

        def _submit_data_task(
            self, gen: Any, inputs: RefBundle, task_done_callback: Callable[[], None] | None = None
        ) -> None:
            started, self._charged = self._charged, None

            def done() -> None:
                if started is not None:
                    started[0].finished(started[1])
                if task_done_callback is not None:
                    task_done_callback()

            super()._submit_data_task(gen, inputs, task_done_callback=done)

        def _get_dynamic_ray_remote_args(self, input_bundle: Any = None) -> dict[str, Any]:
            arguments: dict[str, Any] = super()._get_dynamic_ray_remote_args(input_bundle)
            if input_bundle is None or arguments.get("label_selector"):
                return arguments
            located = inputs.located_metadata(input_bundle)
            if located is not None and located.node and arguments.get("scheduling_strategy") in _UNDECIDED:
                arguments["scheduling_strategy"] = soft_affinity(located.node)
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
    # Asked for when the plan is executed: then it is known whether the read was fused with what comes behind it.
    source._input_data_factory = lambda _target_block_size: _input(  # noqa: SLF001
        read, data_context, works=source.output_dependencies != [operator]
    )
    return operator


def _input(read: Any, data_context: Any, *, works: bool) -> list[RefBundle]:
    """One bundle per read task, in the order they should start."""
    if (own := getattr(type(read.datasource), "own_inputs", None)) is not None:
        # A cached dataset: what is there goes first anyway, and nothing is to be announced.
        made: list[RefBundle] = own(read.datasource, read.per_block_limit, data_context, works=works)
        return made
    cached_first = cached_goes_first() and not data_context.execution_options.preserve_order
    tasks = read.datasource.located_tasks(
        read.get_detected_parallelism(), read.per_block_limit, data_context, apart=cached_first
    )
    cpus = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]}
    source = read.datasource
    announces = announcing.reads_whole_files(source.inner)
    if not cached_first:
        if announces:
            tasks = announcing.announce(tasks, cpus, source.missing)
        ordered = bool(data_context.execution_options.preserve_order)
        return inputs.inputs(tasks, cpus, ordered=ordered, patience_s=placement_wait_s())
    files = [[str(name) for name in task.metadata.input_files or ()] for task, _ in tasks]
    missing = source.missing([name for names in files for name in names]) if announces else {}
    announce = functools.partial(announcing.announcement, missing, announcing.in_this_epoch(source.prefetch))
    bundles = inputs.inputs(tasks, cpus, ordered=False, patience_s=placement_wait_s(), announce=announce)
    is_shuffled = getattr(source.inner, "_shuffle", None) is not None
    inputs.keep_cached_first(bundles, files, CachedNow(source, None if is_shuffled else LAST_READ))
    return bundles


class _NoFiles(Datasource):  # type: ignore[misc]
    """A made-up read, for the self-test."""

    def estimate_inmemory_data_size(self) -> int:
        return 0

    def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def located_tasks(self, *_: Any, **__: Any) -> list[Any]:
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
    for name in ("_try_schedule_task", "_submit_data_task", "_get_dynamic_ray_remote_args", "can_add_input"):
        if not callable(getattr(type(operator).__mro__[1], name, None)):
            return f"operators have no {name}"
    metadata = BlockMetadata(num_rows=1, size_bytes=1, exec_stats=None, input_files=None)

    def asked(node: str | None) -> Any:
        bundle = inputs.bundle(None, metadata, node, ray.ObjectRef.from_random())
        return operator._get_dynamic_ray_remote_args(input_bundle=bundle).get("scheduling_strategy")  # noqa: SLF001

    wanted = "0" * 56
    strategy = asked(wanted)
    if not isinstance(strategy, NodeAffinitySchedulingStrategy) or strategy.node_id != wanted:
        return f"the operator asks for {strategy!r} instead of the node"
    if asked(None) not in _UNDECIDED:
        return "tasks without a node are placed too"
    return ""
