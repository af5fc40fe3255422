"""A cached dataset, as Ray Data reads it: a datasource (V1) whose read tasks are the groups of another dataset's files.

It is planned when an execution starts: files are listed, groups named by their fingerprints, and the master is asked which results
there are. Groups that are kept are read on the node that holds them, several by one task (`packing`); one that is not is made where
its files are.
"""

from __future__ import annotations

import functools
import math
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import cloudpickle
from ray.data.block import BlockMetadata
from ray.data.datasource.datasource import Datasource, ReadTask

from raycache.client import connection
from raycache.messages.keeping import KeptResult
from raycache.raydata import grouping, inputs
from raycache.raydata.cached import file_groups, packing
from raycache.raydata.cached.at_once import AT_ONCE_BYTES
from raycache.raydata.cached.group_reads import GroupRead, PackRead, Plan
from raycache.raydata.cached.pipelines import Described, Pipeline, Written, planned
from raycache.raydata.cached.shelf import Shelf, result_name
from raycache.raydata.cached.sources import SourceFiles
from raycache.raydata.preference import placement_wait_s


class KeptSource(Datasource):  # type: ignore[misc]
    """See the module's text.

    Args:
        pipeline: as the user wrote it.
        key: the user's.
        context: Ray Data's settings of the dataset.
        compression: of results.
    """

    def __init__(self, pipeline: Written, key: str | None, context: Any, compression: str | None) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._key = key
        self._context = context
        self._compression = compression
        #: Of the process that has made it, once it was pickled: (fingerprint, pickled `Pipeline`, source).
        self._settled: tuple[str, bytes, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Where it is unpickled, functions of the user's modules may be something else.
        return {**self.__dict__, "_settled": self.settle(), "_pipeline": None, "_name": self.get_name()}

    def settle(self) -> tuple[str, bytes, Any]:
        """The fingerprint of the pipeline as it is now, the pipeline itself, and its source."""
        if self._settled is not None:
            return self._settled
        source, transformers = planned(self._pipeline, self._context)
        told = Described.of(self._pipeline, self._key, self._context)
        return told.fingerprint(), cloudpickle.dumps(Pipeline(self._pipeline.name, told, transformers)), source

    # --- what Ray Data asks -------------------------------------------------------------------------------------------

    def get_name(self) -> str:
        name: str = getattr(self, "_name", None) or f"Cached({self._pipeline.name})"
        return name

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        # Ray Data asks for them now and then to look at their metadata; those of an execution are placed, or made there.
        if data_context is None:
            return [ReadTask(functools.partial(iter, ()), _about(()))]
        return [task for task, _ in self.located_tasks(parallelism, per_task_row_limit, data_context)]

    # --- what a placed read asks --------------------------------------------------------------------------------------

    def own_inputs(self, per_task_row_limit: int | None, data_context: Any, *, works: bool) -> list[Any]:
        """One bundle per read task, see `inputs.inputs`; `works` as of `packing.packs`."""
        tasks = self.located_tasks(1, per_task_row_limit, data_context, works=works)
        ordered = bool(data_context.execution_options.preserve_order)
        bundles = inputs.inputs(tasks, _cpus(), ordered=ordered, patience_s=placement_wait_s())
        if bundles and not ordered and not works and per_task_row_limit is None:
            first, node = tasks[0]
            if node == connection.connect().node and (first.metadata.size_bytes or math.inf) <= AT_ONCE_BYTES:
                about = inputs.located_metadata(bundles[0])
                object.__setattr__(about, "at_once", first.read_fn.found)
        return bundles

    def located_tasks(
        self,
        parallelism: int,  # noqa: ARG002
        per_task_row_limit: int | None,
        data_context: Any,
        *,
        works: bool = True,
    ) -> list[tuple[ReadTask, str | None]]:
        """The read tasks of one execution, in the order they should start, each with its node (hex id)."""
        fingerprint, pickled, planned_source = self.settle()
        source = SourceFiles(planned_source, self._context)
        if not len(source):
            return []
        shelf = Shelf(source.client)
        shelf.mount()
        dataset = self.dataset_name(fingerprint)
        cpus = _cpus()
        wanted = file_groups.fineness(len(source), source.memory_bytes, sum(cpus.values()))
        groups = source.groups(shelf.ask("cut", dataset, wanted))
        keys = [f"{dataset}/{group.fingerprint(fingerprint)}" for group in groups]
        reply = shelf.find(keys)
        plan = Plan(fingerprint, [ray.put(pickled)], uuid.uuid4().hex, self._compression)
        missing = [group for group, found in zip(groups, reply.found, strict=True) if found is None]
        places = iter(source.places(missing) if missing else ())
        reads: list[GroupRead] = []
        nodes: list[str | None] = []
        kept: list[KeptResult | None] = []
        for group, key, found, holders in zip(groups, keys, reply.found, reply.holders, strict=True):
            known = None if found is None else (KeptResult(key, *found), holders)
            reads.append(GroupRead(plan, key, source.input(group), group, group.origin(self.get_name()), known))
            kept.append(known and known[0])
            if known is None:
                nodes.append(grouping.majority([node or None for node in next(places)], group.sizes_bytes))
            else:
                nodes.append(max(holders, key=lambda holder: holder[1].bit_count())[0] if holders else None)
        ordered = bool(data_context.execution_options.preserve_order)
        order = _order(kept, nodes, cpus, plan.execution, source.client.node, ordered=ordered, works=works)
        return [
            (_task([reads[i] for i in pack], [kept[i] for i in pack], per_task_row_limit), nodes[pack[0]])
            for pack in order
        ]

    def dataset_name(self, fingerprint: str) -> str:
        """The directory of its results below `/cached`."""
        name = self._key or self.get_name().removeprefix("Cached(").removesuffix(")")
        return f"{result_name(name)}-{fingerprint[:12]}"


def _order(
    kept: Sequence[KeptResult | None],
    nodes: Sequence[str | None],
    cpus: Mapping[str, float],
    execution: str,
    here: str,
    *,
    ordered: bool,
    works: bool,
) -> Sequence[Sequence[int]]:
    """What is kept first, several to a task; the rest one by one, in another order for each execution, so that those at the same
    time rarely meet.
    """
    if ordered:
        return [[i] for i in range(len(kept))]
    there = [(i, result.size_bytes, nodes[i]) for i, result in enumerate(kept) if result is not None]
    positions, sizes, places = zip(*there, strict=True) if there else ((), (), ())
    found = packing.packs(sizes, places, cpus, works=works)
    first: list[int] = []
    if not works:
        # What lies here comes first, in a size that can be given without a task.
        own = [pack for pack in found if places[pack[0]] == here]
        first, own = packing.first_here(own, sizes, AT_ONCE_BYTES)
        found = own + [pack for pack in found if places[pack[0]] != here]
    packs = [[positions[j] for j in pack] for pack in found]
    rest = [[i] for i, result in enumerate(kept) if result is None]
    random.Random(execution).shuffle(rest)  # noqa: S311
    begin = [[positions[j] for j in first]] if first else []
    return begin + [part[i] for part in (packs, rest) for i in grouping.interleave([nodes[pack[0]] for pack in part])]


def _task(reads: Sequence[GroupRead], results: Sequence[KeptResult | None], row_limit: int | None) -> ReadTask:
    return ReadTask(reads[0] if len(reads) == 1 else PackRead(reads), _about(results), per_task_row_limit=row_limit)


def _about(results: Sequence[KeptResult | None]) -> BlockMetadata:
    """Of a task; rows and bytes when all of its results are kept."""
    known = [result for result in results if result is not None]
    whole = bool(known) and len(known) == len(results)
    return BlockMetadata(
        num_rows=sum(result.rows for result in known) if whole else None,
        size_bytes=sum(result.size_bytes for result in known) if whole else None,
        input_files=None,
        exec_stats=None,
    )


def _cpus() -> dict[str, float]:
    """Of each node."""
    return {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]}
