"""Kept results that the executing process gives itself, without a task.

Theory of operation. A new job has no processes yet, and Ray takes seconds to start them. Of a read that nothing is fused with, what
lies on the executing process's own node and comes first is therefore read there: a bounded amount, so that the loop of the execution
is held up for a moment only. The operator's output then is as if a task had given it. What is gone meanwhile is left to a task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data._internal.execution.interfaces import BlockEntry, RefBundle
from ray.data.block import BlockAccessor, BlockExecStats

logger = logging.getLogger("raycache")

#: What is given in this way at most.
AT_ONCE_BYTES = 32 << 20


def give(operator: Any, read: Callable[[], list[Any] | None]) -> bool:
    """Give blocks as the next task's output.

    Args:
        operator: a task-pool operator, executing.
        read: gives the blocks; None: they are not all there.

    Returns:
        False when nothing was given, and a task has to.
    """
    try:
        started_s = time.perf_counter()
        if (blocks := read()) is None:
            return False
        index = operator._next_data_task_idx  # noqa: SLF001
        outputs = [_bundle(block, index, started_s) for block in _joined(blocks)]
        queue, produced = operator._output_queue, operator._block_ref_counter.on_block_produced  # noqa: SLF001
        queued = operator._metrics.on_output_queued  # noqa: SLF001
    except Exception as error:  # whatever it is, a task does without
        logger.debug("results are left to a task: %s", error)
        return False
    operator._next_data_task_idx += 1  # noqa: SLF001
    for output in outputs:
        for entry in output.blocks:
            produced(entry.ref, output.size_bytes(), operator.id)
        queue.add(output, key=index)
        queued(output)
    queue.finalize(key=index)
    return True


def _joined(blocks: Sequence[Any]) -> list[Any]:
    """One block for all, where that costs nothing."""
    filled = [block for block in blocks if BlockAccessor.for_block(block).num_rows()]
    tables = all(isinstance(block, pa.Table) and block.schema == filled[0].schema for block in filled)
    return [pa.concat_tables(filled)] if tables and len(filled) > 1 else filled


def _bundle(block: Any, index: int, started_s: float) -> RefBundle:
    reference = ray.put(block)
    now_s = time.perf_counter()
    stats = BlockExecStats(
        task_idx=index,
        start_time_s=started_s,
        end_time_s=now_s,
        wall_time_s=now_s - started_s,
        block_ser_time_s=0.0,
        cpu_time_s=0.0,
    )
    accessor = BlockAccessor.for_block(block)
    entry = BlockEntry(reference, accessor.get_metadata(block_exec_stats=stats))
    return RefBundle((entry,), owns_blocks=True, schema=accessor.schema())
