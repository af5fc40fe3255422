"""A cached dataset, as Ray Data reads it: a datasource (V1) whose read tasks are the groups of another dataset's files.

It is planned when an execution starts: files are listed, groups named by their fingerprints, and the master is asked which results
there are. A group that is kept is read on the node that holds it; one that is not is made where its files are.
"""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Sequence
from typing import Any

import ray
from ray import cloudpickle
from ray.data.block import BlockMetadata
from ray.data.datasource.datasource import Datasource, ReadTask

from raycache.messages.keeping import KeptResult
from raycache.raydata import grouping, inputs
from raycache.raydata.cached import file_groups
from raycache.raydata.cached.group_reads import GroupRead, Plan
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
            return [ReadTask(functools.partial(iter, ()), _about(None))]
        return [task for task, _ in self.located_tasks(parallelism, per_task_row_limit, data_context)]

    # --- what a placed read asks --------------------------------------------------------------------------------------

    def own_inputs(self, per_task_row_limit: int | None, data_context: Any) -> list[Any]:
        """One bundle per read task, see `inputs.inputs`."""
        tasks = self.located_tasks(1, per_task_row_limit, data_context)
        cpus = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]}
        ordered = bool(data_context.execution_options.preserve_order)
        return inputs.inputs(tasks, cpus, ordered=ordered, patience_s=placement_wait_s())

    def located_tasks(
        self,
        parallelism: int,  # noqa: ARG002
        per_task_row_limit: int | None,
        data_context: Any,
    ) -> list[tuple[ReadTask, str | None]]:
        """The read tasks of one execution, in the order they should start, each with its node (hex id)."""
        fingerprint, pickled, planned_source = self.settle()
        source = SourceFiles(planned_source, self._context)
        if not len(source):
            return []
        shelf = Shelf(source.client)
        shelf.mount()
        dataset = self.dataset_name(fingerprint)
        cpus = sum(node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"])
        wanted = file_groups.fineness(len(source), source.memory_bytes, cpus)
        groups = source.groups(shelf.ask("cut", dataset, wanted))
        keys = [f"{dataset}/{group.fingerprint(fingerprint)}" for group in groups]
        reply = shelf.find(keys)
        plan = Plan(fingerprint, [ray.put(pickled)], uuid.uuid4().hex, self._compression)
        places = iter(source.places([group for group, found in zip(groups, reply.found, strict=True) if found is None]))
        tasks: list[ReadTask] = []
        nodes: list[str | None] = []
        kept: list[bool] = []
        for group, key, found, holders in zip(groups, keys, reply.found, reply.holders, strict=True):
            known = None if found is None else (KeptResult(key, *found), holders)
            read = GroupRead(plan, key, source.input(group), group.paths, group.versions, known)
            tasks.append(ReadTask(read, _about(known and known[0]), per_task_row_limit=per_task_row_limit))
            kept.append(known is not None)
            if known is None:
                nodes.append(grouping.majority([node or None for node in next(places)], group.sizes_bytes))
            else:
                nodes.append(max(holders, key=lambda holder: holder[1].bit_count())[0] if holders else None)
        order = self._order(kept, nodes, plan.execution, ordered=bool(data_context.execution_options.preserve_order))
        return [(tasks[i], nodes[i]) for i in order]

    @staticmethod
    def _order(kept: Sequence[bool], nodes: Sequence[str | None], execution: str, *, ordered: bool) -> Sequence[int]:
        """What is kept first; the rest in another order for each execution, so that those at the same time rarely meet."""
        if ordered:
            return range(len(kept))
        there = [i for i, is_kept in enumerate(kept) if is_kept]
        rest = [i for i, is_kept in enumerate(kept) if not is_kept]
        random.Random(execution).shuffle(rest)  # noqa: S311
        return [part[i] for part in (there, rest) for i in grouping.interleave([nodes[i] for i in part])]

    def dataset_name(self, fingerprint: str) -> str:
        """The directory of its results below `/cached`."""
        name = self._key or self.get_name().removeprefix("Cached(").removesuffix(")")
        return f"{result_name(name)}-{fingerprint[:12]}"


def _about(result: KeptResult | None) -> BlockMetadata:
    if result is None:
        return BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
    return BlockMetadata(num_rows=result.rows, size_bytes=result.size_bytes, input_files=None, exec_stats=None)
